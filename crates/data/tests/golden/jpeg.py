"""Writes jpeg.json: small JPEG files of every kind, and the pixels that TensorFlow reads from them: by default, and with the
accurate cosine transform.

    python jpeg.py > jpeg.json
"""

import io
import json
import sys

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

HEIGHT, WIDTH = 18, 26


def picture(channels):
    """Smooth colours with one hard edge."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [
        120 + 90 * np.sin(x / 5.0 + channel) * np.cos(y / (4.0 + channel)) + (30 if channel == 1 else 0) * (x > 13)
        for channel in range(channels)
    ]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def jpeg(mode, channels, **options):
    out = io.BytesIO()
    pixels = picture(channels)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode).save(out, "JPEG", quality=92, **options)
    return out.getvalue()


def adobe(data):
    """Where the Adobe segment begins."""
    at = data.index(b"\xff\xee")
    assert data[at + 4 : at + 9] == b"Adobe"
    return at


def as_ycck(data):
    """The same samples, declared to be YCCK."""
    at = adobe(data) + 15
    assert data[at] == 0
    return data[:at] + b"\x02" + data[at + 1 :]


def without_adobe(data):
    at = adobe(data)
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] + data[at + 2 + length :]


def case(name, data):
    pixels = tf.io.decode_image(data, channels=3, expand_animations=False).numpy()
    accurate = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    return {
        "name": name,
        "file": data.hex(),
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "value": pixels.tobytes().hex(),
        "accurate": accurate.tobytes().hex(),
    }


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg("RGB", 3, subsampling=0, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    return {
        **case(f"orientation {orientation}", data),
        "upright": {"height": upright.shape[0], "width": upright.shape[1], "value": upright.tobytes().hex()},
    }


def main():
    cmyk = jpeg("CMYK", 4, subsampling=0)
    cases = [
        case("grey", jpeg("L", 1)),
        case("4:4:4", jpeg("RGB", 3, subsampling=0)),
        case("4:2:2", jpeg("RGB", 3, subsampling=1)),
        case("4:2:0", jpeg("RGB", 3, subsampling=2)),
        case("progressive", jpeg("RGB", 3, subsampling=2, progressive=True)),
        case("cmyk", cmyk),
        case("ycck", as_ycck(cmyk)),
        case("cmyk without Adobe's mark", without_adobe(cmyk)),
    ]
    cases += [turned(orientation) for orientation in [1, 3, 6, 8]]
    json.dump({"tensorflow": tf.__version__, "cases": cases}, sys.stdout)
    print()


main()
