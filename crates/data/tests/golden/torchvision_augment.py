"""Writes torchvision_augment.json: torchvision's transforms on a small image, with given values in place of drawn ones.

    python torchvision_augment.py > torchvision_augment.json

Of each image that comes out, every eleventh value is kept. Values are floats from 0 to 255 except for the operations that torchvision
has for whole numbers only.
"""

import json
import sys

import numpy as np
import torch
import torchvision
from torchvision.transforms import InterpolationMode, RandAugment, TrivialAugmentWide
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import _apply_op

HEIGHT, WIDTH, STRIDE, BINS = 18, 16, 11, 31
WHOLE = {"Posterize", "Solarize", "Equalize"}


def image():
    """The image of augment.py in another size."""
    at = np.arange(HEIGHT * WIDTH * 3, dtype=np.int64)
    return ((at * at * 7 + at * 31) % 256).reshape(HEIGHT, WIDTH, 3)


def tensor(whole):
    pixels = torch.tensor(image()).permute(2, 0, 1)
    return pixels.to(torch.uint8) if whole else pixels.to(torch.float32) / 255.0


def kept(result):
    values = result.permute(1, 2, 0).reshape(-1).double()
    values = values if result.dtype == torch.uint8 else values * 255.0
    return [round(float(value), 3) for value in values[::STRIDE]]


def policy(name, transform, bins):
    """Every operation, at these strengths and in both directions."""
    space = transform._augmentation_space(BINS, *[(HEIGHT, WIDTH)] if name == "rand_augment" else [])
    for operation, (magnitudes, signed) in space.items():
        for bin in bins if magnitudes.ndim else [0]:
            for sign in [1.0, -1.0] if signed else [1.0]:
                magnitude = float(magnitudes[bin] if magnitudes.ndim else magnitudes) * sign
                out = _apply_op(tensor(operation in WHOLE), operation, magnitude, InterpolationMode.NEAREST, None)
                yield {"policy": name, "operation": operation, "bin": bin, "backwards": sign < 0, "value": kept(out)}


def tones():
    floats = tensor(False)
    for factor in [0.0, 0.6, 1.7]:
        yield {"tone": "brightness", "given": factor, "value": kept(F.adjust_brightness(floats, factor))}
        yield {"tone": "contrast", "given": factor, "value": kept(F.adjust_contrast(floats, factor))}
        yield {"tone": "saturation", "given": factor, "value": kept(F.adjust_saturation(floats, factor))}
    for shift in [-0.5, -0.13, 0.07, 0.4]:
        yield {"tone": "hue", "given": shift, "value": kept(F.adjust_hue(floats, shift))}


def crops():
    for top, left, rows, columns in [(2, 3, 7, 9), (0, 0, 18, 5), (11, 4, 2, 12)]:
        out = F.resized_crop(tensor(False), top, left, rows, columns, [HEIGHT, WIDTH], antialias=True)
        yield {"crop": [top, left, rows, columns], "value": kept(out)}


def main():
    cases = [*tones(), *crops()]
    cases += policy("rand_augment", RandAugment(), [0, 9, 30])
    cases += policy("trivial_augment_wide", TrivialAugmentWide(), [4, 17])
    made = {"torchvision": torchvision.__version__, "height": HEIGHT, "width": WIDTH, "stride": STRIDE, "bins": BINS}
    rows = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    sys.stdout.write(json.dumps(made)[:-1] + ', "cases": [\n' + rows + "\n]}\n")


main()
