"""What each layer of a network sees of a picture."""

import dataclasses

import keras

from alexnet_tf.models.layers import SpatialResponseNormalization


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of one output of a layer.

    Attributes:
        layer: its name.
        size: pixels of a side that reach the output.
        stride: pixels between the fields of neighbouring outputs.
        start: the first pixel of the first output's field; negative where it
            begins in the padding.
        side: outputs along a side of the network's own input.
    """

    layer: str
    size: int
    stride: int
    start: int
    side: int


def receptive_fields(model):
    """The `ReceptiveField` of each layer with maps, in order, of a square network.

    A window of k outputs, every s, of a layer whose fields have `size` and
    `stride` has size + (k - 1) * stride and s * stride.
    """
    size, stride, start = 1, 1, 0
    fields = []
    for layer in model.layers:
        if len(layer.output.shape) != 4:
            break
        window, step, before = _window(layer)
        start -= before * stride
        size += (window - 1) * stride
        stride *= step
        fields.append(
            ReceptiveField(layer.name, size, stride, start, layer.output.shape[1])
        )
    return fields


def _window(layer):
    """(outputs, step, padding before) of what the layer takes along a side."""
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
    # "same" pads in front by half of what is missing, rounded down.
    return window, step, max((outputs - 1) * step + window - inputs, 0) // 2
