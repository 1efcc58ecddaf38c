"""The network of a run is that of its network.json."""

import dataclasses

import numpy as np
import pytest

import alexnet_tf
from alexnet_tf import network_json
from alexnet_tf import presets
from alexnet_tf import published


@pytest.fixture
def run(tmp_path):
    """The path of a run with five classes whose preset is not a named one."""
    preset = dataclasses.replace(presets.get("tiny"), name="my_tiny")
    network_json.write_network(tmp_path, preset, ["a", "b", "c", "d", "e"])
    model = alexnet_tf.AlexNet(preset, classes=5)
    alexnet_tf.save_weights(model, tmp_path / "weights.safetensors")
    return tmp_path


def test_model_of_a_run_needs_no_preset_and_no_classes():
    path = published.locate("cifar10_full")
    images = np.random.default_rng(0).normal(0, 60, (2, 32, 32, 3))
    expected = alexnet_tf.AlexNet(weights="cifar10_full")(images)
    model = alexnet_tf.AlexNet(weights=path)
    assert model.name == "alexnet_cifar10_full"
    np.testing.assert_array_equal(model(images), expected)


def test_backbone_of_a_run():
    path = published.locate("cifar10_full")
    backbone = alexnet_tf.AlexNet(weights=path, include_top=False, pooling="avg")
    whole = alexnet_tf.AlexNet(weights="cifar10_full")
    assert backbone.output.shape == (None, 64)
    np.testing.assert_array_equal(
        backbone.get_layer("conv3").kernel, whole.get_layer("conv3").kernel
    )


def test_preset_of_a_run_need_not_have_a_name_of_the_table(run):
    model = alexnet_tf.AlexNet(weights=run)
    assert model.name == "alexnet_my_tiny" and model.output.shape == (None, 5)
    # A `Preset` is used as it is, even under another name.
    preset = dataclasses.replace(network_json.read_network(run)[0], name="renamed")
    same = alexnet_tf.AlexNet(preset, 5, weights=str(run))
    assert same.name == "alexnet_renamed"
    np.testing.assert_array_equal(same.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize("preset", [None, "tiny"])
def test_ablated_parts_of_a_run_are_not_in_its_model(preset, tmp_path):
    ablated = presets.override(presets.get("tiny"), ablate="norm")
    network_json.write_network(tmp_path, ablated, ["a", "b", "c"])
    trained = alexnet_tf.AlexNet(ablated, classes=3)
    alexnet_tf.save_weights(trained, tmp_path / "weights.safetensors")
    model = alexnet_tf.AlexNet(preset, weights=tmp_path)
    assert "norm1" not in [layer.name for layer in model.layers]
    images = np.random.default_rng(0).normal(0, 60, (2, *model.input_shape[1:]))
    np.testing.assert_array_equal(model(images), trained(images))


@pytest.mark.parametrize("arguments", [{}, {"include_top": False}])
def test_another_preset_than_that_of_the_run_is_refused(arguments):
    path = published.locate("cifar10_full")
    with pytest.raises(ValueError, match="preset of the run .*cifar10_full.*'tiny'"):
        alexnet_tf.AlexNet("tiny", weights=path, **arguments)


def test_other_classes_than_those_of_the_run_are_refused():
    path = published.locate("cifar10_full")
    with pytest.raises(ValueError, match="fc10"):
        alexnet_tf.AlexNet(weights=path, classes=7)


def test_the_best_weights_of_a_run_are_those_of_its_network(run, monkeypatch):
    expected = alexnet_tf.AlexNet(weights=run)
    best = (run / "weights.safetensors").rename(run / "best.safetensors")
    monkeypatch.chdir(run)
    for path in (best, str(best), "best.safetensors"):
        model = alexnet_tf.AlexNet(weights=path)
        assert model.name == expected.name and model.output.shape == (None, 5)
        np.testing.assert_array_equal(model.get_weights()[0], expected.get_weights()[0])
        assert network_json.preset_of_weights(path).name == "my_tiny"


def test_other_weights_files_need_a_preset(run):
    with pytest.raises(ValueError, match="does not name one.*preset=caffe"):
        alexnet_tf.AlexNet(weights=run / "weights.safetensors")


def test_damaged_network_json_is_named(run):
    (run / "network.json").write_text("{")
    with pytest.raises(ValueError, match="network.json is damaged"):
        alexnet_tf.AlexNet(weights=run)
