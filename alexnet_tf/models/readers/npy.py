"""Reads .npy files such as bvlc_alexnet.npy, which hold a pickled dict.

The dict is {layer: [W, b]} or {layer: {"weights": W, "biases": b}}, pickled by Python 2
or 3.
"""

import io

import numpy as np

from alexnet_tf import files
from alexnet_tf.models.readers import safe_pickle
from alexnet_tf.models.readers.stored import part_name
from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights
from alexnet_tf.models.readers import unsupported

# The largest header that is read, in bytes. The headers that NumPy writes have 128
# bytes.
MAX_HEADER_SIZE = 4096


def open_file(path):
    """Returns the `StoredWeights` of a .npy file.

    The messages of errors are clauses without a subject of their own, such as "it is
    damaged": `weight_formats.errors_naming` puts "The weights file cannot be read: "
    and the path before them.

    Args:
        path: the path of the file.

    Raises:
        ValueError, EOFError: if the file holds something other than weights, or is
            damaged.
        OSError: if the file cannot be read.
    """
    buffer = files.map_file(path)
    header = io.BytesIO(buffer[:MAX_HEADER_SIZE])
    shape, dtype = read_header(header)
    if dtype != object or shape != ():
        raise ValueError(
            f"it holds an array of shape {shape} and type {dtype} instead of "
            "{layer: [W, b]}"
        )
    layers = safe_pickle.load(memoryview(buffer)[header.tell() :])
    if isinstance(layers, safe_pickle.Array):
        layers = layers.value
    if not isinstance(layers, dict):
        raise ValueError(f"it holds a {type(layers).__name__} instead of a dict")
    if not all(isinstance(layer, str) for layer in layers):
        raise ValueError("its keys are not names of layers")
    unsupported.check_names(layers)
    return StoredWeights(
        {layer: _parts(layer, parts) for layer, parts in layers.items()}
    )


def read_header(file):
    """Returns the shape and the dtype in a .npy header, and moves `file` past it."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"its version of the .npy format is {version}, not 1.0 or 2.0")
    shape, _, dtype = readers[version](file)
    return shape, dtype


def _parts(layer, parts):
    """Converts the unpickled value of a layer to {"kernel": ..., "bias": ...}.

    Arrays of layers other than convolutions and fully connected layers keep their
    names.
    """
    if isinstance(parts, (list, tuple)) and len(parts) == 2:
        parts = dict(zip(("kernel", "bias"), parts))
    is_dict = isinstance(parts, dict) and all(isinstance(key, str) for key in parts)
    names = [part_name(key) or key for key in parts] if is_dict else []
    if not is_dict or len({*names}) < len(names):
        raise ValueError(
            f"'{printable(layer)}' is neither [W, b] nor weights and biases"
        )
    return {
        name: _stored_array(layer, array) for name, array in zip(names, parts.values())
    }


def _stored_array(layer, array):
    if not isinstance(array, safe_pickle.Array) or not isinstance(
        array.value, np.ndarray
    ):
        raise ValueError(
            f"'{printable(layer)}' holds something other than an array of numbers"
        )
    return StoredArray(array.value.shape, lambda: array.value)
