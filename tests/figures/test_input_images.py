"""Tests the crops that figures show, and the same crops as inputs of the network."""

import numpy as np
import pytest

from alexnet_tf.figures import input_images
from helpers.networks import untrained_classifier


def test_pixels_are_the_inputs_before_normalization(make_source):
    classifier, source = untrained_classifier(), make_source(11)
    (example,) = source.take_indices([7])
    image = input_images.load(classifier, source, example)
    assert (image.title, image.label, image.caption) == ("7", 7, "true: 7")
    statistics = classifier.statistics
    mean = np.array(classifier.preset.preprocessing.imagenet_mean)
    std = np.sqrt(np.diag(statistics.covariance))
    np.testing.assert_allclose(image.inputs * std + mean, image.pixels, atol=1e-3)
    np.testing.assert_array_equal(
        image.pixels, input_images.rgb_crop(classifier, example["image"])
    )


def test_images_without_a_class_have_the_name_of_their_file(make_source):
    classifier, source = untrained_classifier(), make_source(1)
    (example,) = source.take_indices([0])
    example = example | {"label": -1, "name": b"folder/cat.jpg"}
    image = input_images.load(classifier, source, example)
    assert (image.title, image.label, image.caption) == ("cat.jpg", None, "cat.jpg")
    with pytest.raises(ValueError, match="folder/cat.jpg: Expected an image"):
        input_images.load(classifier, source, example | {"image": b"text"})
