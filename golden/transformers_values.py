"""Golden values that the library transformers computes, for networks whose weights have other names there. `make.py` calls `files`.

Weights are formulas, as in timm_values.py.
"""

import numpy as np
import torch
from transformers.models.efficientnet.configuration_efficientnet import EfficientNetConfig
from transformers.models.efficientnet.modeling_efficientnet import EfficientNetForImageClassification

from timm_values import DEVIATION, MEAN, digest, formula

# As in the repository google/efficientnet-b0. The image processor divides by the root of the deviation twice: as part of
# `do_normalize`, with `image_std`, and because of `include_top`.
B0 = dict(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, image_size=224, dropout_rate=0.2, num_labels=1000)
SIZE = [64, 96]


def blocks(network):
    """Each block, and the name of the layer that puts out what it does."""
    repeats = [1, 2, 2, 3, 3, 4, 1]
    names = [f"block{stage + 1}{'abcd'[block]}" for stage, count in enumerate(repeats) for block in range(count)]
    for name, block in zip(names, network.efficientnet.encoder.blocks):
        yield name + ("_project_bn" if name.endswith("a") else "_add"), block


def table():
    network = EfficientNetForImageClassification(EfficientNetConfig(**B0)).eval()
    state = network.state_dict()
    row = {"tensors": [[key, list(tensor.shape)] for key, tensor in state.items()]}
    row["parameters"] = sum(tensor.numel() for tensor in network.parameters())
    counter = lambda key: key.endswith("num_batches_tracked")
    network.load_state_dict(
        {key: tensor if counter(key) else formula(at, key, tensor) for at, (key, tensor) in enumerate(state.items())}
    )
    outputs = {}
    for layer, module in blocks(network):
        module.register_forward_hook(lambda _, __, y, layer=layer: outputs.update({layer: digest(y)}))
    height, width = SIZE
    pixels = 127.5 + 127.5 * np.sin(0.013 * np.arange(2 * height * width * 3, dtype=np.float64))
    images = ((pixels.reshape(2, height, width, 3) / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2).astype("float32")
    with torch.inference_mode():
        # The pooling of the whole network wants a last image of its own size; blocks do not.
        x = network.efficientnet.embeddings(torch.from_numpy(np.ascontiguousarray(images)))
        outputs["top_activation"] = digest(network.efficientnet.encoder(x, return_dict=True).last_hidden_state)
    return {"efficientnet-b0": {**row, "size": SIZE, "outputs": outputs}}


def files(_):
    """Each file with its function, and the largest difference of its numbers between two builds of the framework."""
    return {"transformers_networks.json": (table, 1e-4)}
