"""Computes the receptive field of each layer: the pixels that reach an output."""

import dataclasses

import keras

from alexnet_tf.models.layers import SpatialResponseNormalization


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of a layer's outputs, along one side of the image.

    Attributes:
        layer: the name of the layer.
        size: the number of pixels along a side that reach one output.
        stride: the number of pixels between the fields of neighboring outputs.
        start: the first pixel of the first output's field; negative if the field
            begins in the padding.
        side: the number of outputs along a side of the model's input.
    """

    layer: str
    size: int
    stride: int
    start: int
    side: int


def receptive_fields(model):
    """Returns the `ReceptiveField` of each layer up to the first without maps.

    If a layer's outputs have fields of `size` and `stride`, a window of k of them
    that moves by s has a field of size + (k - 1) * stride, and stride s * stride.

    Args:
        model: a model that `AlexNet` built for square images.
    """
    size, stride, start = 1, 1, 0
    fields = []
    for layer in model.layers:
        if len(layer.output.shape) != 4:
            break
        window, step, padding = _window(layer)
        start -= padding * stride
        size += (window - 1) * stride
        stride *= step
        fields.append(
            ReceptiveField(layer.name, size, stride, start, layer.output.shape[1])
        )
    return fields


def _window(layer):
    """Returns (window, step, padding before) of the layer's inputs along a side."""
    if isinstance(layer, keras.layers.ZeroPadding2D):
        return 1, 1, layer.padding[0][0]
    if isinstance(layer, keras.layers.Conv2D):
        window, step = layer.kernel_size[0], layer.strides[0]
    elif isinstance(
        layer, keras.layers.MaxPooling2D | keras.layers.AveragePooling2D
    ):
        window, step = layer.pool_size[0], layer.strides[0]
    elif isinstance(layer, SpatialResponseNormalization):
        window, step = layer.size, 1
    else:
        return 1, 1, 0
    if getattr(layer, "padding", "same") == "valid":
        return window, step, 0
    inputs, outputs = layer.input.shape[1], layer.output.shape[1]
    # "same" puts half of the padding before the inputs, rounded down.
    return window, step, max((outputs - 1) * step + window - inputs, 0) // 2
