"""Tests the comparison of outputs, which decides whether an exported file is kept."""

import keras
import numpy as np
import pytest

import alexnet_tf
from alexnet_tf.inference import export_comparison
from alexnet_tf.inference.export_comparison import compare
from alexnet_tf.inference.export_comparison import compare_int8
from alexnet_tf import presets


@pytest.mark.parametrize(
    "tolerance", [export_comparison.TOLERANCE, export_comparison.TOLERANCE_8_BITS]
)
def test_rejects_the_outputs_of_another_network(tolerance):
    """Untrained networks give each of 1000 classes a probability of about .001."""
    outputs = []
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        model = alexnet_tf.AlexNet("tiny")
        images = np.random.default_rng(0).normal(0, 1, (2, 64, 64, 3))
        outputs.append(model(images).numpy())
    assert np.abs(outputs[0] - outputs[1]).max() < 0.01
    with pytest.raises(ValueError, match="within.*nothing was kept"):
        compare(*outputs, tolerance)
    assert compare(outputs[0], outputs[0], tolerance).difference == 0


def test_counts_the_images_with_the_same_class():
    expected = np.float32([[0.7, 0.3], [0.4, 0.6], [0.51, 0.49], [0.2, 0.8]])
    outputs = np.float32([[0.6, 0.4], [0.4, 0.6], [0.49, 0.51], [0.2, 0.8]])
    comparison = compare_int8(outputs, expected)
    assert comparison.difference == pytest.approx(0.1)
    assert comparison.same_class == 0.75 and comparison.num_images == 4


@pytest.mark.parametrize("compare_outputs", [compare, compare_int8])
def test_accepts_equal_outputs_of_one_class_and_equal_probabilities(compare_outputs):
    """Errors relative to the spread over the classes would be 0 / 0."""
    for expected in (np.ones([2, 1]), np.full([2, 4], 0.25), np.zeros([2, 3, 3, 4])):
        assert compare_outputs(expected.copy(), expected).difference == 0
    with pytest.raises(ValueError, match="nothing was kept"):
        compare_outputs(np.full([2, 1], 0.3), np.ones([2, 1]))


@pytest.mark.parametrize("compare_outputs", [compare, compare_int8])
def test_compares_outputs_that_are_not_probabilities(compare_outputs):
    expected = np.random.default_rng(0).normal(0, 5, (2, 4, 4, 8))
    assert compare_outputs(expected * 1.0001, expected).difference < 0.01
    with pytest.raises(ValueError, match="nothing was kept"):
        compare_outputs(expected * 0.4, expected)
    with pytest.raises(ValueError, match="nothing was kept"):
        compare_outputs(expected * np.nan, expected)


def test_runs_models_on_more_images_than_fit_into_a_batch():
    model = keras.Sequential([keras.Input([3]), keras.layers.Rescaling(2.0)])
    inputs = np.arange(99, dtype=np.float32).reshape(33, 3)
    np.testing.assert_array_equal(
        export_comparison.run_model(model, inputs), 2 * inputs
    )


def test_noise_has_the_shape_and_the_dtype_of_the_inputs():
    for shape, dtype, expected in [
        ((None, None, 3), "float32", (2, 227, 227, 3)),
        ((20, 30, 1), "uint8", (2, 20, 30, 1)),
    ]:
        model = keras.Sequential(
            [keras.Input(shape, dtype=dtype), keras.layers.Rescaling(2.0)]
        )
        inputs = export_comparison.noise_inputs(model)
        assert inputs.shape == expected and inputs.dtype == dtype
    assert inputs.max() > 200
    preprocessing = presets.get("tiny").preprocessing
    images = export_comparison.noise_images(preprocessing)
    assert images.shape == (2, 93, 113, 3) and images.dtype == np.uint8


@pytest.mark.parametrize(
    "policy, expected",
    [("float32", 1e-3), ("mixed_float16", 0.01), ("mixed_bfloat16", 0.05)],
)
def test_tolerance_depends_on_the_dtype_that_layers_compute_in(policy, expected):
    model = keras.Sequential(
        [keras.Input([3]), keras.layers.Dense(4, dtype=policy), keras.layers.Softmax()]
    )
    assert export_comparison.tolerance(model) == expected
    outputs = export_comparison.run_model(model, np.ones([2, 3], np.float32))
    assert outputs.dtype == np.float32
