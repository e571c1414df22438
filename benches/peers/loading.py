"""Decodes, and decodes and resizes, the photos of a folder in other libraries, and says how much of a core each photo takes.

    python loading.py FOLDER [--side 160] [--only NAME,...] [--runs 3] [--workers 1]

Files are read before the clock starts. Figures are milliseconds of processor time per photo on one thread, medians of the runs, which
alternate. `loader` is PyTorch's DataLoader with torchvision's ImageFolder; Pillow decodes and resizes, and always antialiases. Its time
is that of all its processes. `tf.data` is what Keras's `image_dataset_from_directory` makes of the folder, after a pass that is not
counted; its time is that of all its threads. The last line of the output is JSON.
"""

import argparse
import io
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np


def contenders(side):
    """Functions of a file's bytes: to pixels, or to an image of `side` by `side`."""
    found = {}
    try:
        import simplejpeg

        found["simplejpeg (libjpeg-turbo)"] = lambda data: simplejpeg.decode_jpeg(data, "RGB")
    except ImportError:
        pass
    try:
        import turbojpeg

        turbo = turbojpeg.TurboJPEG()
        found["PyTurboJPEG (libjpeg-turbo)"] = lambda data: turbo.decode(data, pixel_format=turbojpeg.TJPF_RGB)
    except (ImportError, RuntimeError, OSError):
        pass
    try:
        from PIL import Image

        found["Pillow"] = lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except ImportError:
        pass
    try:
        import torch
        from torchvision.io import decode_jpeg
        from torchvision.transforms.functional import resize

        torch.set_num_threads(1)
        tensor = lambda data: torch.frombuffer(bytearray(data), dtype=torch.uint8)
        found["torchvision"] = lambda data: decode_jpeg(tensor(data))
        found["torchvision, resized"] = lambda data: resize(
            decode_jpeg(tensor(data)).float(), [side, side], antialias=False
        )
    except ImportError:
        pass
    return found


def processor():
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def loader(folder, side, workers):
    """Seconds, and seconds of processor, of a pass of PyTorch's DataLoader."""
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    steps = transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor()])
    began, before = time.perf_counter(), processor()
    for _ in DataLoader(datasets.ImageFolder(folder, steps), 32, num_workers=workers):
        pass
    return time.perf_counter() - began, processor() - before


def tf_data(folder, side):
    """Seconds, and seconds of processor, of a pass of the dataset that Keras makes of a folder; None without TensorFlow."""
    try:
        import keras
        import tensorflow  # noqa: F401
    except ImportError:
        return None
    batches = keras.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=32, shuffle=False, verbose=False
    )
    for turn in range(2):
        began, before = time.perf_counter(), processor()
        for _ in batches:
            pass
    return time.perf_counter() - began, processor() - before


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    files = [path.read_bytes() for path in sorted(arguments.folder.rglob("*.jp*g"))]
    wanted = [name for name in arguments.only.split(",") if name]
    all_of = {
        name: work for name, work in contenders(arguments.side).items() if not wanted or any(w in name for w in wanted)
    }
    times = {name: [] for name in all_of}
    for _ in range(arguments.runs):
        for name, work in all_of.items():
            before = time.process_time()
            for data in files:
                work(data)
            times[name].append((time.process_time() - before) / len(files) * 1e3)
        if not wanted or "loader" in wanted:
            for workers in range(arguments.workers + 1):
                seconds, busy = loader(arguments.folder, arguments.side, workers)
                times.setdefault(f"loader, {workers} workers", []).append(busy / len(files) * 1e3)
                times.setdefault(f"loader, {workers} workers, elapsed", []).append(seconds / len(files) * 1e3)
        if not wanted or "tf.data" in wanted:
            if passed := tf_data(arguments.folder, arguments.side):
                times.setdefault("tf.data", []).append(passed[1] / len(files) * 1e3)
                times.setdefault("tf.data, elapsed", []).append(passed[0] / len(files) * 1e3)
    medians = {name: round(statistics.median(values), 3) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name}: {value:.2f} ms per photo, {1e3 / value:.0f} per second")
    print(json.dumps(medians))


main()
