"""Writes pictures.zip: small drawn pictures of the kinds that this project's own library for pictures cannot write.

    python draw.py                (with numpy and Pillow 13)

The name of each file in the archive begins with its format.
"""

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 13, 18


def picture(channels, moment=0):
    """Smooth colours with one hard edge."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [
        120 + 90 * np.sin((x + moment) / 5.0 + channel) * np.cos(y / (4.0 + channel)) + 30 * (x > 9)
        for channel in range(channels)
    ]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def image(mode, moment=0):
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "P": 3, "1": 1}[mode]
    pixels = picture(channels, moment)
    if mode == "P":
        return Image.fromarray(pixels).quantize(16)
    if mode == "1":
        return Image.fromarray(pixels[..., 0]).convert("1")
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def saved(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def interlaced(bits, color, channels):
    """A PNG in seven passes: `color` is the number of its colour type."""
    pixels = picture(channels).astype(np.uint16)
    rows = b""
    for top, left, down, right in [
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1),
    ]:
        for row in pixels[top::down, left::right]:
            if row.size:
                samples = row.reshape(-1)
                if bits == 16:
                    packed = (samples * 257).astype(">u2").tobytes()
                elif bits == 8:
                    packed = samples.astype(np.uint8).tobytes()
                else:
                    text = "".join(format(int(sample) >> (8 - bits), f"0{bits}b") for sample in samples)
                    packed = bytes(int(text[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(text), 8))
                rows += b"\0" + packed
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, color, 0, 0, 1)
    palette = chunk(b"PLTE", bytes(range(3 << bits))) if color == 3 else b""
    body = chunk(b"IHDR", header) + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def bmp(bits, compression, rows, palette=b"", masks=b""):
    """A BMP of four by four pixels."""
    offset = 14 + 40 + len(masks) + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, bits, compression, len(rows), 2835, 2835, len(palette) // 4, 0)
    return struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset) + info + masks + palette + rows


def main():
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [image("P", moment) for moment in range(3)]
    colours = [image("RGBA", moment) for moment in range(3)]
    palette = bytes(range(64))
    pictures = {
        "png/palette": saved(image("P"), "PNG"),
        "png/palette, 1 bit": saved(Image.fromarray(picture(3)).quantize(2), "PNG"),
        "png/palette, transparent": saved(image("P"), "PNG", transparency=3),
        "png/1 bit": saved(image("1"), "PNG"),
        "png/turned": saved(image("RGB"), "PNG", exif=exif),
        "png/text and gamma": saved(image("RGB"), "PNG", dpi=(72, 72), icc_profile=b"no profile"),
        "png/animated": saved(colours[0], "PNG", save_all=True, append_images=colours[1:]),
        "png/interlaced": interlaced(8, 2, 3),
        "png/interlaced, 16 bits": interlaced(16, 0, 1),
        "png/interlaced, 2 bits": interlaced(2, 0, 1),
        "png/interlaced, palette": interlaced(4, 3, 1),
        "gif/plain": saved(image("P"), "GIF", interlace=0),
        "gif/interlaced": saved(image("P"), "GIF", interlace=1),
        "gif/grey": saved(image("L"), "GIF"),
        "gif/transparent": saved(image("P"), "GIF", transparency=3),
        "gif/animated": saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40, disposal=2),
        "gif/two colours": saved(image("1"), "GIF"),
        "webp/lossy": saved(image("RGB"), "WEBP", quality=80),
        "webp/lossy, transparent": saved(image("RGBA"), "WEBP", quality=50),
        "webp/lossless": saved(image("RGB"), "WEBP", lossless=True),
        "webp/palette": saved(image("P").convert("RGB"), "WEBP", lossless=True),
        "webp/transparent": saved(image("RGBA"), "WEBP", lossless=True),
        "webp/turned": saved(image("RGB"), "WEBP", exif=exif),
        "webp/animated": saved(colours[0], "WEBP", save_all=True, append_images=colours[1:], duration=40),
        "bmp/palette": saved(image("P"), "BMP"),
        "bmp/1 bit": saved(image("1"), "BMP"),
        "bmp/run lengths": bmp(8, 1, b"\4\1\0\0" b"\2\2\2\3\0\0" b"\0\4\1\2\3\4\0\0" b"\4\5\0\1", palette),
        "bmp/run lengths, 4 bits": bmp(4, 2, b"\4\x12\0\0" * 3 + b"\4\x34\0\1", palette),
        "bmp/16 bits": bmp(16, 0, bytes(range(32))),
        "bmp/masks": bmp(16, 3, bytes(range(32)), masks=struct.pack("<III", 0xF800, 0x07E0, 0x001F)),
        "tiff/lzw": saved(image("RGB"), "TIFF", compression="tiff_lzw"),
        "tiff/deflate": saved(image("RGB"), "TIFF", compression="tiff_adobe_deflate"),
        "tiff/run lengths": saved(image("RGB"), "TIFF", compression="packbits"),
        "tiff/jpeg": saved(image("RGB"), "TIFF", compression="jpeg"),
        "tiff/fax": saved(image("1"), "TIFF", compression="group4"),
        "tiff/cmyk": saved(image("CMYK"), "TIFF"),
        "tiff/pages": saved(image("L"), "TIFF", save_all=True, append_images=[image("L", 1)]),
        "tiff/turned": saved(image("RGB"), "TIFF", exif=exif),
        "jpeg/grey": saved(image("L"), "JPEG"),
        "jpeg/progressive": saved(image("RGB"), "JPEG", progressive=True, optimize=True),
        "jpeg/restarts": saved(image("RGB"), "JPEG", restart_marker_blocks=1),
    }
    with zipfile.ZipFile("pictures.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in pictures.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


main()
