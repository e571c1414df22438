"""Feature extraction and fine-tuning in Keras, written the way its own guides write them.

    python keras_transfer.py DATA [--feature-extraction EPOCHS] [--fine-tuning EPOCHS] [--weights none|imagenet|FILE.h5]

The work is that of configs/cats_vs_dogs/*.toml: MobileNetV2 at 160×160, batches of 32, one sigmoid unit, Adam at 1e-3 and then,
from layer 100 on, at 1e-5. DATA holds train/ and validation/, with one folder per class. The last line of the output is JSON.
`--weights none` is the default because it needs no download: the amount of work is the same, but the accuracies mean nothing.
"""

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

SIDE = 160


def photos(folder):
    """Batches of a folder, read ahead of the training."""
    batches = keras.utils.image_dataset_from_directory(folder, seed=123, batch_size=32, image_size=(SIDE, SIDE), verbose=False)
    return batches.prefetch(tf.data.AUTOTUNE)


def fit(model, rate, epochs, train, validation):
    """Trains one phase, and returns its seconds and validation accuracies."""
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"])
    start = time.perf_counter()
    history = model.fit(train, epochs=epochs, validation_data=validation, verbose=0) if epochs else None
    return time.perf_counter() - start, history.history["val_accuracy"] if history else []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--feature-extraction", type=int, default=10)
    parser.add_argument("--fine-tuning", type=int, default=5)
    parser.add_argument("--weights", default="none")
    options = parser.parse_args()

    train = photos(os.path.join(options.data, "train"))
    validation = photos(os.path.join(options.data, "validation"))
    weights = None if options.weights == "none" else options.weights
    base = keras.applications.MobileNetV2(input_shape=(SIDE, SIDE, 3), include_top=False, weights=weights)
    base.trainable = False
    inputs = keras.Input((SIDE, SIDE, 3))
    features = base(keras.applications.mobilenet_v2.preprocess_input(inputs), training=False)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(pooled))

    first, first_accuracy = fit(model, 1e-3, options.feature_extraction, train, validation)
    base.trainable = True
    for layer in base.layers[:100]:
        layer.trainable = False
    second, second_accuracy = fit(model, 1e-5, options.fine_tuning, train, validation)
    print(json.dumps({
        "peer": "keras", "version": f"Keras {keras.__version__}, TensorFlow {tf.__version__}",
        "feature_extraction_s": round(first, 3), "fine_tuning_s": round(second, 3),
        "val_accuracy": first_accuracy + second_accuracy,
    }))


if __name__ == "__main__":
    main()
