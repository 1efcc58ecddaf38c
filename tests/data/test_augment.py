"""A user's augmentation of single images: its position, its seeds, and errors."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf import presets

PREPROCESSING = presets.get("tiny").preprocessing
STATISTICS = pixel_statistics.imagenet(PREPROCESSING)


def batch(source, augment, preprocessing=PREPROCESSING, **changes):
    """Returns the images of the first batch of the input pipeline."""
    arguments = dict(batch_size=6, seed=0, epoch=0, steps=1) | changes
    batches = input_pipeline.training_batches(
        source, preprocessing, STATISTICS, augment=augment, **arguments
    )
    return next(iter(batches))[0].numpy()


def test_an_augmentation_precedes_flip_color_and_mean(make_source):
    """The augmentation inverts the pixels.

    Without PCA color augmentation, this changes the signs of the normalized values and
    adds a constant to each channel.
    """
    preprocessing = dataclasses.replace(PREPROCESSING, pca_color_std=0.0)
    source, seen = make_source(6), []

    def invert(image, seed):
        seen.append((image.shape.as_list(), image.dtype, seed.shape.as_list()))
        return 255 - image

    plain = batch(source, None, preprocessing)
    inverted = batch(source, invert, preprocessing)
    mean = np.array(PREPROCESSING.imagenet_mean, np.float32)
    std = np.sqrt(np.diag(STATISTICS.covariance))
    np.testing.assert_allclose(
        inverted, (255 - 2 * mean) / std - plain, rtol=1e-4, atol=1e-4
    )
    assert seen == [([64, 64, 3], tf.uint8, [2])]


def test_an_augmentation_that_changes_nothing_leaves_the_crops_unchanged(make_source):
    """An augmentation changes no random offset, flip or color of an image."""
    source = make_source(6)
    expected = batch(source, None)

    def unchanged(image, seed):
        if seed[0] > 0:  # AutoGraph turns this into an operation.
            image = 255 - image
            image = 255 - image
        return image

    np.testing.assert_array_equal(batch(source, unchanged), expected)
    as_floats = batch(source, lambda image, seed: tf.cast(image, tf.float32))
    np.testing.assert_allclose(as_floats, expected, atol=1e-5)


def test_each_image_and_epoch_has_its_own_seed(make_source):
    source = make_source(6)

    def fill(image, seed):
        return tf.zeros_like(image, tf.float32) + tf.random.stateless_uniform([], seed)

    def values(**changes):
        preprocessing = dataclasses.replace(PREPROCESSING, pca_color_std=0.0)
        return batch(source, fill, preprocessing, **changes)[:, 0, 0, 0]

    first, again, next_epoch = values(), values(), values(epoch=1)
    np.testing.assert_array_equal(first, again)
    assert len({*first, *next_epoch}) == 12
    resumed = values(batch_size=3, steps=2, first_step=1)
    np.testing.assert_array_equal(resumed, first[3:])


@pytest.mark.parametrize(
    "augment, message",
    [
        ("flip", "function of an image and a seed. Received: augment='flip'"),
        (lambda image, seed: image[:9], r"one image \[64, 64, 3\].*shape=\(9, 64, 3\)"),
        (lambda image, seed: (image, seed), "one image .* Received: \\(<tf.Tensor"),
        (lambda image, seed: image > 9, "dtype=bool"),
        (lambda image, seed: None, "Received: None"),
    ],
)
def test_rejects_augmentations_that_do_not_return_an_image(augment, message):
    with pytest.raises(ValueError, match=message):
        preprocess.check_augment(augment, PREPROCESSING)


def test_errors_of_an_augmentation_are_not_changed():
    def fail(image, seed):
        raise KeyError("my own error")

    with pytest.raises(KeyError, match="my own error"):
        preprocess.check_augment(fail, PREPROCESSING)
