"""Kernels of other layouts are reordered for the maps that are flattened before them.

In the files of these tests, the kernel of fc6 is [out, in] with the inputs in the order
C, H, W, as Caffe and PyTorch have it.
"""

import keras
import numpy as np
import pytest

import alexnet_tf
from alexnet_tf.models.weights import load_weights

layers = keras.layers
MAPS = (2, 3, 4)  # height, width, channels
NUM_INPUTS = 24
# fc6 has five outputs. Its inputs are numbered in the order H, W, C.
KERNEL = np.arange(NUM_INPUTS * 5, dtype="float32").reshape(NUM_INPUTS, 5)


def write(tmp_path, kernel=KERNEL, **arrays):
    """Writes a file with the kernel of fc6 in the order of Caffe."""
    in_caffe = kernel.reshape(*MAPS, 5).transpose(3, 2, 0, 1).reshape(5, -1)
    path = tmp_path / "caffe.npz"
    np.savez(path, **{"fc6/kernel": in_caffe, "fc6/bias": np.zeros(5)}, **arrays)
    return path


def make(*between):
    """Returns a model of maps, the layers or functions `between`, and fc6."""
    inputs = x = keras.Input(MAPS)
    for function in between:
        x = function(x)
    return keras.Model(inputs, layers.Dense(5, name="fc6")(x))


def nested_features():
    inputs = keras.Input(MAPS)
    return keras.Model(inputs, layers.Flatten()(inputs), name="features")


class Scale(layers.Layer):
    """A layer of a user that keeps the shape of its inputs."""

    def call(self, inputs):
        return 2 * inputs


@pytest.mark.parametrize(
    "between",
    [
        [layers.Flatten()],
        [layers.Dropout(0.5), layers.Flatten(), layers.Dropout(0.5)],
        [layers.Flatten(), layers.ReLU(), layers.BatchNormalization(), Scale()],
        [layers.Reshape((NUM_INPUTS,))],
        [layers.Reshape((-1,))],
        [layers.Reshape((1, 1, NUM_INPUTS)), layers.Flatten()],
        [layers.Reshape((6, 4)), layers.Flatten()],
        [nested_features()],
        [keras.Sequential([layers.Flatten(), layers.Dropout(0.5)])],
        [layers.MaxPooling2D(1), layers.Flatten(), keras.ops.relu],
    ],
)
def test_fc6_is_reordered_through_layers_that_keep_the_order(tmp_path, between):
    model = make(*between)
    load_weights(model, write(tmp_path), skip=other_layers(model), layout="caffe")
    np.testing.assert_array_equal(model.get_layer("fc6").kernel.numpy(), KERNEL)


def other_layers(model):
    return [layer.name for layer in model.layers if layer.weights][:-1]


@pytest.mark.parametrize("functional", [True, False])
def test_the_maps_are_found_outside_of_a_nested_head(tmp_path, functional):
    inputs = keras.Input((NUM_INPUTS,))
    head = keras.Model(inputs, layers.Dense(5, name="fc6")(inputs), name="head")
    if not functional:
        head = keras.Sequential([layers.Dense(5, name="fc6")], name="head")
    images = keras.Input(MAPS)
    model = keras.Model(images, head(layers.Flatten()(images)))
    path = write(tmp_path)
    arrays = {f"head/{name}": array for name, array in np.load(path).items()}
    np.savez(path, **arrays)
    load_weights(model, path, layout="caffe")
    np.testing.assert_array_equal(head.get_layer("fc6").kernel.numpy(), KERNEL)


@pytest.mark.parametrize(
    "between",
    [
        [layers.GlobalAveragePooling2D()],
        [layers.GlobalMaxPooling2D(), layers.Dropout(0.5)],
        [layers.Flatten(), layers.Dense(4)],
        [lambda x: keras.ops.mean(x, axis=(1, 2))],
        [],  # fc6 is applied to each position.
    ],
)
def test_inputs_that_are_not_flattened_maps_keep_their_order(tmp_path, between):
    model = make(*between)
    path, kernel = tmp_path / "caffe.npz", KERNEL[:4]
    np.savez(path, **{"fc6/kernel": kernel.T, "fc6/bias": np.zeros(5)})
    load_weights(model, path, skip=other_layers(model), layout="caffe")
    np.testing.assert_array_equal(model.get_layer("fc6").kernel.numpy(), kernel)


@pytest.mark.parametrize(
    "between, name",
    [
        ([layers.Permute((3, 1, 2), name="odd"), layers.Flatten()], "odd"),
        ([layers.Permute((3, 1, 2), name="odd"), layers.Reshape((-1,))], "odd"),
        ([layers.Flatten(data_format="channels_first", name="odd")], "odd"),
        (
            [
                lambda x: [layers.Flatten()(x[..., :1]), layers.Flatten()(x[..., 1:])],
                layers.Concatenate(name="odd"),
            ],
            "odd",
        ),
    ],
)
def test_an_unknown_order_is_rejected(tmp_path, between, name):
    model = make(*between)
    before = model.get_weights()
    message = f"Flatten or Reshape between the maps and fc6.*Received: {name} is"
    with pytest.raises(ValueError, match=message):
        load_weights(model, write(tmp_path), layout="caffe")
    for array, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, expected)


class Subclassed(keras.Model):
    """A model without a graph."""

    def __init__(self):
        super().__init__()
        self.flatten = layers.Flatten()
        self.fc6 = layers.Dense(5, name="fc6")

    def call(self, inputs):
        return self.fc6(self.flatten(inputs))


class Pooled(keras.Model):
    """A model without a graph, in which the order of all inputs is known."""

    def __init__(self):
        super().__init__()
        self.conv1 = layers.Conv2D(4, 3, name="conv1")
        self.pool = layers.GlobalAveragePooling2D()
        self.fc6 = layers.Dense(5, name="fc6")
        self.fc7 = layers.Dense(3, name="fc7")

    def call(self, inputs):
        return self.fc7(self.fc6(self.pool(self.conv1(inputs))))


def test_subclassed_models_load_layers_whose_order_is_known(tmp_path):
    """The inputs of fc6 are those of the filters of conv1, in both layouts."""
    models = Pooled(), Pooled()
    for model in models:
        model(np.zeros((1, 8, 8, 3), "float32"))
    first, second = models
    arrays = {}
    for layer in (first.conv1, first.fc6, first.fc7):
        kernel, bias = layer.get_weights()
        order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        arrays |= {f"{layer.name}/kernel": kernel.transpose(order)}
        arrays |= {f"{layer.name}/bias": bias}
    np.savez(tmp_path / "caffe.npz", **arrays)
    load_weights(second, tmp_path / "caffe.npz", layout="caffe")
    for array, expected in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_subclassed_models_are_rejected_only_if_the_order_differs(tmp_path):
    model = Subclassed()
    model(np.zeros((1, *MAPS), "float32"))
    with pytest.raises(ValueError, match="Received: it is not in the graph of a func"):
        load_weights(model, write(tmp_path), layout="caffe")
    alexnet_tf.save_weights(make(layers.Flatten()), tmp_path / "keras.npz")
    report = load_weights(model, tmp_path / "keras.npz")
    assert report.arrays == 2
    load_weights(model, tmp_path / "keras.npz", skip="fc6", layout="caffe")
