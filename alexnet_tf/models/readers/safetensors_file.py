"""Reads .safetensors files with arrays called conv1/kernel, conv1/bias and so on."""

import json

import numpy as np
import safetensors

from alexnet_tf import files
from alexnet_tf.models.readers.stored import check_dtype
from alexnet_tf.models.readers.stored import group_by_layer
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights

_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}


def open_file(path):
    """Returns the `StoredWeights` of a file, like `npy.open_file`."""
    # The library checks that the header agrees with the size of the file. The arrays
    # are not read with it, because it copies them.
    with safetensors.safe_open(path, framework="numpy"):
        pass
    view = memoryview(files.map_file(path))
    # A file has the size of its header in eight bytes, the header in JSON, and the
    # arrays.
    start = 8 + int.from_bytes(view[:8], "little")
    header = json.loads(bytes(view[8:start]))
    header.pop("__metadata__", None)
    return StoredWeights(
        group_by_layer(
            {key: _tensor(key, view[start:], **entry) for key, entry in header.items()}
        )
    )


def _tensor(key, data, dtype, shape, data_offsets):
    check_dtype(key, _DTYPES.get(dtype, dtype))
    begin, end = data_offsets
    numpy_dtype = np.dtype(_DTYPES[dtype]).newbyteorder("<")

    def read():
        return np.frombuffer(data[begin:end], numpy_dtype).reshape(shape)

    return StoredArray(tuple(shape), read)
