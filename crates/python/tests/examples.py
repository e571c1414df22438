"""Runs the examples in the documentation of the package."""

import doctest
import os
import sys
import tempfile

import numpy

import injerto
import injerto._classifier

EXPERIMENT = """
data = { generated = "flowers", train_per_class = 2, validation_per_class = 1, image_size = [32, 32], batch_size = 8 }
backbone = { plugin = "small_cnn", weights = "none", parameters = { filters = [4, 8] } }
[[phases]]
name = "head"
epochs = 1
unfreeze = "all"
"""

with tempfile.TemporaryDirectory() as folder:
    run, photo = os.path.join(folder, "run"), os.path.join(folder, "photo.ppm")
    injerto.train(EXPERIMENT, run_dir=run)
    # The smallest format that needs no library: a bitmap of one red pixel.
    photo = os.path.join(folder, "photo.bmp")
    header = b"BM" + (58).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    size = (1).to_bytes(4, "little") * 2 + (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
    with open(photo, "wb") as file:
        file.write(header + size + b"\x00\x00\xff\x00")
    failed = attempted = 0
    for module in (injerto._models, injerto._train, injerto._classifier):
        names = {"injerto": injerto, "numpy": numpy, "run": run, "photo": photo, "experiment": EXPERIMENT}
        names["predictor"], names["folder"] = injerto.Predictor(run), os.path.join(folder, module.__name__)
        result = doctest.testmod(module, extraglobs=names)
        failed, attempted = failed + result.failed, attempted + result.attempted
    print(f"{attempted} examples, {failed} failed")
    sys.exit(failed > 0 or attempted < 10)
