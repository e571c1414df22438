"""Measures training steps of the small CNN in PyTorch, in images per second: channels-last, fp32, batch 8 at 160×160.

    python torch_step.py [--threads N] [--steps N]

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
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    model = network().to(memory_format=torch.channels_last).train()
    images = torch.rand(8, 3, 160, 160).to(memory_format=torch.channels_last)
    labels = torch.arange(8).remainder(2).float()
    optimizer = torch.optim.SGD(model.parameters(), 1e-5)
    loss = nn.BCEWithLogitsLoss()
    times = []
    for step in range(options.steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss(model(images).flatten(), labels).backward()
        optimizer.step()
        # The first step warms up.
        if step:
            times.append(time.perf_counter() - start)
    print(json.dumps({
        "peer": "torch", "version": f"PyTorch {torch.__version__}",
        "images_per_second": round(8 / statistics.median(times), 3),
    }))


if __name__ == "__main__":
    main()
