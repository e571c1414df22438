"""Measures PyTorch on a card: forward passes, feature extraction and fine-tuning, for benches/gpu.sh.

    python torch_device.py [DATA]

Forward passes are channels-last and without top: MobileNetV2 at 160×160, batch 32 and 256, InceptionV3 and (where timm is installed)
ViT-S/16 at 224×224, batch 8 and 64, with fp32 sums and products (`fp32`), with products in TF32 (`tf32`), with automatic mixed precision (`bf16`, `fp16`), and
replayed as a CUDA graph. Images are on the card, as in Injerto's example `device`. DATA holds train/ and validation/; with it,
the work of configs/cats_vs_dogs/fine_tuning.toml is done: features once, a head for 10 epochs, and 5 epochs from block 11 on. The
variable NETWORKS names the networks of the forward passes; the default is all three. The output is rows of a table.
"""

import os
import statistics
import sys
import time

import torch
from torch import nn
from torchvision import models

CARD = torch.device("cuda")


def rate(run, batch, seconds=1.5):
    """Images per second: the median over groups of ten batches."""
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    first = time.perf_counter() - start
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    rates, start = [], time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - start < seconds:
        began = time.perf_counter()
        for _ in range(10):
            run()
        torch.cuda.synchronize()
        rates.append(10 * batch / (time.perf_counter() - began))
    return statistics.median(rates), first


def graph_of(run):
    """The work of `run`, recorded once, as a function that replays it."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def forward(name, model, size, batches):
    model = model.to(CARD, memory_format=torch.channels_last).eval()
    for batch in batches:
        images = torch.rand(batch, 3, size, size, device=CARD).to(memory_format=torch.channels_last)
        for precision, kind in [("fp32", None), ("tf32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)]:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"

            def run():
                with torch.inference_mode(), torch.autocast("cuda", kind or torch.bfloat16, enabled=kind is not None):
                    return model(images)

            found, first = rate(run, batch)
            line = f"| forward, {name} {size}×{size}, batch {batch} | torch {precision} |"
            print(f"{line} {found:.0f} images/s | first batch {first:.1f} s |", flush=True)
            if precision in ("fp32", "bf16"):
                found, _ = rate(graph_of(run), batch)
                print(f"{line[:-1]}as a CUDA graph | {found:.0f} images/s | |", flush=True)


def photos(folder, shuffle):
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    steps = transforms.Compose([
        transforms.Resize((160, 160)),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])
    workers = min(8, os.cpu_count())
    return DataLoader(datasets.ImageFolder(folder, steps), 32, shuffle=shuffle, num_workers=workers, pin_memory=True)


def transfer(data):
    torch.manual_seed(123)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    trunk = models.mobilenet_v2(weights=None).features.to(CARD, memory_format=torch.channels_last).eval()
    trunk.requires_grad_(False)
    head = nn.Linear(1280, 1).to(CARD)
    loss_of = nn.functional.binary_cross_entropy_with_logits

    def pooled(images):
        return trunk(images.to(CARD, non_blocking=True, memory_format=torch.channels_last)).mean((2, 3))

    def features_of(folder):
        with torch.no_grad():
            parts = [(pooled(images), labels.to(CARD)) for images, labels in photos(os.path.join(data, folder), False)]
        return [torch.cat(part) for part in zip(*parts)]

    start = time.perf_counter()
    (features, labels), held = features_of("train"), features_of("validation")
    torch.cuda.synchronize()
    count = len(labels) + len(held[1])
    seconds = time.perf_counter() - start
    print(f"| features of {count} photos once | torch fp32 | {count / seconds:.0f} images/s | {seconds:.1f} s |", flush=True)
    optimizer = torch.optim.Adam(head.parameters(), 1e-3, eps=1e-7)
    for _ in range(10):
        for some in torch.randperm(len(labels), device=CARD).split(32):
            optimizer.zero_grad()
            loss_of(head(features[some])[:, 0], labels[some].float()).backward()
            optimizer.step()
    parameters = [p for module in [*trunk[12].conv[1:], *trunk[13:]] for p in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam([*parameters, *head.parameters()], 1e-5, eps=1e-7)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for images, labels in photos(os.path.join(data, "train"), True):
            optimizer.zero_grad()
            loss_of(head(pooled(images))[:, 0], labels.to(CARD).float()).backward()
            optimizer.step()
        torch.cuda.synchronize()
        with torch.no_grad():
            for images, _ in photos(os.path.join(data, "validation"), False):
                head(pooled(images)).sum().item()
        times.append(time.perf_counter() - start)
    epoch = statistics.median(times)
    print(f"| fine-tuning from layer 100, an epoch | torch fp32 | {epoch:.2f} s | first {times[0]:.1f} s |", flush=True)


def main():
    if not torch.cuda.is_available():
        print("| PyTorch | no card that CUDA can use | | |")
        return
    print(f"| PyTorch {torch.__version__} | {torch.cuda.get_device_name()} | | |", flush=True)
    # The plan of convolutions is tuned once per shape, as Injerto's are.
    torch.backends.cudnn.benchmark = True
    networks = os.environ.get("NETWORKS", "mobilenet_v2 inception_v3 vit_small").split()
    if "mobilenet_v2" in networks:
        forward("mobilenet_v2", nn.Sequential(models.mobilenet_v2(weights=None).features), 160, [32, 256])
    if "inception_v3" in networks:
        inception = models.inception_v3(weights=None, aux_logits=False, init_weights=False)
        inception.fc = nn.Identity()
        forward("inception_v3", inception, 224, [8, 64])
    if "vit_small" in networks:
        try:
            import timm
        except ImportError:
            print("| forward, vit_small | no timm | | |", flush=True)
        else:
            forward("vit_small", timm.create_model("vit_small_patch16_224", num_classes=0), 224, [8, 64])
    if len(sys.argv) > 1:
        transfer(sys.argv[1])


if __name__ == "__main__":
    main()
