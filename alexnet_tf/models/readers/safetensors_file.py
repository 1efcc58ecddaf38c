"""Reads .safetensors files with arrays called conv1/kernel, conv1/bias and so on."""

import safetensors

from alexnet_tf.models.readers.stored import check_dtype
from alexnet_tf.models.readers.stored import group_by_layer
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights

_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}


def open_file(path, stack):
    """Returns the `StoredWeights` of a file; for the rest, see `npy.open_file`."""
    file = stack.enter_context(_map(path))
    return StoredWeights(
        group_by_layer({key: _tensor(path, file, key) for key in file.keys()})
    )


def _map(path):
    return safetensors.safe_open(path, framework="numpy")


def _tensor(path, file, key):
    header = file.get_slice(key)
    code = header.get_dtype()
    check_dtype(key, _DTYPES.get(code, code))

    def read():
        # The file is opened again for each array, because one mapping would keep in
        # memory all arrays that have been read: loading would need 2.8 times the size
        # of the arrays instead of 1.6 times.
        with _map(path) as reopened_file:
            return reopened_file.get_tensor(key)

    return StoredArray(tuple(header.get_shape()), read)
