"""The first frame of a GIF on its canvas, and errors for damaged ones."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import decode
from helpers.encoded_images import decode_whole
from helpers.encoded_images import run_both_ways

pytestmark = pytest.mark.all_formats

# Color 3 is the background, and color 2 is transparent if a test says so.
PALETTE = np.array([[0, 10, 20], [90, 80, 70], [200, 0, 0], [1, 250, 5]], np.uint8)
INDICES = np.random.default_rng(0).integers(0, 3, (6, 9)).astype(np.uint8)
PIXELS = PALETTE[INDICES]


def gif_frame(indices, offset=(0, 0), transparent=None, palette=b""):
    """Returns the blocks of a frame of a GIF.

    Args:
        indices: uint8 [H, W], below 4.
        offset: the (y, x) of the frame on the canvas.
        transparent: the index of the transparent color, or None.
        palette: the bytes of the frame's own palette of four colors; empty for none.
    """
    height, width = indices.shape
    # Clearing the table before each pixel keeps all codes at three bits.
    codes = [code for index in indices.flat for code in (4, index)] + [5]
    bits = "".join(format(code, "03b")[::-1] for code in codes)
    bits += "0" * (-len(bits) % 8)
    data = int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")
    blocks = [data[start : start + 255] for start in range(0, len(data), 255)]
    control = b""
    if transparent is not None:
        control = b"\x21\xf9\x04" + bytes([1, 0, 0, transparent, 0])
    flags = 0x81 if palette else 0
    descriptor = struct.pack("<HHHHB", *offset[::-1], width, height, flags)
    return b"".join(
        [control, b"\x2c", descriptor, palette, b"\x02"]
        + [bytes([len(block)]) + block for block in blocks]
        + [b"\0"]
    )


def gif_file(*frames, canvas, palette=PALETTE, before=b""):
    """Returns the bytes of a GIF of some frames, see `gif_frame`.

    Args:
        canvas: the height and width in the header.
        palette: uint8 RGB [4, 3], or None for none.
        before: the bytes of blocks before the first frame.
    """
    flags = 0 if palette is None else 0x81
    header = b"GIF89a" + struct.pack("<HHBBB", *canvas[::-1], flags, 3, 0)
    colors = b"" if palette is None else palette.tobytes()
    return b"".join([header, colors, before, *frames, b"\x3b"])


def on_canvas(shape, offset, background, pixels=PIXELS):
    """Returns pixels on a canvas of one color, uint8 RGB [*shape, 3]."""
    canvas = np.empty((*shape, 3), np.uint8)
    canvas[:] = background
    y, x = offset
    canvas[y : y + len(pixels), x : x + pixels.shape[1]] = pixels
    return canvas


@pytest.mark.parametrize(
    "canvas, offset, shape",
    [
        ((6, 9), (0, 0), (6, 9)),
        ((20, 30), (0, 0), (20, 30)),
        ((20, 30), (3, 7), (20, 30)),
        ((0, 0), (0, 0), (6, 9)),
        ((2, 3), (0, 0), (6, 9)),
        ((20, 10), (3, 7), (20, 16)),
        ((4, 4), (50, 60), (56, 69)),
    ],
)
def test_the_frame_is_placed_on_the_canvas(canvas, offset, shape):
    encoded = gif_file(gif_frame(INDICES, offset), canvas=canvas)
    expected = on_canvas(shape, offset, PALETTE[3])
    assert tuple(decode.image_shape(encoded)) == shape
    np.testing.assert_array_equal(decode_whole(encoded), expected)


def test_decodes_in_a_pipeline_too():
    encoded = gif_file(gif_frame(INDICES, (3, 7)), canvas=(20, 30))
    pixels = run_both_ways(decode_whole, encoded)
    np.testing.assert_array_equal(pixels, on_canvas((20, 30), (3, 7), PALETTE[3]))


def test_the_pixels_are_those_of_pillow():
    pillow_image = pytest.importorskip("PIL.Image")
    # Pillow fills the canvas with the first color.
    encoded = bytearray(gif_file(gif_frame(INDICES, (3, 7)), canvas=(20, 10)))
    encoded[11] = 0
    image = pillow_image.open(io.BytesIO(encoded)).convert("RGB")
    np.testing.assert_array_equal(decode_whole(bytes(encoded)), np.asarray(image))


def test_pixels_without_a_color_are_black():
    frame = gif_frame(INDICES, (1, 2), transparent=2)
    pixels = PIXELS * (INDICES != 2)[..., np.newaxis]
    np.testing.assert_array_equal(
        decode_whole(gif_file(frame, canvas=(20, 30))),
        on_canvas((20, 30), (1, 2), 0, pixels),
    )
    # Without a palette of the canvas, there is no background color.
    frame = gif_frame(INDICES, (1, 2), palette=PALETTE.tobytes())
    np.testing.assert_array_equal(
        decode_whole(gif_file(frame, canvas=(20, 30), palette=None)),
        on_canvas((20, 30), (1, 2), 0),
    )


def test_later_frames_do_not_matter():
    first = gif_frame(INDICES)
    others = gif_frame(np.ones((40, 50), np.uint8)), b"\x2cdamaged"
    for other in others:
        encoded = gif_file(first, other, canvas=(6, 9))
        np.testing.assert_array_equal(decode_whole(encoded), PIXELS)


def test_skips_what_precedes_the_first_frame():
    comment = b"\x21\xfe" + (b"\x09," + b"!" * 8) * 30 + b"\0"
    encoded = gif_file(gif_frame(INDICES), canvas=(6, 9), before=comment)
    np.testing.assert_array_equal(decode_whole(encoded), PIXELS)


def test_ordinary_gifs_keep_the_pixels_of_tensorflow():
    for frame in (gif_frame(INDICES), gif_frame(INDICES, transparent=1)):
        encoded = gif_file(frame, canvas=(6, 9))
        expected = tf.io.decode_image(encoded, 3, expand_animations=False)
        np.testing.assert_array_equal(decode_whole(encoded), expected)


@pytest.mark.parametrize("length", [6, 12, 20, 25, 30, 40])
def test_rejects_a_gif_that_is_cut_short(length):
    encoded = gif_file(gif_frame(INDICES), canvas=(6, 9))
    assert length < len(encoded) - 2
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_whole(encoded[:length])


def test_rejects_a_huge_canvas():
    encoded = gif_file(gif_frame(INDICES), canvas=(30_000, 30_000))
    with pytest.raises(tf.errors.InvalidArgumentError, match="134,217,728 pixels"):
        decode_whole(encoded)


def test_rejects_a_frame_without_pixels():
    encoded = gif_file(gif_frame(np.zeros((0, 5), np.uint8)), canvas=(6, 9))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_whole(encoded)
