"""Weights of models that users build: with nested models, wrappers, other layers."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import alexnet_tf
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import save_weights

EXTENSIONS = (".npy", ".npz", ".safetensors", ".weights.h5", ".keras")
IMAGES = np.random.default_rng(0).normal(0, 50, (2, 64, 64, 3)).astype("float32")
layers = keras.layers


def backbone():
    return alexnet_tf.AlexNet("tiny", include_top=False, name="base")


def nested():
    inputs = keras.Input((64, 64, 3))
    maps = layers.GlobalAveragePooling2D()(backbone()(inputs))
    return keras.Model(inputs, layers.Dense(3, name="head")(maps))


def sequential():
    head = layers.Dense(3, name="head")
    return keras.Sequential(
        [keras.Input((64, 64, 3)), backbone(), layers.Flatten(), head]
    )


def batch_normalized():
    base = backbone()
    maps = layers.BatchNormalization(name="bn")(base.output)
    return keras.Model(base.input, layers.Dense(3, name="head")(layers.Flatten()(maps)))


def without_bias():
    base = backbone()
    head = layers.Dense(3, use_bias=False, name="head")
    return keras.Model(base.input, head(layers.Flatten()(base.output)))


def randomize(model, seed):
    """Gives all weights random values, including those that begin as 0 or 1."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        values = rng.uniform(0.1, 1, variable.shape) / max(variable.shape[0], 1)
        variable.assign(values.astype("float32"))


def check_round_trip(make, path, inputs):
    """Checks that a saved model and a new one with its weights have equal outputs."""
    saved, loaded = make(), make()
    randomize(saved, 1)
    randomize(loaded, 2)
    save_weights(saved, path)
    report = load_weights(loaded, path)
    assert sum(report.loaded.values()) == saved.count_params()
    np.testing.assert_array_equal(loaded(inputs), saved(inputs))


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(
    "make", [nested, sequential, batch_normalized, without_bias]
)
def test_all_weights_of_own_models_are_saved_and_loaded(tmp_path, make, extension):
    check_round_trip(make, tmp_path / f"own{extension}", IMAGES)


def test_layers_of_nested_models_are_named_by_both_names(tmp_path):
    save_weights(nested(), tmp_path / "own.npz")
    names = set(np.load(tmp_path / "own.npz"))
    assert {"base/conv1/kernel", "base/conv5/bias", "head/kernel"} < names


@st.composite
def model_makers(draw):
    """Draws a function that makes a small model, which is the same in each call."""
    kinds = st.sampled_from(["dense", "no bias", "normalized", "nested", "wrapped"])
    plan = draw(st.lists(kinds, min_size=1, max_size=4))
    dtype = draw(st.sampled_from(["float32", "float64"]))

    def add(kind, x, index, depth):
        size = 2 + index
        name = f"{kind.split()[0]}{index}"
        if kind == "normalized":
            return layers.BatchNormalization(name=name, dtype=dtype)(x)
        if kind == "nested" and depth < 2:
            inputs = keras.Input(x.shape[1:], dtype=dtype)
            outputs = inputs
            for number, inner in enumerate(plan):
                outputs = add(inner, outputs, number, depth + 1)
            return keras.Model(inputs, outputs, name=name)(x)
        if kind == "wrapped":
            steps = layers.Reshape((1, -1), name=f"{name}_steps", dtype=dtype)(x)
            dense = layers.Dense(size, name="inner", dtype=dtype)
            steps = layers.TimeDistributed(dense, name=name, dtype=dtype)(steps)
            return layers.Flatten(name=f"{name}_flat", dtype=dtype)(steps)
        use_bias = kind != "no bias"
        return layers.Dense(size, use_bias=use_bias, name=name, dtype=dtype)(x)

    def make():
        inputs = x = keras.Input((3,), dtype=dtype)
        for index, kind in enumerate(plan):
            x = add(kind, x, index, depth=0)
        # A model needs at least one weight.
        return keras.Model(inputs, layers.Dense(2, name="last", dtype=dtype)(x))

    return make


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(make=model_makers(), extension=st.sampled_from(EXTENSIONS))
def test_random_models_are_saved_and_loaded(tmp_path, make, extension):
    inputs = np.random.default_rng(0).normal(0, 1, (2, 3))
    check_round_trip(make, tmp_path / f"random{extension}", inputs)


@pytest.mark.parametrize("extension", (".npy", ".npz", ".safetensors"))
def test_bfloat16_is_saved_as_float32(tmp_path, extension):
    def make():
        inputs = keras.Input((4,))
        return keras.Model(inputs, layers.Dense(3, name="fc", dtype="bfloat16")(inputs))

    check_round_trip(make, tmp_path / f"half{extension}", np.ones((1, 4), "float32"))


@pytest.mark.parametrize("extension", (".weights.h5", ".keras"))
def test_bfloat16_is_not_saved_in_the_formats_of_keras(tmp_path, extension):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3, name="fc", dtype="bfloat16")(inputs))
    with pytest.raises(ValueError, match="fc/kernel of type bfloat16.*safetensors"):
        save_weights(model, tmp_path / f"half{extension}")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_weights_that_could_not_be_read_again_are_not_saved(tmp_path, extension):
    def save(layer, shape):
        inputs = keras.Input(shape)
        save_weights(
            keras.Model(inputs, layer(inputs)), tmp_path / f"refused{extension}"
        )

    with pytest.raises(ValueError, match="two called kernel in both"):
        save(layers.Bidirectional(layers.SimpleRNN(2), name="both"), (3, 2))
    with pytest.raises(ValueError, match="count of type int"):
        save(layers.Normalization(name="statistics"), (3,))
    assert not any(tmp_path.iterdir())


def test_own_layers_may_have_names_that_keras_gives(tmp_path):
    """In files of other programs, dense and conv2d stand for fc6 and conv1."""

    def make():
        inputs = keras.Input((4,))
        return keras.Model(inputs, layers.Dense(3, name="dense")(inputs))

    check_round_trip(make, tmp_path / "own.npz", np.ones((1, 4), "float32"))


@pytest.mark.parametrize("extension", (".npz", ".keras"))
def test_a_network_with_a_new_head_is_loaded_without_its_head(tmp_path, extension):
    """The head has the name that Keras gives by default."""
    base = alexnet_tf.AlexNet("tiny", 10)
    maps = alexnet_tf.features(base, "fc7").output
    tuned = keras.Model(base.input, layers.Dense(3, name="dense")(maps))
    randomize(tuned, 1)
    path = tmp_path / f"tuned{extension}"
    save_weights(tuned, path)
    without_top = alexnet_tf.AlexNet("tiny", include_top=False, weights=path)
    whole = alexnet_tf.AlexNet("tiny", 10)
    report = load_weights(whole, path, skip=("dense", "fc8"))
    assert {*report.skipped} == {"dense", "fc8"} and "fc7" in report.loaded
    for model in (without_top, whole):
        for layer in model.layers:
            if layer.weights and layer.name != "fc8":
                expected = tuned.get_layer(layer.name).get_weights()
                for array, expected_array in zip(layer.get_weights(), expected):
                    np.testing.assert_array_equal(array, expected_array)


# ---- Layers whose weights cannot be told apart -----------------------------


def with_attention():
    inputs = keras.Input((4, 4))
    attention = layers.MultiHeadAttention(2, 3, name="attention")
    x = layers.Flatten(name="flat")(attention(inputs, inputs))
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def test_layers_that_are_skipped_may_have_weights_of_equal_names(tmp_path):
    path = tmp_path / "head.npz"
    kernel = np.arange(32, dtype="float32").reshape(16, 2)
    np.savez(path, **{"head/kernel": kernel, "head/bias": np.ones(2, "float32")})
    model = with_attention()
    report = load_weights(model, path, skip="attention")
    assert report.skipped == ("attention",)
    np.testing.assert_array_equal(model.get_layer("head").kernel, kernel)
    message = "two called kernel in attention.*Add 'attention' to skip, or load a file"
    with pytest.raises(ValueError, match=message):
        load_weights(model, path)


# ---- Recurrent and separable layers ----------------------------------------


@pytest.mark.parametrize("extension", (".npz", ".safetensors"))
@pytest.mark.parametrize(
    "make_layer, shape",
    [
        (lambda: layers.LSTM(2, name="own"), (4, 3)),
        (lambda: layers.GRU(2, name="own"), (4, 3)),
        (lambda: layers.SimpleRNN(2, name="own"), (4, 3)),
        (lambda: layers.SeparableConv2D(2, 3, name="own"), (4, 4, 3)),
        (lambda: layers.SeparableConv2D(2, 3, use_bias=False, name="own"), (4, 4, 3)),
    ],
    ids=["lstm", "gru", "simple_rnn", "separable", "separable_without_bias"],
)
def test_layers_with_several_kernels_are_saved_and_loaded(
    tmp_path, make_layer, shape, extension
):
    def make():
        inputs = keras.Input(shape)
        return keras.Model(inputs, make_layer()(inputs))

    inputs = np.random.default_rng(3).normal(size=(2, *shape)).astype("float32")
    check_round_trip(make, tmp_path / f"own{extension}", inputs)
