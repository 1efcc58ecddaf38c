"""Images with values that are not pixels from 0 to 255 are recognized."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf

PIXELS = np.random.default_rng(0).integers(1, 256, (2, 80, 80, 3))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_images_from_0_to_1_cause_a_warning(dtype):
    images = (PIXELS / 255).astype(dtype)
    with pytest.warns(UserWarning, match="from 0 to 1, .*multiply the images by 255"):
        alexnet_tf.preprocess_input(images, "tiny")


@pytest.mark.parametrize(
    "images",
    [
        PIXELS.astype("float32"),
        PIXELS.astype("int64"),
        PIXELS.astype("uint8"),
        (PIXELS > 128).astype("uint8"),
        np.zeros((1, 80, 80, 3), "float32"),  # A black image.
        np.zeros((0, 80, 80, 3), "float32"),
    ],
)
def test_pixels_cause_no_warning(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        inputs = alexnet_tf.preprocess_input(images, "tiny")
    assert inputs.shape == (len(images), 64, 64, 3)


@pytest.mark.parametrize(
    "images, received",
    [
        ((257 * PIXELS).astype("uint16"), "integers from .* to 65535"),
        (PIXELS.astype("int32") + 1, "integers from .* to 256"),
        (PIXELS.astype("int16") - 128, "integers from -127 to 127"),
    ],
)
def test_rejects_integers_that_are_not_pixels(images, received):
    message = rf"pixels in \[0, 255\]. Received: {received}"
    with pytest.raises(ValueError, match=message):
        alexnet_tf.preprocess_input(images, "tiny")


def test_values_are_not_checked_in_a_function():
    """They are not known there; the result equals that of the same images."""
    preprocess = tf.function(lambda x: alexnet_tf.preprocess_input(x, "tiny"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        preprocess(tf.constant(PIXELS / 255, tf.float32))
    pixels = tf.constant(PIXELS, tf.float32)
    expected = alexnet_tf.preprocess_input(pixels, "tiny")
    np.testing.assert_allclose(preprocess(pixels), expected, atol=1e-5)
