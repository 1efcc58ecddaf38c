"""Contents of image files: unusual but readable ones, and unreadable ones."""

import struct
import zlib

import numpy as np
import tensorflow as tf

from helpers.bmp_files import bmp_file

_PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)


def good():
    """Returns {name: bytes} of images that can be read under any file extension."""
    image = tf.constant(_PIXELS)
    wide, tall = (
        tf.zeros(shape, tf.uint8) for shape in ([1, 20000, 3], [20000, 1, 3])
    )
    with_alpha = tf.concat([image, image[..., :1]], axis=2)
    return {
        "jpeg": _jpeg(image),
        "gray jpeg": _jpeg(image[..., :1]),
        "png": tf.io.encode_png(image).numpy(),
        "png of 16 bits": tf.io.encode_png(tf.cast(image, tf.uint16) * 257).numpy(),
        "png with alpha": tf.io.encode_png(with_alpha).numpy(),
        "gif": _gif(),
        "gif smaller than its canvas": _gif(canvas=bytes([9, 0, 7, 0])),
        "bmp": _bmp(),
        "bmp with a palette": bmp_file(
            [bytes([0x5A])] * 3, (3, 8), 1, palette=bytes(range(8))
        ),
        "one pixel": _jpeg(image[:1, :1]),
        "20000 pixels wide": _jpeg(wide),
        "20000 pixels high": tf.io.encode_png(tall).numpy(),
    }


def bad():
    """Returns {name: bytes} of files that cannot be decoded."""
    readable = good()
    jpeg, png = readable["jpeg"], readable["png"]
    rng = np.random.default_rng(1)
    return {
        "empty": b"",
        "one byte": b"\xff",
        "random": rng.bytes(5000),
        "random after a jpeg marker": b"\xff\xd8\xff" + rng.bytes(5000),
        "text": b"<html>404</html>",
        "gif without an image": readable["gif"][:19] + b";",
        "compressed bmp": bmp_file([bytes(9)], (1, 9), 8, compression=1),
        "webp": b"RIFF\x1a\x00\x00\x00WEBPVP8L" + rng.bytes(20),
        "jpeg of 30000 x 30000": _huge_jpeg(jpeg),
        "png of 30000 x 30000": _png_header(30000, 30000),
        **{f"jpeg cut at {i}0%": jpeg[: len(jpeg) * i // 10] for i in range(1, 10)},
        **{f"png cut at {i}0%": png[: len(png) * i // 10] for i in range(1, 10)},
    }


def _jpeg(image):
    return tf.io.encode_jpeg(image).numpy()


def _huge_jpeg(jpeg):
    """Returns `jpeg` with a header that gives its size as 30000 x 30000 pixels."""
    # The height and the width are at byte 5 of the start of frame, marker FF C0.
    position = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:position] + struct.pack(">HH", 30000, 30000) + jpeg[position + 4 :]


def _png_header(width, height):
    """Returns the first bytes of an RGB PNG: its signature and its header chunk."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk


def _bmp():
    """Returns `_PIXELS` as a BMP, which stores BGR rows from the bottom up."""
    # Each row of 50 pixels is padded to a multiple of four bytes.
    rows = b"".join(row[:, ::-1].tobytes() + b"\0\0" for row in _PIXELS[::-1])
    header = struct.pack("<IiiHHIIiiII", 40, 50, 40, 1, 24, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


def _gif(canvas=bytes([1, 0, 1, 0])):
    """Returns a GIF of one white pixel on a canvas; its width and height are bytes."""
    return (
        b"GIF89a" + canvas + bytes.fromhex("800000ffffff000000")
        + bytes.fromhex("2c00000000010001000002024401003b")
    )  # fmt: skip
