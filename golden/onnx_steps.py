"""Writes ONNX models of published networks before and after two steps of an optimiser in PyTorch.

    python golden/onnx_steps.py FOLDER NAME=FIRST...

For each NAME, such as `resnet18=layer4`, FOLDER receives NAME.onnx with random parameters, NAME_sgd.onnx and NAME_adam.onnx with those
after two steps on one batch, and NAME.pixels: the images `[8, side, side, 3]` as bytes. Image i has class i of 10, pixels go in as
`pixel / 127.5 - 1`, and the loss is the mean cross-entropy of the logits. Parameters train from the module FIRST on; batch normalisations
keep their running statistics. Needs torch, torchvision, timm and onnx; none of the files belongs into the repository.
"""

import copy
import os
import sys

import numpy
import torch

import onnx_networks

BATCH, STEPS = 8, 2


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


def train(model, first, images, rule):
    names = [name for name, _ in model.named_parameters()]
    begin = next(at for at, name in enumerate(names) if name.startswith(first + "."))
    trained = [parameter for at, (_, parameter) in enumerate(model.named_parameters()) if at >= begin]
    optimizer, before = rule(trained)
    for step in range(1, STEPS + 1):
        before(step)
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), torch.arange(BATCH) % 10).backward()
        optimizer.step()


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
    for name, first in (one.split("=") for one in wanted):
        model, side = network(name)
        onnx_networks.randomise(model)
        model.eval()
        pixels = numpy.random.default_rng(5).integers(0, 256, (BATCH, side, side, 3), dtype=numpy.uint8)
        pixels.tofile(os.path.join(folder, name + ".pixels"))
        images = (torch.from_numpy(pixels).float() / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
        export(model, images, os.path.join(folder, name + ".onnx"))
        for rule in (sgd, adam):
            changed = copy.deepcopy(model)
            train(changed, first, images, rule)
            export(changed, images, os.path.join(folder, f"{name}_{rule.__name__}.onnx"))


if __name__ == "__main__":
    main()
