"""Models, classifiers and commands with weights that are chosen by name."""

import json
import os

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

import alexnet_tf
from alexnet_tf import inference
from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf import presets
from alexnet_tf import published
from helpers.commands import command
from helpers.networks import with_layer_values
from helpers.weight_arrays import assert_weights_equal
from helpers.weight_arrays import copy_weights
from helpers.weight_arrays import TORCHVISION_NAMES

PACKAGED = ("tiny_textures", "cifar10_full")


@pytest.fixture
def save_as_torchvision(tmp_path, monkeypatch):
    """Yields a function that replaces the download of torchvision's weights.

    The function takes a model of the preset `owt`, and writes the weights of the model
    to a file with the names and the layout of torchvision.
    """
    requested = []

    def save(model):
        arrays = {}
        for layer in model.layers:
            if layer.weights:
                name = TORCHVISION_NAMES[layer.name]
                kernel, bias = layer.get_weights()
                if layer.name == "fc6":
                    kernel = kernel.reshape(6, 6, 256, -1).transpose(2, 0, 1, 3)
                    kernel = kernel.reshape(9216, -1)
                kernel = np.moveaxis(kernel, (-1, -2), (0, 1))
                arrays[f"{name}.weight"] = np.ascontiguousarray(kernel)
                arrays[f"{name}.bias"] = bias
        path = str(tmp_path / "torchvision.safetensors")
        safetensors.numpy.save_file(arrays, path)

        def download(name):
            requested.append(name)
            return path

        monkeypatch.setattr(published, "download", download)

    yield save
    assert {*requested} == {"torchvision"}


@pytest.fixture
def no_download(monkeypatch):
    """Makes a test fail if it downloads anything."""

    def fail(name):
        raise AssertionError(f"{name} was downloaded")

    monkeypatch.setattr(published, "_download", fail)
    monkeypatch.setattr(published, "_find_cached", fail)


@pytest.mark.large
def test_named_weights_are_loaded_into_their_preset(save_as_torchvision):
    keras.utils.set_random_seed(3)
    saved = alexnet_tf.AlexNet("owt")
    save_as_torchvision(saved)
    for preset, weights in (("owt", "imagenet"), (None, "torchvision")):
        model = alexnet_tf.AlexNet(preset, weights=weights)
        assert model.name == "alexnet_owt" and model.output.shape == (None, 1000)
        assert_weights_equal(model, saved.get_weights())
    classifier = load_classifier("torchvision")
    assert classifier.preset.name == "owt" and len(classifier.classes) == 1000
    assert classifier.classes[0] == "n01440764"
    assert_weights_equal(classifier.model, saved.get_weights())


def test_named_weights_without_top_take_any_size(save_as_torchvision):
    keras.utils.set_random_seed(3)
    saved = alexnet_tf.AlexNet("owt", include_top=False)
    save_as_torchvision(saved)
    model = alexnet_tf.AlexNet(
        weights="torchvision", include_top=False, input_shape=(None, None, 3)
    )
    assert model.layers[-1].name == "pool5" and model.output.shape[-1] == 256
    assert_weights_equal(model, saved.get_weights())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            dict(preset="owt", weights="imagenet", classes=10),
            r"classes=1000 for weights='torchvision' with the top. Received: "
            r"classes=10. .*include_top=False.*skip=\(\"fc8\",\)",
        ),
        (
            dict(weights="bvlc_alexnet", input_shape=(300, 300, 3)),
            r"input_shape=\(227, 227, 3\) .*Received: input_shape=\(300, 300, 3\)",
        ),
        (
            dict(preset="paper", weights="imagenet"),
            r"preset='paper'. These presets have some: owt \(torchvision\), caffe "
            r"\(bvlc_alexnet\), caffenet",
        ),
        (dict(weights="imagenet"), "preset with published weights.*preset=None"),
        (
            dict(preset="caffe", weights="torchvision"),
            "preset=owt for weights=torchvision. Received: preset='caffe'",
        ),
        (dict(weights="cifar10_full", classes=1000), "classes=10 .*classes=1000"),
    ],
)
def test_arguments_that_do_not_fit_a_name_are_rejected(no_download, arguments, message):
    with pytest.raises(ValueError, match=message):
        alexnet_tf.AlexNet(**arguments)


@pytest.mark.parametrize(
    "layer, values, message",
    [
        ("norm1", dict(bias=1.0), "norm1 with bias=2.0.*tiny, with bias=1.0"),
        ("norm2", dict(alpha=2e-5), "norm2 with .*alpha=0.0001.*with .*alpha=2e-05"),
        ("norm2", dict(groups=2), "norm2 with .*groups=1.*with .*groups=2"),
        ("conv1", dict(padding="same"), r"padding=\(\(0, 3\).*padding=same"),
    ],
)
def test_models_with_other_constants_do_not_load_published_weights(
    no_download, layer, values, message
):
    tiny = alexnet_tf.PRESETS["tiny"]
    other = with_layer_values(tiny, layer, **values)
    model = alexnet_tf.AlexNet(other, 10)
    before = copy_weights(model)
    with pytest.raises(ValueError, match=f"{message}.*preset tiny, or pass the path"):
        alexnet_tf.load_weights(model, "tiny_textures")
    assert_weights_equal(model, before)
    alexnet_tf.load_weights(model, alexnet_tf.download("tiny_textures"))


@pytest.mark.parametrize(
    "name, weights, include_top",
    [
        ("tiny", "tiny_textures", True),
        ("tiny", "tiny_textures", False),
        ("caffe", "imagenet", False),
        ("caffe", "bvlc_alexnet", False),
    ],
)
def test_alexnet_compares_the_constants_of_a_changed_preset(
    no_download, name, weights, include_top
):
    other = with_layer_values(alexnet_tf.PRESETS[name], "norm1", alpha=0.5)
    with pytest.raises(ValueError, match="Expected norm1 with .*with .*alpha=0.5"):
        alexnet_tf.AlexNet(other, weights=weights, include_top=include_top)
    if name == "tiny":
        ablated = presets.ablate(alexnet_tf.PRESETS[name], "norm")
        model = alexnet_tf.AlexNet(ablated, weights=weights, include_top=include_top)
        expected = alexnet_tf.AlexNet(weights=weights, include_top=include_top)
        assert_weights_equal(model, expected.get_weights())


def test_layers_that_are_skipped_may_have_other_constants(no_download):
    other = with_layer_values(alexnet_tf.PRESETS["tiny"], "conv1", padding="same")
    model = alexnet_tf.AlexNet(other, 10)
    report = alexnet_tf.load_weights(model, "tiny_textures", skip="conv1")
    assert report.skipped == ("conv1",) and "conv2" in report.loaded


def test_the_networks_of_caffe_are_told_from_that_of_the_paper(no_download):
    for preset, weights, message in [
        ("paper", "bvlc_alexnet", r"conv1 with padding=valid.*\(\(0, 3\), \(0, 3\)\)"),
        ("paper", "bvlc_caffenet", "conv1 with padding=valid"),
    ]:
        model = alexnet_tf.AlexNet(preset, include_top=False)
        with pytest.raises(ValueError, match=message):
            alexnet_tf.load_weights(model, weights, skip=("fc6", "fc7", "fc8"))


def test_models_without_some_layers_load_published_weights(no_download):
    """The weights of the other layers may be loaded on purpose."""
    model = alexnet_tf.AlexNet(presets.ablate(alexnet_tf.PRESETS["tiny"], "norm"), 10)
    assert alexnet_tf.load_weights(model, "tiny_textures").arrays == 16


def test_imagenet_is_not_the_name_of_one_set_of_weights(no_download):
    message = "torchvision for owt.*Pass one of these names, or build the model by Alex"
    with pytest.raises(ValueError, match=message):
        alexnet_tf.load_weights(alexnet_tf.AlexNet("tiny", 10), "imagenet")


def test_without_weights_the_defaults_are_the_preset_paper_and_1000_classes():
    model = alexnet_tf.AlexNet(include_top=False)
    assert model.name == "alexnet_paper"
    assert alexnet_tf.AlexNet("tiny").output.shape == (None, 1000)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_weights_are_complete_and_small(no_download, name):
    row = alexnet_tf.WEIGHTS[name]
    folder = alexnet_tf.download(name)
    sizes = [os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder)]
    assert sum(sizes) < 400_000
    with open(os.path.join(folder, "flags.txt")) as file:
        assert "data_dir" not in file.read()
    classifier = load_classifier(name)
    assert classifier.preset.name == row.preset and len(classifier.classes) == 10
    assert find_run_data(name).dataset == row.dataset
    model = alexnet_tf.AlexNet(weights=name)
    assert_weights_equal(model, classifier.model.get_weights())


@pytest.mark.parametrize("name", ["torchvision", "bvlc_alexnet", "imagenet"])
def test_downloaded_weights_are_for_imagenet(no_download, name):
    data = find_run_data(name, default_dataset="textures")
    assert (data.dataset, data.train_split, data.split) == (
        "imagenet2012", "train", None,
    )  # fmt: skip
    assert find_run_data(name, "folder:a").dataset == "folder:a"


def test_packaged_weights_have_the_published_error(no_download, textures_data_dir):
    result = inference.evaluate(
        ["tiny_textures"], protocol="center", data_dir=str(textures_data_dir), verbose=0
    )
    row = alexnet_tf.WEIGHTS["tiny_textures"]
    # Results differ between processors in the last bits, and so may the classes of a
    # few images.
    assert 100 * result.error(1) == pytest.approx(row.top1_error, abs=0.41)
    assert 100 * result.error(5) == pytest.approx(row.top5_error, abs=0.41)


def test_commands_take_the_names_of_packaged_weights(no_download, tmp_path):
    path = tmp_path / "gray.png"
    path.write_bytes(tf.io.encode_png(np.full((80, 80, 3), 128, np.uint8)).numpy())
    status, out, err = command("predict", "--weights=tiny_textures", "--json", path)
    assert status == 0, err
    names = [row["name"] for row in json.loads(out)["predictions"]]
    assert len(names) == 5 and {*names} <= {*load_classifier(PACKAGED[0]).classes}
    output = tmp_path / "kernels.png"
    status, _, err = command(
        "visualize", "--figure=kernels", "--weights=cifar10_full", f"--output={output}"
    )
    assert status == 0 and output.exists(), err
    status, _, err = command(
        "predict", "--weights=tiny_textures", "--preset=caffe", path
    )
    assert status == 1
    assert "Expected preset=tiny for weights=tiny_textures" in err


def test_a_name_takes_precedence_over_a_file(no_download, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10_full").write_bytes(b"")
    model = alexnet_tf.AlexNet(weights="cifar10_full")
    assert model.output.shape == (None, 10)
    with pytest.raises(ValueError, match="cannot be read"):
        alexnet_tf.AlexNet("tiny", weights="./cifar10_full")
