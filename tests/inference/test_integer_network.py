"""Tests the network for 8-bit arithmetic against the original network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.inference.integer_network import quantizable_copy
from alexnet_tf.inference import litert_files
from alexnet_tf.models.layers import GroupedConv2D
from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf.models.layers import SpatialResponseNormalization

NORMALIZATIONS = {
    "paper": LocalResponseNormalization(),
    "two_towers": LocalResponseNormalization(3, 1.0, 2e-5, 0.6, groups=2),
    "spatial": SpatialResponseNormalization(3, 1.0, 5e-5),
    "spatial_5": SpatialResponseNormalization(5, 2.0, 1e-5, 1.3),
}


def activations(count, seed=0):
    """Returns float32 [count, 8, 8, 16] of activations like those for raw pixels."""
    values = np.random.default_rng(seed).standard_t(3, (count, 8, 8, 16))
    return (60 * values).clip(-200, 600).astype(np.float32)


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_computes_what_the_normalization_computes(name):
    model = keras.Sequential([keras.Input([8, 8, 16]), NORMALIZATIONS[name]])
    x = activations(3)
    expected = model(x).numpy()
    assert np.abs(expected - x).max() > 100
    np.testing.assert_allclose(
        quantizable_copy(model)(x), expected, rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_is_exact_enough_in_8_bits(name, tmp_path):
    """Without the factors that cancel out, the errors are 14% to 29%."""
    model = keras.Sequential(
        [
            keras.Input([8, 8, 16]),
            keras.layers.ReLU(),
            NORMALIZATIONS[name],
            keras.layers.AveragePooling2D(2),
        ]
    )
    x = activations(40)

    def quantize(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in x)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8

    path = str(tmp_path / "a.tflite")
    litert_files.convert(quantizable_copy(model), path, quantize)
    outputs, expected = litert_files.run_int8(path, x), model(x).numpy()
    error = np.linalg.norm(outputs - expected) / np.linalg.norm(expected)
    assert error < 0.1


def test_copies_models_within_models_and_functions():
    keras.utils.set_random_seed(0)
    base = alexnet_tf.AlexNet("tiny", include_top=False, input_shape=(64, 64, 3))
    inputs = keras.Input([64, 64, 3])
    scaled = keras.layers.Lambda(lambda x, factor: factor * x, arguments={"factor": 9})
    model = keras.Model(inputs, keras.layers.Flatten()(base(scaled(inputs))))
    x = np.random.default_rng(0).normal(0, 9, (2, 64, 64, 3)).astype(np.float32)
    copy = quantizable_copy(model)
    expected = model(x).numpy()
    np.testing.assert_allclose(copy(x), expected, rtol=1e-4, atol=1e-4 * expected.max())
    nested = copy.get_layer(base.name)
    assert type(nested.get_layer("norm1")).__name__ == "_IntegerNormalization"
    # The original is as before.
    assert isinstance(base.get_layer("norm1"), LocalResponseNormalization)
    assert model.get_layer(scaled.name).output.shape == (None, 64, 64, 3)


def test_splits_the_groups_of_convolutions():
    """Not all programs compute grouped convolutions, which are fast on GPUs."""
    layer = GroupedConv2D(4, 3, groups=2, implementation="native", name="conv")
    model = keras.Sequential([keras.Input([5, 5, 6]), layer])
    copy = quantizable_copy(model)
    assert copy.get_layer("conv").implementation == "split"
    assert layer.implementation == "native"
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 6)).astype(np.float32)
    np.testing.assert_allclose(copy(x), model(x), rtol=1e-5, atol=1e-5)
