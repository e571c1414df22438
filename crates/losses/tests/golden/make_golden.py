"""Writes soft.json beside this script: Keras's losses of soft targets (as mixup and cutmix make them) and class weights; and
several.json: those of images that have several classes each.

    python make_golden.py                        soft.json, with TensorFlow
    KERAS_BACKEND=torch python make_golden.py    several.json, with PyTorch

Nothing here is needed to build or to test.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np


def several():
    """Keras's binary cross-entropy of rows with any number of ones, whole and mixed. The gradient is that of the backend."""
    import torch

    rng = np.random.default_rng(13)
    cases = []
    for from_logits in (False, True):
        for smoothing in (0.0, 0.1):
            for mixed in (False, True):
                targets = (rng.random((5, 3)) < 0.4).astype("float32")
                if mixed:
                    part = rng.beta(1.0, 1.0, size=(5, 1))
                    targets = part * targets + (1 - part) * targets[::-1]
                z = rng.normal(size=(5, 3)) * 2
                outputs = z if from_logits else 1 / (1 + np.exp(-z))
                given = {"from_logits": from_logits, "label_smoothing": smoothing}
                x = torch.tensor(outputs.astype("float32"), requires_grad=True)
                value = keras.losses.BinaryCrossentropy(**given)(torch.tensor(targets.astype("float32")), x)
                value.backward()
                cases.append({"loss": {"name": "binary_crossentropy", **given}, "targets": targets.tolist(),
                              "outputs": outputs.tolist(), "value": value.item(), "gradient": x.grad.tolist()})
    return {"from": f"Keras {keras.__version__} on PyTorch {torch.__version__}", "cases": cases}


if keras.backend.backend() == "torch":
    (Path(__file__).parent / "several.json").write_text(json.dumps(several(), indent=1) + "\n")
    sys.exit()

import tensorflow as tf

rng = np.random.default_rng(11)


def value_and_gradient(loss, outputs, targets, weights=None):
    x = tf.Variable(outputs.astype("float32"))
    with tf.GradientTape() as tape:
        value = loss(targets.astype("float32"), x, sample_weight=weights)
    return {"outputs": outputs.tolist(), "value": float(value), "gradient": tape.gradient(value, x).numpy().tolist()}


def soft(batch, classes):
    """Targets that mix two labels per row."""
    part = rng.beta(1.0, 1.0, size=(batch, 1))
    one = np.eye(classes)
    return part * one[rng.integers(0, classes, batch)] + (1 - part) * one[rng.integers(0, classes, batch)]


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


cases = []
for from_logits in (False, True):
    for smoothing in (0.0, 0.1):
        given = {"from_logits": from_logits, "label_smoothing": smoothing}
        targets, z = soft(4, 3), rng.normal(size=(4, 3))
        loss = keras.losses.CategoricalCrossentropy(**given)
        case = value_and_gradient(loss, z if from_logits else softmax(z), targets)
        cases.append({"loss": {"name": "categorical_crossentropy", **given}, "targets": targets.tolist(), **case})
        targets, z = soft(5, 2), rng.normal(size=(5, 1))
        loss = keras.losses.BinaryCrossentropy(**given)
        case = value_and_gradient(loss, z if from_logits else 1 / (1 + np.exp(-z)), targets[:, 1:])
        cases.append({"loss": {"name": "binary_crossentropy", **given}, "targets": targets.tolist(), **case})
    # Class weights weigh the rows. The losses of the rows are summed and divided by the batch size.
    labels, z, class_weights = np.array([0, 2, 1, 1, 2]), rng.normal(size=(5, 3)), np.array([0.5, 2.0, 1.25])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    case = value_and_gradient(loss, z if from_logits else softmax(z), labels, class_weights[labels].astype("float32"))
    cases.append({"loss": {"name": "sparse_categorical_crossentropy", "from_logits": from_logits},
                  "labels": labels.tolist(), "class_weights": class_weights.tolist(), **case})

data = {"from": f"Keras {keras.__version__}", "cases": cases}
(Path(__file__).parent / "soft.json").write_text(json.dumps(data, indent=1) + "\n")
