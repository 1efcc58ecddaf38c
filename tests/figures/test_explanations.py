"""Tests the arguments with which `draw` and `explanations` draw their figures."""

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.figures import architecture
from alexnet_tf.figures import confusions
from alexnet_tf.figures import deconvolution
from alexnet_tf.figures import draw
from alexnet_tf.figures import embedding
from alexnet_tf.figures import explanations
from alexnet_tf.figures import kernel_epochs
from alexnet_tf.figures import occlusion
from alexnet_tf.figures import saliency
from alexnet_tf.figures import strongest_patches
from alexnet_tf import visualize
from helpers.drawn_figures import capture_figures
from helpers.drawn_figures import shown_images
from helpers.drawn_figures import texts
from helpers.networks import untrained_classifier

MODULES = {
    "occlusion": occlusion,
    "saliency": saliency,
    "guided_backprop": saliency,
    "deconv": deconvolution,
    "patches": strongest_patches,
    "embedding": embedding,
    "confusion": confusions,
    "architecture": architecture,
    "kernel_epochs": kernel_epochs,
}


@pytest.fixture
def drawn(monkeypatch, image_folder, tmp_path):
    """Returns drawn(figure, **arguments), the arguments that the module is called with.

    The network is `untrained_classifier`, the data set has 20 images of 10 classes, and
    nothing is drawn.
    """
    classifier = untrained_classifier()
    monkeypatch.setattr(draw, "load_classifier", lambda *_: classifier)

    def call(figure, **arguments):
        calls = []
        monkeypatch.setattr(MODULES[figure], "draw", lambda *args: calls.append(args))
        defaults = dict(
            weights="weights.npz", dataset=f"folder:{image_folder}", split="train"
        )
        draw.draw(figure, str(tmp_path / "out.png"), **defaults | arguments)
        return calls[0]

    return call


def write_image(path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    return str(path)


def test_every_figure_has_a_module():
    own = {"architecture", "kernel_epochs"}
    assert {*MODULES} == {*explanations.FIGURES} | own <= {*draw.FIGURES}


@pytest.mark.parametrize("figure, count", [("occlusion", 3), ("saliency", 8)])
def test_images_of_a_split_are_chosen_by_the_seed(drawn, figure, count):
    def labels(**arguments):
        *_, images, _, class_index = drawn(figure, **arguments)
        assert class_index is None
        return [image.label for image in images]

    assert len(labels()) == count and labels() == labels(seed=0) != labels(seed=1)
    assert len(labels(count=2)) == 2


def test_occlusion_needs_the_classes_of_the_network(drawn, image_folder, tmp_path):
    """Unlike the other figures, it shows the probability of the true class."""
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        write_image(tmp_path / "pets" / name / "1.png")
    others = f"folder:{tmp_path / 'pets'}"
    with pytest.raises(ValueError, match="2 classes of .*, such as cats, dogs"):
        drawn("occlusion", dataset=others)
    assert len(drawn("saliency", dataset=others)[2]) == 2


def test_given_images_replace_those_of_the_split(drawn, tmp_path):
    paths = [write_image(tmp_path / name) for name in ("cat.png", "dog.png")]
    figure, _, images, _, class_index = drawn(
        "guided_backprop", images=paths, class_name="7", dataset=None
    )
    assert (figure, class_index) == ("guided_backprop", 7)
    assert [image.title for image in images] == ["cat.png", "dog.png"]
    assert [image.label for image in images] == [None, None]


def test_deconv_shows_units_of_one_image_or_one_unit_of_several(drawn):
    _, images, _, *rest = drawn("deconv", layer="conv2", count=4)
    assert len(images) == 1 and rest == ["conv2", None, 4]
    _, images, _, *rest = drawn("deconv", unit=0)
    assert len(images) == 8 and rest == [None, 0, 8]


def test_figures_of_a_split_get_all_of_its_images(drawn):
    _, source, path, *rest = drawn("patches", layer="conv2", unit=3)
    assert source.num_examples == 20 and path.endswith("out.png")
    assert rest == ["conv2", 3, 8, 0]
    _, source, _, *rest = drawn("embedding", projection="tsne", seed=5, layer="fc6")
    assert source.num_examples == 20 and rest == ["fc6", "tsne", 500, 5, 0]
    _, source, *_ = drawn("confusion")
    assert source.num_examples == 20


def test_architecture_needs_only_a_preset(drawn):
    model, title, _ = drawn("architecture", weights=None, preset="tiny")
    assert model.count_params() == 65_514 + 990 * 129
    assert title == "The layers of preset tiny"
    model, _, _ = drawn("architecture")
    assert model.output.shape == (None, 10)


@pytest.mark.parametrize(
    "figure, arguments, message",
    [
        ("architecture", {"weights": None}, "preset or the weights of a network"),
        ("saliency", {"weights": None}, "weights of a network for saliency"),
        ("saliency", {"count": 0}, "count of at least 1. Received: count=0"),
        ("confusion", {"images": ["a.png"]}, "images only for the figures predictions"),
        ("embedding", {"unit": 0}, "unit only for the figures deconv, patches. R.*=0"),
        ("patches", {"class_name": "0"}, "class_name only for the figures occlusion"),
        ("occlusion", {"layer": "fc7"}, "layer only for the figures neighbors, deconv"),
        ("embedding", {"projection": "umap"}, "pca or tsne. Received: proj"),
        ("saliency", {"class_name": "cat"}, "name of a class .*index from 0 to 9"),
        ("saliency", {"images": ["none.png"]}, "no image file at none.png"),
    ],
)
def test_rejects_arguments_before_anything_is_computed(
    drawn, figure, arguments, message
):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        drawn(figure, **arguments)


def test_command_explains_a_given_image(monkeypatch, tmp_path):
    figures = capture_figures(monkeypatch)
    path = write_image(tmp_path / "cat.png")
    visualize.main([
        "visualize", "--figure=saliency", "--weights=tiny_textures", f"--image={path}",
        "--class_name=rings", f"--output={tmp_path / 'out.png'}",
    ])  # fmt: skip
    assert "cat.png" in texts(figures[0])
    assert any(text.startswith("rings ") for text in texts(figures[0]))
    assert len(shown_images(figures[0])) == 2
