"""Golden maps of where a network looks, made with PyTorch's autograd. `make.py` calls `files`.

Weights are formulas in Keras's axes, numbered in the order of the layers and of Keras's lists: element i of parameter number n has, in
float64, f = 43758.5453 * sin(12.9898*i + 78.233*n), s = 2*(f - floor(f)) - 1, and
    kernels              sqrt(6/fan_in)*s      fan_in = input values of one output
    running variances    1+0.5*s*s
    gammas               1+0.1*s
    everything else      0.1*s
Pixels of image b are 127.5+127.5*sin(0.2*(b+1)*y + 0.11*x + 0.004*x*y + 2.1*channel), and the networks see pixels/127.5-1.
"""

import numpy as np
import torch
import torch.nn.functional as F


class Formulas:
    """Parameters as a network asks for them, in Keras's axes."""

    def __init__(self):
        self.number = 0

    def __call__(self, kind, shape, fan_in=None):
        f = 43758.5453 * np.sin(12.9898 * np.arange(int(np.prod(shape)), dtype=np.float64) + 78.233 * self.number)
        s = 2 * (f - np.floor(f)) - 1
        self.number += 1
        if fan_in:
            s = np.sqrt(6.0 / fan_in) * s
        elif kind == "variance":
            s = 1 + 0.5 * s * s
        elif kind == "gamma":
            s = 1 + 0.1 * s
        else:
            s = 0.1 * s
        return torch.from_numpy(s.astype("float32").astype("float64").reshape(shape))


def pixels(height, width, images=2):
    y, x, channel = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    image = lambda b: 127.5 + 127.5 * np.sin(0.2 * (b + 1) * y + 0.11 * x + 0.004 * x * y + 2.1 * channel)
    images = np.stack([image(b) for b in range(images)]).astype("float32").astype("float64")
    return torch.from_numpy((images / 127.5 - 1).transpose(0, 3, 1, 2).copy())


def small_mobilenet():
    """Layers of a small MobileNetV2: what each puts out, by its name."""
    p, x, out = Formulas(), pixels(48, 64), {}

    def convolution(x, filters, size, stride):
        c = x.shape[1]
        kernel = p("kernel", (size, size, c, filters), fan_in=size * size * c)
        return F.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride, padding=size // 2)

    def depthwise(x, stride):
        c = x.shape[1]
        kernel = p("kernel", (3, 3, c, 1), fan_in=9)
        return F.conv2d(x, kernel.permute(2, 3, 0, 1), stride=stride, padding=1, groups=c)

    def norm(x):
        gamma, beta, mean, variance = (p(kind, (x.shape[1],)) for kind in ["gamma", "beta", "mean", "variance"])
        return F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, 1e-3)

    def block(x, name, filters, stride):
        entry = x
        x = F.relu6(norm(convolution(x, 4 * x.shape[1], 1, 1)))
        out[f"{name}_depthwise_relu"] = x = F.relu6(norm(depthwise(x, stride)))
        x = norm(convolution(x, filters, 1, 1))
        return x + entry if x.shape == entry.shape else x

    x = F.relu6(norm(convolution(x, 8, 3, 2))).requires_grad_()
    x = block(x, "block_1", 8, 1)
    x = block(x, "block_2", 12, 2)
    x = block(x, "block_3", 12, 1)
    out["out_relu"] = x = F.relu6(norm(convolution(x, 32, 1, 1)))
    kernel, bias = p("kernel", (32, 3), fan_in=32), p("bias", (3,))
    return out, x.mean((2, 3)) @ kernel + bias


def grad_cam():
    out, logits = small_mobilenet()
    maps = {}
    for layer in ["out_relu", "block_3_depthwise_relu", "block_1_depthwise_relu"]:
        values, of_layer = out[layer], []
        for class_ in range(logits.shape[1]):
            (slopes,) = torch.autograd.grad(logits[:, class_].sum(), values, retain_graph=True)
            weights = slopes.mean((2, 3), keepdim=True)
            found = F.relu((weights * values).sum(1))
            largest = found.amax((1, 2), keepdim=True)
            of_layer.append((found / torch.where(largest > 0, largest, 1)).detach().numpy().round(6).tolist())
        maps[layer] = of_layer
    return {"probabilities": logits.softmax(1).detach().numpy().round(6).tolist(), "maps": maps}


def rollout():
    """A transformer of two attentions on 3 x 4 patches and a class token; the share of each patch, by the product of scores."""
    p, x = Formulas(), pixels(24, 32)
    width, heads = 12, 2
    kernel, bias = p("kernel", (8, 8, 3, width), fan_in=192), p("bias", (width,))
    x = F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, stride=8).flatten(2).transpose(1, 2)
    x = torch.cat([p("token", (1, width)).expand(len(x), 1, width), x], 1)
    x = x + p("positions", (13, width))
    whole = torch.eye(13, dtype=torch.float64)
    for _ in range(2):
        entry = x
        x = F.layer_norm(x, (width,), p("gamma", (width,)), p("beta", (width,)), 1e-6)
        # Four times as large, so that scores differ.
        kernel, bias = p("kernel", (width, 3 * width), fan_in=width), p("bias", (3 * width,))
        q, k, v = (x @ (4 * kernel) + bias).reshape(len(x), 13, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(2, 3) / np.sqrt(width // heads)).softmax(3)
        x = (scores @ v).transpose(1, 2).reshape(len(x), 13, width)
        kernel, bias = p("kernel", (width, width), fan_in=width), p("bias", (width,))
        x = x @ kernel + bias + entry
        whole = (scores.mean(1) + torch.eye(13, dtype=torch.float64)) / 2 @ whole
    return whole[:, 0, 1:].reshape(-1, 3, 4).numpy().round(8).tolist()


def files(_):
    return {"explain.json": (lambda: {"grad_cam": grad_cam(), "rollout": rollout()}, 1e-5)}
