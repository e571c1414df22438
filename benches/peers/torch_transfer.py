"""Feature extraction and fine-tuning in PyTorch, in three modes.

    python torch_transfer.py DATA [--mode plain|tuned|cached] [--feature-extraction EPOCHS] [--fine-tuning EPOCHS]
                             [--precision f32|bf16] [--weights none|FILE.pt]

The work is that of configs/cats_vs_dogs/*.toml. plain runs the whole network for every image of every epoch, without worker
processes. tuned uses channels-last, no gradients in the frozen backbone, and two workers that decode. cached is tuned, and computes
the features of the frozen backbone once. In bf16, parameters and the optimiser stay in fp32, and products are computed in bf16
(autocast), as PyTorch recommends. DATA holds train/ and validation/, with one folder per class. The last line of the output
is JSON. FILE.pt is a table of MobileNetV2's tensors without its top; `none` is the same amount of work, but the accuracies mean
nothing.
"""

import argparse
import json
import os
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

SIDE = 160


def photos(folder, shuffle, workers):
    """Batches of a folder, resized without antialiasing as Keras does."""
    steps = transforms.Compose([
        transforms.Resize((SIDE, SIDE), antialias=False),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])
    return DataLoader(datasets.ImageFolder(folder, steps), 32, shuffle=shuffle, num_workers=workers)


def epoch(batches, predict, optimizer=None, precision="f32"):
    """Runs one epoch, with optimizer steps if there is an optimizer, and returns the accuracy."""
    right = seen = 0
    for inputs, labels in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = predict(inputs)[:, 0].float()
        if optimizer:
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right += ((logits > 0) == (labels > 0)).sum().item()
        seen += len(labels)
    return right / seen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--mode", choices=["plain", "tuned", "cached"], default="tuned")
    parser.add_argument("--feature-extraction", type=int, default=10)
    parser.add_argument("--fine-tuning", type=int, default=5)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--weights", default="none")
    options = parser.parse_args()
    if options.mode == "cached" and options.precision != "f32":
        parser.error("cached computes in fp32 alone")
    torch.manual_seed(123)

    plain = options.mode == "plain"
    workers = 0 if plain else 2
    train = photos(os.path.join(options.data, "train"), True, workers)
    validation = photos(os.path.join(options.data, "validation"), False, workers)
    trunk = models.mobilenet_v2(weights=None).features
    if options.weights != "none":
        tensors = torch.load(options.weights, map_location="cpu", weights_only=True)
        # Files of a network without its top give the tensors other names, but keep their order.
        trunk.load_state_dict(dict(zip(trunk.state_dict(), tensors.values())))
    layout = torch.contiguous_format if plain else torch.channels_last
    # In evaluation mode throughout: batch normalisations keep their statistics, as with Keras's `training=False`.
    trunk = trunk.to(memory_format=layout).eval().requires_grad_(False)
    head = nn.Linear(1280, 1)

    def pooled(images):
        return trunk(images.to(memory_format=layout)).mean((2, 3))

    def frozen(images):
        if plain:
            return head(pooled(images))
        with torch.no_grad():
            features = pooled(images)
        return head(features)

    accuracies = []
    start = time.perf_counter()
    optimizer = torch.optim.Adam(head.parameters(), 1e-3, eps=1e-7)
    if options.mode == "cached" and options.feature_extraction:
        with torch.no_grad():
            kept = [(pooled(images), labels) for images, labels in train]
            held = [(pooled(images), labels) for images, labels in validation]
        features, labels = (torch.cat(parts) for parts in zip(*kept))
    for _ in range(options.feature_extraction):
        if options.mode == "cached":
            order = torch.randperm(len(labels)).split(32)
            epoch(((features[some], labels[some]) for some in order), head, optimizer)
            with torch.no_grad():
                accuracies.append(epoch(held, head))
        else:
            epoch(train, frozen, optimizer, options.precision)
            with torch.no_grad():
                accuracies.append(epoch(validation, frozen, precision=options.precision))
    middle = time.perf_counter()

    # Keras's layer 100 lies in the middle of block 11: its expansion stays frozen, the rest trains.
    tail = [*trunk[12].conv[1:], *trunk[13:]]
    parameters = [parameter for module in tail for parameter in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam([*parameters, *head.parameters()], 1e-5, eps=1e-7)
    for _ in range(options.fine_tuning):
        epoch(train, lambda images: head(pooled(images)), optimizer, options.precision)
        with torch.no_grad():
            accuracies.append(epoch(validation, lambda images: head(pooled(images)), precision=options.precision))
    end = time.perf_counter()
    print(json.dumps({
        "peer": f"torch-{options.mode}", "precision": options.precision, "version": f"PyTorch {torch.__version__}",
        "feature_extraction_s": round(middle - start, 3), "fine_tuning_s": round(end - middle, 3),
        "val_accuracy": accuracies,
    }))


if __name__ == "__main__":
    main()
