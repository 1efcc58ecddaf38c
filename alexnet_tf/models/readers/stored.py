"""The weights in a file, whose arrays are read later."""

import dataclasses
import re
from typing import Callable

import numpy as np

from alexnet_tf.models.readers import unsupported

# The number of rows that `transpose_matrix` transposes at once.
_BLOCK_ROWS = 64
_DTYPES = ("float16", "float32", "float64")
# The networks of this package have at most 18 arrays.
_MAX_ARRAYS = 1000
# The number of names in an error message.
_MAX_SHOWN = 19

# {name of a layer's array in files: its name in Keras}.
_PARTS = {
    "kernel": "kernel", "weights": "kernel", "weight": "kernel", "W": "kernel",
    "w": "kernel", "w_0": "kernel",
    "bias": "bias", "biases": "bias", "b": "bias", "b_0": "bias",
}  # fmt: skip
_KEY = re.compile(rf"(.+)[/._]({'|'.join(_PARTS)})")
# The kernels of Keras' recurrent and separable layers, as `save_weights` writes them.
# `_KEY` would take lstm/recurrent_kernel for the kernel of a layer lstm/recurrent.
_PREFIXED_KEY = re.compile(r"(.+)/((?:recurrent|depthwise|pointwise)_kernel)")
# The keys that `save_weights` writes, with the name of any array.
_SAVED_KEY = re.compile(r"(.+)/(\w+)")


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in a file that has not been read yet.

    Attributes:
        shape: the shape that the file states.
        read: a function that reads and returns the array.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class StoredWeights:
    """The weights in a file, by the names that the file gives to the layers.

    Attributes:
        layers: {layer: {part: `StoredArray`}}. The parts are "kernel" and "bias", and
            for files of `save_weights` also names such as "gamma".
        layout: "keras" if the container stores kernels as [..., in, out], "caffe" if it
            stores them as [out, in, ...]; None if the container does not define the
            order.
        network: the name of the network in the file, such as "CaffeNet"; None if the
            file does not name one.
        channel_order: "rgb" if conv1 in the file takes RGB images even if the preset
            takes BGR images; None otherwise.
    """

    layers: dict[str, dict[str, StoredArray]]
    layout: str | None = None
    network: str | None = None
    channel_order: str | None = None


def group_by_layer(arrays):
    """Converts {"conv1/kernel": array} to {"conv1": {"kernel": array}}.

    Every array has to be a kernel or a bias, because a name that was mistyped would
    otherwise go unnoticed. After a slash, which `save_weights` writes, any name is
    accepted, such as bn1/gamma: `load_weights` compares it with those of the model. A
    reader whose container has other arrays too, such as the momenta of the optimizer
    in a file of Caffe2, removes them before it calls this function.

    Raises:
        ValueError: if the names are those of a network that no preset has, a name is
            not that of a kernel or a bias, or a layer has two kernels or biases.
    """
    unsupported.check_names(arrays)
    layers = {}
    for key, array in arrays.items():
        match = (
            _PREFIXED_KEY.fullmatch(key)
            or _KEY.fullmatch(key)
            or _SAVED_KEY.fullmatch(key)
        )
        if not match:
            raise ValueError(
                f"its array name '{printable(key)}' is not of the form conv1/kernel"
            )
        layer, part = match.groups()
        parts = layers.setdefault(layer, {})
        part = _PARTS.get(part, part)
        if part in parts:
            raise ValueError(f"{printable(layer)} has two arrays for its {part}")
        parts[part] = array
    return layers


def check_count(count):
    """Raises a ValueError if a file has more arrays than any network that is expected.

    A file of a few megabytes can have a million arrays without elements, and each takes
    time and memory.

    Args:
        count: the number of arrays.
    """
    if count > _MAX_ARRAYS:
        raise ValueError(
            f"it has {count:,} arrays, more than the limit of {_MAX_ARRAYS:,}"
        )


def part_name(name):
    """Returns "kernel" or "bias" for the name of an array, None for other names."""
    return _PARTS.get(name)


def check_dtype(name, dtype_name):
    """Raises a ValueError if an array does not hold floating-point numbers.

    Args:
        name: the name of the array.
        dtype_name: the name of its dtype, which is the same for both byte orders.
    """
    if dtype_name not in _DTYPES:
        raise ValueError(
            f"{printable(name)} is of type {printable(dtype_name)} instead of one of "
            f"{', '.join(_DTYPES)}"
        )


def from_bfloat16(bits):
    """Returns float32 numbers for an array, uint16, of the bits of bfloat16 numbers."""
    # The bits are the upper halves of those of float32 numbers.
    return (bits.astype("<u4") << 16).view("<f4")


def transpose_matrix(matrix, maps_shape=None):
    """Returns a transposed copy of a matrix.

    It takes a quarter of the time of copying `matrix.T`, which reads or writes one
    element of each row at a time.

    Args:
        matrix: an array [outputs, inputs].
        maps_shape: the shape (height, width, channels) if the inputs are flattened
            maps. The columns of the matrix then have the order C, H, W, and the rows of
            the result the order H, W, C. None to keep the order.
    """
    num_outputs, num_inputs = matrix.shape
    height, width, channels = maps_shape or (1, 1, num_inputs)
    transposed = np.empty((height * width, channels, num_outputs), matrix.dtype)
    for start in range(0, num_outputs, _BLOCK_ROWS):
        rows = matrix[start : start + _BLOCK_ROWS]
        block = np.ascontiguousarray(rows.T)
        block = block.reshape(channels, height * width, len(rows))
        transposed[:, :, start : start + _BLOCK_ROWS] = block.swapaxes(0, 1)
    return transposed.reshape(num_inputs, num_outputs)


def printable_list(names, length=40):
    """Returns the first names of a file and the number of the others, for a message.

    Args:
        names: any number of names from a file.
        length: the number of characters of each name that are kept.
    """
    names = [*names]
    shown = ", ".join(printable(name, length) for name in names[:_MAX_SHOWN])
    others = len(names) - _MAX_SHOWN
    return f"{shown} and {others:,} more" if others > 0 else shown


def printable(text, length=60):
    """Returns a short string without control characters, for an error message.

    The names in a file may have any length and any characters.

    Args:
        text: a name from a file, or a message that may contain one.
        length: the number of characters of `text` that are kept.
    """
    return "".join(
        character if character.isprintable() else repr(character)[1:-1]
        for character in text[:length]
    )
