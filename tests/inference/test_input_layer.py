"""`preprocess_input` as a part of a Keras model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf import presets

RGB = np.random.default_rng(0).integers(0, 256, (2, 80, 90, 3), np.uint8)


def preprocessing_model(preset="tiny", shape=(None, None, 3), dtype="uint8"):
    """Returns a model that preprocesses decoded images."""
    images = keras.Input(shape, dtype=dtype)
    return keras.Model(images, alexnet_tf.preprocess_input(images, preset))


@pytest.mark.parametrize("preset", ["tiny", "caffe"])
def test_a_keras_tensor_is_preprocessed_like_an_array(preset):
    model = preprocessing_model(preset)
    expected = alexnet_tf.preprocess_input(RGB, preset)
    assert model.output_shape == (None, *expected.shape[1:])
    np.testing.assert_array_equal(model(RGB), expected)
    np.testing.assert_array_equal(model.predict(RGB, verbose=0), expected)


def test_the_layer_computes_in_float32_under_any_policy():
    """Half precision would round the pixels of large images."""
    previous_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = preprocessing_model(dtype="float32")
    finally:
        keras.config.set_dtype_policy(previous_policy)
    assert model.output.dtype == "float32"
    images = RGB + np.float32(0.123)
    expected = alexnet_tf.preprocess_input(images, "tiny")
    np.testing.assert_array_equal(model(images), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_ignore_the_rounding_of_pixels(dtype):
    """Otherwise, there would be no gradient of pixels at all.

    The sum of the crops counts each pixel by its weights in the resized images. Far
    from the edges, these weights add up to about the ratio of the areas.
    """
    images = tf.constant(RGB, dtype)
    with tf.GradientTape() as tape:
        tape.watch(images)
        crops = alexnet_tf.preprocess_input(images, "caffe")
        total = tf.reduce_sum(crops)
    np.testing.assert_array_equal(crops, alexnet_tf.preprocess_input(RGB, "caffe"))
    gradient = tape.gradient(total, images)
    assert gradient.dtype == dtype
    ratio = 256 / 80 * 256 / 90
    np.testing.assert_allclose(gradient[:, 20:60, 20:70], ratio, rtol=0.03)
    model = preprocessing_model("caffe", dtype="float32")
    images = tf.Variable(tf.cast(images, "float32"))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(images))
    np.testing.assert_allclose(tape.gradient(total, images), gradient, rtol=1e-6)


def test_a_saved_model_contains_the_preset(tmp_path):
    """The preset may be one that a user has defined."""
    preset = presets.override(presets.get("caffe"), image_size=40, crop_size=30)
    model = preprocessing_model(preset)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert restored.layers[1].preset == preset
    np.testing.assert_array_equal(restored(RGB), model(RGB))


def test_lambda_layers_may_preprocess():
    layer = keras.layers.Lambda(lambda x: alexnet_tf.preprocess_input(x, "tiny"))
    assert layer(keras.Input((80, 90, 3))).shape == (None, 64, 64, 3)
    expected = alexnet_tf.preprocess_input(RGB, "tiny")
    np.testing.assert_array_equal(layer(RGB.astype("float32")), expected)


@pytest.mark.parametrize("shape", [(80, 3), (80, 90, 4), (2, 80, 90, 3)])
def test_rejects_keras_tensors_that_are_not_images(shape):
    with pytest.raises(ValueError, match=r"RGB images \[B, H, W, 3\].*None, "):
        preprocessing_model(shape=shape)
