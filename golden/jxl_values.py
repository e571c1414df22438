"""Writes small images as JPEG XL: golden/jxl_*.jxl.

    python golden/jxl_values.py

Needs numpy, pillow and pillow-jxl-plugin. Pixel (x, y) of the image of 24 by 16 pixels is (10 x, 15 y, 6 (x + y)).
"""

import os

import numpy
import pillow_jxl  # noqa: F401, registers the format
from PIL import Image

HERE = os.path.dirname(__file__)

y, x = numpy.mgrid[:16, :24]
image = Image.fromarray(numpy.stack([10 * x, 15 * y, 6 * (x + y)], axis=-1).astype(numpy.uint8))
exif = image.getexif()
exif[0x0132] = "2024:05:06 07:08:09"
exif[0x0112] = 6  # The orientation of JPEG XL stands in its stream; this one means nothing.
image.save(os.path.join(HERE, "jxl_lossless.jxl"), lossless=True, exif=exif.tobytes())
image.save(os.path.join(HERE, "jxl_lossy.jxl"), quality=90)
clear = image.copy()
clear.putalpha(128)
clear.save(os.path.join(HERE, "jxl_clear.jxl"), lossless=True)
image.convert("L").save(os.path.join(HERE, "jxl_grey.jxl"), lossless=True)
