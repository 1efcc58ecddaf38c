"""The models are compared with pinned sizes and with a NumPy implementation."""

import dataclasses
import math
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.models import alexnet
from alexnet_tf import presets
from helpers.networks import dense_preset
from helpers.networks import narrow_preset
from helpers.networks import reference_outputs
from helpers.networks import relative_error
from helpers.networks import SIDES
from helpers.networks import with_layer_values
from helpers import reference

# The numbers of classes of the presets that are not made for 1000 classes.
CLASSES = {"cifar10_full": 10, "tiny": 10}
TINY = presets.get("tiny")
FIXED = dataclasses.replace(TINY, layers=(*TINY.layers[:-1], presets.Dense("fc8", 7)))
# The numbers of weights and biases.
PARAMETER_COUNTS = {
    "paper": 60_965_224,
    "code2012": 60_965_224,
    "caffe": 60_965_224,
    "caffenet": 60_965_224,
    "single_tower": 62_378_344,
    "owt": 61_100_840,
    "paper_conv6": 61_555_304,
    "cifar10_full": 89_578,
    "tiny": 65_514,
}
# The numbers of multiplications for one image. Torchvision states .714 GFLOPs for the
# network of `owt`.
MULTIPLICATIONS = {
    "paper": 724_406_816,
    "code2012": 724_406_816,
    "caffe": 724_406_816,
    "caffenet": 724_406_816,
    "single_tower": 1_135_256_096,
    "owt": 714_188_480,
    "paper_conv6": 745_640_480,
    "cifar10_full": 12_298_240,
    "tiny": 1_922_096,
}
PARAMETER_COUNTS_BY_LAYER = {
    "paper": {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    },
    "single_tower": {
        "conv1": 34_944,
        "conv2": 614_656,
        "conv3": 885_120,
        "conv4": 1_327_488,
        "conv5": 884_992,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    },
    "owt": {
        "conv1": 23_296,
        "conv2": 307_392,
        "conv3": 663_936,
        "conv4": 884_992,
        "conv5": 590_080,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    },
}

_CONV3_TO_POOL5 = """
    conv3 13x13x384  relu3 13x13x384  conv4 13x13x384  relu4 13x13x384
    conv5 13x13x256  relu5 13x13x256  pool5 6x6x256
"""
_FC6_TO_PROB = """
    flatten 9216  fc6 4096  relu6 4096  drop6 4096  fc7 4096  relu7 4096
    drop7 4096  fc8 1000  prob 1000
"""
_PAPER_CONVOLUTIONS = f"""
    input 224x224x3  pad_conv1 227x227x3
    conv1 55x55x96  relu1 55x55x96  norm1 55x55x96  pool1 27x27x96
    conv2 27x27x256  relu2 27x27x256  norm2 27x27x256  pool2 13x13x256
    {_CONV3_TO_POOL5}
"""
# The names of all layers in order, each with the shape of its output for one image.
SHAPES = {
    "paper": _PAPER_CONVOLUTIONS + _FC6_TO_PROB,
    "code2012": f"""
        input 224x224x3  pad_conv1 227x227x3
        conv1 55x55x96  norm1 55x55x96  pool1 27x27x96  relu1 27x27x96
        conv2 27x27x256  relu2 27x27x256  norm2 27x27x256  cnorm2 27x27x256
        pool2 13x13x256
        conv3 13x13x384  relu3 13x13x384  conv4 13x13x384  relu4 13x13x384
        conv5 13x13x256  pool5 6x6x256  relu5 6x6x256 {_FC6_TO_PROB}
    """,
    "caffe": f"""
        input 227x227x3
        conv1 55x55x96  relu1 55x55x96  norm1 55x55x96  pool1 27x27x96
        conv2 27x27x256  relu2 27x27x256  norm2 27x27x256  pool2 13x13x256
        {_CONV3_TO_POOL5} {_FC6_TO_PROB}
    """,
    "caffenet": f"""
        input 227x227x3
        conv1 55x55x96  relu1 55x55x96  pool1 27x27x96  norm1 27x27x96
        conv2 27x27x256  relu2 27x27x256  pool2 13x13x256  norm2 13x13x256
        {_CONV3_TO_POOL5} {_FC6_TO_PROB}
    """,
    "single_tower": _PAPER_CONVOLUTIONS + _FC6_TO_PROB,
    "owt": """
        input 224x224x3  pad_conv1 228x228x3
        conv1 55x55x64  relu1 55x55x64  pool1 27x27x64
        conv2 27x27x192  relu2 27x27x192  pool2 13x13x192
        conv3 13x13x384  relu3 13x13x384  conv4 13x13x256  relu4 13x13x256
        conv5 13x13x256  relu5 13x13x256  pool5 6x6x256
        drop5 6x6x256  flatten 9216  fc6 4096  relu6 4096
        drop6 4096  fc7 4096  relu7 4096  fc8 1000  prob 1000
    """,
    "paper_conv6": f"""
        {_PAPER_CONVOLUTIONS} conv6 6x6x256  relu_conv6 6x6x256 {_FC6_TO_PROB}
    """,
    "cifar10_full": """
        input 32x32x3
        conv1 32x32x32  pool1 16x16x32  relu1 16x16x32  norm1 16x16x32
        conv2 16x16x32  relu2 16x16x32  pool2 8x8x32  norm2 8x8x32
        conv3 8x8x64  relu3 8x8x64  pool3 4x4x64
        flatten 1024  fc10 10  prob 10
    """,
    "tiny": """
        input 64x64x3  pad_conv1 67x67x3
        conv1 15x15x16  relu1 15x15x16  norm1 15x15x16  pool1 7x7x16
        conv2 7x7x32  relu2 7x7x32  norm2 7x7x32  pool2 3x3x32
        conv3 3x3x48  relu3 3x3x48  conv4 3x3x48  relu4 3x3x48
        conv5 3x3x32  relu5 3x3x32  pool5 1x1x32
        flatten 32  fc6 128  relu6 128  drop6 128  fc7 128  relu7 128
        drop7 128  fc8 10  prob 10
    """,
}

_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
_PAPER_DEVIATIONS = dict.fromkeys(_LAYERS, 0.01)
_CODE_DEEP_DEVIATIONS = {"conv3": 0.03, "conv4": 0.03, "conv5": 0.03}
_CAFFE_DEVIATIONS = {**_PAPER_DEVIATIONS, "fc6": 0.005, "fc7": 0.005}
# The standard deviations of Gaussian kernels. "he" stands for sqrt(2 / fan_in), and
# "torch" for a uniform distribution between -1 / sqrt(fan_in) and 1 / sqrt(fan_in).
DEVIATIONS = {
    "paper": _PAPER_DEVIATIONS,
    "code2012": {**_PAPER_DEVIATIONS, **_CODE_DEEP_DEVIATIONS},
    "caffe": _CAFFE_DEVIATIONS,
    "caffenet": _CAFFE_DEVIATIONS,
    "single_tower": _PAPER_DEVIATIONS,
    "owt": dict.fromkeys(_LAYERS, "torch"),
    "paper_conv6": {**_PAPER_DEVIATIONS, "conv6": 0.03},
    "cifar10_full": {
        "conv1": 0.0001, "conv2": 0.01, "conv3": 0.01, "fc10": 0.01,
    },
    "tiny": {**dict.fromkeys(_LAYERS, "he"), "conv1": 0.01, "fc8": 0.01},
}  # fmt: skip
_PAPER_BIASES = dict.fromkeys(("conv2", "conv4", "conv5", "fc6", "fc7"), 1.0)
# The initial biases other than 0. The biases of `owt` are random.
BIASES = {
    "paper": _PAPER_BIASES,
    "code2012": _PAPER_BIASES,
    "caffe": dict.fromkeys(_PAPER_BIASES, 0.1),
    "caffenet": _PAPER_BIASES,
    "single_tower": _PAPER_BIASES,
    "paper_conv6": {**_PAPER_BIASES, "conv6": 1.0},
    "cifar10_full": {},
    "tiny": {},
}
# Bounds of relative errors. The tolerance is about ten times the rounding errors of
# float32 in these tests. The errors of models with mistakes are .03 to 2.
TOLERANCE = 2e-5
MIN_ERROR_OF_MISTAKES = 0.02


@pytest.fixture(scope="module", params=list(presets.PRESETS))
def name_and_model(request):
    """Returns (preset name, model), once for all tests because building is slow.

    The kernels are 0, except those of `owt`.
    """

    def zeros(self, shape, dtype=None):
        return tf.zeros(shape, dtype or "float32")

    with mock.patch.object(keras.initializers.RandomNormal, "__call__", zeros):
        return request.param, build_full_model(request.param)


def build_full_model(name):
    """Returns the model of a preset with its usual number of classes."""
    return alexnet.AlexNet(name, CLASSES.get(name, 1000))


def weighted_layers(model):
    return [layer for layer in model.layers if layer.weights]


def test_every_preset_has_pinned_values():
    """The parameters, multiplications, shapes and initialization are pinned."""
    names = set(presets.PRESETS)
    for table in (PARAMETER_COUNTS, MULTIPLICATIONS, SHAPES, DEVIATIONS):
        assert set(table) == names
    assert set(BIASES) == names - {"owt"}


def test_parameter_counts_equal_the_pinned_counts(name_and_model):
    """The totals are pinned for all presets, and the counts by layer for some."""
    name, model = name_and_model
    counts = {
        layer.name: layer.count_params() for layer in weighted_layers(model)
    }
    assert model.count_params() == sum(counts.values()) == PARAMETER_COUNTS[name]
    if name in PARAMETER_COUNTS_BY_LAYER:
        assert counts == PARAMETER_COUNTS_BY_LAYER[name]


def test_layers_have_the_pinned_names_and_shapes(name_and_model):
    """All layers have the pinned names, order and output shapes."""
    name, model = name_and_model
    shapes = [
        f"{layer.name} {'x'.join(map(str, layer.output.shape[1:]))}"
        for layer in model.layers
    ]
    words = SHAPES[name].split()
    assert shapes == [" ".join(pair) for pair in zip(words[::2], words[1::2])]
    assert all(layer.output.shape[0] is None for layer in model.layers)


def test_multiplications_equal_the_pinned_counts(name_and_model):
    """Each weight of a kernel is multiplied once for each position of the outputs."""
    name, model = name_and_model
    count = sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in weighted_layers(model)
    )
    assert count == MULTIPLICATIONS[name]


@pytest.mark.parametrize("name_and_model", ["paper"], indirect=True)
def test_neurons_equal_the_caption_of_fig_2_except_conv1(name_and_model):
    """conv1 has 290,400 neurons, but the caption states 253,440."""
    _, model = name_and_model
    counts = alexnet.neurons(model)
    assert counts == {
        "input": 150_528,
        "conv1": 290_400,
        "conv2": 186_624,
        "conv3": 64_896,
        "conv4": 64_896,
        "conv5": 43_264,
        "fc6": 4096,
        "fc7": 4096,
        "fc8": 1000,
    }
    assert sum(counts.values()) - counts["input"] == 659_272


@pytest.mark.parametrize("name", presets.PRESETS)
def test_kernels_have_the_initial_distribution_of_the_preset(name):
    """Each kernel has its preset's mean, standard deviation and distribution.

    With fewer hidden units, fewer random numbers are drawn.
    """
    layers = tuple(
        dataclasses.replace(layer, units=64)
        if isinstance(layer, presets.Dense) and layer.units
        else layer
        for layer in presets.get(name).layers
    )
    keras.utils.set_random_seed(1)
    preset = dataclasses.replace(presets.get(name), layers=layers)
    model = alexnet.AlexNet(preset, CLASSES.get(name, 1000))
    assert {layer.name for layer in weighted_layers(model)} == set(DEVIATIONS[name])
    for layer in weighted_layers(model):
        kernel = layer.kernel.numpy()
        deviation = DEVIATIONS[name][layer.name]
        fan_in = math.prod(kernel.shape[:-1])
        if deviation == "torch":
            assert_uniform(kernel, 1 / math.sqrt(fan_in))
        elif deviation == "he":
            assert_gaussian(kernel, math.sqrt(2 / fan_in))
        else:
            assert_gaussian(kernel, deviation)


def test_biases_have_the_initial_values_of_the_preset(name_and_model):
    """The biases are 1, .1 or 0, and random in `owt`."""
    name, model = name_and_model
    for layer in weighted_layers(model):
        bias = layer.bias.numpy()
        if name == "owt":
            fan_in = math.prod(layer.kernel.shape[:-1])
            assert_uniform(bias, 1 / math.sqrt(fan_in))
        else:
            expected = np.float32(BIASES[name].get(layer.name, 0.0))
            assert (bias == expected).all(), layer.name


def assert_gaussian(values, deviation):
    """Checks that the moments of a Gaussian are within 5 standard errors."""
    count = values.size
    assert abs(values.std() / deviation - 1) < 5 / math.sqrt(2 * count)
    assert abs(values.mean()) < 5 * deviation / math.sqrt(count)
    # A Gaussian that is truncated at 2 deviations fails both of these assertions.
    scaled = values.ravel()[: 10**6] / np.float32(deviation)
    assert abs((scaled**4).mean() - 3) < 5 * math.sqrt(96 / scaled.size)
    assert np.abs(scaled).max() > 2.5


def assert_uniform(values, limit):
    """Checks the limit, and that the moments are within 5 standard errors."""
    count = values.size
    assert np.abs(values).max() <= np.float32(limit)
    assert abs(values.std() * math.sqrt(3) / limit - 1) < 5 * math.sqrt(0.2 / count)
    assert abs(values.mean()) < 5 * limit / math.sqrt(3 * count)


def tiny(**arguments):
    """Returns the model of `tiny` for 10 classes.

    Args:
        **arguments: arguments of `AlexNet`, and `seed`, the random seed of the
            initialization.
    """
    keras.utils.set_random_seed(arguments.pop("seed", 1))
    return alexnet.AlexNet("tiny", **{"classes": 10, **arguments})


def noise(*shape):
    """Returns standard normal numbers, which are the same in each call."""
    return np.random.default_rng(3).standard_normal(shape, "float32")


def test_seed_determines_initialization():
    weights, same_seed, other_seed = (
        tiny(seed=seed).get_weights() for seed in (5, 5, 6)
    )
    for array, same, different in zip(weights, same_seed, other_seed, strict=True):
        np.testing.assert_array_equal(array, same)
        # The biases, which have one dimension, are not random.
        assert array.ndim == 1 or not np.isclose(array, different).all()


def test_layers_are_initialized_independently():
    """No two kernels are scaled copies of the same random numbers."""
    kernels = [layer.kernel.numpy() for layer in weighted_layers(tiny())]
    pairs = [kernel.ravel()[:2] for kernel in kernels]
    ratios = {round(float(first / second), 4) for first, second in pairs}
    assert len(ratios) == len(pairs) == 8


@pytest.mark.parametrize("family", SIDES)
def test_reference_gradients_predict_changes_of_the_loss(family):
    """The slope of the loss in a random direction equals a difference quotient."""
    images, labels, weights, _, gradients = reference_outputs(family)
    rng = np.random.default_rng(11)
    directions = {
        name: [array.std() * rng.standard_normal(array.shape) for array in arrays]
        for name, arrays in weights.items()
    }

    def loss(step):
        shifted = {
            name: [
                array + step * direction
                for array, direction in zip(arrays, directions[name])
            ]
            for name, arrays in weights.items()
        }
        logits, _ = reference.forward(family, shifted, images)
        return reference.cross_entropy(logits, labels)[0]

    slope = sum(
        (gradient * direction).sum()
        for name in weights
        for gradient, direction in zip(gradients[name], directions[name])
    )
    # With longer steps, the loss is not linear: inputs of ReLUs change their sign, and
    # other pixels become the maxima of pooling windows.
    assert slope == pytest.approx((loss(1e-7) - loss(-1e-7)) / 2e-7, rel=1e-6)


def ordered(preset, *names):
    """Returns `preset` with only the layers of these names, in this order."""
    by_name = {layer.name: layer for layer in preset.layers}
    layers = tuple(by_name[name] for name in names)
    return dataclasses.replace(preset, layers=layers)


def moved_before(preset, name, next_name):
    """Returns `preset` with the layer `name` moved before the layer `next_name`."""
    names = [layer.name for layer in preset.layers if layer.name != name]
    names.insert(names.index(next_name), name)
    return ordered(preset, *names)


def without(preset, name):
    """Returns `preset` without the layer `name`."""
    names = [layer.name for layer in preset.layers if layer.name != name]
    return ordered(preset, *names)


def reference_errors(preset, family, kernel_changes=None):
    """Returns the error of the logits and the largest error of the gradients.

    Each error is relative to the largest value that the reference computes.

    Args:
        preset: the `presets.Preset` of the model that is compared.
        family: the name of the preset in `reference`.
        kernel_changes: {layer name: function}. The functions change the kernels that
            are assigned to the model, but not those of the reference.
    """
    images, labels, weights, logits, gradients = reference_outputs(family)
    model = alexnet.AlexNet(
        preset, 7, classifier_activation=None, input_shape=images.shape[1:]
    )
    for name, (kernel, bias) in weights.items():
        if kernel_changes and name in kernel_changes:
            kernel = kernel_changes[name](kernel)
        model.get_layer(name).set_weights([kernel, bias])
    with tf.GradientTape() as tape:
        model_logits = model(images.astype("float32"), training=False)
        loss = cross_entropy(labels, model_logits)
    variables = {
        name: [variable.value for variable in model.get_layer(name).weights]
        for name in weights
    }
    model_gradients = tape.gradient(loss, variables)
    return relative_error(model_logits, logits), max(
        relative_error(actual, expected)
        for name in weights
        for actual, expected in zip(model_gradients[name], gradients[name])
    )


def cross_entropy(labels, logits):
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    )


@pytest.mark.parametrize("family", SIDES)
def test_model_equals_reference(family):
    """The logits are equal, and so are the gradients of all kernels and biases."""
    assert max(reference_errors(narrow_preset(family), family)) < TOLERANCE


# {name: (family, function that makes the mistake in a preset)}. None of these mistakes
# changes the shape of a kernel.
MISTAKES = {
    "alpha not divided by 5, caffe": (
        "caffe",
        lambda p: with_layer_values(p, presets.ResponseNorm, alpha=1e-4),
    ),
    "alpha not divided by 5, code2012": (
        "code2012",
        lambda p: with_layer_values(p, presets.ResponseNorm, alpha=1e-4),
    ),
    "alpha divided by 5, paper": (
        "paper",
        lambda p: with_layer_values(p, presets.ResponseNorm, alpha=2e-5),
    ),
    "alpha not divided by 9, cifar10_full": (
        "cifar10_full",
        lambda p: with_layer_values(p, presets.SpatialNorm, alpha=5e-5),
    ),
    "k of the paper, caffe": (
        "caffe",
        lambda p: with_layer_values(p, presets.ResponseNorm, bias=2.0),
    ),
    "k of Caffe, paper": (
        "paper",
        lambda p: with_layer_values(p, presets.ResponseNorm, bias=1.0),
    ),
    "n as the radius, paper": (
        "paper",
        lambda p: with_layer_values(p, presets.ResponseNorm, depth_radius=5),
    ),
    "norm across towers, code2012": (
        "code2012",
        lambda p: with_layer_values(p, presets.ResponseNorm, groups=1),
    ),
    "norm per tower, paper": (
        "paper",
        lambda p: with_layer_values(p, presets.ResponseNorm, groups=2),
    ),
    "pool before norm, caffe": (
        "caffe",
        lambda p: moved_before(
            moved_before(p, "pool1", "norm1"), "pool2", "norm2"
        ),
    ),
    "norm before pool, caffenet": (
        "caffenet",
        lambda p: moved_before(
            moved_before(p, "norm1", "pool1"), "norm2", "pool2"
        ),
    ),
    "ReLU before norm1, code2012": (
        "code2012",
        lambda p: moved_before(p, "relu1", "norm1"),
    ),
    "no spatial norm, code2012": (
        "code2012",
        lambda p: without(p, "cnorm2"),
    ),
    "conv1 padded on all sides, paper": (
        "paper",
        lambda p: with_layer_values(p, "conv1", padding=((1, 2), (1, 2))),
    ),
    "conv1 SAME, paper": (
        "paper",
        lambda p: with_layer_values(p, "conv1", padding="same"),
    ),
    "conv1 SAME, caffe": (
        "caffe",
        lambda p: with_layer_values(p, "conv1", padding="same"),
    ),
    "conv1 overhanging, owt": (
        "owt",
        lambda p: with_layer_values(p, "conv1", padding=((0, 3), (0, 3))),
    ),
    "max for average, cifar10_full": (
        "cifar10_full",
        lambda p: with_layer_values(p, presets.Pool, kind="max"),
    ),
    "no ReLU after fc7, paper": (
        "paper",
        lambda p: without(p, "relu7"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_comparison_detects_mistakes(mistake):
    """Both the logits and the gradients differ clearly from the reference."""
    family, make_mistake = MISTAKES[mistake]
    preset = make_mistake(narrow_preset(family))
    assert min(reference_errors(preset, family)) > MIN_ERROR_OF_MISTAKES


@pytest.mark.parametrize(
    "layer, change",
    [
        ("conv1", lambda kernel: kernel[:, :, ::-1]),
        (
            "fc6",
            lambda kernel: kernel.reshape(2, 2, 8, 20)
            .transpose(2, 0, 1, 3)
            .reshape(32, 20),
        ),
        ("conv2", lambda kernel: np.roll(kernel, 12, axis=3)),
    ],
    ids=["colors reversed", "flattened as C, H, W", "towers swapped"],
)
def test_comparison_detects_wrong_layouts(layer, change):
    """The kernels have the right shape, but their values are in the wrong order."""
    errors = reference_errors(narrow_preset("caffe"), "caffe", {layer: change})
    assert min(errors) > MIN_ERROR_OF_MISTAKES


def test_relu5_commutes_with_pool5():
    """`code2012` gives the same outputs with relu5 before pool5."""
    preset = moved_before(narrow_preset("code2012"), "relu5", "pool5")
    assert max(reference_errors(preset, "code2012")) < TOLERANCE


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_variable_gets_a_gradient(name):
    """In training with dropout, the gradients are finite and not all zero."""
    keras.utils.set_random_seed(1)
    side = 32 if name == "cifar10_full" else 96
    # With a standard deviation of .01, the gradients of narrow models are almost 0.
    preset = presets.override(narrow_preset(name), init="he")
    model = alexnet.AlexNet(
        preset, 7, classifier_activation=None, input_shape=(side, side, 3)
    )
    with tf.GradientTape() as tape:
        logits = model(noise(8, side, side, 3), training=True)
        loss = cross_entropy(tf.range(8) % 7, logits)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert len(gradients) == 2 * len(DEVIATIONS[name])
    for variable, gradient in zip(model.trainable_variables, gradients):
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


def test_dropout_drops_half_of_the_units_in_training_only():
    """In training, dropout doubles the units that it keeps."""
    preset = presets.override(presets.get("tiny"), dropout=0.5)
    model, images = alexnet.AlexNet(preset, 10), noise(64, 64, 64, 3)
    hidden = keras.Model(
        model.input, [model.get_layer(name).output for name in ("relu6", "drop6")]
    )
    before, after = map(np.asarray, hidden(images, training=True))
    kept = after[before > 0] > 0
    assert abs(kept.mean() - 0.5) < 5 * math.sqrt(0.25 / kept.size)
    assert kept.size > 1000
    np.testing.assert_allclose(after[after > 0], 2 * before[after > 0])
    before, after = map(np.asarray, hidden(images, training=False))
    np.testing.assert_array_equal(before, after)


def test_dropout_states_change_in_training_only():
    """Each dropout layer has a state, which only training passes change."""
    model, images = tiny(), noise(2, 64, 64, 3)
    states = alexnet.dropout_states(model)
    assert len(states) == 2
    initial = [state.numpy() for state in states]
    model(images, training=False)
    for state, value in zip(states, initial):
        np.testing.assert_array_equal(state.numpy(), value)
    model(images, training=True)
    for state, value in zip(states, initial):
        assert (state.numpy() != value).any()


def test_equal_dropout_states_give_equal_outputs():
    """After the states have been restored, a training pass repeats its outputs."""
    model, images = tiny(), noise(4, 64, 64, 3)
    states = alexnet.dropout_states(model)
    initial = [state.numpy() for state in states]
    first, second = (model(images, training=True).numpy() for _ in range(2))
    for state, value in zip(states, initial):
        state.assign(value)
    repeated = model(images, training=True).numpy()
    np.testing.assert_array_equal(first, repeated)
    assert not np.allclose(first, second)


def test_dropout_rate_of_zero_drops_nothing():
    """Training and prediction give equal outputs, and there are no states."""
    preset = presets.override(presets.get("tiny"), dropout=0.0)
    model = alexnet.AlexNet(preset, 10)
    images = noise(4, 64, 64, 3)
    assert alexnet.dropout_states(model) == []
    np.testing.assert_array_equal(
        model(images, training=True), model(images, training=False)
    )


def test_outputs_are_probabilities_by_default():
    """The outputs are float32, and are the softmax of the logits."""
    images = noise(4, 64, 64, 3)
    probabilities = tiny()(images).numpy()
    logits = tiny(classifier_activation=None)(images).numpy()
    assert probabilities.shape == logits.shape == (4, 10)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    assert np.ptp(logits, axis=1).min() > 0.01


@pytest.fixture
def dtype_policy(request):
    """Sets the global dtype policy, yields its name and restores the previous one."""
    previous_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(previous_policy)


@pytest.mark.parametrize(
    "dtype_policy", ["mixed_bfloat16", "mixed_float16"], indirect=True
)
def test_mixed_precision_gives_float32_outputs(dtype_policy):
    """The outputs are close to those of a float32 model."""
    images = noise(4, 64, 64, 3)
    mixed_model = tiny()
    probabilities = mixed_model(images).numpy()
    keras.config.set_dtype_policy("float32")
    expected = tiny()(images).numpy()
    compute_dtype = dtype_policy.removeprefix("mixed_")
    assert mixed_model.get_layer("conv1").compute_dtype == compute_dtype
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(probabilities, expected, atol=0.02)
    assert not np.array_equal(probabilities, expected)


@pytest.mark.parametrize("name", ["tiny", "cifar10_full", "code2012", "owt"])
def test_the_data_format_of_keras_does_not_change_the_model(
    channels_first_by_default, name
):
    preset = narrow_preset(name)
    keras.utils.set_random_seed(1)
    model = alexnet.AlexNet(preset, 7, input_shape=(96, 96, 3))
    pooled = alexnet.AlexNet(preset, include_top=False, pooling="max")
    convolutional = alexnet.to_fully_convolutional(model)
    keras.config.set_image_data_format("channels_last")
    keras.utils.set_random_seed(1)
    expected = alexnet.AlexNet(preset, 7, input_shape=(96, 96, 3))
    images = noise(2, 96, 96, 3)
    np.testing.assert_array_equal(model(images), expected(images))
    assert pooled.output.shape == (None, expected.get_layer("flatten").input.shape[-1])
    outputs = convolutional(images)[:, 0, 0]
    np.testing.assert_allclose(outputs, expected(images), atol=1e-5)


def test_the_last_activation_may_be_any_one_of_keras():
    images = noise(4, 64, 64, 3)
    logits = tiny(classifier_activation=None)(images)
    outputs = tiny(classifier_activation="sigmoid")(images)
    np.testing.assert_allclose(outputs, keras.ops.sigmoid(logits), rtol=1e-5)
    assert outputs.dtype == "float32"


def test_arguments_for_the_other_kind_of_top_are_ignored():
    assert tiny(pooling="avg").output.shape == (None, 10)
    model = tiny(include_top=False, classifier_activation="sigmoid", classes=-1)
    assert model.output.shape == (None, 1, 1, 32)


def test_an_input_of_integers_is_converted():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("uint8")
    model = tiny(input_tensor=keras.Input((64, 64, 3), dtype="uint8"))
    np.testing.assert_array_equal(model(pixels), tiny()(pixels.astype("float32")))


def test_default_features_are_those_of_the_penultimate_layer():
    images = noise(2, 64, 64, 3)
    model = tiny()
    fc7 = alexnet.features(model)
    assert fc7.name == "alexnet_tiny_fc7"
    np.testing.assert_array_equal(fc7(images), alexnet.features(model, "fc7")(images))
    assert fc7.output.shape == (None, 128)
    cifar10 = alexnet.AlexNet("cifar10_full", 10)
    assert alexnet.features(cifar10).name == "alexnet_cifar10_full_pool3"


@pytest.mark.parametrize("pooling, shape", [(None, (1, 1, 32)), ("avg", (32,))])
def test_default_features_without_top_are_those_of_the_last_layer(pooling, shape):
    model = tiny(include_top=False, pooling=pooling)
    images = noise(2, 64, 64, 3)
    outputs = alexnet.features(model)(images)
    assert outputs.shape == (2, *shape)
    np.testing.assert_array_equal(outputs, model(images))


def test_features_of_several_layers_have_their_names():
    model, images = tiny(), noise(2, 64, 64, 3)
    outputs = alexnet.features(model, ["conv1", "fc7"])(images)
    assert [*outputs] == ["conv1", "fc7"]
    for name, output in outputs.items():
        expected = alexnet.features(model, name)(images)
        np.testing.assert_array_equal(output, expected)
    with pytest.raises(ValueError, match="layers input, .*layer='fc9'"):
        alexnet.features(model, ["fc7", "fc9"])


def test_model_without_top_has_the_convolutions_only():
    """The outputs are the maps of pool5."""
    model = alexnet.AlexNet("paper", include_top=False)
    assert model.output.shape == (None, 6, 6, 256)
    assert model.layers[-1].name == "pool5"
    assert model.count_params() == sum(
        count
        for name, count in PARAMETER_COUNTS_BY_LAYER["paper"].items()
        if name.startswith("conv")
    )


@pytest.mark.parametrize(
    "name, last, shape",
    [
        ("code2012", "relu5", (None, 6, 6, 256)),
        ("owt", "pool5", (None, 6, 6, 256)),
        ("paper_conv6", "relu_conv6", (None, 6, 6, 256)),
        ("cifar10_full", "pool3", (None, 4, 4, 64)),
    ],
)
def test_model_without_top_ends_before_dropout_and_dense_layers(name, last, shape):
    """The outputs are those of the last layer before the top."""
    model = alexnet.AlexNet(name, include_top=False)
    assert (model.layers[-1].name, model.output.shape) == (last, shape)


def test_model_without_top_takes_images_of_any_size():
    """The maps equal those of the model with a top."""
    with_top = tiny()
    model = tiny(include_top=False, input_shape=(None, None, 3))
    assert model.output.shape == (None, None, None, 32)
    assert model(noise(2, 224, 96, 3)).shape == (2, 6, 2, 32)
    images = noise(2, 64, 64, 3)
    pool5 = keras.Model(with_top.input, with_top.get_layer("pool5").output)
    np.testing.assert_array_equal(model(images), pool5(images))


@pytest.mark.parametrize(
    "size, positions", [((64, 64), 1), ((128, 128), 9), ((64, 128), 3)]
)
def test_fc6_adapts_to_the_input_shape(size, positions):
    """Images may be square or not; pool5 has 32 maps of `positions` pixels."""
    model = tiny(input_shape=(*size, 3))
    assert model.get_layer("fc6").kernel.shape == (positions * 32, 128)
    assert model(noise(2, *size, 3)).shape == (2, 10)


def test_model_has_the_name_of_its_preset_by_default():
    """The argument `name` replaces the default."""
    assert tiny().name == "alexnet_tiny"
    assert tiny(name="mine").name == "mine"


def test_package_exports_the_functions_of_its_modules():
    """Each name in `__all__` is an object of a module of the package."""
    assert alexnet_tf.AlexNet is alexnet.AlexNet
    assert alexnet_tf.PRESETS is presets.PRESETS
    assert alexnet_tf.features is alexnet.features
    for name in {*alexnet_tf.__all__} - {"PRESETS", "WEIGHTS"}:
        function = getattr(alexnet_tf, name)
        assert function.__module__.startswith("alexnet_tf."), name


def test_loads_weights_from_a_path(tmp_path):
    """The outputs are those of the model that wrote the weights file."""
    path, images = str(tmp_path / "tiny.weights.h5"), noise(4, 64, 64, 3)
    saved = tiny()
    saved.save_weights(path)
    restored = tiny(seed=2, weights=path)
    np.testing.assert_array_equal(saved(images), restored(images))
    assert not np.allclose(saved(images), tiny(seed=2)(images))


def test_saved_model_loads_in_safe_mode(tmp_path):
    """The argument custom_objects of Keras is not needed."""
    path, images = str(tmp_path / "model.keras"), noise(2, 96, 96, 3)
    keras.utils.set_random_seed(1)
    preset = presets.override(narrow_preset("code2012"), init="he")
    model = alexnet.AlexNet(preset, 7, input_shape=(96, 96, 3))
    model.save(path)
    restored = keras.saving.load_model(path, safe_mode=True)
    np.testing.assert_array_equal(model(images), restored(images))
    for layer, restored_layer in zip(model.layers, restored.layers, strict=True):
        assert layer.get_config() == restored_layer.get_config()


def test_saved_models_of_owt_need_no_registered_layers():
    model = alexnet.AlexNet(narrow_preset("owt"), 7, input_shape=(96, 96, 3))
    assert sum(type(layer) is keras.layers.Conv2D for layer in model.layers) == 5
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(preset="alexnet"), "paper.*tiny.*preset='alexnet'"),
        (dict(preset=True), "preset=True.*pass include_top=True"),
        (dict(preset=FIXED, classes=3), "units in fc8.*units=7, classes=3"),
        (dict(classes=0), "classes=0"),
        (dict(classes=-3), "classes=-3"),
        (dict(classes=10.0), "classes=10.0"),
        (dict(input_shape=(64, 64, 1)), r"3 channels.*\(64, 64, 1\)"),
        (dict(input_shape=(64, 64)), r"3 channels.*\(64, 64\)"),
        (dict(input_shape=5), r"input shape \(height, width, 3\).*input_shape=5"),
        (dict(input_shape=(64.0, 64, 3)), r"positive integers.*\(64.0, 64, 3\)"),
        (dict(input_shape=(0, 64, 3)), r"positive integers.*\(0, 64, 3\)"),
        (dict(preset=10), "name of a preset.*preset=10. .*pass classes=10"),
        (dict(pooling="mean", include_top=False), "pooling='mean'"),
        (dict(input_tensor=np.zeros((1, 64, 64, 3))), "Keras tensor.*ndarray"),
        (
            dict(input_tensor=keras.Input((64, 64, 3)), input_shape=(96, 96, 3)),
            r"\(64, 64, 3\).*input_shape=\(96, 96, 3\)",
        ),
        (dict(input_shape=(None, None, 3)), r"\(None, None, 3\).*include_top=False"),
        (dict(input_shape=(64, None, 3)), r"\(64, None, 3\).*include_top=False"),
        (
            dict(classifier_activation="sigmoid", weights="tiny_textures"),
            "classifier_activation='sigmoid', weights='tiny_textures'.*load_weights",
        ),
        (dict(classifier_activation="sigmod"), "classifier_activation='sigmod'"),
        (dict(classifier_activation=3), "classifier_activation=3"),
    ],
)
def test_rejects_arguments_out_of_range(arguments, message):
    """The message states what was expected and what was received."""
    with pytest.raises(ValueError, match=f"Expected.*{message}"):
        alexnet.AlexNet(**{"preset": "tiny", **arguments})


def test_rejects_gray_images_without_top():
    with pytest.raises(ValueError, match=r"\(None, None, 1\)"):
        alexnet.AlexNet("tiny", include_top=False, input_shape=(None, None, 1))


@pytest.mark.parametrize("name", ["paper", "owt", "tiny"])
def test_rejects_images_too_small_for_pooling(name):
    with pytest.raises(ValueError, match=r"pool\d .*input_shape=\(30, 30, 3\)"):
        alexnet.AlexNet(name, input_shape=(30, 30, 3))


@pytest.mark.parametrize("classes", [True, 0, -1, 2.0, "ten"])
def test_rejects_classes_that_are_not_a_positive_integer(classes):
    """Without the top, the argument is ignored and not checked."""
    with pytest.raises(ValueError, match="number of classes"):
        alexnet.AlexNet("tiny", classes=classes)
    alexnet.AlexNet("tiny", classes=classes, include_top=False)


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_model_without_top_can_pool_its_maps(pooling):
    images = noise(2, 96, 64, 3)
    maps = tiny(include_top=False, input_shape=(None, None, 3))(images).numpy()
    model = tiny(include_top=False, input_shape=(None, None, 3), pooling=pooling)
    assert model.output_shape == (None, 32)
    expected = getattr(maps, {"avg": "mean", "max": "max"}[pooling])(axis=(1, 2))
    np.testing.assert_allclose(model(images), expected, rtol=1e-5)


def test_model_can_begin_with_the_output_of_other_layers():
    """The model begins with the input of these layers."""
    images = noise(2, 64, 64, 3)
    inputs = keras.Input((64, 64, 3), name="halved")
    model = tiny(input_tensor=keras.layers.Rescaling(2.0)(inputs))
    assert [layer.name for layer in model.layers][::2][:2] == ["halved", "pad_conv1"]
    np.testing.assert_allclose(model(images / 2), tiny()(images), rtol=1e-5)


def test_layers_before_the_input_tensor_keep_their_weights(tmp_path):
    saved = tiny(classes=10)
    path = tmp_path / "w.npz"
    alexnet_tf.save_weights(saved, path)
    images = noise(8, 64, 64, 3)
    normalization = keras.layers.Normalization(name="statistics")
    normalization.adapt(images + 3)
    projection = keras.layers.Conv2D(3, 1, name="projection")
    inputs = keras.Input((64, 64, 3))
    before = keras.Sequential([inputs, projection], name="before")
    tensor = before(normalization(inputs))
    expected = [array.copy() for array in before.get_weights()]
    model = tiny(classes=10, weights=path, input_tensor=tensor)
    np.testing.assert_allclose(
        normalization.mean.numpy().ravel(), images.mean((0, 1, 2)) + 3, rtol=1e-3
    )
    for array, expected_array in zip(before.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(array, expected_array)
    for layer in saved.layers:
        for array, saved_array in zip(
            model.get_layer(layer.name).get_weights() if layer.weights else [],
            layer.get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(array, saved_array)
    bare = tiny(weights=path, input_tensor=tensor, include_top=False)
    np.testing.assert_array_equal(
        bare.get_layer("conv2").kernel, saved.get_layer("conv2").kernel
    )


def test_input_shape_may_be_that_of_a_tensor():
    images = tf.zeros((2, 96, 96, 3))
    assert tiny(input_shape=images.shape[1:]).input_shape == (None, 96, 96, 3)


def batch_normalized(name="tiny"):
    """Returns a narrow preset with batch normalization before each ReLU."""
    layers = []
    for layer in narrow_preset(name).layers:
        if isinstance(layer, presets.ReLU):
            layers.append(presets.BatchNorm(f"bn_{layer.name}", 0.5, 1e-5))
        layers.append(layer)
    return presets.Preset("own", tuple(layers))


def batch_normalized_model():
    """Returns a model whose batch normalizations have random parameters."""
    keras.utils.set_random_seed(1)
    model = alexnet.AlexNet(batch_normalized(), 7, input_shape=(96, 96, 3))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1, w.shape) for w in layer.weights])
    return model


def test_batch_normalization_of_a_preset_is_that_of_keras():
    model = batch_normalized_model()
    layer = model.get_layer("bn_relu1")
    assert (layer.momentum, layer.epsilon) == (0.5, 1e-5)
    maps = model.get_layer("conv1").output
    images = noise(2, 96, 96, 3)
    maps = keras.Model(model.input, maps)(images).numpy()
    gamma, beta, mean, variance = layer.get_weights()
    expected = gamma * (maps - mean) / np.sqrt(variance + 1e-5) + beta
    actual = alexnet.features(model, "bn_relu1")(images)
    np.testing.assert_allclose(actual, np.maximum(expected, 0), rtol=1e-3, atol=1e-4)


def test_models_can_be_derived_from_one_with_batch_normalization():
    """Batch normalization lies between a layer and its ReLU."""
    model = batch_normalized_model()
    names = [f"relu{number}" for number in range(1, 8)]
    assert alexnet.activation_names(model) == names
    assert alexnet.penultimate_layer(model) == "bn_relu7"
    assert "bn_relu1" not in alexnet.neurons(model)
    images = noise(2, 96, 96, 3)
    convolutional = alexnet.to_fully_convolutional(model)
    expected = model(images)
    np.testing.assert_allclose(
        np.reshape(convolutional(images), expected.shape), expected, rtol=1e-4
    )


def test_rejects_layers_of_unknown_classes():
    """Without an error, the layers before the unknown one would be lost."""
    layers = (*narrow_preset("tiny").layers[:3], "norm", presets.Dense("fc2", None))
    preset = presets.Preset("own", layers)
    with pytest.raises(ValueError, match="one of Conv, ReLU.*Dense.*Received: 'norm'"):
        alexnet.AlexNet(preset, input_shape=(96, 96, 3))


def test_classes_may_be_a_numpy_integer():
    assert alexnet.AlexNet("tiny", classes=np.int64(7)).output_shape == (None, 7)


def test_the_first_convolution_may_have_any_name():
    layers = (
        presets.Pool("shrink"),
        presets.Conv("stem", 4, 3),
        presets.Conv("conv1", 6, 3, groups=2),
        presets.Dense("fc", None),
    )
    preset = presets.check(presets.Preset("own", layers))
    model = alexnet.AlexNet(preset, 3, input_shape=(16, 16, 3))
    assert alexnet.first_convolution(model).name == "stem"
    kernels = alexnet.rgb_kernels(model, preset)
    np.testing.assert_array_equal(kernels, model.get_layer("stem").kernel)
    assert alexnet.kernel_towers(model) == 2


def test_a_network_without_convolutions_has_no_kernels():
    model = alexnet.AlexNet(dense_preset(), 3)
    assert alexnet.first_convolution(model) is None
    assert alexnet.kernel_towers(model) == 1
    with pytest.raises(ValueError, match="with a convolution.*Received: dense, which"):
        alexnet.rgb_kernels(model, dense_preset())


@pytest.mark.parametrize("name, red_channel", [("paper", 0), ("caffe", 2)])
def test_rgb_kernels_are_in_rgb_order(name, red_channel):
    """The model of `paper` takes RGB, and that of `caffe` takes BGR."""
    preset = narrow_preset(name)
    model = alexnet.AlexNet(preset, 3, input_shape=(99, 99, 3))
    kernels = alexnet.rgb_kernels(model, preset)
    stored = model.get_layer("conv1").kernel.numpy()
    np.testing.assert_array_equal(kernels[:, :, 0], stored[:, :, red_channel])
    np.testing.assert_array_equal(kernels[:, :, 1], stored[:, :, 1])
