"""Writes small ONNX models with what PyTorch computes with them, forward and backward: golden/onnx_small_*.onnx and .json.

    python golden/onnx_small.py

Needs torch and onnx. A gradient is stored as three sums that do not depend on the order of axes: of the parameter, of its gradient, and of
the squares of its gradient.
"""

import json
import os

import torch
from torch import nn

HERE = os.path.dirname(__file__)


class Gated(nn.Module):
    """Squeeze and excitation after a depthwise convolution, around which a shortcut leads."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.squeeze = nn.Conv2d(channels, 2, 1)
        self.excite = nn.Conv2d(2, channels, 1)

    def forward(self, x):
        y = nn.functional.hardswish(self.norm(self.depthwise(x)))
        gate = nn.functional.relu(self.squeeze(y.mean((2, 3), keepdim=True)))
        return x + y * nn.functional.hardsigmoid(self.excite(gate))


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.block = Gated(6)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.wide = nn.Conv2d(12, 8, 1)
        self.hidden = nn.Linear(8 * 4, 5)
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        x = nn.functional.relu6(self.norm(self.stem(x)))
        x = self.pool(torch.cat([self.block(x), nn.functional.avg_pool2d(x, 3, 1, 1)], 1))
        x = nn.functional.silu(self.wide(x))
        return self.fc(torch.tanh(self.hidden(torch.flatten(x, 1))))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.scale = nn.Parameter(torch.empty(width))
        self.fc1, self.fc2 = nn.Linear(width, 10), nn.Linear(10, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        shares = ((q * (width // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1)
        x = x + self.out((shares @ v).transpose(1, 2).reshape(batch, tokens, width)) * self.scale
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.empty(1, 1, 8))
        self.positions = nn.Parameter(torch.empty(1, 5, 8))
        self.blocks = nn.Sequential(Block(8, 2), Block(8, 4))
        self.norm = nn.LayerNorm(8, eps=1e-6)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def write(name, model, opset, preserve):
    torch.manual_seed(5)
    for key, values in list(model.named_parameters()) + list(model.named_buffers()):
        if values.dtype == torch.float32:
            low, high = (0.5, 1.5) if "var" in key else (-0.6, 0.6)
            with torch.no_grad():
                values.copy_(low + (high - low) * torch.rand(values.shape))
    model.eval()
    image = torch.rand(2, 3, 8, 8) * 2 - 1
    image.requires_grad_()
    output = model(image)
    slopes = torch.rand(output.shape) * 2 - 1
    (output * slopes).sum().backward()
    path = os.path.join(HERE, f"onnx_small_{name}.onnx")
    keep = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False} if preserve else {}
    axes = {"input": {0: "batch"}}
    torch.onnx.export(
        model,
        (image.detach(),),
        path,
        dynamo=False,
        opset_version=opset,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes=axes,
        **keep,
    )

    def numbers(values):
        return [float(f"{value:.7g}") for value in values.detach().double().flatten().tolist()]

    def last(values):
        return numbers(values.permute(0, 2, 3, 1))

    sums = [
        numbers(torch.stack([p.double().sum(), p.grad.double().sum(), p.grad.double().square().sum()]))
        for p in model.parameters()
    ]
    golden = {
        "image": last(image),
        "slopes": numbers(slopes),
        "output": numbers(output),
        "gradient": last(image.grad),
        "parameters": sums,
    }
    with open(os.path.join(HERE, f"onnx_small_{name}.json"), "w") as file:
        json.dump(golden, file)
        file.write("\n")


write("cnn", Cnn(), 17, True)
write("cnn_folded", Cnn(), 13, False)
write("transformer", Transformer(), 17, True)
write("transformer_old", Transformer(), 14, True)
