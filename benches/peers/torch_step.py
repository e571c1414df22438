"""Measures training steps of the small CNN in PyTorch, in images per second: channels-last, batch 8 at 160×160.

    python torch_step.py [--engine torch|torch-compile] [--precision f32|bf16] [--threads N] [--steps N]

In bf16, parameters and the optimiser stay in fp32, and products are computed in bf16 (autocast), as PyTorch recommends.

The network is that of `crates/kernels/examples/training_step.rs`: three stages of two 3×3 convolutions with ReLU and batch
normalisation, with 128, 256 and 512 filters. A step is a forward pass, a backward pass and an update of every parameter. The last
line of the output is JSON.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn


def network():
    layers, channels = [], 3
    for stage, filters in enumerate([128, 256, 512]):
        for _ in range(2):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(filters, eps=1e-3)]
            channels = filters
        if stage < 2:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 1)]
    return nn.Sequential(*layers)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=["torch", "torch-compile"], default="torch")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    model = network().to(memory_format=torch.channels_last).train()
    images = torch.rand(8, 3, 160, 160).to(memory_format=torch.channels_last)
    labels = torch.arange(8).remainder(2).float()
    optimizer = torch.optim.SGD(model.parameters(), 1e-5)
    loss = nn.BCEWithLogitsLoss()
    predict = torch.compile(model) if options.engine == "torch-compile" else model
    times = []
    for step in range(options.steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            outputs = predict(images)
        loss(outputs.float().flatten(), labels).backward()
        optimizer.step()
        # The first step warms up, and compiles where that was asked for.
        if step:
            times.append(time.perf_counter() - start)
    print(json.dumps({
        "peer": options.engine, "precision": options.precision, "version": f"PyTorch {torch.__version__}",
        "images_per_second": round(8 / statistics.median(times), 3),
    }))


if __name__ == "__main__":
    main()
