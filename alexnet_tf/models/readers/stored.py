"""Weights in a file whose arrays are still to be read."""

import dataclasses
import re
from typing import Callable

import numpy as np

_DTYPES = ("float16", "float32", "float64")

# {name of a layer's array in files: its name in Keras}.
_PARTS = {
    "kernel": "kernel", "weights": "kernel", "weight": "kernel", "W": "kernel",
    "w": "kernel", "w_0": "kernel",
    "bias": "bias", "biases": "bias", "b": "bias", "b_0": "bias",
}  # fmt: skip
_KEY = re.compile(rf"(.+)[/._]({'|'.join(_PARTS)})")


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array that is still to be read from a file.

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
        layers: {layer: {"kernel": `StoredArray`, "bias": `StoredArray`}}.
        layout: "keras" if the container stores kernels as [..., in, out], "caffe" if it
            stores them as [out, in, ...]; None if the container does not define the
            order.
        network: the name of the network in the file, such as "CaffeNet"; None if the
            file does not name one.
        channel_order: "rgb" if the file belongs to networks whose inputs are BGR, but
            its conv1 takes RGB; None otherwise.
    """

    layers: dict[str, dict[str, StoredArray]]
    layout: str | None = None
    network: str | None = None
    channel_order: str | None = None


def group_by_layer(arrays):
    """Converts {"conv1/kernel": array} to {"conv1": {"kernel": array}}.

    Raises:
        ValueError: if a name is not that of a kernel or a bias, or if a layer has two
            kernels or biases.
    """
    layers = {}
    for key, array in arrays.items():
        match = _KEY.fullmatch(key)
        if not match:
            raise ValueError(
                f"its array name {key!r} is not of the form conv1/kernel"
            )
        layer, part = match.groups()
        parts = layers.setdefault(layer, {})
        if _PARTS[part] in parts:
            raise ValueError(f"{layer} has two arrays for its {_PARTS[part]}")
        parts[_PARTS[part]] = array
    return layers


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
            f"{name} is of type {dtype_name} instead of one of {', '.join(_DTYPES)}"
        )
