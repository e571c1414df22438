"""Writes small images as AVIF, and what libavif makes of them: golden/avif_*.avif and golden/avif.json.

    python golden/avif_values.py

Needs numpy and pillow 11.3 or later, which has libavif inside. Pixel (x, y) of the image of 24 by 16 pixels is (10 x, 15 y, 6 (x + y)).
"""

import io
import json
import os
import struct

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

# A picture in layers that never comes: of a sequence, all frames one after the other, and a header that promises a second layer. A decoder
# keeps each frame for the next ones to refer to, and shows none.


def parts(bits):
    """The parts of an AV1 sequence: kind, bytes of the head, and content."""
    at = 0
    while at < len(bits):
        kind, begin, size, shift = bits[at] >> 3 & 15, at, 0, 0
        at += 1
        while True:
            size |= (bits[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if not bits[at - 1] & 128:
                break
        yield kind, bits[begin:at], bits[at : at + size]
        at += size


def box(kind, *content):
    content = b"".join(content)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def number(value, width):
    return value.to_bytes(width, "big")


def hidden(side, frames):
    pictures = [Image.new("RGB", (side, side), (40 + 10 * at,) * 3) for at in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, "AVIF", save_all=True, append_images=pictures[1:], subsampling="4:4:4", speed=8)
    sequence = file.getvalue()
    at, stream = 0, b""
    while at < len(sequence):
        size, kind = struct.unpack_from(">I4s", sequence, at)
        if kind == b"mdat":
            for part, head, content in parts(sequence[at + 8 : at + size]):
                if part == 1:
                    # The twelve bits of the first operating point: a temporal layer, and two spatial ones.
                    content = content[:1] + bytes([content[1] & 0xF0 | 3, 1]) + content[3:]
                # Where one shown picture ends and the next one begins is not said.
                if part != 2:
                    stream += head + content
        at += size
    plain = bytes(4)
    properties = box(
        b"iprp",
        box(b"ipco", box(b"ispe", plain, number(side, 4), number(side, 4))),
        box(b"ipma", plain, number(1, 4), number(1, 2), bytes([1, 1])),
    )
    head = box(b"ftyp", b"avif", plain, b"avifmif1")

    def meta(place):
        return box(
            b"meta",
            plain,
            box(b"pitm", plain, number(1, 2)),
            box(b"iloc", plain, bytes([0x44, 0]), number(1, 2), number(1, 2), number(0, 2), number(1, 2), number(place, 4), number(len(stream), 4)),
            box(b"iinf", plain, number(1, 2), box(b"infe", bytes([2, 0, 0, 0]), number(1, 2), number(0, 2), b"av01\0")),
            properties,
        )

    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", stream)


for side, frames in (64, 2), (512, 4), (64, 12):
    with open(os.path.join(HERE, f"avif_hidden_{frames}.avif"), "wb") as out:
        out.write(hidden(side, frames))
