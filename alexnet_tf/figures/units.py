"""Units of a layer, and the part of the image that each of their outputs depends on.

A unit is a map of a convolution or an output of a fully connected layer. The outputs of
a layer are those of `alexnet.features`: after the ReLU, if one follows.
"""

import dataclasses

import numpy as np

from alexnet_tf.models import alexnet
from alexnet_tf.models import receptive_fields


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer whose units are shown.

    Attributes:
        name: the name of the layer, as it was given.
        output_name: the name of the layer whose outputs are shown, such as relu1.
        num_units: the number of its units.
        field: the `ReceptiveField` of its outputs; None for a fully connected layer,
            whose units see the whole image.
        image_side: the side of the network's input in pixels.
    """

    name: str
    output_name: str
    num_units: int
    field: receptive_fields.ReceptiveField | None
    image_side: int

    def window(self, position):
        """Returns (rows, columns), slices of the pixels that an output depends on.

        The part of the receptive field that lies in the padding is left out.

        Args:
            position: (row, column) of the output in its map; any for a fully connected
                layer.
        """
        if self.field is None:
            return slice(0, self.image_side), slice(0, self.image_side)
        return tuple(
            slice(*self.field.pixels(int(index), self.image_side))
            for index in position
        )


def find_layer(model, name=None):
    """Returns the `Layer` for the layer `name` of a model.

    Args:
        model: a model that `AlexNet` built.
        name: the name of a layer. Default: the last convolution.

    Raises:
        ValueError: if there is no such layer, or it is the input or the softmax.
    """
    name = name or _last_convolution(model)
    features = alexnet.features(model, name)
    if name in (model.layers[0].name, model.layers[-1].name):
        names = ", ".join(layer.name for layer in model.layers[1:-1])
        raise ValueError(f"Expected one of the layers {names}. Received: layer={name}.")
    output_name = features.layers[-1].name
    fields = {
        field.layer: field for field in receptive_fields.receptive_fields(model)
    }
    return Layer(
        name,
        output_name,
        features.output.shape[-1],
        fields.get(output_name),
        model.input.shape[1],
    )


def check_unit(layer, unit):
    """Raises a ValueError if a layer has no unit with this index."""
    if not 0 <= unit < layer.num_units:
        raise ValueError(
            f"Expected a unit from 0 to {layer.num_units - 1} of the layer "
            f"{layer.name}. Received: {unit=}."
        )


def maxima(outputs):
    """Returns the largest output of each unit and its position.

    Args:
        outputs: float [B, H, W, C] or [B, C], the outputs of a layer.

    Returns:
        (float [B, C], int [B, C, 2]), the values and (row, column). If a unit has its
        largest output several times, the position is the first in the order of the
        pixels. The position of a fully connected layer's output is (0, 0).
    """
    if outputs.ndim == 2:
        outputs = outputs[:, np.newaxis, np.newaxis]
    batch, _, width, channels = outputs.shape
    flat = outputs.reshape(batch, -1, channels)
    indices = flat.argmax(axis=1)
    return flat.max(axis=1), np.stack(np.divmod(indices, width), axis=-1)


def _last_convolution(model):
    """Returns the last convolution's name for `alexnet.features`."""
    names = alexnet.activation_names(model)
    convolutions = [n for n in names if len(model.get_layer(n).output.shape) == 4]
    # A user's network may have no convolution, or consist of the output layer only.
    return (convolutions or names or [model.layers[-2].name])[-1]
