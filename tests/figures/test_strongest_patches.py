"""Tests the strongest patches against a search through all activations."""

import numpy as np

from alexnet_tf.figures import input_images
from alexnet_tf.figures import strongest_patches
from alexnet_tf.figures import units
from alexnet_tf.models import alexnet
from helpers.drawn_figures import capture_figures
from helpers.drawn_figures import shown_images
from helpers.drawn_figures import texts
from helpers.networks import untrained_classifier


def all_outputs(classifier, source, name):
    """Returns the outputs of a layer for all images, [images, rows, columns, units]."""
    examples = source.examples().as_numpy_iterator()
    crops = np.stack([classifier.center_crop(example["image"]) for example in examples])
    outputs = alexnet.features(classifier.model, name)(crops).numpy()
    return outputs if outputs.ndim == 4 else outputs[:, np.newaxis, np.newaxis]


def search(outputs):
    """Returns [(activation, index of the image, row, column), ...], the nine largest.

    All activations of a unit are sorted; of each image, only the first is kept.

    Args:
        outputs: float [images, rows, columns].
    """
    found = [(value, *index) for index, value in np.ndenumerate(outputs)]
    found.sort(key=lambda entry: (-entry[0], *entry[1:]))
    strongest = {}
    for entry in found:
        strongest.setdefault(entry[1], entry)
    return [*strongest.values()][:9]


def test_finds_the_nine_strongest_patches_of_each_unit(make_source, monkeypatch):
    """The search spans several batches."""
    monkeypatch.setattr(strongest_patches, "_BATCH_SIZE", 4)
    classifier, source = untrained_classifier(), make_source(14)
    layer = units.find_layer(classifier.model, "conv2")
    outputs = all_outputs(classifier, source, "conv2")
    found = strongest_patches.find(classifier, source, layer, count=3)
    largest = outputs.max(axis=(0, 1, 2))
    assert [each.unit for each in found] == np.argsort(-largest)[:3].tolist()
    for each in found:
        expected = search(outputs[..., each.unit])
        assert each.indices.tolist() == [index for _, index, *_ in expected]
        np.testing.assert_allclose(
            each.activations, [value for value, *_ in expected], rtol=1e-5
        )
        assert each.windows == [layer.window(position) for _, _, *position in expected]


def test_figure_shows_the_patches_of_one_unit(make_source, monkeypatch):
    """Units of fully connected layers see the whole image."""
    figures = capture_figures(monkeypatch)
    classifier, source = untrained_classifier(), make_source(5)
    strongest_patches.draw(classifier, source, "out.png", "fc7", unit=6)
    outputs = all_outputs(classifier, source, "fc7")[:, 0, 0, 6]
    order = np.argsort(-outputs, kind="stable")
    first, *_, last = outputs[order]
    assert f"unit 6: {first:.3g} to {last:.3g}" in texts(figures[0])
    assert any("of 5 images of images, split train" in t for t in texts(figures[0]))
    examples = source.take_indices(order.tolist())
    for shown, example in zip(shown_images(figures[0]), examples, strict=True):
        crop = input_images.rgb_crop(classifier, example["image"])
        np.testing.assert_array_equal(shown, crop)


def test_figure_crops_patches_to_what_the_unit_sees(make_source, monkeypatch):
    figures = capture_figures(monkeypatch)
    classifier, source = untrained_classifier(), make_source(2)
    window = slice(3, 20), slice(0, 9)
    found = strongest_patches.Strongest(
        4, np.array([2.5, 1]), np.array([1, 0]), [window, window]
    )
    monkeypatch.setattr(strongest_patches, "find", lambda *_: [found])
    strongest_patches.draw(classifier, source, "out.png")
    examples = source.take_indices([1, 0])
    for shown, example in zip(shown_images(figures[0]), examples, strict=True):
        crop = input_images.rgb_crop(classifier, example["image"])
        np.testing.assert_array_equal(shown, crop[3:20, :9])
    assert "unit 4: 2.5 to 1" in texts(figures[0])
