"""Writes version 5 MATLAB files and networks of MatConvNet."""

import struct
import zlib

import numpy as np

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
_CLASSES = {"float64": 6, "float32": 7, "uint8": 9, "int32": 12}
_TYPES = {"float64": 9, "float32": 7, "uint8": 2, "int32": 5}


def write(path, variables, compressed=False):
    """Writes a file of variables.

    Args:
        path: a `pathlib.Path`.
        variables: {name: value}. A value is an array, a str, a list for a cell, a dict
            for a structure, None for an empty matrix, or the bytes of an element.
        compressed: whether to compress each variable.
    """
    content = HEADER
    for name, value in variables.items():
        variable = matrix(value, name)
        content += element(15, zlib.compress(variable)) if compressed else variable
    path.write_bytes(content)


def element(element_type, data):
    """Returns an element, in the short format if it has up to four bytes of data."""
    if 0 < len(data) <= 4 and element_type != 15:
        return struct.pack("<HH", element_type, len(data)) + data.ljust(4, b"\0")
    padding = b"" if element_type == 15 else bytes(-len(data) % 8)
    return struct.pack("<II", element_type, len(data)) + data + padding


def matrix(value, name=""):
    """Returns the matrix element of a value, as for `write`."""
    if value is None:
        return element(14, b"")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        text = element(4, value.encode("utf-16-le"))
        return matrix_from_parts(4, (1, len(value)), name, text)
    if isinstance(value, list):
        return matrix_from_parts(1, (1, len(value)), name, *map(matrix, value))
    if isinstance(value, dict):
        fields = b"".join(field.encode().ljust(32, b"\0") for field in value)
        parts = element(5, struct.pack("<i", 32)), element(1, fields)
        return matrix_from_parts(2, (1, 1), name, *parts, *map(matrix, value.values()))
    numbers = element(_TYPES[value.dtype.name], value.tobytes(order="F"))
    return matrix_from_parts(_CLASSES[value.dtype.name], value.shape, name, numbers)


def matrix_from_parts(matrix_class, shape, name, *parts):
    """Returns a matrix element, in which `parts` follow the elements of its header."""
    flags = element(6, struct.pack("<II", matrix_class, 0))
    dimensions = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, flags + dimensions + element(1, name.encode()) + b"".join(parts))


def to_layers(arrays, maps_shape=(2, 2, 8), order="conv relu lrn pool", old=False):
    """Returns the cell "layers" of a SimpleNN network, as MatConvNet's importer does.

    Args:
        arrays: {layer: [W, b]} with kernels [height, width, in, out] and [in, out], for
            images in the order BGR.
        maps_shape: the shape (height, width, channels) of the outputs of pool5.
        order: the types of the first layers, beginning with "conv", which is conv1.
        old: whether kernels and biases are called "filters" and "biases", and the
            normalization "normalize", as in the first versions.
    """
    layers = []
    for name, (kernel, bias) in arrays.items():
        if name == "conv1":
            kernel = kernel[:, :, ::-1]
        if name == "fc6":
            kernel = kernel.reshape(*maps_shape, -1)
        elif kernel.ndim == 2:
            kernel = kernel[np.newaxis, np.newaxis]
        parts = [kernel, bias[np.newaxis]]
        weights = dict(zip(("filters", "biases"), parts)) if old else {"weights": parts}
        stride = np.ones((1, 2))
        layers.append({"name": name, "type": "conv", **weights, "stride": stride})
    _, *others = order.split()
    if old:
        others = ["normalize" if name == "lrn" else name for name in others]
    param = np.array([[5, 1, 2e-5, 0.75]])
    layers[1:1] = [{"type": name, "param": param, "opts": []} for name in others]
    return layers
