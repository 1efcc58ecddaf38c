"""Response normalization and grouped convolution against plain loops."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.models.layers import GroupedConv2D
from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf.models.layers import SpatialResponseNormalization
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

# Constants that no default gives, so that each one has to arrive.
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


def draw(*shape, deviation=100.0, seed=0):
    """Raw pixels' responses: large enough for the sums to matter."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, deviation, shape).astype("float32")


def map_norm(x, depth_radius=2, bias=2.0, alpha=1e-4, beta=0.75, groups=1):
    """Section 3.3's formula, one map after the other."""
    x = x.astype("float64")
    maps = x.shape[3]
    result = np.empty_like(x)
    for i in range(maps):
        tower = range(maps)[i // (maps // groups) * (maps // groups) :]
        tower = tower[: maps // groups]
        near = [j for j in tower if abs(i - j) <= depth_radius]
        total = sum(x[..., j] ** 2 for j in near)
        result[..., i] = x[..., i] / (bias + alpha * total) ** beta
    return result


def spatial_norm(x, size=5, bias=1.0, alpha=4e-5, beta=0.75):
    """The same over the pixels of a window, one pixel after the other."""
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
    """Of sum(weights * layer(x)): outputs, gradients of x and variables."""

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
def test_map_norm(constants, mode):
    """The formula, also at the first and last maps and those of a tower."""
    x = draw(2, 3, 4, 12)
    y, _ = values_and_gradients(LRN(**constants), x, 1.0, mode)
    np.testing.assert_allclose(y, map_norm(x, **constants), rtol=1e-5)
    assert not np.allclose(y, x * y.std() / x.std(), rtol=0.05)


@modes
@pytest.mark.parametrize("constants", SPATIAL_NORMS, ids=str)
def test_spatial_norm(constants, mode):
    """The formula, also along the edges and in the corners."""
    x = draw(2, 6, 7, 3)
    y, _ = values_and_gradients(Spatial(**constants), x, 1.0, mode)
    np.testing.assert_allclose(y, spatial_norm(x, **constants), rtol=1e-5)


@modes
@pytest.mark.parametrize("constants", MAP_NORMS, ids=str)
def test_map_norm_gradient(constants, mode):
    """That of the reference, which counts what a map does to the others."""
    x, weights = draw(2, 3, 4, 12), draw(2, 3, 4, 12, deviation=1, seed=1)
    _, [found] = values_and_gradients(LRN(**constants), x, weights, mode)
    settings = dict(alpha=1e-4, k=constants.get("bias", 2.0))
    settings |= {k: v for k, v in constants.items() if k in ("alpha", "beta")}
    _, backward = reference.map_norm(
        x.astype("float64"),
        n=2 * constants.get("depth_radius", 2) + 1,
        towers=constants.get("groups", 1),
        **settings,
    )
    [wanted] = backward(weights)
    assert_close(found, wanted)


@modes
@pytest.mark.parametrize("constants", SPATIAL_NORMS, ids=str)
def test_spatial_norm_gradient(constants, mode):
    """That of the reference, which counts what a pixel does to the others."""
    x, weights = draw(2, 6, 7, 3), draw(2, 6, 7, 3, deviation=1, seed=1)
    _, [found] = values_and_gradients(Spatial(**constants), x, weights, mode)
    _, backward = reference.spatial_norm(
        x.astype("float64"),
        n=constants.get("size", 5),
        k=constants.get("bias", 1.0),
        alpha=constants.get("alpha", 4e-5),
        beta=constants.get("beta", 0.75),
    )
    [wanted] = backward(weights)
    assert_close(found, wanted)


def assert_close(found, wanted, tolerance=1e-5):
    """Equal within `tolerance` times the largest value wanted."""
    error = np.abs(found - wanted).max() / np.abs(wanted).max()
    assert error < tolerance


def test_towers_do_not_meet():
    """Per tower, what is beyond the seam changes nothing; across, it does."""
    x = draw(1, 1, 1, 8)
    louder = x * np.repeat(np.float32([1, 10]), 4)
    change = {
        groups: LRN(groups=groups)(louder) / LRN(groups=groups)(x) != 1
        for groups in (1, 2)
    }
    assert change[2][0, 0, 0, :4].numpy().tolist() == [False] * 4
    assert change[1][0, 0, 0, :4].numpy().tolist() == [False] * 2 + [True] * 2


@pytest.mark.parametrize("layer", [LRN(), Spatial()], ids=["maps", "spatial"])
def test_nothing_gives_nothing(layer):
    """Black gives 0 with the gradient of a plain division by bias^beta."""
    zeros = np.zeros((1, 6, 6, 8), "float32")
    y, [gradient] = values_and_gradients(layer, zeros, 1.0)
    np.testing.assert_array_equal(y, zeros)
    np.testing.assert_allclose(gradient, layer.bias**-0.75, rtol=1e-6)


@pytest.mark.parametrize("layer", [LRN(), Spatial()], ids=["maps", "spatial"])
def test_open_shapes(layer):
    """Height and width may be unknown until there is an image."""
    model = keras.Sequential([keras.Input((None, None, 8)), layer])
    assert model.output_shape == (None, None, None, 8)
    x = draw(2, 6, 7, 8)
    norm = {LRN: map_norm, Spatial: spatial_norm}[type(layer)]
    np.testing.assert_allclose(model(x), norm(x), rtol=1e-5)


def grouped(groups, implementation, **arguments):
    """A layer of 12 filters whose weights are the same every time."""
    settings = dict(filters=12, kernel_size=3, padding="same", strides=1)
    layer = Grouped(
        **{**settings, **arguments},
        groups=groups,
        implementation=implementation,
    )
    layer.build((None, None, None, 12))
    layer.set_weights(
        [
            draw(*weight.shape, deviation=0.3, seed=seed)
            for seed, weight in enumerate(layer.get_weights())
        ]
    )
    return layer


def separate(x, weights, groups, strides=1, padding="same"):
    """Separate convolutions side by side: outputs, gradients."""
    x, (kernel, bias) = tf.constant(x), map(tf.constant, weights)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel, bias])
        towers = zip(
            tf.split(x, groups, axis=3), tf.split(kernel, groups, axis=3)
        )
        y = tf.concat(
            [
                tf.nn.convolution(maps, part, strides, padding.upper())
                for maps, part in towers
            ],
            axis=3,
        )
        y += bias
        loss = tf.reduce_sum(y * draw(*y.shape, deviation=1, seed=9))
    return y.numpy(), tape.gradient(loss, [x, kernel, bias])


@functools.cache
def differentiates():
    """Whether TensorFlow itself can: not with TF_ENABLE_ONEDNN_OPTS=0."""
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
def test_grouped_convolution(groups, implementation, mode):
    """Equals separate convolutions, gradients of all three on a CPU too."""
    check_convolution(groups, implementation, mode, {})


@pytest.mark.parametrize("implementation", ["split", "native"])
@pytest.mark.parametrize(
    "arguments",
    [dict(padding="valid"), dict(strides=2, kernel_size=5)],
    ids=str,
)
def test_grouped_convolution_arguments(arguments, implementation):
    """So it does with other strides, paddings and kernel sizes."""
    check_convolution(2, implementation, "eager", arguments)


def check_convolution(groups, implementation, mode, arguments):
    x = draw(2, 9, 8, 12)
    layer = grouped(groups, implementation, **arguments)
    kernel, bias = layer.get_weights()
    assert kernel.shape[2:] == (12 // groups, 12)
    places = {k: v for k, v in arguments.items() if k != "kernel_size"}
    y, gradients = separate(x, [kernel, bias], groups, **places)
    weights = draw(*y.shape, deviation=1, seed=9)
    if implementation == "native" and mode != "xla" and not differentiates():
        pytest.skip("this TensorFlow has no grouped gradients on a CPU")
    found, found_gradients = values_and_gradients(layer, x, weights, mode)
    assert_close(found, y)
    for one, other in zip(found_gradients, gradients, strict=True):
        assert_close(one, other.numpy())


def test_first_filters_see_first_maps():
    """Maps of the second half leave the first half of the outputs alone."""
    x = draw(1, 5, 5, 12)
    other = x.copy()
    other[..., 6:] = 0
    layer = grouped(2, "auto")
    same = np.equal(layer(x), layer(other)).all(axis=(0, 1, 2))
    assert same.tolist() == [True] * 6 + [False] * 6


@pytest.mark.parametrize("dilation_rate", [1, 2])
def test_grouped_convolution_equals_keras(dilation_rate):
    """With the weights of Keras' own grouped layer, its outputs."""
    x = draw(2, 9, 8, 12)
    arguments = dict(padding="same", groups=2, dilation_rate=dilation_rate)
    theirs = keras.layers.Conv2D(12, 3, **arguments)
    theirs.build(x.shape)
    ours = Grouped(12, 3, **arguments)
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())
    assert_close(ours(x), theirs(x).numpy())


def test_grouped_convolution_without_bias():
    """`use_bias` and `activation` are Keras' own."""
    x = draw(2, 9, 8, 12)
    plain = grouped(2, "auto")
    layer = Grouped(
        12, 3, padding="same", groups=2, use_bias=False, activation="relu"
    )
    layer.build(x.shape)
    layer.set_weights(plain.get_weights()[:1])
    assert_close(layer(x), np.maximum(plain(x) - plain.bias, 0))


def small_model():
    """All three layers, none with its default constants."""
    return keras.Sequential(
        [
            keras.Input((9, 8, 12)),
            Grouped(8, 3, groups=2, implementation="split", name="conv"),
            LRN(3, 1.5, 2e-4, 0.6, 2, name="maps"),
            Spatial(3, 1.5, 2e-4, 0.6, name="pixels"),
        ]
    )


@pytest.mark.parametrize("name", ["conv", "maps", "pixels"])
def test_config(name):
    """A layer can be made again from its configuration."""
    layer = small_model().get_layer(name)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    through = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert type(through) is type(layer)
    assert through.get_config() == layer.get_config()


def test_config_has_every_argument():
    """Each argument stands in the configuration, under its name."""
    model = small_model()
    maps = model.get_layer("maps").get_config()
    pixels = model.get_layer("pixels").get_config()
    constants = dict(bias=1.5, alpha=2e-4, beta=0.6)
    assert maps.items() >= dict(constants, depth_radius=3, groups=2).items()
    assert pixels.items() >= dict(constants, size=3).items()
    convolution = model.get_layer("conv").get_config()
    assert convolution.items() >= dict(groups=2, implementation="split").items()


@pytest.mark.parametrize("layer", [LRN, Spatial, Grouped])
def test_registered_name(layer):
    """The names that saved models hold; changing them breaks those files."""
    name = keras.saving.get_registered_name(layer)
    assert name == f"alexnet_tf>{layer.__name__}"


def test_saved_model(tmp_path):
    """A saved model loads in safe mode without being told of the layers."""
    path, x = str(tmp_path / "model.keras"), draw(2, 9, 8, 12)
    model = small_model()
    model.save(path)
    restored = keras.saving.load_model(path, safe_mode=True)
    assert [type(layer) for layer in restored.layers] == [Grouped, LRN, Spatial]
    np.testing.assert_array_equal(restored(x), model(x))


HALVES = {"mixed_bfloat16": 2**-8, "mixed_float16": 2**-11}


@modes
@pytest.mark.parametrize("policy", HALVES)
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
def test_norms_in_half_precision(make, policy, mode):
    """Of activations around 500, whose squares overflow float16.

    Outputs are off by half a unit in the last place and no more, for nothing
    but they are rounded; so are the gradients.
    """
    half = policy.removeprefix("mixed_")
    x = tf.cast(draw(2, 6, 7, 12, deviation=500.0), half)
    exact = tf.cast(x, "float32").numpy()
    weights = draw(*x.shape, deviation=1, seed=1).round(1)
    y, [gradient] = values_and_gradients(make(policy), x, weights, mode)
    wanted, [slope] = values_and_gradients(make("float32"), exact, weights)
    assert y.dtype == gradient.dtype == tf.as_dtype(half).as_numpy_dtype
    y, gradient = y.astype("float32"), gradient.astype("float32")
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(y, wanted, rtol=1.01 * HALVES[policy])
    assert_close(gradient, slope, 2 * HALVES[policy])


@modes
@pytest.mark.parametrize("policy", HALVES)
@pytest.mark.parametrize("implementation", ["split", "native"])
def test_convolution_in_half_precision(implementation, policy, mode):
    """Close to float32, with float32 gradients of the float32 variables."""
    x = draw(2, 9, 8, 12, deviation=500.0)
    exact = grouped(2, implementation)
    layer = grouped(2, implementation, dtype=policy)
    y = MODES[mode](layer)(x).numpy().astype("float32")
    assert layer.kernel.dtype == "float32"
    assert layer.compute_dtype == policy.removeprefix("mixed_")
    assert_close(y, exact(x).numpy(), 4 * HALVES[policy])
    assert not np.array_equal(y, exact(x))


BAD = [
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
    "layer, arguments, message", BAD, ids=[message for *_, message in BAD]
)
def test_refused(layer, arguments, message):
    """Arguments out of range are refused by name and value."""
    with pytest.raises(ValueError, match=message):
        layer(**arguments)


@pytest.mark.parametrize(
    "layer",
    [LRN(groups=4), Grouped(8, 3, groups=4)],
    ids=["maps", "convolution"],
)
def test_channels_not_divisible(layer):
    """Channels that the groups do not divide are refused with both."""
    message = "Expected the channels.*channels=6, groups=4"
    with pytest.raises(ValueError, match=message):
        layer(draw(1, 5, 5, 6))


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
def test_constants_without_a_meaning_are_refused(make, received):
    """Silently they would give NaN, or another layer than meant."""
    with pytest.raises(ValueError, match=received):
        make()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"groups": 2}, {"depth_radius": 4, "bias": 1.0}, {"beta": 0.5}],
    ids=str,
)
def test_the_compiled_normalization_is_the_plain_one(arguments, dtype):
    """Values and gradients, on activations as large as those of raw pixels."""
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(0, 200, (2, 5, 6, 12)), dtype)
    upstream = tf.constant(random.normal(0, 1, x.shape), dtype)
    found = []
    for plain in (True, False):
        layer = LocalResponseNormalization(**arguments, dtype=dtype)
        layer.use_reference_op = plain
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        found.append((y, tape.gradient(y, x, upstream)))
    for one, other in zip(*found):
        assert one.dtype == other.dtype == dtype
        one, other = (np.asarray(tf.cast(v, tf.float64)) for v in (one, other))
        error = np.abs(one - other).max() / np.abs(one).max()
        assert error < {"float32": 3e-6, "bfloat16": 2e-2, "float16": 2e-3}[dtype]
