"""Writes augment.json: Keras's layers on a small image, with given values in place of drawn ones.

    KERAS_BACKEND=tensorflow python augment.py > augment.json
"""

import json
import sys

import keras
import numpy as np
from keras import layers

HEIGHT, WIDTH = 6, 8
MODES = ["reflect", "wrap", "constant", "nearest"]


def image():
    """Numbers that another language computes alike: no two neighbours are equal."""
    at = np.arange(HEIGHT * WIDTH * 3, dtype=np.int64)
    return ((at * at * 7 + at * 31) % 256).astype(np.float32).reshape(HEIGHT, WIDTH, 3)


def rounded(values):
    return [round(float(v), 4) for v in np.asarray(values).ravel()]


def case(layer, kind, given, transformation, **extra):
    x = keras.ops.convert_to_tensor(image())
    value = layer.transform_images(x, transformation, training=True)
    return {"kind": kind, "given": given, "value": rounded(value), **extra}


def rotation(angle, mode, interpolation):
    layer = layers.RandomRotation((angle, angle), fill_mode=mode, interpolation=interpolation, fill_value=17.0)
    drawn = layer.get_random_transformation(image(), training=True)
    return case(layer, "rotation", [angle], drawn, fill_mode=mode, interpolation=interpolation)


def zoom(height, width, mode, interpolation):
    layer = layers.RandomZoom(
        (height, height), (width, width), fill_mode=mode, interpolation=interpolation, fill_value=17.0
    )
    drawn = layer.get_random_transformation(image(), training=True)
    return case(layer, "zoom", [height, width], drawn, fill_mode=mode, interpolation=interpolation)


def translation(height, width, mode, interpolation):
    layer = layers.RandomTranslation(
        (height, height), (width, width), fill_mode=mode, interpolation=interpolation, fill_value=17.0
    )
    drawn = layer.get_random_transformation(image(), training=True)
    return case(layer, "translation", [height, width], drawn, fill_mode=mode, interpolation=interpolation)


def flip(mode):
    layer = layers.RandomFlip(mode)
    drawn = {"flips": keras.ops.ones((1, 1, 1), dtype="bool"), "input_shape": image().shape}
    return case(layer, "flip", mode, drawn)


def contrast(factor):
    layer = layers.RandomContrast(0.5)
    return case(layer, "contrast", [factor], {"contrast_factor": keras.ops.full((1, 1, 1), factor)})


def brightness(factor):
    layer = layers.RandomBrightness((factor, factor))
    return case(layer, "brightness", [factor], layer.get_random_transformation(image(), training=True))


def crop(top, left, height, width):
    """The piece, and then what a Resizing layer makes of it to restore the size."""
    layer = layers.RandomCrop(height, width)
    piece = layer.transform_images(keras.ops.convert_to_tensor(image()), (top, left), training=True)
    value = layers.Resizing(HEIGHT, WIDTH)(piece)
    return {"kind": "crop", "given": [top, left, height, width], "value": rounded(value)}


def main():
    cases = [flip(mode) for mode in ["horizontal", "vertical", "horizontal_and_vertical"]]
    for mode in MODES:
        for interpolation in ["bilinear", "nearest"]:
            cases += [rotation(angle, mode, interpolation) for angle in [0.03, -0.2, 0.5]]
            cases += [zoom(h, w, mode, interpolation) for h, w in [(-0.35, -0.35), (0.6, 0.25), (1.0, -0.1)]]
            cases += [translation(h, w, mode, interpolation) for h, w in [(0.21, -0.37), (-0.9, 1.0)]]
    cases += [contrast(factor) for factor in [0.5, 1.3]]
    cases += [brightness(factor) for factor in [-0.3, 0.15]]
    cases += [crop(2, 3, 3, 4), crop(0, 0, 5, 7)]
    json.dump({"keras": keras.__version__, "height": HEIGHT, "width": WIDTH, "cases": cases}, sys.stdout)
    print()


main()
