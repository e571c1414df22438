"""Writes focal.json: values and gradients of Keras's focal losses, in the form of golden/keras_losses.json.

    KERAS_BACKEND=torch python focal.py > focal.json
"""

import json
import sys

import keras
import numpy as np
import torch


def loss(kind, labels, given, **options):
    variable = torch.tensor(given, requires_grad=True)
    value = getattr(keras.losses, kind)(**options)(torch.tensor(labels), variable)
    value.backward()
    return {
        "loss": kind,
        "options": options,
        "y_true": labels.tolist(),
        "y_pred": given.tolist(),
        "value": float(value),
        "grad": variable.grad.tolist(),
    }


def main():
    random = np.random.RandomState(11)
    scores = (random.randn(6, 1) * 3).astype("float32")
    truth = random.randint(0, 2, (6, 1)).astype("float32")
    squashed = (1 / (1 + np.exp(-scores))).astype("float32")
    for_classes = (random.randn(5, 4) * 2).astype("float32")
    one_hot = np.eye(4, dtype="float32")[random.randint(0, 4, (5,))]
    powers = np.exp(for_classes - for_classes.max(-1, keepdims=True))
    shares = (powers / powers.sum(-1, keepdims=True)).astype("float32")
    binary, categorical = "BinaryFocalCrossentropy", "CategoricalFocalCrossentropy"
    table = []
    for given, from_logits in [(scores, True), (squashed, False)]:
        for options in [
            {},
            {"gamma": 0.0},
            {"gamma": 1.5, "label_smoothing": 0.1},
            {"gamma": 3.0, "alpha": 0.6, "apply_class_balancing": True},
        ]:
            table.append(loss(binary, truth, given, from_logits=from_logits, **options))
    for given, from_logits in [(for_classes, True), (shares, False), ((shares * 1.7).astype("float32"), False)]:
        for options in [{}, {"gamma": 0.0, "alpha": 1.0}, {"gamma": 3.0, "alpha": 0.6, "label_smoothing": 0.1}]:
            table.append(loss(categorical, one_hot, given, from_logits=from_logits, **options))
    sys.stdout.write("[\n" + ",\n".join(json.dumps(case) for case in table) + "\n]\n")


main()
