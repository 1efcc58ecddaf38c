"""Tests occlusion maps against direct predictions of occluded images."""

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.figures import input_images
from alexnet_tf.figures import occlusion
from helpers.drawn_figures import capture_figures
from helpers.drawn_figures import shown_images
from helpers.drawn_figures import texts
from helpers.networks import untrained_classifier


def encode(pixels):
    return tf.io.encode_png(pixels).numpy()


def test_squares_are_cut_off_at_the_edges():
    assert occlusion.square_spans(10, 4, 3) == [(0, 3), (2, 6), (5, 9)]
    assert occlusion.square_spans(4, 2, 1) == [(0, 1), (0, 2), (1, 3), (2, 4)]


@pytest.mark.parametrize("changes", [{}, {"channel_order": "bgr"}])
def test_maps_equal_predictions_of_images_with_a_gray_square(changes):
    classifier = untrained_classifier(**changes)
    rng = np.random.default_rng(0)
    side = classifier.preset.preprocessing.image_size
    pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
    inputs = classifier.center_crop(encode(pixels)).numpy()
    maps = occlusion.probability_maps(classifier, inputs, 20, 16)
    assert maps.shape == (4, 4, 10)
    # The centers are at pixels 8, 24, 40 and 56 of the crop.
    first = (side - 64) // 2
    for (row, top, bottom), (column, left, right) in [
        ((0, 0, 18), (1, 14, 34)), ((2, 30, 50), (3, 46, 64))
    ]:  # fmt: skip
        occluded = pixels.copy()
        crop = occluded[first : first + 64, first : first + 64]
        crop[top:bottom, left:right] = 128
        np.testing.assert_allclose(
            maps[row, column], classifier.probabilities(encode(occluded)), rtol=1e-4
        )
    assert np.abs(maps[0, 1] - maps[2, 3]).max() > 1e-3


@pytest.mark.parametrize("largest, end", [(0.998, 1), (0.99, 0.99), (0.3, 0.3)])
def test_color_bar_ends_at_100_percent_if_it_almost_does(monkeypatch, largest, end):
    figures = capture_figures(monkeypatch)
    image = input_images.InputImage("a", None, None, np.zeros((4, 4, 3), np.uint8))
    maps = [("title", np.array([[0.1, largest]]))]
    occlusion._plot([(image, maps)], 2, 1, "out.png")
    assert figures[0].axes[1].images[0].get_clim() == (0, end)


def test_figure_shows_the_predicted_and_the_true_class(make_source, monkeypatch):
    figures = capture_figures(monkeypatch)
    classifier, source = untrained_classifier(), make_source(11)
    (example,) = source.take_indices([4])
    probabilities = classifier.probabilities(example["image"])
    predicted = probabilities.argmax()
    assert predicted != 4
    image = input_images.load(classifier, source, example)
    occlusion.draw(classifier, [image], "out.png", square_side=16, stride=16)
    occlusion.draw(classifier, [image], "out.png", 7, square_side=16, stride=16)
    both, chosen = figures
    assert f"{predicted} (predicted) uncovered: {probabilities[predicted]:.1%}" in (
        texts(both)
    )
    assert f"4 (true) uncovered: {probabilities[4]:.1%}" in texts(both)
    assert f"7 uncovered: {probabilities[7]:.1%}" in texts(chosen)
    assert any("square of 16 x 16 pixels is moved" in text for text in texts(both))
    maps = occlusion.probability_maps(classifier, image.inputs, 16, 16)
    crop, first_map, second_map = shown_images(both)
    np.testing.assert_array_equal(crop, image.pixels)
    np.testing.assert_array_equal(first_map, maps[..., predicted])
    np.testing.assert_array_equal(second_map, maps[..., 4])
    np.testing.assert_array_equal(shown_images(chosen)[1], maps[..., 7])
