"""Measures training steps in PyTorch: images per second, and milliseconds of processor time per step.

    python torch_step.py [small_cnn|vit_small] [--engine torch|torch-compile] [--precision f32|bf16] [--threads N] [--steps N]

In bf16, parameters and the optimiser stay in fp32, and products are computed in bf16 (autocast), as PyTorch recommends.

The networks are those of `crates/kernels/examples/training_step.rs`, with a batch of 8. `small_cnn` is three stages of two 3×3
convolutions with ReLU and batch normalisation, with 128, 256 and 512 filters, for images of 160×160, channels-last. `vit_small` is the last
four blocks of ViT-S/16, its last normalisation and a dense layer, for the 197 tokens of an image of 224×224; its attention is PyTorch's
own. A step is a forward pass, a backward pass and an update of every parameter. The last line of the output is JSON.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

BATCH = 8


def small_cnn():
    """The network, a batch of inputs, and the loss."""
    layers, channels = [], 3
    for stage, filters in enumerate([128, 256, 512]):
        for _ in range(2):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(filters, eps=1e-3)]
            channels = filters
        if stage < 2:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 1)]
    images = torch.rand(BATCH, 3, 160, 160).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH).remainder(2).float()
    loss = nn.BCEWithLogitsLoss()
    return nn.Sequential(*layers).to(memory_format=torch.channels_last), images, lambda y: loss(y.flatten(), labels)


class Block(nn.Module):
    """A block of a vision transformer, with the layers of timm's."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.proj(y)
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class FirstToken(nn.Module):
    def forward(self, x):
        return x[:, 0]


def vit_small():
    """The network, a batch of inputs, and the loss."""
    blocks = [Block(384, 6) for _ in range(4)]
    network = nn.Sequential(*blocks, nn.LayerNorm(384, eps=1e-6), FirstToken(), nn.Linear(384, 2))
    labels = torch.arange(BATCH).remainder(2)
    return network, torch.rand(BATCH, 197, 384), lambda y: functional.cross_entropy(y, labels)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("network", nargs="?", choices=["small_cnn", "vit_small"], default="small_cnn")
    parser.add_argument("--engine", choices=["torch", "torch-compile"], default="torch")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    model, inputs, loss = small_cnn() if options.network == "small_cnn" else vit_small()
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-5)
    predict = torch.compile(model) if options.engine == "torch-compile" else model
    times = []
    for step in range(options.steps + 1):
        # The first step warms up, and compiles where that was asked for.
        if step == 1:
            before = time.process_time()
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            outputs = predict(inputs)
        loss(outputs.float()).backward()
        optimizer.step()
        if step:
            times.append(time.perf_counter() - start)
    processor = (time.process_time() - before) / options.steps
    print(json.dumps({
        "peer": options.engine, "precision": options.precision, "version": f"PyTorch {torch.__version__}",
        "network": options.network,
        "images_per_second": round(BATCH / statistics.median(times), 3),
        "processor_ms_per_step": round(processor * 1e3, 1),
    }))


if __name__ == "__main__":
    main()
