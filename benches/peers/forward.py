"""Measures a forward pass in ONNX Runtime, OpenVINO or PyTorch (channels-last), in images per second.

    python forward.py mobilenet_v2|inception_v3|vit_small|convnext_tiny [--engine onnxruntime|openvino|torch|torch-compile] [--precision f32|bf16]
                      [--threads N] [--seconds S]

mobilenet_v2 is MobileNetV2 without its top at 160×160, batch 32; inception_v3, vit_small (ViT-S/16) and convnext_tiny are without their
tops at 224×224, batch 8. ViT-S/16 needs timm, the others torchvision.
Weights are random, which does not change the amount of work. The last line of the output is JSON.
"""

import argparse
import json
import os
import statistics
import tempfile
import time

import torch
from torch import nn
from torchvision import models


def network(name):
    """Returns the network, its batch size and its image side."""
    if name == "mobilenet_v2":
        return models.mobilenet_v2(weights=None).features, 32, 160
    if name == "vit_small":
        import timm

        return timm.create_model("vit_small_patch16_224", num_classes=0), 8, 224
    if name == "convnext_tiny":
        return models.convnext_tiny(weights=None).features, 8, 224
    inception = models.inception_v3(weights=None, aux_logits=False, init_weights=False)
    inception.avgpool = inception.dropout = inception.fc = nn.Identity()
    return inception, 8, 224


def exported(model, images, folder):
    """Writes the network as an ONNX model into a folder, and returns its path."""
    file = os.path.join(folder, "network.onnx")
    torch.onnx.export(model, (images,), file, input_names=["images"], dynamo=False)
    return file


def in_onnxruntime(model, images, threads, precision):
    """Exports the network, and returns a function that runs it in a session."""
    import onnxruntime

    if precision != "f32":
        raise SystemExit("ONNX Runtime computes convolutions on processors in fp32 alone")
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        file = exported(model, images, folder)
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    given = {"images": images.numpy()}
    return lambda: session.run(None, given), f"ONNX Runtime {onnxruntime.__version__}"


def in_openvino(model, images, threads, precision):
    """Exports the network, and returns a function that runs it as one request of OpenVINO's processor plugin."""
    import openvino

    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise SystemExit("OpenVINO has no bf16 on this processor")
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    with tempfile.TemporaryDirectory() as folder:
        # The shape of the batch is that of the export, so everything can be prepared for it.
        compiled = core.compile_model(core.read_model(exported(model, images, folder)), "CPU", settings)
    request, given = compiled.create_infer_request(), [images.numpy()]
    return lambda: request.infer(given, share_inputs=True, share_outputs=True), f"OpenVINO {openvino.__version__}"


def in_torch(model, images, threads, precision, compiled=False):
    """Returns a function that runs the network in channels-last."""
    torch.set_num_threads(threads)
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    model = model.to(memory_format=torch.channels_last, dtype=kind)
    images = images.to(memory_format=torch.channels_last, dtype=kind)
    model = torch.compile(model) if compiled else model
    return lambda: model(images), f"PyTorch {torch.__version__}"


ENGINES = {
    "onnxruntime": in_onnxruntime,
    "openvino": in_openvino,
    "torch": in_torch,
    "torch-compile": lambda *given: in_torch(*given, compiled=True),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("network", choices=["mobilenet_v2", "inception_v3", "vit_small", "convnext_tiny"])
    parser.add_argument("--engine", choices=list(ENGINES), default="onnxruntime")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()

    model, batch, side = network(options.network)
    model.eval()
    images = torch.rand(batch, 3, side, side)
    with torch.inference_mode():
        call, version = ENGINES[options.engine](model, images, options.threads, options.precision)
        # The first passes prepare, and compile where that was asked for.
        call()
        call()
        times = []
        end = time.perf_counter() + options.seconds
        while len(times) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    print(json.dumps({
        "peer": options.engine, "version": version, "network": options.network,
        "precision": options.precision,
        "images_per_second": round(batch / statistics.median(times), 1),
    }))


if __name__ == "__main__":
    main()
