"""Writes small images as AVIF, and what libavif makes of them: golden/avif_*.avif and golden/avif.json.

    python golden/avif_values.py

Needs numpy and pillow 11.3 or later, which has libavif inside. Pixel (x, y) of the image of 24 by 16 pixels is (10 x, 15 y, 6 (x + y)).
"""

import io
import json
import os

import numpy
from PIL import Image, ImageOps

HERE = os.path.dirname(__file__)

y, x = numpy.mgrid[:16, :24]
image = Image.fromarray(numpy.stack([10 * x, 15 * y, 6 * (x + y)], axis=-1).astype(numpy.uint8))
turned = Image.Exif()
turned[0x0112] = 5  # Turned and mirrored, which AVIF says in boxes of its own.
clear = image.copy()
clear.putalpha(128)
files = {
    "420": (image, {"quality": 90}),
    "422_limited": (image, {"quality": 90, "subsampling": "4:2:2", "range": "limited"}),
    "444": (image, {"quality": 90, "subsampling": "4:4:4"}),
    "grey": (image.convert("L"), {"quality": 90, "subsampling": "4:0:0"}),
    "clear": (clear, {"quality": 90}),
    "turned": (image, {"quality": 90, "exif": turned}),
}
values = {}
for name, (picture, options) in files.items():
    file = io.BytesIO()
    picture.save(file, "AVIF", **options)
    with open(os.path.join(HERE, f"avif_{name}.avif"), "wb") as out:
        out.write(file.getvalue())
    file.seek(0)
    decoded = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    values[name] = {"size": [decoded.height, decoded.width], "pixels": numpy.asarray(decoded).flatten().tolist()}
with open(os.path.join(HERE, "avif.json"), "w") as out:
    json.dump(values, out, separators=(",", ":"))
    out.write("\n")
