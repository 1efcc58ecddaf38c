"""Tests activations, norms and dropout samples against the outputs of layers."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf.figures import internals
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf.models import alexnet
from alexnet_tf import presets
from helpers.networks import dense_preset
from helpers.networks import with_layer_values


def make_classifier(name="tiny", groups=1):
    """Returns an untrained classifier with 10 classes and random pixel statistics.

    Args:
        name: the name of the preset.
        groups: the number of towers that are normalized separately.
    """
    keras.utils.set_random_seed(0)
    preset = with_layer_values(presets.get(name), presets.ResponseNorm, groups=groups)
    side = preset.preprocessing.image_size
    rng = np.random.default_rng(0)
    statistics = pixel_statistics.Statistics(
        rng.uniform(80, 150, (side, side, 3)).astype(np.float32),
        np.diag([900.0, 400.0, 100.0]),
    )
    model = alexnet_tf.AlexNet(preset, 10)
    return Classifier(model, preset, tuple("0123456789"), statistics)


def make_jpegs(count):
    """Returns a list of the bytes of JPEGs of noise."""
    rng = np.random.default_rng(1)
    return [
        tf.io.encode_jpeg(rng.integers(0, 256, (80, 90, 3), np.uint8)).numpy()
        for _ in range(count)
    ]


@pytest.mark.parametrize("groups, maps", [(1, range(16)), (2, range(8, 16))])
def test_normalized_pixel_shows_inputs_and_outputs_of_the_layer(groups, maps):
    """The strongest map is the last of the 16 maps, in the second of two towers."""
    classifier, (image,) = make_classifier(groups=groups), make_jpegs(1)
    conv1 = classifier.model.get_layer("conv1")
    kernel, bias = conv1.get_weights()
    bias[15] = 1e4
    conv1.set_weights([100 * kernel, bias])
    pixel = internals.normalized_pixel(classifier, image)
    crop = classifier.center_crop(image)[None]
    relu1, norm1 = (
        keras.Model(classifier.model.input, classifier.model.get_layer(name).output)(
            crop
        ).numpy()[0]
        for name in ("relu1", "norm1")
    )
    sums = (relu1**2).sum(axis=-1)
    assert sums[pixel.row, pixel.column] == sums.max()
    assert pixel.maps.tolist() == [*maps] and pixel.layer.name == "norm1"
    np.testing.assert_array_equal(pixel.before, relu1[pixel.row, pixel.column, maps])
    np.testing.assert_array_equal(pixel.after, norm1[pixel.row, pixel.column, maps])
    np.testing.assert_allclose(
        pixel.before / pixel.divisors, pixel.after, rtol=1e-5
    )
    # Without neighbors the divisor is 2^.75.
    assert pixel.divisors.max() > 100 * 2**0.75


def test_normalized_pixel_shows_maps_around_the_strongest():
    classifier, (image,) = make_classifier(), make_jpegs(1)
    conv1 = classifier.model.get_layer("conv1")
    kernel, bias = conv1.get_weights()
    bias[6] = 1e4
    conv1.set_weights([kernel, bias])
    pixel = internals.normalized_pixel(classifier, image, count=5)
    assert pixel.maps.tolist() == [4, 5, 6, 7, 8]
    assert pixel.before.argmax() == 2


def test_normalized_pixel_needs_normalization_across_maps():
    classifier, (image,) = make_classifier("cifar10_full"), make_jpegs(1)
    with pytest.raises(ValueError, match="across maps.*preset cifar10_full"):
        internals.normalized_pixel(classifier, image)


def test_by_confidence_chooses_sure_and_unsure_predictions():
    # The first class is right in the images 0, 1, 4 and 6.
    first = np.array([0.9, 0.99, 0.2, 0.05, 0.6, 0.52, 0.8, 0.49])
    probabilities = np.stack([first, 1 - first], axis=1)
    labels = np.array([0, 0, 0, 0, 0, 1, 0, 0])
    right, wrong, unsure = internals.by_confidence(probabilities, labels, 8)
    assert right == [1, 0, 6]  # .99, .9, .8
    assert wrong == [3, 2, 5]  # .95, .8, .52 for the other class
    assert unsure == [7, 4]  # .51 and .6; image 5 is shown already.
    right, wrong, unsure = internals.by_confidence(probabilities[:2], labels[:2], 9)
    assert (right, wrong, unsure) == ([1, 0], [], [])


def test_activations_equal_the_outputs_of_layers():
    classifier, (image,) = make_classifier(), make_jpegs(1)
    outputs = internals.activations(classifier, image)
    assert [*outputs] == [
        "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "prob"
    ]  # fmt: skip
    crop = classifier.center_crop(image)[None]
    for layer in ("conv2", "fc7"):
        expected = alexnet_tf.features(classifier.model, layer)(crop)[0]
        np.testing.assert_array_equal(outputs[layer], expected)
        assert outputs[layer].min() == 0
    # Prediction is compiled, which changes the last bits.
    np.testing.assert_allclose(
        outputs["prob"], classifier.probabilities(image), rtol=1e-5
    )


def test_activations_of_a_network_with_one_layer_are_its_probabilities():
    preset = dense_preset()
    model = alexnet_tf.AlexNet(preset, 3)
    statistics = pixel_statistics.imagenet(preset.preprocessing)
    classifier = Classifier(model, preset, tuple("abc"), statistics)
    (image,) = make_jpegs(1)
    outputs = internals.activations(classifier, image)
    assert [*outputs] == ["prob"]
    np.testing.assert_allclose(outputs["prob"], classifier.probabilities(image))


@pytest.mark.parametrize(
    "preset, names",
    [
        ("paper", ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]),
        ("code2012", ["relu1", "conv2", "conv3", "conv4", "relu5", "fc6", "fc7"]),
        ("cifar10_full", ["relu1", "conv2", "conv3"]),
    ],
)
@pytest.mark.parametrize("tanh", [False, True])
def test_activation_names_select_outputs_after_the_nonlinearity(preset, names, tanh):
    """In some presets the ReLU follows the pooling."""
    spec = presets.override(presets.get(preset), init="he")
    if tanh:
        layers = tuple(
            presets.Tanh(layer.name) if isinstance(layer, presets.ReLU) else layer
            for layer in spec.layers
        )
        spec = dataclasses.replace(spec, layers=layers)
    shape = None if preset == "cifar10_full" else (67, 67, 3)
    model = alexnet.AlexNet(spec, 10, input_shape=shape)
    assert alexnet.activation_names(model) == names
    side = model.input.shape[1]
    crop = np.random.default_rng(0).normal(0, 60, (1, side, side, 3))
    for name in names:
        outputs = alexnet.features(model, name)(crop.astype(np.float32)).numpy()
        if tanh:
            assert np.abs(outputs).max() <= 1 and outputs.min() < 0
        else:
            assert outputs.min() == 0


def test_strongest_maps_come_first():
    maps = np.zeros((2, 2, 4))
    maps[0, 0] = [1, 5, 0, 3]
    maps[1, 1] = [1, 0, 4, 3]
    assert internals.strongest(maps, 3).tolist() == [3, 1, 2]


def test_dropout_passes_differ_and_depend_on_the_seed():
    classifier, images = make_classifier(), make_jpegs(3)
    passes = internals.dropout_passes(classifier, images, 4, seed=1)
    assert passes.shape == (4, 3, 10)
    np.testing.assert_allclose(passes.sum(axis=2), 1, rtol=1e-5)
    assert np.abs(passes[0] - passes[1]).max() > 0
    repeated = internals.dropout_passes(classifier, images, 4, seed=1)
    np.testing.assert_array_equal(repeated, passes)
    with_other_seed = internals.dropout_passes(classifier, images, 1, seed=2)
    assert np.abs(with_other_seed - passes[0]).max() > 0


def test_average_of_many_dropout_passes_approximates_the_full_network():
    """Before training, the outputs are nearly linear in the dropped units."""
    classifier, images = make_classifier(), make_jpegs(2)
    mean = internals.dropout_passes(classifier, images, 300).mean(axis=0)
    full = [classifier.probabilities(image) for image in images]
    single = internals.dropout_passes(classifier, images, 1)[0]
    assert np.abs(mean - full).max() < np.abs(single - full).max() / 4


def test_geometric_mean_multiplies_probabilities():
    means = internals.geometric_mean(
        np.array([[[0.2, 0.8], [0.5, 0.5]], [[0.2, 0.8], [0.0, 1.0]]])
    )
    np.testing.assert_allclose(means, [[0.2, 0.8], [0, 1]])
    # sqrt(.9 * .1) = .3 and sqrt(.1 * .9) = .3; sqrt(.5 * .02) = .1, sqrt(.3 * .3).
    means = internals.geometric_mean(np.array([[0.5, 0.3, 0.2], [0.02, 0.3, 0.68]]))
    unnormalized = np.array([0.1, 0.3, np.sqrt(0.2 * 0.68)])
    np.testing.assert_allclose(means, unnormalized / unnormalized.sum())


def test_geometric_mean_of_all_networks_is_the_full_network_for_one_layer():
    """Dropout before the last layer only: with the 2^6 masks, both are equal.

    The mean of the logits over the masks is that of the expected inputs, so that the
    geometric means of the probabilities are the softmax of the full network's logits.
    """
    layers = (
        presets.Dense("fc1", 6, init=1.0), presets.ReLU("relu1"),
        presets.Dropout("drop1"), presets.Dense("fc2", None, init=1.0),
    )  # fmt: skip
    model = alexnet.AlexNet(presets.Preset("net", layers), 3, input_shape=(2, 2, 3))
    images = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
    hidden = keras.Model(model.input, model.get_layer("drop1").input)(images)
    kernel, bias = model.get_layer("fc2").get_weights()
    masks = np.array([*itertools.product([0, 2], repeat=6)])  # Inverted dropout.
    logits = (masks[:, np.newaxis] * hidden.numpy()) @ kernel + bias
    networks = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    full = model(images, training=False)
    means = internals.geometric_mean(networks)
    np.testing.assert_allclose(means, full, rtol=1e-4)
    assert np.abs(networks.mean(axis=0) - full).max() > 0.01


def test_dropout_passes_reject_networks_without_dropout():
    with pytest.raises(ValueError, match="dropout.*preset cifar10_full"):
        internals.dropout_passes(make_classifier("cifar10_full"), make_jpegs(1), 2)


def test_norms_equal_norms_of_the_weights():
    classifier = make_classifier()
    layer = classifier.model.get_layer("conv2")
    kernel = np.zeros(layer.kernel.shape, np.float32)
    kernel[0, 0, :, 3] = 2.0  # Sets 8 weights of unit 3, one per map of its group.
    layer.set_weights([kernel, np.full(32, 0.5)])
    norms = {
        norm.layer: norm
        for norm in internals.norms(classifier.model, classifier.preset)
    }
    assert [*norms] == [
        "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"
    ]  # fmt: skip
    conv2 = norms["conv2"]
    assert conv2.kernel_rms == pytest.approx(2 * (8 / kernel.size) ** 0.5)
    expected = np.zeros(32)
    expected[3] = 2 * 8**0.5
    np.testing.assert_allclose(conv2.unit_norms, expected, rtol=1e-6)
    # He initialization has a variance of 2 / fan_in; fan_in is 8 maps of 5 x 5.
    assert conv2.initial_kernel_rms == pytest.approx((2 / 200) ** 0.5, rel=0.05)
    assert norms["fc8"].initial_kernel_rms == pytest.approx(0.01, rel=0.1)


def test_tanh_layer_outputs_tanh_of_the_convolution():
    preset = presets.get("tiny")
    layers = tuple(
        presets.Tanh(layer.name) if isinstance(layer, presets.ReLU) else layer
        for layer in preset.layers
    )
    keras.utils.set_random_seed(0)
    model = alexnet.AlexNet(dataclasses.replace(preset, layers=layers), 10)
    crop = np.random.default_rng(0).normal(0, 1, (1, 64, 64, 3)).astype(np.float32)
    conv1, relu1 = (
        keras.Model(model.input, model.get_layer(name).output)(crop)
        for name in ("conv1", "relu1")
    )
    np.testing.assert_allclose(relu1, np.tanh(conv1), atol=1e-6)
    assert np.min(relu1) < -0.1


@pytest.mark.parametrize(
    "name, layer",
    [("paper", "fc7"), ("owt", "fc7"), ("tiny", "fc7"), ("cifar10_full", "pool3")],
)
def test_penultimate_layer_feeds_the_last_one(name, layer):
    shape = {"paper": (67, 67, 3), "owt": (63, 63, 3)}.get(name)
    model = alexnet_tf.AlexNet(name, 10, input_shape=shape)
    assert alexnet.penultimate_layer(model) == layer
