"""Writes ONNX models of published networks before and after two steps of an optimiser in PyTorch.

    python golden/onnx_steps.py FOLDER NAME=FIRST[:SEED]...

For each NAME, such as `resnet18=layer4`, FOLDER receives NAME.onnx with random parameters, NAME_sgd.onnx and NAME_adam.onnx with those
after two steps on one batch, and NAME.pixels: the images `[8, side, side, 3]` as bytes. Image i has class i of 10, pixels go in as
`pixel / 127.5 - 1`, and the loss is the mean cross-entropy of the logits. Parameters train from the module FIRST on; batch normalisations
keep their running statistics. The steps are computed in double precision. Needs torch, torchvision, timm and onnx; none of the files
belongs into the repository.

A ReLU passes the gradient of a value above 0 and none of a value below. Where a value is nearer to 0 than single precision can tell,
rounding decides, and a correct program may take either side; after a step of Adam, which has the same length for small gradients as for
large ones, all parameters of the layers before it differ visibly. The random images are therefore drawn anew until every value that
meets such a kink lies at least four times as far from it as its layer deviates in PyTorch's own single precision. SEED is the first seed
that is tried; the script says which one served.
"""

import copy
import itertools
import os
import sys

import numpy
import torch
from torch.overrides import TorchFunctionMode

import onnx_networks

BATCH, STEPS = 8, 2

# Where the derivatives of these functions jump.
KINKS = {"relu": (0,), "relu_": (0,), "hardswish": (-3, 3), "hardsigmoid": (-3, 3)}
# Functions whose derivative depends on a comparison of values, which this script does not follow.
UNKNOWN = {"relu6", "hardtanh", "leaky_relu", "max_pool2d", "clamp", "maximum", "minimum"}


class Watched(TorchFunctionMode):
    """Keeps what enters a function with kinks, if a gradient passes through it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if (name in KINKS or name in UNKNOWN) and args[0].requires_grad:
            assert name in KINKS, f"{name} has kinks that are not looked at"
            self.seen.append((name, args[0].detach().double().clone()))
        return func(*args, **(kwargs or {}))


def network(name):
    """The network with random parameters, and the side of its images."""
    if name.startswith("vit"):
        import timm

        torch.manual_seed(7)
        return timm.create_model(name, pretrained=False, num_classes=10, img_size=64), 64
    return onnx_networks.network(name)


def sgd(parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.02, momentum=0.9)
    return optimizer, lambda step: None


def adam(parameters):
    """Keras adds epsilon before the correction of the second moment's beginning, PyTorch after it."""
    optimizer = torch.optim.Adam(parameters, lr=0.002, betas=(0.9, 0.999))

    def before(step):
        optimizer.param_groups[0]["eps"] = 1e-4 / (1 - 0.999**step) ** 0.5

    return optimizer, before


RULES = (sgd, adam)


def trained(model, first, images, rule):
    """A copy of the model after the steps, and what entered functions with kinks."""
    model = copy.deepcopy(model)
    named = list(model.named_parameters())
    begin = next(at for at, (name, _) in enumerate(named) if name.startswith(first + "."))
    for at, (_, parameter) in enumerate(named):
        parameter.requires_grad_(at >= begin)
    optimizer, before = rule([parameter for _, parameter in named[begin:]])
    with Watched() as watched:
        for step in range(1, STEPS + 1):
            before(step)
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(images), torch.arange(BATCH) % 10).backward()
            optimizer.step()
    return model, watched.seen


def is_clear(single, double):
    """Whether single precision takes the same side of every kink as double precision, with room to spare."""
    assert len(single) == len(double)
    for (name, rough), (_, exact) in zip(single, double):
        error = (rough - exact).abs().max()
        if any((exact - kink).abs().min() < 4 * error for kink in KINKS[name]):
            return False
    return True


def drawn(model, first, side, seed):
    """Images on which no kink is near, and for each rule the model after its steps on them."""
    exact = copy.deepcopy(model).double()
    for seed in itertools.count(seed):
        pixels = numpy.random.default_rng(seed).integers(0, 256, (BATCH, side, side, 3), dtype=numpy.uint8)
        images = (torch.from_numpy(pixels).double() / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
        changed = []
        for rule in RULES:
            after, seen = trained(exact, first, images, rule)
            if seen and not is_clear(trained(model, first, images.float(), rule)[1], seen):
                break
            changed.append(after.float())
        else:
            return seed, pixels, images.float(), changed


def export(model, image, path):
    torch.onnx.export(
        model,
        (image,),
        path,
        dynamo=False,
        opset_version=17,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        # Otherwise the exporter folds batch normalisations, which train.
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
    )


def main():
    folder, wanted = sys.argv[1], sys.argv[2:]
    torch.set_num_threads(1)
    for one in wanted:
        name, _, first = one.partition("=")
        first, _, seed = first.partition(":")
        model, side = network(name)
        onnx_networks.randomise(model)
        model.eval()
        seed, pixels, images, changed = drawn(model, first, side, int(seed or 5))
        print(f"{name}: images of seed {seed}")
        pixels.tofile(os.path.join(folder, name + ".pixels"))
        export(model, images, os.path.join(folder, name + ".onnx"))
        for rule, after in zip(RULES, changed):
            export(after, images, os.path.join(folder, f"{name}_{rule.__name__}.onnx"))


if __name__ == "__main__":
    main()
