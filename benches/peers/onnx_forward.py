"""Measures a forward pass in ONNX Runtime or in PyTorch (channels-last), in images per second and fp32.

    python onnx_forward.py mobilenet_v2|inception_v3 [--engine onnxruntime|torch] [--threads N] [--seconds S]

mobilenet_v2 is MobileNetV2 without its top at 160×160, batch 32; inception_v3 is InceptionV3 without its top at 224×224, batch 8.
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
    inception = models.inception_v3(weights=None, aux_logits=False, init_weights=False)
    inception.avgpool = inception.dropout = inception.fc = nn.Identity()
    return inception, 8, 224


def in_onnxruntime(model, images, threads):
    """Exports the network, and returns a function that runs it in a session."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "network.onnx")
        torch.onnx.export(model, (images,), file, input_names=["images"], dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    given = {"images": images.numpy()}
    return lambda: session.run(None, given), f"ONNX Runtime {onnxruntime.__version__}"


def in_torch(model, images, threads):
    """Returns a function that runs the network in channels-last."""
    torch.set_num_threads(threads)
    model = model.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    return lambda: model(images), f"PyTorch {torch.__version__}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("network", choices=["mobilenet_v2", "inception_v3"])
    parser.add_argument("--engine", choices=["onnxruntime", "torch"], default="onnxruntime")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()

    model, batch, side = network(options.network)
    model.eval()
    images = torch.rand(batch, 3, side, side)
    prepare = in_onnxruntime if options.engine == "onnxruntime" else in_torch
    with torch.inference_mode():
        call, version = prepare(model, images, options.threads)
        call()
        times = []
        end = time.perf_counter() + options.seconds
        while len(times) < 3 or time.perf_counter() < end:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    print(json.dumps({
        "peer": options.engine, "version": version, "network": options.network,
        "images_per_second": round(batch / statistics.median(times), 1),
    }))


if __name__ == "__main__":
    main()
