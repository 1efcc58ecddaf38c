"""Normalization layers and grouped convolutions are compared with simpler code."""

import contextlib
import functools
import importlib.util
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.models.layers import GroupedConv2D
from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf.models.layers import portable_convolutions
from alexnet_tf.models.layers import SpatialResponseNormalization
from helpers.networks import relative_error
from helpers import reference

LRN = LocalResponseNormalization
Spatial = SpatialResponseNormalization
Grouped = GroupedConv2D

MODES = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": lambda function: tf.function(function, jit_compile=True),
}
modes = pytest.mark.parametrize("mode", MODES)

# Most constants differ from the defaults, so that a layer that ignores one fails.
MAP_NORMS = [
    dict(),
    dict(bias=1.0, alpha=2e-5),
    dict(groups=2),
    dict(groups=3, depth_radius=1),
    dict(depth_radius=4, bias=1.5, alpha=3e-4, beta=0.6),
    dict(depth_radius=20),
]
SPATIAL_NORMS = [
    dict(),
    dict(size=3),
    dict(size=1),
    dict(size=5, bias=2.0, alpha=3e-4, beta=0.6),
    dict(size=9),
]


def compiled_with_defaults(constants):
    """Returns parameters (constants, mode) of a test.

    Compilation takes a second. Therefore constants other than the defaults are compiled
    in large tests only.
    """
    return [
        pytest.param(
            values, mode, id=f"{values}-{mode}",
            marks=pytest.mark.large if values and mode == "xla" else (),
        )
        for values in constants
        for mode in MODES
    ]


def random_array(*shape, deviation=100.0, seed=0):
    """Returns float32 Gaussian numbers, which are the same in each call.

    The default deviation is that of activations whose sums of squares matter in a
    normalization.
    """
    rng = np.random.default_rng(seed)
    return rng.normal(0, deviation, shape).astype("float32")


def map_norm(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75, groups=1):
    """Computes the formula of the paper's section 3.3, one map at a time."""
    x = x.astype("float64")
    num_maps = x.shape[3]
    tower_size = num_maps // groups
    result = np.empty_like(x)
    for index in range(num_maps):
        first = index // tower_size * tower_size
        tower = range(first, first + tower_size)
        neighbors = [j for j in tower if abs(index - j) <= depth_radius]
        total = sum(x[..., j] ** 2 for j in neighbors)
        result[..., index] = x[..., index] / (bias + alpha * total) ** beta
    return result


def spatial_norm(x, size=5, bias=1.0, alpha=4e-5, beta=0.75):
    """Computes the formula of `map_norm` within windows of pixels, one at a time."""
    x = x.astype("float64")
    result, radius = np.empty_like(x), size // 2
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            rows = slice(max(row - radius, 0), row + radius + 1)
            columns = slice(max(column - radius, 0), column + radius + 1)
            total = (x[:, rows, columns] ** 2).sum(axis=(1, 2))
            divisor = (bias + alpha * total) ** beta
            result[:, row, column] = x[:, row, column] / divisor
    return result


def values_and_gradients(layer, x, weights, mode="eager"):
    """Returns layer(x) and the gradients of sum(weights * layer(x)).

    The gradients are a list: the first is with respect to x, and the others are with
    respect to the variables of the layer.

    Args:
        layer: a Keras layer.
        x: the input, an array.
        weights: the factors of the outputs in the sum.
        mode: a key of `MODES`.
    """

    @MODES[mode]
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.cast(y, "float32") * weights)
        return y, tape.gradient(
            loss, [x, *(variable.value for variable in layer.weights)]
        )

    y, gradients = run(tf.constant(x))
    return y.numpy(), [gradient.numpy() for gradient in gradients]


@modes
@pytest.mark.parametrize("constants", MAP_NORMS, ids=str)
def test_map_norm_equals_the_formula(constants, mode):
    """The first and last maps of each tower, with fewer neighbors, are included."""
    x = random_array(2, 3, 4, 12)
    y, _ = values_and_gradients(LRN(**constants), x, 1.0, mode)
    np.testing.assert_allclose(y, map_norm(x, **constants), rtol=1e-5)
    # The layer does not just divide by a constant.
    assert not np.allclose(y, x * y.std() / x.std(), rtol=0.05)


@modes
@pytest.mark.parametrize("constants", SPATIAL_NORMS, ids=str)
def test_spatial_norm_equals_the_formula(constants, mode):
    """The pixels at the edges, with fewer neighbors, are included."""
    x = random_array(2, 6, 7, 3)
    y, _ = values_and_gradients(Spatial(**constants), x, 1.0, mode)
    np.testing.assert_allclose(y, spatial_norm(x, **constants), rtol=1e-5)


@modes
@pytest.mark.parametrize("constants", MAP_NORMS, ids=str)
def test_map_norm_gradient_equals_the_reference(constants, mode):
    """The gradient includes the effect of each map on its neighbors."""
    x = random_array(2, 3, 4, 12)
    weights = random_array(2, 3, 4, 12, deviation=1, seed=1)
    _, [gradient] = values_and_gradients(LRN(**constants), x, weights, mode)
    _, backward = reference.map_norm(
        x.astype("float64"),
        n=2 * constants.get("depth_radius", 2) + 1,
        k=constants.get("bias", 2.0),
        alpha=constants.get("alpha", 1e-4),
        beta=constants.get("beta", 0.75),
        towers=constants.get("groups", 1),
    )
    [expected] = backward(weights)
    assert_close(gradient, expected)


@modes
@pytest.mark.parametrize("constants", SPATIAL_NORMS, ids=str)
def test_spatial_norm_gradient_equals_the_reference(constants, mode):
    """The gradient includes the effect of each pixel on its neighbors."""
    x = random_array(2, 6, 7, 3)
    weights = random_array(2, 6, 7, 3, deviation=1, seed=1)
    _, [gradient] = values_and_gradients(Spatial(**constants), x, weights, mode)
    _, backward = reference.spatial_norm(
        x.astype("float64"),
        n=constants.get("size", 5),
        k=constants.get("bias", 1.0),
        alpha=constants.get("alpha", 4e-5),
        beta=constants.get("beta", 0.75),
    )
    [expected] = backward(weights)
    assert_close(gradient, expected)


def assert_close(actual, expected, tolerance=1e-5):
    """Checks that all errors are less than a part of the largest expected value.

    Args:
        actual: an array.
        expected: an array of the same shape.
        tolerance: the allowed error, relative to the largest expected value.
    """
    assert relative_error(actual, expected) < tolerance


def map_norm_float64(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75, groups=1):
    """Computes the formula in float64 with operations that have all derivatives."""
    towers = tf.split(tf.cast(x, tf.float64), groups, axis=-1)
    results = []
    for tower in towers:
        size = tower.shape[-1]
        padded = tf.pad(tower**2, 3 * [[0, 0]] + [[depth_radius] * 2])
        sums = sum(padded[..., i : i + size] for i in range(2 * depth_radius + 1))
        results.append(tower * (bias + alpha * sums) ** -beta)
    return tf.concat(results, axis=-1)


def second_derivative(function, x, weights, direction):
    """Returns the gradient of the product of a gradient with a direction."""
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = function(x)
            loss = tf.reduce_sum(y * tf.cast(weights, y.dtype))
        gradient = inner.gradient(loss, x)
        product = tf.reduce_sum(gradient * tf.cast(direction, gradient.dtype))
    return outer.gradient(product, x)


@pytest.mark.parametrize("constants, mode", compiled_with_defaults(MAP_NORMS))
def test_second_derivatives_equal_those_of_the_formula(constants, mode):
    x, weights, direction = (random_array(2, 3, 4, 12, seed=i) for i in range(3))
    layer, x = LRN(**constants), tf.constant(x)
    actual = MODES[mode](
        lambda x: second_derivative(layer, x, weights, direction)
    )(x)
    expected = second_derivative(
        functools.partial(map_norm_float64, **constants),
        tf.cast(x, tf.float64), weights, direction,
    )
    assert_close(actual.numpy(), expected.numpy())


def test_third_derivatives_equal_those_of_the_formula():
    x, weights, direction = (random_array(1, 2, 2, 6, seed=i) for i in range(3))
    results = []
    for function, dtype in ((LRN(), tf.float32), (map_norm_float64, tf.float64)):
        x = tf.cast(x, dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            second = second_derivative(function, x, weights, direction)
        results.append(tape.gradient(second, x).numpy())
    assert_close(*results)


def test_forward_mode_derivatives_equal_those_of_the_formula():
    """They are computed after a gradient, which must not change them."""
    x, direction = random_array(2, 3, 4, 12), random_array(2, 3, 4, 12, seed=1)
    layer = LRN()
    values_and_gradients(layer, x, 1.0)
    results = []
    for function, dtype in ((layer, tf.float32), (map_norm_float64, tf.float64)):
        inputs, tangents = tf.cast(x, dtype), tf.cast(direction, dtype)
        with tf.autodiff.ForwardAccumulator(inputs, tangents) as accumulator:
            outputs = function(inputs)
        results.append(accumulator.jvp(outputs).numpy())
    assert_close(*results)


def operation_names(function, *inputs):
    """Returns the names of the operations in the traced graph of a function."""
    graph = tf.function(function).get_concrete_function(*inputs).graph
    return {operation.type for operation in graph.get_operations()}


def test_normalization_uses_only_the_lrn_operation_of_tensorflow():
    """Exporters and runtimes support no other implementation."""
    x = tf.zeros([1, 2, 2, 6])
    auxiliary = {"Placeholder", "Identity", "NoOp", "Const"}
    assert operation_names(LRN(), x) - auxiliary == {"LRN"}
    split = {"Split", "ConcatV2", "LRN"}
    assert operation_names(LRN(groups=2), x) - auxiliary == split


def test_normalization_is_compiled_only_in_its_scope():
    x = tf.zeros([1, 2, 2, 6])
    layer = LRN()

    def scoped(x):
        with compiled_normalization():
            with compiled_normalization():
                pass
            return layer(x)

    assert "LRN" not in operation_names(scoped, x)
    assert "LRN" in operation_names(layer, x)
    with contextlib.suppress(KeyError), compiled_normalization():
        raise KeyError
    assert "LRN" in operation_names(layer, x)


@pytest.fixture
def pretended_gpu(monkeypatch):
    """Makes TensorFlow report a logical GPU, which nothing is computed on."""
    list_devices = tf.config.list_logical_devices
    gpu = tf.config.LogicalDevice("/device:GPU:0", "GPU")
    monkeypatch.setattr(
        tf.config, "list_logical_devices",
        lambda kind=None: [gpu] if kind == "GPU" else list_devices(kind),
    )  # fmt: skip


def test_normalization_is_not_compiled_on_a_machine_with_a_gpu(pretended_gpu):
    """XLA needs libdevice for a GPU, which many installations do not find."""

    def scoped(x):
        with compiled_normalization():
            return LRN()(x)

    assert "LRN" in operation_names(scoped, tf.zeros([1, 2, 2, 6]))


def test_a_gpu_runs_native_grouped_convolutions_that_are_not_saved(pretended_gpu):
    """TensorFlow cannot run them on a CPU without oneDNN."""
    layer, x = grouped_layer(2, "auto"), tf.zeros([1, 5, 5, 12])

    def portable(x):
        with portable_convolutions():
            return layer(x)

    assert "ConcatV2" not in operation_names(layer, x)
    assert "ConcatV2" in operation_names(portable, x)


def test_gradients_can_be_computed_under_enable_check_numerics():
    """An earlier version of the layer, which was compiled with XLA, failed."""
    tf.debugging.enable_check_numerics()
    try:
        x = random_array(1, 2, 2, 6)
        _, [gradient] = values_and_gradients(LRN(), x, 1.0, "graph")
        assert np.isfinite(gradient).all()
    finally:
        tf.debugging.disable_check_numerics()


def test_map_norm_does_not_sum_across_towers():
    """Scaling the second tower does not affect the outputs of the first tower."""
    x = random_array(1, 1, 1, 8)
    scaled = x * np.repeat(np.float32([1, 10]), 4)
    is_changed = {
        groups: LRN(groups=groups)(scaled) / LRN(groups=groups)(x) != 1
        for groups in (1, 2)
    }
    assert is_changed[2][0, 0, 0, :4].numpy().tolist() == [False] * 4
    assert is_changed[1][0, 0, 0, :4].numpy().tolist() == [False] * 2 + [True] * 2


@pytest.mark.parametrize("layer", [LRN(), Spatial()], ids=["maps", "spatial"])
def test_norms_of_zeros_are_zeros(layer):
    """At zero, the gradient is that of a division by bias^beta."""
    zeros = np.zeros((1, 6, 6, 8), "float32")
    y, [gradient] = values_and_gradients(layer, zeros, 1.0)
    np.testing.assert_array_equal(y, zeros)
    np.testing.assert_allclose(gradient, layer.bias**-0.75, rtol=1e-6)


@pytest.mark.parametrize("layer", [LRN(), Spatial()], ids=["maps", "spatial"])
def test_norms_accept_unknown_height_and_width(layer):
    """Height and width may be None when the model is built."""
    model = keras.Sequential([keras.Input((None, None, 8)), layer])
    assert model.output_shape == (None, None, None, 8)
    x = random_array(2, 6, 7, 8)
    norm = {LRN: map_norm, Spatial: spatial_norm}[type(layer)]
    np.testing.assert_allclose(model(x), norm(x), rtol=1e-5)


def grouped_layer(groups, implementation, **arguments):
    """Returns a `GroupedConv2D` for 12 channels, with the same weights in each call.

    Args:
        groups: the argument of the layer.
        implementation: the argument of the layer.
        **arguments: other arguments of the layer that differ from the defaults here.
    """
    defaults = dict(filters=12, kernel_size=3, padding="same", strides=1)
    layer = Grouped(
        **{**defaults, **arguments},
        groups=groups,
        implementation=implementation,
    )
    layer.build((None, None, None, 12))
    layer.set_weights(
        [
            random_array(*weight.shape, deviation=0.3, seed=seed)
            for seed, weight in enumerate(layer.get_weights())
        ]
    )
    return layer


def separate_convolutions(x, weights, groups, strides=1, padding="same"):
    """Returns the outputs of one convolution per group, and gradients of a loss.

    The loss is the sum of the outputs times the weights of `check_convolution`.
    """
    x, (kernel, bias) = tf.constant(x), map(tf.constant, weights)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel, bias])
        towers = zip(
            tf.split(x, groups, axis=3), tf.split(kernel, groups, axis=3)
        )
        y = tf.concat(
            [
                tf.nn.convolution(maps, filters, strides, padding.upper())
                for maps, filters in towers
            ],
            axis=3,
        )
        y += bias
        loss = tf.reduce_sum(y * random_array(*y.shape, deviation=1, seed=9))
    return y.numpy(), tape.gradient(loss, [x, kernel, bias])


@functools.cache
def has_grouped_gradients():
    """Returns whether TensorFlow computes gradients of grouped convolutions.

    On a CPU, TensorFlow raises an error if the environment variable
    TF_ENABLE_ONEDNN_OPTS is 0.
    """
    x, kernel = tf.ones((1, 5, 5, 4)), tf.ones((3, 3, 2, 4))
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = tf.nn.conv2d(x, kernel, 1, "SAME")
    try:
        tape.gradient(y, [x, kernel])
    except tf.errors.InvalidArgumentError:
        return False
    return True


@modes
@pytest.mark.parametrize("implementation", ["split", "native", "auto"])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_grouped_convolution_equals_separate_convolutions(groups, implementation, mode):
    """The outputs and the gradients are equal, on a CPU too."""
    check_convolution(groups, implementation, mode, {})


@pytest.mark.parametrize("implementation", ["split", "native"])
@pytest.mark.parametrize(
    "arguments",
    [dict(padding="valid"), dict(strides=2, kernel_size=5)],
    ids=str,
)
def test_grouped_convolution_applies_strides_and_padding(arguments, implementation):
    """The outputs equal those of separate convolutions with the same arguments."""
    check_convolution(2, implementation, "eager", arguments)


def check_convolution(groups, implementation, mode, arguments):
    """Checks that `GroupedConv2D` gives the results of separate convolutions.

    Args:
        groups: the number of groups.
        implementation: the argument of the layer.
        mode: a key of `MODES`.
        arguments: other arguments of the layer.
    """
    x = random_array(2, 9, 8, 12)
    layer = grouped_layer(groups, implementation, **arguments)
    kernel, bias = layer.get_weights()
    assert kernel.shape[2:] == (12 // groups, 12)
    options = {
        name: value for name, value in arguments.items() if name != "kernel_size"
    }
    y, gradients = separate_convolutions(x, [kernel, bias], groups, **options)
    weights = random_array(*y.shape, deviation=1, seed=9)
    if implementation == "native" and mode != "xla" and not has_grouped_gradients():
        pytest.skip("this TensorFlow has no grouped gradients on a CPU")
    actual_y, actual_gradients = values_and_gradients(layer, x, weights, mode)
    assert_close(actual_y, y)
    for actual, expected in zip(actual_gradients, gradients, strict=True):
        assert_close(actual, expected.numpy())


def test_second_half_of_the_channels_affects_second_half_of_the_outputs():
    """The first half of the outputs does not depend on these channels."""
    x = random_array(1, 5, 5, 12)
    changed = x.copy()
    changed[..., 6:] = 0
    layer = grouped_layer(2, "auto")
    is_same = np.equal(layer(x), layer(changed)).all(axis=(0, 1, 2))
    assert is_same.tolist() == [True] * 6 + [False] * 6


@pytest.mark.parametrize("dilation_rate", [1, 2])
def test_grouped_convolution_equals_keras(dilation_rate):
    """The outputs are those of `keras.layers.Conv2D` with the same weights."""
    x = random_array(2, 9, 8, 12)
    arguments = dict(padding="same", groups=2, dilation_rate=dilation_rate)
    keras_layer = keras.layers.Conv2D(12, 3, **arguments)
    keras_layer.build(x.shape)
    layer = Grouped(12, 3, **arguments)
    layer.build(x.shape)
    layer.set_weights(keras_layer.get_weights())
    assert_close(layer(x), keras_layer(x).numpy())


def test_grouped_convolution_supports_use_bias_and_activation():
    """The expected outputs are computed by a layer with a bias."""
    x = random_array(2, 9, 8, 12)
    with_bias = grouped_layer(2, "auto")
    layer = Grouped(
        12, 3, padding="same", groups=2, use_bias=False, activation="relu"
    )
    layer.build(x.shape)
    layer.set_weights(with_bias.get_weights()[:1])
    assert_close(layer(x), np.maximum(with_bias(x) - with_bias.bias, 0))


def small_model():
    """Returns a model of all three layers, with constants other than the defaults."""
    return keras.Sequential(
        [
            keras.Input((9, 8, 12)),
            Grouped(8, 3, groups=2, implementation="split", name="conv"),
            LRN(3, 1.5, 2e-4, 0.6, 2, name="maps"),
            Spatial(3, 1.5, 2e-4, 0.6, name="pixels"),
        ]
    )


@pytest.mark.parametrize("name", ["conv", "maps", "pixels"])
def test_layers_can_be_created_from_their_configuration(name):
    """The new layer has the same class and configuration."""
    layer = small_model().get_layer(name)
    restored = type(layer).from_config(layer.get_config())
    assert restored.get_config() == layer.get_config()
    deserialized = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert type(deserialized) is type(layer)
    assert deserialized.get_config() == layer.get_config()


def test_configuration_has_every_argument():
    """The keys of the configuration are the names of the arguments."""
    model = small_model()
    maps = model.get_layer("maps").get_config()
    pixels = model.get_layer("pixels").get_config()
    constants = dict(bias=1.5, alpha=2e-4, beta=0.6)
    assert maps.items() >= dict(constants, depth_radius=3, groups=2).items()
    assert pixels.items() >= dict(constants, size=3).items()
    convolution = model.get_layer("conv").get_config()
    assert convolution.items() >= dict(groups=2, implementation="split").items()


@pytest.mark.parametrize("layer", [LRN, Spatial, Grouped])
def test_layers_are_registered_under_the_names_in_saved_models(layer):
    """A saved model cannot be loaded if the registered name of a layer has changed."""
    name = keras.saving.get_registered_name(layer)
    assert name == f"alexnet_tf>{layer.__name__}"


def test_saved_model_loads_in_safe_mode(tmp_path):
    """The argument custom_objects of Keras is not needed."""
    path, x = str(tmp_path / "model.keras"), random_array(2, 9, 8, 12)
    model = small_model()
    model.save(path)
    restored = keras.saving.load_model(path, safe_mode=True)
    assert [type(layer) for layer in restored.layers] == [Grouped, LRN, Spatial]
    np.testing.assert_array_equal(restored(x), model(x))


# {dtype policy: half the distance between neighboring numbers just above 1}.
HALF_SPACINGS = {"mixed_bfloat16": 2**-8, "mixed_float16": 2**-11}


@modes
@pytest.mark.parametrize("policy", HALF_SPACINGS)
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda dtype: LRN(dtype=dtype), id="maps"),
        pytest.param(
            lambda dtype: LRN(groups=2, dtype=dtype),
            id="towers", marks=pytest.mark.large,
        ),
        pytest.param(lambda dtype: Spatial(dtype=dtype), id="spatial"),
    ],
)
def test_norms_in_half_precision_round_only_the_results(make, policy, mode):
    """The squares of the activations, which are about 500, overflow float16.

    The errors of the outputs are at most half a unit in the last place, because nothing
    else is rounded to half precision.
    """
    half_dtype = policy.removeprefix("mixed_")
    x = tf.cast(random_array(2, 6, 7, 12, deviation=500.0), half_dtype)
    float32_x = tf.cast(x, "float32").numpy()
    weights = random_array(*x.shape, deviation=1, seed=1).round(1)
    y, [gradient] = values_and_gradients(make(policy), x, weights, mode)
    expected_y, [expected_gradient] = values_and_gradients(
        make("float32"), float32_x, weights
    )
    assert y.dtype == gradient.dtype == tf.as_dtype(half_dtype).as_numpy_dtype
    y, gradient = y.astype("float32"), gradient.astype("float32")
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(y, expected_y, rtol=1.01 * HALF_SPACINGS[policy])
    assert_close(gradient, expected_gradient, 2 * HALF_SPACINGS[policy])


@modes
@pytest.mark.parametrize("policy", HALF_SPACINGS)
@pytest.mark.parametrize("implementation", ["split", "native"])
def test_half_precision_convolution_is_close_to_float32(implementation, policy, mode):
    """The layer computes in half precision, and its variables are float32."""
    x = random_array(2, 9, 8, 12, deviation=500.0)
    float32_layer = grouped_layer(2, implementation)
    layer = grouped_layer(2, implementation, dtype=policy)
    y = MODES[mode](layer)(x).numpy().astype("float32")
    assert layer.kernel.dtype == "float32"
    assert layer.compute_dtype == policy.removeprefix("mixed_")
    assert_close(y, float32_layer(x).numpy(), 4 * HALF_SPACINGS[policy])
    assert not np.array_equal(y, float32_layer(x))


OUT_OF_RANGE = [
    (LRN, dict(depth_radius=0), "depth_radius=0"),
    (LRN, dict(depth_radius=-2), "depth_radius=-2"),
    (LRN, dict(bias=0.0), "bias=0.0"),
    (LRN, dict(bias=float("nan")), "bias=nan"),
    (LRN, dict(beta=-0.75), "beta=-0.75"),
    (LRN, dict(groups=0), "groups=0"),
    (Spatial, dict(size=0), "size=0"),
    (Spatial, dict(size=-3), "size=-3"),
    (Spatial, dict(size=4), "odd.*size=4"),
    (Spatial, dict(bias=-1.0), "bias=-1.0"),
    (Spatial, dict(beta=0.0), "beta=0.0"),
    (
        Grouped,
        dict(filters=8, kernel_size=3, implementation="fast"),
        '"auto", "split" or "native".*implementation=\'fast\'',
    ),
    (
        Grouped,
        dict(filters=8, kernel_size=3, groups=3),
        "groups=3.*filters=8",
    ),
    (Grouped, dict(filters=8, kernel_size=3, groups=0), "groups=0"),
]


@pytest.mark.parametrize(
    "layer, arguments, message",
    OUT_OF_RANGE,
    ids=[message for *_, message in OUT_OF_RANGE],
)
def test_rejects_arguments_out_of_range(layer, arguments, message):
    """The message contains the name and the value of the argument."""
    with pytest.raises(ValueError, match=message):
        layer(**arguments)


@pytest.mark.parametrize(
    "layer",
    [LRN(groups=4), Grouped(8, 3, groups=4)],
    ids=["maps", "convolution"],
)
def test_rejects_channels_not_divisible_by_groups(layer):
    """The message contains both numbers."""
    message = "Expected the number of channels.*channels=6, groups=4"
    with pytest.raises(ValueError, match=message):
        layer(random_array(1, 5, 5, 6))


@pytest.mark.parametrize(
    "make, received",
    [
        (lambda: LocalResponseNormalization(alpha=-1.0), "alpha=-1.0"),
        (
            lambda: LocalResponseNormalization(depth_radius=1.5),
            "depth_radius=1.5",
        ),
        (lambda: SpatialResponseNormalization(size=2.5), "size=2.5"),
        (
            lambda: GroupedConv2D(4, 3, data_format="channels_first"),
            "data_format=channels_first",
        ),
    ],
)
def test_rejects_constants_that_would_give_wrong_layers(make, received):
    """Without an error, the outputs would be NaN or those of another layer."""
    with pytest.raises(ValueError, match=received):
        make()


def test_convolutions_are_channels_last_by_default(channels_first_by_default):
    maps = random_array(1, 5, 5, 6)
    assert GroupedConv2D(4, 3, groups=2)(maps).shape == (1, 3, 3, 4)
    assert GroupedConv2D(4, 3, 1, "same", "channels_last")(maps).shape == (1, 5, 5, 4)
    with pytest.raises(ValueError, match="data_format=channels_first"):
        GroupedConv2D(4, 3, 1, "same", "channels_first")


@pytest.mark.parametrize("layer", [LRN, Spatial])
@pytest.mark.parametrize("shape", [(2, 6), (2, 5, 6), (2, 3, 5, 5, 6)])
def test_norms_reject_inputs_that_are_not_maps(layer, shape):
    message = f"Expected maps .B, H, W, C.*input_shape={re.escape(str(shape))}"
    with pytest.raises(ValueError, match=message):
        layer()(random_array(*shape))


@pytest.mark.parametrize("layer", [LRN, Spatial])
def test_norms_reject_an_unknown_number_of_channels(layer):
    with pytest.raises(ValueError, match="fixed number of channels.*None, 5, 5, None"):
        layer()(keras.Input((5, 5, None)))


def test_norms_reject_constants_that_are_not_numbers():
    with pytest.raises(ValueError, match="Expected beta to be a number.*beta='1'"):
        LRN(beta="1")


def test_norms_accept_numpy_scalars():
    """The configuration in a saved model contains them as Python numbers."""
    norms = (
        LRN(np.int64(3), np.float32(1.5), np.float64(0.25), np.half(0.5), np.int8(2)),
        Spatial(np.int64(3), np.float32(1.5), np.float64(0.25), np.float32(0.5)),
    )
    plain = LRN(3, 1.5, 0.25, 0.5, 2), Spatial(3, 1.5, 0.25, 0.5)
    x = random_array(1, 5, 5, 6)
    for norm, expected in zip(norms, plain):
        config = json.loads(json.dumps(norm.get_config()))
        assert {**config, "name": ""} == {**expected.get_config(), "name": ""}
        np.testing.assert_array_equal(norm(x), expected(x))


def test_the_module_can_be_imported_twice():
    """TensorFlow refuses to register a second gradient of the same operation."""
    spec = importlib.util.find_spec("alexnet_tf.models.layers")
    registered = dict(keras.saving.get_custom_objects())
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    finally:
        keras.saving.get_custom_objects().update(registered)


@pytest.mark.parametrize(
    "arguments, dtype",
    [
        pytest.param(
            arguments, dtype, id=f"{arguments}-{dtype}",
            marks=pytest.mark.large if arguments and dtype != "float32" else (),
        )
        for arguments in (
            {}, {"groups": 2}, {"depth_radius": 4, "bias": 1.0}, {"beta": 0.5}
        )
        for dtype in ("float32", "bfloat16", "float16")
    ],
)  # fmt: skip
def test_compiled_normalization_equals_the_operation(arguments, dtype):
    """The activations are as large as those of raw pixels."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(0, 200, (2, 5, 6, 12)), dtype)
    upstream = tf.constant(rng.normal(0, 1, x.shape), dtype)
    results = []
    for scope in (contextlib.nullcontext, compiled_normalization):
        layer = LocalResponseNormalization(**arguments, dtype=dtype)
        with scope(), tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        results.append((y, tape.gradient(y, x, upstream)))
    for expected, actual in zip(*results):
        assert expected.dtype == actual.dtype == dtype
        expected, actual = (
            np.asarray(tf.cast(values, tf.float64)) for values in (expected, actual)
        )
        error = relative_error(actual, expected)
        assert error < {"float32": 3e-6, "bfloat16": 2e-2, "float16": 2e-3}[dtype]
