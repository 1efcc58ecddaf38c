"""Tests projections of activations against signals of a single activation."""

import numpy as np
import pytest

from alexnet_tf.figures import backward_passes
from alexnet_tf.figures import deconvolution
from alexnet_tf.figures import input_images
from alexnet_tf.figures import internals
from alexnet_tf.figures import saliency
from alexnet_tf.figures import units
from helpers.drawn_figures import capture_figures
from helpers.drawn_figures import shown_images
from helpers.drawn_figures import texts
from helpers.networks import untrained_classifier


@pytest.fixture
def classifier():
    return untrained_classifier(channel_order="bgr")


def test_a_projection_starts_at_the_largest_activation(classifier, make_source):
    (example,) = make_source(3).take_indices([1])
    maps = internals.activations(classifier, example["image"])["conv2"]
    position = np.unravel_index(maps[..., 5].argmax(), maps.shape[:2])
    signal = np.zeros((1, *maps.shape))
    signal[(0, *position, 5)] = maps[..., 5].max()
    inputs = classifier.center_crop(example["image"]).numpy()[np.newaxis]
    expected = backward_passes.backward(
        classifier.model, inputs, "relu2", signal, "deconvnet"
    )
    layer = units.find_layer(classifier.model, "conv2")
    (projection,) = deconvolution.project(classifier, inputs, layer, [5])
    assert projection.activation == pytest.approx(maps[..., 5].max(), rel=1e-5)
    assert projection.window == layer.window(position)
    np.testing.assert_allclose(
        projection.pixels, expected[0, ..., ::-1], atol=1e-5 * np.abs(expected).max()
    )
    outside = projection.pixels.copy()
    outside[projection.window] = 0
    assert np.abs(projection.pixels).max() > 0 and not outside.any()


@pytest.mark.parametrize("layer_name", ["conv3", "fc6"])
def test_figure_shows_the_strongest_units(
    classifier, make_source, monkeypatch, layer_name
):
    figures = capture_figures(monkeypatch)
    source = make_source(3)
    (example,) = source.take_indices([1])
    image = input_images.load(classifier, source, example)
    deconvolution.draw(classifier, [image], "out.png", layer_name, count=3)
    outputs = internals.activations(classifier, example["image"])[layer_name]
    largest = outputs.reshape(-1, outputs.shape[-1]).max(axis=0)
    strongest = np.argsort(-largest)[:3]
    (fig,) = figures
    for unit in strongest:
        assert f"unit {unit}: {largest[unit]:.3g}" in texts(fig)
    layer = units.find_layer(classifier.model, layer_name)
    projections = deconvolution.project(
        classifier, np.stack([image.inputs] * 3), layer, strongest
    )
    for index, projection in enumerate(projections):
        # The axes are those of a row of patches, then of a row of projections.
        patch, projected = (shown_images(fig)[i] for i in (index, 3 + index))
        # The field of conv3, 99 pixels, is larger than the image of 64 pixels.
        seen = np.zeros((64, 64, 1), bool)
        seen[projection.window] = True
        np.testing.assert_array_equal(patch, np.where(seen, image.pixels, 128))
        values = np.where(seen, projection.pixels, 0)
        np.testing.assert_array_equal(projected, saliency.scale_to_gray(values))
    assert any("Response normalization is ignored" in text for text in texts(fig))


@pytest.mark.parametrize("row", [0, 3, 6])
def test_patches_are_filled_up_to_the_receptive_field(classifier, row):
    """The fields of conv2 have 51 pixels, from -16 to 83 in the image of 64."""
    layer = units.find_layer(classifier.model, "conv2")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    canvas = np.full((99, 99, 3), 128, np.uint8)
    canvas[16:80, 16:80] = image
    column = 6 - row
    expected = canvas[8 * row : 8 * row + 51, 8 * column : 8 * column + 51]
    filled = deconvolution.fill_up(image, layer.window((row, column)), layer, 128)
    np.testing.assert_array_equal(filled, expected)


def test_figure_shows_one_unit_for_several_images(
    classifier, make_source, monkeypatch
):
    figures = capture_figures(monkeypatch)
    source = make_source(3)
    images = [
        input_images.load(classifier, source, example)
        for example in source.take_indices([0, 2])
    ]
    deconvolution.draw(classifier, images, "out.png", "conv2", unit=4)
    layer = units.find_layer(classifier.model, "conv2")
    inputs = np.stack([image.inputs for image in images])
    projections = deconvolution.project(classifier, inputs, layer, [4, 4])
    for projection in projections:
        assert f"unit 4: {projection.activation:.3g}" in texts(figures[0])
    assert {shown.shape for shown in shown_images(figures[0])} == {(51, 51, 3)}
    assert any("(51 pixels; the part outside" in text for text in texts(figures[0]))
    with pytest.raises(ValueError, match="unit=32"):
        deconvolution.draw(classifier, images, "out.png", "conv2", unit=32)
