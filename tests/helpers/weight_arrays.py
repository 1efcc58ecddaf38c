"""Weights of narrow models as arrays, for tests that write and load weights files."""

import functools
import tracemalloc

from hypothesis import strategies as st
import keras
import numpy as np

from alexnet_tf.models import alexnet
from alexnet_tf.models.weights import load_weights
from alexnet_tf import presets
from helpers import networks

# The names of the layers in torchvision/models/alexnet.py.
TORCHVISION_NAMES = dict(
    conv1="features.0", conv2="features.3", conv3="features.6",
    conv4="features.8", conv5="features.10",
    fc6="classifier.1", fc7="classifier.4", fc8="classifier.6",
)  # fmt: skip


def narrow_model(family, seed=0, classes=7):
    """Returns a narrow model with random kernels and biases.

    It is built once. Further calls restore the random weights of the same model.

    Args:
        family: the name of a preset.
        seed: the random seed of the initialization.
        classes: the number of classes.
    """
    model, weights = _narrow_model_and_weights(family, seed, classes)
    model.set_weights(weights)
    return model


@functools.cache
def _narrow_model_and_weights(family, seed, classes):
    """Builds a model for `narrow_model`, and returns it and copies of its weights."""
    keras.utils.set_random_seed(seed)
    preset = presets.override(networks.narrow_preset(family), init="torch")
    side = networks.SIDES[family]
    model = alexnet.AlexNet(
        preset, classes, classifier_activation=None, input_shape=(side, side, 3)
    )
    return model, copy_weights(model)


def reference_arrays(family):
    """Returns {layer: [W, b]} in float32, images, and the logits for these images."""
    images, _, weights, logits, _ = networks.reference_outputs(family)
    arrays = {
        name: [part.astype(np.float32) for part in parts]
        for name, parts in weights.items()
    }
    return arrays, images.astype(np.float32), logits


def to_caffe_layout(arrays, maps_shape=(2, 2, 8)):
    """Returns the arrays in the layout of Caffe and PyTorch.

    Kernels are [out, in, ...], and the columns of fc6 have the order C, H, W. The index
    of each column of fc6 is computed; `load_weights` reshapes and transposes instead.

    Args:
        arrays: {layer: [W, b]}.
        maps_shape: the shape (height, width, channels) of the outputs of pool5.
    """
    transposed = {}
    for name, (kernel, bias) in arrays.items():
        if kernel.ndim == 4:
            kernel = np.moveaxis(kernel, (3, 2), (0, 1))
        else:
            kernel = kernel.T
        if name == "fc6":
            height, width, channels = maps_shape
            columns = [
                (h * width + w) * channels + c
                for c in range(channels)
                for h in range(height)
                for w in range(width)
            ]
            kernel = kernel[:, columns]
        transposed[name] = np.ascontiguousarray(kernel), bias
    return transposed


def flat_arrays(arrays, kernel="kernel", bias="bias", names=None):
    """Returns {"layer.kernel": W, "layer.bias": b, ...}.

    Args:
        arrays: {layer: [W, b]}.
        kernel: the name for kernels in the keys.
        bias: the name for biases in the keys.
        names: {layer: its name in the keys}; None for the names in `arrays`.
    """
    return {
        f"{names[name] if names else name}.{part}": array
        for name, parts in arrays.items()
        for part, array in zip((kernel, bias), parts)
    }


def copy_weights(model):
    return [array.copy() for array in model.get_weights()]


def assert_weights_equal(model, expected):
    """Checks that the weights of a model or a layer equal a list of arrays."""
    for array, expected_array in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(array, expected_array)


def damaged(content, data):
    """Returns a copy of bytes with up to four short sections replaced at random.

    Args:
        content: the bytes of a valid file.
        data: the object that `hypothesis.strategies.data` draws.
    """
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(start + 8, len(content))))
        content[start:end] = data.draw(st.binary(max_size=8))
    return bytes(content)


def check_loads_or_rejects(model, path):
    """Checks that a file is loaded completely, or rejected and changes nothing.

    Loading must not use more than 20 MB of memory.
    """
    before = copy_weights(model)
    tracemalloc.start()
    try:
        load_weights(model, path)
        assert all(np.isfinite(array).all() for array in model.get_weights())
    except ValueError as error:
        assert str(error).startswith(
            (
                "The weights file cannot be read: ",
                "The weights file does not have the layers of ",
            )
        )
        assert_weights_equal(model, before)
    finally:
        assert tracemalloc.get_traced_memory()[1] < 20e6
        tracemalloc.stop()
