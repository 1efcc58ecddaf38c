"""Crops against the same part of the whole resized image, for images of any size."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.data import resample
from alexnet_tf import presets
from helpers.encoded_images import encode
from helpers.encoded_images import photograph
from helpers.encoded_images import preprocessing_of
from helpers.encoded_images import run_both_ways


@functools.lru_cache
def resized_square(shape, image_format, resize, size):
    """Returns the center square of a photograph, resized as a whole by `tf.image`.

    The square is float32 [size, size, 3], rounded to gray levels.
    """
    pixels = photograph(*shape)
    if image_format == "jpeg":
        pixels = tf.io.decode_jpeg(
            encode(pixels, image_format), dct_method="INTEGER_ACCURATE"
        )
    sides = (size, size)
    if resize == "short_side":
        sides = tuple(round(side / min(shape) * size) for side in shape)
    resized = tf.image.resize(pixels, sides, antialias=True).numpy()
    top, left = ((side - size) // 2 for side in sides)
    return np.rint(resized[top : top + size, left : left + size])


def assert_crop(preset, shape, image_format, offset):
    """Checks a crop of a photograph against the same part of `resized_square`."""
    preprocessing = preprocessing_of(preset)
    crop = run_both_ways(
        lambda encoded, offset: preprocess.decode_crop(encoded, offset, preprocessing),
        encode(photograph(*shape), image_format),
        offset,
    )
    square = resized_square(
        shape, image_format, preprocessing.resize, preprocessing.image_size
    )
    (y, x), size = offset, preprocessing.crop_size
    error = np.abs(crop - square[y : y + size, x : x + size])
    assert crop.dtype == np.uint8 and crop.shape == (size, size, 3)
    # Sampling positions are rounded by up to a seventeenth of a pixel, which
    # `test_positions_are_off_by_a_seventeenth_of_a_pixel_at_most` checks.
    assert error.max() <= 1 and (error > 0).mean() < 0.15
    assert crop.std() > 10


@pytest.mark.parametrize(
    "preset, image_format",
    [
        ("paper", "jpeg"),
        ("caffe", "png"),
        pytest.param("paper", "png", marks=pytest.mark.large),
        pytest.param("caffe", "jpeg", marks=pytest.mark.large),
    ],
)
@pytest.mark.parametrize(
    "shape",
    [
        (375, 500),
        (500, 375),
        (333, 487),
        (601, 257),
        (256, 256),
        (257, 256),
        (68, 91),
        (1, 90),
        (90, 1),
        (7, 5),
    ],
)
def test_a_crop_equals_that_of_the_whole_image(shape, preset, image_format):
    assert_crop(preset, shape, image_format, (7, 20))


@pytest.mark.parametrize(
    "offset", [(0, 0), (32, 32), (0, 32), (32, 0), (16, 16)]
)
@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_short_side_crops_begin_at_the_offset(offset, image_format):
    assert_crop("paper", (375, 500), image_format, offset)


@pytest.mark.parametrize("offset", [(0, 0), (29, 29), (0, 29), (29, 0)])
def test_squashed_crops_begin_at_the_offset(offset):
    assert_crop("caffe", (375, 500), "jpeg", offset)


@pytest.mark.parametrize(
    "image_format", ["jpeg", pytest.param("png", marks=pytest.mark.large)]
)
@pytest.mark.parametrize(
    "preset",
    [
        "paper",
        "caffe",
        pytest.param("tiny", marks=pytest.mark.large),
        pytest.param("cifar10_full", marks=pytest.mark.large),
    ],
)
def test_a_crop_has_the_bits_of_the_whole_square(preset, image_format):
    """The sizes of the images and the offsets are random."""
    preprocessing, rng = preprocessing_of(preset), np.random.default_rng(0)
    size = preprocessing.crop_size

    @tf.function
    def decode_crop(encoded, offset):
        return preprocess.decode_crop(encoded, offset, preprocessing)

    for _ in range(25):
        encoded = encode(photograph(*rng.integers(20, 700, 2)), image_format)
        square = preprocess.center_square(encoded, preprocessing).numpy()
        y, x = rng.integers(0, preprocessing.image_size - size + 1, 2)
        expected = square[y : y + size, x : x + size]
        crop = decode_crop(tf.constant(encoded), tf.constant([y, x], tf.int32))
        np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize("upright", [False, True])
def test_a_line_of_pixels_is_interpolated_linearly(upright):
    """1 x 500 pixels become 256 x 128,000, so a crop blends two pixels."""
    line = np.random.default_rng(0).integers(0, 256, (500, 3), np.uint8)
    positions = (128_000 - 256) // 2 + 20 + np.arange(224) + 0.5
    expected = np.stack(
        [
            np.interp(positions / 256 - 0.5, np.arange(500), channel)
            for channel in line.T
        ],
        axis=-1,
    )
    long_axis, short_axis = (0, 1) if upright else (1, 0)
    crop = run_both_ways(
        lambda encoded, offset: preprocess.decode_crop(
            encoded, offset, preprocessing_of("paper")
        ),
        encode(np.expand_dims(line, short_axis), "png"),
        (20, 7) if upright else (7, 20),
    )
    crop = np.moveaxis(crop, long_axis, 0)
    assert np.abs(crop - expected[:, np.newaxis]).max() <= 0.51


@pytest.mark.parametrize("resize", ["short_side", "squash"])
@pytest.mark.parametrize(
    "width",
    [
        None,
        pytest.param(1, marks=pytest.mark.large),
        pytest.param(256, marks=pytest.mark.large),
        pytest.param(3000, marks=pytest.mark.large),
    ],
)
def test_windows_contain_the_crop_and_lie_within_the_image(resize, width):
    """The images are 1 to 3000 pixels high, and as wide as high if `width` is None.

    The crops are those with the first and the last offset.
    """
    preprocessing = presets.Preprocessing(
        image_size=256, crop_size=224, resize=resize
    )
    heights = np.arange(1, 3001)
    widths = heights if width is None else 0 * heights + width
    shapes = np.stack([heights, widths], 1)

    @tf.function
    def windows(offset):
        def window(shape):
            _, position = resample.sampling_grid(shape, offset, preprocessing)
            window_and_step = resample.crop_window(shape, offset, preprocessing)[:3]
            return (*window_and_step, position)

        dtypes = (tf.int32, tf.int32, tf.float64, tf.float64)
        return tf.map_fn(window, tf.constant(shapes, tf.int32), dtypes)

    for offset in ([0, 0], [32, 32]):
        start, end, step, position = (array.numpy() for array in windows(offset))
        assert (0 <= start).all() and (start < end).all() and (end <= shapes).all()
        crop_end = position + 224 * step
        assert (start <= np.maximum(position, 0)).all()
        assert (end >= np.minimum(crop_end, shapes)).all()


@pytest.mark.parametrize("resize", ["short_side", "squash"])
def test_positions_are_off_by_a_seventeenth_of_a_pixel_at_most(resize):
    """The error is measured at the end of the center square, in resized pixels."""
    preprocessing = presets.Preprocessing(
        image_size=256, crop_size=224, resize=resize
    )
    sides = np.arange(1, 3001)

    @tf.function
    def sampling_grids():
        return tf.map_fn(
            lambda side: resample.sampling_grid([side, side], [0, 0], preprocessing),
            tf.constant(sides, tf.int32),
            (tf.float64, tf.float64),
        )

    step, position = (array.numpy()[:, 0] for array in sampling_grids())
    error = np.abs(position + 256 * step - sides) / (sides / 256)
    assert error.max() == pytest.approx(0.0577, abs=1e-4)
    assert np.percentile(error, 90) < 1 / 120
