"""Pixels of BMP files of all color depths, and errors for those of other kinds."""

import io

import numpy as np
import pytest
import tensorflow as tf

from helpers.bmp_files import bmp_file
from helpers.bmp_files import pack_indices
from helpers.bmp_files import pack_palette
from helpers.encoded_images import decode_whole
from helpers.encoded_images import run_both_ways

pytestmark = pytest.mark.all_formats

RANDOM = np.random.default_rng(0)
SHAPE = (5, 13)
PALETTE = RANDOM.integers(0, 256, (256, 3)).astype(np.uint8)


def palette_bmp(depth, header_size=40, from_top=False, colors=PALETTE):
    """Returns a BMP of random indices, and its pixels, uint8 RGB [*SHAPE, 3]."""
    indices = RANDOM.integers(0, min(2**depth, len(colors)), SHAPE)
    height, width = SHAPE
    encoded = bmp_file(
        [pack_indices(row, depth) for row in (indices if from_top else indices[::-1])],
        (-height if from_top else height, width),
        depth,
        header_size=header_size,
        palette=pack_palette(colors[: 2**depth], header_size),
    )
    return encoded, colors[indices]


def packed_bmp(dtype, masks=(), **options):
    """Returns a BMP of random integers, and the integers [*SHAPE]."""
    values = RANDOM.integers(0, np.iinfo(dtype).max, SHAPE, dtype, endpoint=True)
    encoded = bmp_file(
        [row.tobytes() for row in values[::-1]],
        SHAPE,
        8 * values.itemsize,
        masks=masks,
        compression=3 if masks else 0,
        **options,
    )
    return encoded, values.astype(np.int64)


def pillow_pixels(encoded):
    """Returns the pixels that Pillow decodes, uint8 RGB [H, W, 3]."""
    pillow_image = pytest.importorskip("PIL.Image")
    return np.asarray(pillow_image.open(io.BytesIO(encoded)).convert("RGB"))


@pytest.mark.parametrize("header_size", [12, 40, 64, 124])
@pytest.mark.parametrize("depth", [1, 4, 8])
def test_a_palette_gives_the_colors(depth, header_size):
    encoded, pixels = palette_bmp(depth, header_size)
    np.testing.assert_array_equal(decode_whole(encoded), pixels)
    np.testing.assert_array_equal(pillow_pixels(encoded), pixels)


def test_decodes_two_bits_per_pixel():
    encoded, pixels = palette_bmp(2)
    np.testing.assert_array_equal(decode_whole(encoded), pixels)


def test_rows_may_be_stored_from_the_top():
    encoded, pixels = palette_bmp(4, from_top=True)
    np.testing.assert_array_equal(run_both_ways(decode_whole, encoded), pixels)


def test_a_palette_may_have_fewer_colors_than_the_depth_allows():
    encoded, pixels = palette_bmp(8, colors=PALETTE[:7])
    np.testing.assert_array_equal(decode_whole(encoded), pixels)


# Values of fewer than 8 bits are scaled to 0-255 and rounded down, as in Pillow.
@pytest.mark.parametrize(
    "masks, bits",
    [
        ((), (5, 5, 5)),
        ((0xF800, 0x07E0, 0x001F), (5, 6, 5)),
        ((0x7C00, 0x03E0, 0x001F), (5, 5, 5)),
    ],
)
def test_decodes_16_bits(masks, bits):
    encoded, values = packed_bmp(np.uint16, masks)
    blue_green = bits[1] + bits[2]
    channels = values >> blue_green, values >> bits[2], values
    pixels = np.stack(
        [
            (channel % 2**count) * 255 // (2**count - 1)
            for channel, count in zip(channels, bits)
        ],
        axis=-1,
    )
    np.testing.assert_array_equal(decode_whole(encoded), pixels)
    np.testing.assert_array_equal(pillow_pixels(encoded), pixels)


@pytest.mark.parametrize(
    "masks", [(0xFF0000, 0xFF00, 0xFF), (0xFF000000, 0xFF0000, 0xFF00)]
)
@pytest.mark.parametrize("header_size", [40, 56])
def test_decodes_32_bits_with_masks(masks, header_size):
    encoded, values = packed_bmp(np.uint32, masks, header_size=header_size)
    pixels = np.stack([(values & mask) // (mask & -mask) for mask in masks], axis=-1)
    np.testing.assert_array_equal(decode_whole(encoded), pixels)


@pytest.mark.parametrize("header_size", [12, 40])
@pytest.mark.parametrize("pixel_size", [3, 4])
def test_decodes_whole_bytes(header_size, pixel_size):
    stored = RANDOM.integers(0, 256, (*SHAPE, pixel_size)).astype(np.uint8)
    rows = [row.tobytes() for row in stored[::-1]]
    encoded = bmp_file(rows, SHAPE, 8 * pixel_size, header_size=header_size)
    np.testing.assert_array_equal(decode_whole(encoded), stored[..., 2::-1])


def test_the_last_row_may_lack_its_padding():
    encoded, pixels = palette_bmp(8)  # Rows of 13 pixels are padded by 3 bytes.
    np.testing.assert_array_equal(decode_whole(encoded[:-3]), pixels)
    with pytest.raises(tf.errors.InvalidArgumentError, match="before its last pixel"):
        decode_whole(encoded[:-4])


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"compression": 1}, "RLE8 compression"),
        ({"compression": 2, "depth": 4}, "RLE4 compression"),
        ({"compression": 5}, "PNG compression"),
        ({"compression": 2**32 - 1}, "an unknown compression"),
        ({"compression": 3}, "an unknown compression"),
        ({"compression": 3, "depth": 16, "header_size": 64}, "an unknown compression"),
        ({"depth": 3}, "3 bits per pixel"),
        ({"header_size": 16}, "header, of 16 bytes"),
        ({"depth": 32, "compression": 3, "masks": (1, 2, 4)}, "bit masks"),
        ({"depth": 16, "compression": 3, "masks": (1, 0, 4)}, "bit masks"),
        ({"depth": 16, "compression": 3, "masks": (1, 2**20, 4)}, "bit masks"),
        ({"shape": (0, 9)}, "a height or a width of 0"),
        ({"shape": (5, -9)}, "a height or a width of 0"),
        ({"shape": (-(2**31), 9)}, "134,217,728 pixels"),
        ({"shape": (2**31 - 1, 2**31 - 1)}, "134,217,728 pixels"),
    ],
)
def test_names_the_kind_of_a_bmp_that_cannot_be_decoded(changes, problem):
    options = {"rows": [bytes(60)] * 9, "shape": SHAPE, "depth": 8} | changes
    with pytest.raises(tf.errors.InvalidArgumentError, match=problem):
        decode_whole(bmp_file(**options))


@pytest.mark.parametrize("length", [2, 16, 30, 60])
def test_rejects_a_header_that_is_cut_short(length):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_whole(palette_bmp(8)[0][:length])
