"""The numbers behind the images, against the layers and by hand."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf.figures import internals
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf import presets

PAPER = dict(bias=2.0, alpha=1e-4, beta=0.75)


def make(name="tiny", **values):
    """An untrained network of 10 classes."""
    keras.utils.set_random_seed(0)
    preset = presets.override(presets.get(name), **values)
    side = preset.preprocessing.image_size
    random = np.random.default_rng(0)
    found = pixel_statistics.Statistics(
        random.uniform(80, 150, (side, side, 3)).astype(np.float32),
        np.diag([900.0, 400.0, 100.0]),
    )
    model = alexnet_tf.AlexNet(preset, 10)
    return Classifier(model, preset, tuple("0123456789"), found)


def jpegs(count):
    random = np.random.default_rng(1)
    return [
        tf.io.encode_jpeg(random.integers(0, 256, (80, 90, 3), np.uint8)).numpy()
        for _ in range(count)
    ]


def test_five_neighbors_are_those_of_the_layer():
    values = np.random.default_rng(0).normal(0, 200, 20)
    layer = LocalResponseNormalization(depth_radius=2, **PAPER)
    wanted = layer(values[None, None, None].astype(np.float32))[0, 0, 0]
    np.testing.assert_allclose(
        internals.normalized(values, 5, **PAPER), wanted, rtol=1e-5
    )


def test_four_neighbors_are_two_before_and_one_behind():
    values = np.array([1.0, 2, 3, 4, 5, 6])
    found = internals.normalized(values, 4, bias=1.0, alpha=1.0, beta=1.0)
    sums = [1 + 4, 1 + 4 + 9, 1 + 4 + 9 + 16, 4 + 9 + 16 + 25, 9 + 16 + 25 + 36,
            16 + 25 + 36]  # fmt: skip
    np.testing.assert_allclose(found, values / (1 + np.array(sums)))


def test_activations_are_those_of_the_layers():
    network, (image,) = make(), jpegs(1)
    found = internals.activations(network, image)
    assert [*found] == [
        "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "prob"
    ]  # fmt: skip
    view = network.view(image)[None]
    for layer in ("conv2", "fc7"):
        wanted = alexnet_tf.features(network.model, layer)(view)[0]
        np.testing.assert_array_equal(found[layer], wanted)
        assert found[layer].min() == 0
    np.testing.assert_array_equal(found["prob"], network.probabilities(image))


@pytest.mark.parametrize(
    "preset, wanted",
    [
        ("paper", ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]),
        ("code2012", ["relu1", "conv2", "conv3", "conv4", "relu5", "fc6", "fc7"]),
        ("cifar10_full", ["relu1", "conv2", "conv3"]),
    ],
)
@pytest.mark.parametrize("tanh", [False, True])
def test_activations_are_what_the_next_layer_gets(preset, wanted, tanh):
    """Where the ReLU comes behind the pooling too."""
    spec = presets.override(presets.get(preset), init="he")
    if tanh:
        layers = tuple(
            presets.Tanh(layer.name) if isinstance(layer, presets.ReLU) else layer
            for layer in spec.layers
        )
        spec = dataclasses.replace(spec, layers=layers)
    shape = None if preset == "cifar10_full" else (67, 67, 3)
    model = alexnet.AlexNet(spec, 10, input_shape=shape)
    assert alexnet.activation_names(model) == wanted
    side = model.input.shape[1]
    view = np.random.default_rng(0).normal(0, 60, (1, side, side, 3))
    for name in wanted:
        found = alexnet.features(model, name)(view.astype(np.float32)).numpy()
        if tanh:
            assert np.abs(found).max() <= 1 and found.min() < 0
        else:
            assert found.min() == 0


def test_the_strongest_maps_come_first():
    maps = np.zeros((2, 2, 4))
    maps[0, 0] = [1, 5, 0, 3]
    maps[1, 1] = [1, 0, 4, 3]
    assert internals.strongest(maps, 3).tolist() == [3, 1, 2]


def test_thinned_networks_differ_and_come_again():
    network, images = make(), jpegs(3)
    each = internals.dropout_passes(network, images, 4, seed=1)
    assert each.shape == (4, 3, 10)
    np.testing.assert_allclose(each.sum(axis=2), 1, rtol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 0
    again = internals.dropout_passes(network, images, 4, seed=1)
    np.testing.assert_array_equal(again, each)
    assert np.abs(internals.dropout_passes(network, images, 1, seed=2) - each[0]).max()


def test_many_thinned_networks_agree_with_the_whole_one():
    """Where the classes are nearly linear in what is dropped, as at the start."""
    network, images = make(), jpegs(2)
    mean = internals.dropout_passes(network, images, 300).mean(axis=0)
    whole = [network.probabilities(image) for image in images]
    one = internals.dropout_passes(network, images, 1)[0]
    assert np.abs(mean - whole).max() < np.abs(one - whole).max() / 4


def test_without_dropout_nothing_is_thinned():
    with pytest.raises(ValueError, match="dropout.*preset cifar10_full"):
        internals.dropout_passes(make("cifar10_full"), jpegs(1), 2)


def test_norms_are_those_of_the_weights():
    network = make()
    layer = network.model.get_layer("conv2")
    kernel = np.zeros(layer.kernel.shape, np.float32)
    kernel[0, 0, :, 3] = 2.0  # 8 weights of one unit: its group's maps.
    layer.set_weights([kernel, np.full(32, 0.5)])
    found = {each.layer: each for each in internals.norms(network.model, network.preset)}
    assert [*found] == [
        "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"
    ]  # fmt: skip
    conv2 = found["conv2"]
    assert conv2.kernel == pytest.approx(2 * (8 / kernel.size) ** 0.5)
    wanted = np.zeros(32)
    wanted[3] = 2 * 8**0.5
    np.testing.assert_allclose(conv2.units, wanted, rtol=1e-6)
    # He: variance 2 over what a unit sees, 8 maps of 5 x 5.
    assert conv2.start == pytest.approx((2 / 200) ** 0.5, rel=0.05)
    assert found["fc8"].start == pytest.approx(0.01, rel=0.1)


def test_tanh_takes_the_place_of_the_relu():
    preset = presets.get("tiny")
    others = tuple(
        presets.Tanh(layer.name) if isinstance(layer, presets.ReLU) else layer
        for layer in preset.layers
    )
    keras.utils.set_random_seed(0)
    model = alexnet.AlexNet(dataclasses.replace(preset, layers=others), 10)
    view = np.random.default_rng(0).normal(0, 1, (1, 64, 64, 3)).astype(np.float32)
    conv1, relu1 = (
        keras.Model(model.input, model.get_layer(name).output)(view)
        for name in ("conv1", "relu1")
    )
    np.testing.assert_allclose(relu1, np.tanh(conv1), atol=1e-6)
    assert np.min(relu1) < -0.1


@pytest.mark.parametrize(
    "name, layer",
    [("paper", "fc7"), ("owt", "fc7"), ("tiny", "fc7"), ("cifar10_full", "pool3")],
)
def test_the_last_hidden_layer_is_the_one_before_the_classes(name, layer):
    shape = {"paper": (67, 67, 3), "owt": (63, 63, 3)}.get(name)
    model = alexnet_tf.AlexNet(name, 10, input_shape=shape)
    assert alexnet.penultimate_layer(model) == layer
