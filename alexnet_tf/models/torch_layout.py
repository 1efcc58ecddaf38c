"""Weights under the names, and in the axis order, of torchvision's AlexNet."""

import keras
import numpy as np

from alexnet_tf.models import flattened_maps

# {layer: its name in torchvision/models/alexnet.py}.
_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}


def state_dict(model):
    """Returns the weights of a model as torchvision's AlexNet names and orders them.

    The result is {name: array}, such as float32 [64, 3, 11, 11] for features.0.weight:
    kernels are [out, in, height, width] and [out, in], and the inputs of fc6 are in the
    order channel, height, width.

    Args:
        model: a model of the preset `owt`, with any number of classes.

    Raises:
        ValueError: if the model has other layers, or grouped convolutions.
    """
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    groups = [getattr(layer, "groups", 1) for layer in layers.values()]
    if layers.keys() != _NAMES.keys() or {*groups} != {1}:
        raise ValueError(
            f"Expected a model of the preset owt, with the layers {', '.join(_NAMES)} "
            f"and without groups. Received: {model.name}, with "
            f"{', '.join(layers) or 'no layers'}. Leave the layout out."
        )
    outer_inputs = flattened_maps.find_outer_inputs(model)
    arrays = {}
    for name, torch_name in _NAMES.items():
        kernel, bias = layers[name].get_weights()
        if isinstance(layers[name], keras.layers.Dense):
            shape = flattened_maps.find_shape(layers[name], len(kernel), outer_inputs)
            kernel = _transpose_matrix(kernel, shape)
        else:
            kernel = kernel.transpose(3, 2, 0, 1)  # [out, in, H, W]
        # safetensors would write the memory of a transposed array as it lies.
        arrays[f"{torch_name}.weight"] = np.ascontiguousarray(kernel)
        arrays[f"{torch_name}.bias"] = bias
    return arrays


def _transpose_matrix(kernel, flattened_shape):
    """Returns [out, in], with the inputs in the order channel, height, width.

    Args:
        kernel: [in, out].
        flattened_shape: the shape (positions, 1, channels) of the maps that are
            flattened for the layer; None if its inputs are not flattened.
    """
    if flattened_shape is None:
        return kernel.T
    maps = kernel.reshape(*flattened_shape, -1)  # [positions, 1, channels, out]
    return maps.transpose(3, 2, 0, 1).reshape(kernel.shape[::-1])
