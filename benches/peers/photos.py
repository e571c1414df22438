"""Enlarges photos, so that loading can be measured on photos as they come from a camera.

    python photos.py SOURCE DIR [--size 500x375] [--copies N] [--count N] [--quality Q] [--noise N]

SOURCE holds one folder per class (or photos). The first `--count` photos of each class, in the order of their names, are written to DIR
at the size asked for, `--copies` times each; from the second copy on, other parts of the photo are cut out. An enlarged photo is
smoother than one that a camera has taken, so noise of a few levels is added to it: without noise, its file and the work of decoding
it would be too small. Chroma is stored at half the size in both directions (4:2:0), as cameras do. The same arguments make the same
pixels.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="500x375")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--quality", type=int, default=90)
    parser.add_argument("--noise", type=float, default=3.0)
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    classes = sorted(entry for entry in arguments.source.iterdir() if entry.is_dir()) or [arguments.source]
    files = pixels = size = 0
    for folder in classes:
        target = arguments.folder / folder.name
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.jp*g"))[: arguments.count]:
            photo = Image.open(path).convert("RGB")
            for copy in range(arguments.copies):
                random = np.random.default_rng([files, copy])
                cut = 0 if copy == 0 else 0.2
                left, top = random.uniform(0, cut, 2) * photo.size
                box = (left, top, left + photo.width * (1 - cut), top + photo.height * (1 - cut))
                large = photo.resize((width, height), Image.BICUBIC, box=box)
                noisy = np.asarray(large, np.float32)
                noisy = noisy + arguments.noise * random.standard_normal(noisy.shape, np.float32)
                out = target / f"{path.stem}_{copy}.jpg"
                image = Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
                image.save(out, "JPEG", quality=arguments.quality, subsampling=2)
                files, pixels, size = files + 1, pixels + width * height, size + out.stat().st_size
    print(f"{files} photos of {width}x{height}, {size / files / 1024:.0f} KiB each, {8 * size / pixels:.2f} bits per pixel")


main()
