"""Images that are turned upright by their EXIF orientation."""

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import decode
from alexnet_tf.data import exif
from alexnet_tf.data import preprocess
from alexnet_tf import presets
from helpers.encoded_images import decode_whole
from helpers.encoded_images import encode
from helpers.encoded_images import photograph
from helpers.encoded_images import preprocessing_of
from helpers.encoded_images import run_both_ways
from helpers.exif_files import exif_segment
from helpers.exif_files import oriented
from helpers.exif_files import segment
from helpers.exif_files import with_segments

pytestmark = pytest.mark.all_formats

# {orientation: function that turns the stored pixels upright}.
TURNS = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(np.swapaxes(pixels, 0, 1), 2),
    8: np.rot90,
}


JPEG = encode(photograph(37, 61), "jpeg")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", TURNS)
def test_turns_a_whole_image(orientation, order):
    encoded = oriented(JPEG, orientation, order)
    stored = tf.io.decode_jpeg(JPEG, dct_method="INTEGER_ACCURATE")
    expected = TURNS[orientation](stored)
    upright = decode_whole(encoded, exif_orientation=True)
    np.testing.assert_array_equal(upright, expected)
    shape = decode.image_shape(encoded, exif_orientation=True)
    assert tuple(shape) == expected.shape[:2]
    # By default, images are not turned.
    assert tuple(decode.image_shape(encoded)) == (37, 61)


@pytest.mark.parametrize("preset", ["paper", "caffe"])
@pytest.mark.parametrize("orientation", [2, 4, 5, 6, 7, 8])
def test_crops_are_those_of_the_turned_image(orientation, preset):
    """The window that is decoded is turned, and not the whole image."""
    height, width = 350 + 7 * orientation, 500 - 3 * orientation
    jpeg = encode(photograph(height, width), "jpeg")
    stored = tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE")
    turned = encode(TURNS[orientation](stored), "png")
    preprocessing = preprocessing_of(preset, exif_orientation=True)
    offset = [3 * orientation, 29 - orientation]
    np.testing.assert_array_equal(
        preprocess.decode_crop(oriented(jpeg, orientation), offset, preprocessing),
        preprocess.decode_crop(turned, offset, preprocessing),
    )


def test_a_crop_that_is_not_resized_is_turned():
    jpeg = encode(photograph(256, 300), "jpeg")
    stored = tf.io.decode_jpeg(jpeg, dct_method="INTEGER_ACCURATE").numpy()
    preprocessing = preprocessing_of("paper", exif_orientation=True)
    crop = run_both_ways(
        lambda encoded: preprocess.decode_crop(encoded, [5, 11], preprocessing),
        oriented(jpeg, 6),
    )
    turned = np.rot90(stored, -1)  # 300 x 256 pixels, with a margin of 22 above.
    np.testing.assert_array_equal(crop, turned[27 : 27 + 224, 11 : 11 + 224])


def test_the_presets_use_images_as_they_are_stored():
    for preset in presets.PRESETS.values():
        assert not preset.preprocessing.exif_orientation
    jpeg = encode(photograph(300, 280), "jpeg")
    np.testing.assert_array_equal(
        preprocess.center_square(oriented(jpeg, 6), preprocessing_of("paper")),
        preprocess.center_square(jpeg, preprocessing_of("paper")),
    )


def read_orientation(encoded):
    return int(exif.read_orientation(encoded))


def test_finds_the_orientation_after_other_segments():
    other = [
        segment(0xE0, b"JFIF\0" + bytes(9)),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 5000),
        segment(0xFE, b"a comment that ends in Exif\0\0"),
    ]
    encoded = with_segments(JPEG, *other, exif_segment([(0x0112, 8)]))
    assert read_orientation(encoded) == 8


@pytest.mark.parametrize(
    "encoded",
    [
        JPEG,
        encode(photograph(5, 5), "png"),
        b"",
        b"\xff\xd8\xff",
        oriented(JPEG, 0),
        oriented(JPEG, 9),
        with_segments(JPEG, exif_segment([(0x0111, 6)])),
        with_segments(JPEG, segment(0xE1, b"Exif\0\0")),
        with_segments(JPEG, segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")),
        with_segments(JPEG, segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")),
        *(oriented(JPEG, 6)[:length] for length in (4, 12, 20, 30)),
    ],
)  # fmt: skip
def test_images_without_a_valid_orientation_are_upright(encoded):
    assert read_orientation(encoded) == 1


def test_agrees_with_pillow():
    pillow_image = pytest.importorskip("PIL.Image")
    pillow_ops = pytest.importorskip("PIL.ImageOps")
    for orientation in TURNS:
        values = pillow_image.Exif()
        values[0x0112], values[0x010F] = orientation, "a maker of cameras"
        image = pillow_image.fromarray(photograph(9, 14))
        stored = np.asarray(image)
        image.getexif()[0x0112] = orientation
        expected = np.asarray(pillow_ops.exif_transpose(image))
        np.testing.assert_array_equal(TURNS[orientation](stored), expected)
