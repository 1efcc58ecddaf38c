"""Checks of weights files, and a small network whose files are quick to load."""

import functools

import keras
import numpy as np
import pytest

from alexnet_tf.models import weight_formats
from alexnet_tf.models.weights import load_weights
from helpers.weight_arrays import assert_weights_equal
from helpers.weight_arrays import copy_weights


@functools.cache
def two_layer_model():
    """Returns a model with the layers fc7 and fc8."""
    inputs = x = keras.Input((4,))
    for name in ("fc7", "fc8"):
        x = keras.layers.Dense(3, name=name)(x)
    return keras.Model(inputs, x)


def torch_state():
    """Returns {"fc7.weight": array, ...} of the model as PyTorch stores it."""
    rng = np.random.default_rng(3)
    shapes = {
        "fc7.weight": (3, 4), "fc7.bias": 3, "fc8.weight": (3, 3), "fc8.bias": 3,
    }  # fmt: skip
    return {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def check_loaded(path):
    """Checks that a file with `torch_state` is loaded."""
    model = two_layer_model()
    model.set_weights([np.zeros_like(array) for array in model.get_weights()])
    load_weights(model, path)
    assert_weights_equal(model, [array.T for array in torch_state().values()])


def check_rejected(path, message):
    """Checks that loading a file fails with a message and changes nothing."""
    before = copy_weights(two_layer_model())
    with pytest.raises(ValueError, match=f"cannot be read: .*{path.name}: {message}"):
        load_weights(two_layer_model(), path)
    assert_weights_equal(two_layer_model(), before)


def read_arrays(path):
    """Returns {layer: {part: array}} of a file, under the names in the file."""
    file = weight_formats.open_weights(path)
    return {
        layer: {part: array.read() for part, array in parts.items()}
        for layer, parts in file.layers.items()
    }
