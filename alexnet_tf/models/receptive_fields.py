"""Computes receptive fields: the image pixels on which a layer's outputs depend."""

import dataclasses

import keras

from alexnet_tf.models.layers import SpatialResponseNormalization


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """The receptive fields of a layer's outputs, along one side of the image.

    Attributes:
        layer: the name of the layer.
        size: the side of the field of one output, in pixels.
        stride: the distance between the fields of neighboring outputs, in pixels.
        start: the position of the first pixel in the field of the first output;
            negative if the field begins in the padding.
        side: the number of outputs along one side of the layer's maps.
    """

    layer: str
    size: int
    stride: int
    start: int
    side: int

    def pixels(self, index, image_side):
        """Returns (first, end), the pixels in the field of one output.

        The part of the field that lies in the padding is left out. `end` is the pixel
        after the last one.

        Args:
            index: the position of the output in its row or column.
            image_side: the side of the image in pixels.
        """
        first = self.start + index * self.stride
        return max(first, 0), min(first + self.size, image_side)


def receptive_fields(model):
    """Returns a list of the `ReceptiveField` of each layer that outputs maps.

    If the outputs of a layer have fields of `size` and `stride`, and the next layer
    has windows of k outputs that are s outputs apart, then the fields of the next
    layer have the size `size + (k - 1) * stride` and the stride `s * stride`.

    Args:
        model: a model that `AlexNet` built for square images of a fixed size.
    """
    size, stride, start = 1, 1, 0
    fields = []
    for layer in model.layers:
        if len(layer.output.shape) != 4:
            break
        window_size, step, padding = _window_geometry(layer)
        start -= padding * stride
        size += (window_size - 1) * stride
        stride *= step
        fields.append(
            ReceptiveField(layer.name, size, stride, start, layer.output.shape[1])
        )
    return fields


def _window_geometry(layer):
    """Returns (window size, step, padding) of a layer, along one side of the maps.

    All three are counted in pixels of the layer's input maps. The padding is the part
    before the first pixel.
    """
    if isinstance(layer, keras.layers.ZeroPadding2D):
        return 1, 1, layer.padding[0][0]
    if isinstance(layer, keras.layers.Conv2D):
        window_size, step = layer.kernel_size[0], layer.strides[0]
    elif isinstance(
        layer, keras.layers.MaxPooling2D | keras.layers.AveragePooling2D
    ):
        window_size, step = layer.pool_size[0], layer.strides[0]
    elif isinstance(layer, SpatialResponseNormalization):
        window_size, step = layer.size, 1
    else:
        return 1, 1, 0
    if getattr(layer, "padding", "same") == "valid":
        return window_size, step, 0
    inputs, outputs = layer.input.shape[1], layer.output.shape[1]
    # "same" puts half of the padding before the inputs, rounded down.
    padding = max((outputs - 1) * step + window_size - inputs, 0)
    return window_size, step, padding // 2
