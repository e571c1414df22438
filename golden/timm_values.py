"""Golden values that timm and torchvision compute, for networks that Keras does not have. `make.py` calls `files`.

Weights are formulas, numbered as in the state dict: element i (in the order of the file) of tensor number n has, in float64 and then
rounded to float32, s = sin(0.731*i + 1.37*n), and
    tensors of several axes    sqrt(3/fan_in)*s   fan_in = values of one output
    running variances          1+0.5*s*s
    other `weight`s            1+0.1*s
    everything else            0.1*s
"""

import numpy as np
import re

import timm
import torch
import torchvision

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
IMAGENET = lambda pixels: (pixels / 255 - MEAN) / DEVIATION
SYMMETRIC = lambda pixels: pixels / 127.5 - 1

VIT = (SYMMETRIC, {"dynamic_img_size": True})
DINO = (IMAGENET, {"dynamic_img_size": True})
CONVNEXT = (IMAGENET, {})

# The name of each network, the images that outputs are computed for (none: only names and shapes), its preprocessing, and timm's options
# (none: torchvision's network).
# No side has as many patches as those that positions were learned from.
TORCHVISION = (IMAGENET, None)

NETWORKS = {
    "vit_small_patch16_224": ([64, 96], *VIT),
    "vit_base_patch16_224": (None, *VIT),
    "vit_small_patch14_dinov2": ([98, 70], *DINO),
    "vit_base_patch14_dinov2": (None, *DINO),
    "convnext_tiny": ([64, 96], *CONVNEXT),
    "convnext_small": (None, *CONVNEXT),
    "convnextv2_atto": ([64, 96], *CONVNEXT),
    "convnextv2_femto": (None, *CONVNEXT),
    "convnextv2_pico": (None, *CONVNEXT),
    "convnextv2_nano": (None, *CONVNEXT),
    "convnextv2_tiny": (None, *CONVNEXT),
    "resnet18": ([64, 96], *TORCHVISION),
    "resnet34": ([64, 96], *TORCHVISION),
    "densenet121": ([64, 96], *TORCHVISION),
    "mobilenet_v3_small": ([65, 96], *TORCHVISION),
    "mobilenet_v3_large": ([65, 96], *TORCHVISION),
    "efficientnet_b3": ([65, 96], *TORCHVISION),
    "efficientnet_b5": ([65, 96], *TORCHVISION),
    "efficientnet_v2_s": ([65, 96], *TORCHVISION),
}


def formula(number, name, tensor):
    s = np.sin(0.731 * np.arange(tensor.numel(), dtype=np.float64) + 1.37 * number)
    if tensor.ndim > 1:
        s = np.sqrt(3.0 / (tensor.numel() // tensor.shape[0])) * s
    elif name.endswith("running_var"):
        s = 1 + 0.5 * s * s
    elif name.endswith(".weight"):
        s = 1 + 0.1 * s
    else:
        s = 0.1 * s
    return torch.from_numpy(s.astype("float32").reshape(tuple(tensor.shape)))


def digest(values):
    """Mean, standard deviation, and some of the outputs, channels last."""
    values = np.asarray(values.detach(), "float64")
    if values.ndim == 4:
        values = values.transpose(0, 2, 3, 1)
    flat = values.reshape(-1)
    stride = max(1, flat.size // 24) | 1
    return {
        "shape": list(values.shape),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "stride": stride,
        "values": flat[::stride][:24].round(7).tolist(),
    }


def blocks(network):
    """Each block, and the name of the layer that puts out what it does."""
    kind = type(network).__name__
    if kind == "ResNet":
        for stage in range(1, 5):
            blocks = getattr(network, f"layer{stage}")
            yield from ((f"layer{stage}.{number}.out", block) for number, block in enumerate(blocks))
        return
    if kind == "DenseNet":
        for name, module in network.features.named_children():
            if name.startswith("denseblock"):
                yield f"conv{int(name[-1]) + 1}_block{len(module)}_concat", module
            elif name.startswith("transition"):
                yield f"pool{int(name[-1]) + 1}_pool", module
        yield "bn", network.features.norm5
        return
    if kind == "MobileNetV3":
        for number, block in enumerate(network.features[1:-1]):
            prefix = f"expanded_conv_{number}_" if number else "expanded_conv_"
            yield prefix + ("add" if block.use_res_connect else "project_bn"), block
        return
    if kind == "EfficientNet":
        for stage, part in enumerate(network.features[1:-1], 1):
            for number, block in enumerate(part):
                ending = "add" if block.use_res_connect else "project_bn"
                # The block that expands nothing and fuses its convolutions ends with an activation.
                if not block.use_res_connect and len(block.block) == 1:
                    ending = "project_activation"
                yield f"block{stage}{chr(ord('a') + number)}_{ending}", block
        return
    name = network.default_cfg["architecture"]
    if hasattr(network, "blocks"):
        yield from ((f"blocks.{number}.add2", block) for number, block in enumerate(network.blocks))
        yield "norm", network.norm
        return
    for stage, part in enumerate(network.stages):
        yield from ((f"{name}_stage_{stage}_block_{number}_add", block) for number, block in enumerate(part.blocks))
    yield f"{name}_head_layernorm", network.head.norm


def table():
    rows = {}
    for name, (size, preprocess, options) in NETWORKS.items():
        if options is None:
            network = torchvision.models.get_model(name, weights=None).eval()
        else:
            network = timm.create_model(name, pretrained=False, **options).eval()
        state = network.state_dict()
        # torchvision's file of DenseNet-121 is older than its names.
        in_file = lambda key: re.sub(r"(norm|conv)([12])\.", r"\1.\2.", key) if "denselayer" in key else key
        row = {"tensors": [[in_file(key), list(tensor.shape)] for key, tensor in state.items()]}
        row["parameters"] = sum(tensor.numel() for tensor in network.parameters())
        if size:
            counter = lambda key: key.endswith("num_batches_tracked")
            values = {
                key: tensor if counter(key) else formula(at, key, tensor) for at, (key, tensor) in enumerate(state.items())
            }
            network.load_state_dict(values)
            outputs = {}
            for layer, module in blocks(network):
                module.register_forward_hook(lambda _, __, y, layer=layer: outputs.update({layer: digest(y)}))
            height, width = size
            pixels = 127.5 + 127.5 * np.sin(0.013 * np.arange(2 * height * width * 3, dtype=np.float64))
            images = preprocess(pixels.reshape(2, height, width, 3)).transpose(0, 3, 1, 2).astype("float32")
            with torch.inference_mode():
                network(torch.from_numpy(np.ascontiguousarray(images)))
            row["size"], row["outputs"] = size, outputs
        rows[name] = row
    return rows


def files(_):
    """Each file with its function, and the largest difference of its numbers between two builds of the framework."""
    return {"timm_networks.json": (table, 1e-4)}
