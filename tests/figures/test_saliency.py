"""Tests saliency maps and guided gradients against backward passes."""

import numpy as np
import pytest

from alexnet_tf.figures import backward_passes
from alexnet_tf.figures import input_images
from alexnet_tf.figures import saliency
from helpers.drawn_figures import capture_figures
from helpers.drawn_figures import shown_images
from helpers.drawn_figures import texts
from helpers.networks import untrained_classifier


def load_images(classifier, source, indices):
    """Returns the `InputImage`s of some examples."""
    return [
        input_images.load(classifier, source, example)
        for example in source.take_indices(indices)
    ]


def test_saliency_is_the_largest_absolute_gradient_of_a_channel(make_source):
    classifier = untrained_classifier()
    images = load_images(classifier, make_source(5), [1, 3])
    inputs = np.stack([image.inputs for image in images])
    gradients = backward_passes.backward(
        classifier.model, inputs, "fc8", np.eye(10)[[6, 2]]
    )
    np.testing.assert_array_equal(
        saliency.saliency_maps(classifier, inputs, [6, 2]),
        np.maximum(np.abs(gradients).max(axis=3), 0),
    )


def test_guided_gradients_are_in_rgb_order(make_source):
    classifier = untrained_classifier(channel_order="bgr")
    (image,) = load_images(classifier, make_source(5), [1])
    inputs = image.inputs[np.newaxis]
    expected = backward_passes.backward(
        classifier.model, inputs, "fc8", np.eye(10)[[6]], "guided"
    )
    actual = saliency.guided_gradients(classifier, inputs, [6])
    np.testing.assert_array_equal(actual, expected[..., ::-1])


def test_zero_becomes_gray():
    np.testing.assert_allclose(
        saliency.scale_to_gray(np.array([-4.0, 0, 2])), [0, 0.5, 0.75]
    )
    assert saliency.scale_to_gray(np.zeros(2)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("figure", ["saliency", "guided_backprop"])
def test_figure_explains_the_predicted_or_a_given_class(
    make_source, monkeypatch, figure
):
    figures = capture_figures(monkeypatch)
    classifier, source = untrained_classifier(), make_source(11)
    images = load_images(classifier, source, [0, 4, 9])
    saliency.draw(figure, classifier, images, "out.png")
    saliency.draw(figure, classifier, images, "out.png", 7)
    inputs = np.stack([image.inputs for image in images])
    probabilities = np.asarray(classifier.model(inputs))
    for fig, labels in zip(figures, (probabilities.argmax(axis=1), [7, 7, 7])):
        if figure == "saliency":
            maps = saliency.saliency_maps(classifier, inputs, labels)
        else:
            gradients = saliency.guided_gradients(classifier, inputs, labels)
            maps = [saliency.scale_to_gray(values) for values in gradients]
        shown = shown_images(fig)
        for index, (image, label) in enumerate(zip(images, labels)):
            np.testing.assert_array_equal(shown[2 * index], image.pixels)
            np.testing.assert_array_equal(shown[2 * index + 1], maps[index])
            assert f"{label} {probabilities[index, label]:.1%}" in texts(fig)
        assert [text for text in texts(fig) if text.startswith("true:")] == [
            "true: 0", "true: 4", "true: 9",
        ]  # fmt: skip
