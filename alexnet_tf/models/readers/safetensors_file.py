"""Reads .safetensors files with arrays called conv1/kernel, conv1/bias and so on."""

import json

import numpy as np
import safetensors

from alexnet_tf import files
from alexnet_tf.models.readers.stored import check_count
from alexnet_tf.models.readers.stored import check_dtype
from alexnet_tf.models.readers.stored import from_bfloat16
from alexnet_tf.models.readers.stored import group_by_layer
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights

# {type in a header: (the type of the numbers, the dtype that holds their bits)}.
_DTYPES = {
    "F16": ("float16", "<f2"),
    "BF16": ("float32", "<u2"),
    "F32": ("float32", "<f4"),
    "F64": ("float64", "<f8"),
}
# The header of a network of eight layers has about 1.5 KB.
_MAX_HEADER_SIZE = 4_000_000


def open_file(path):
    """Returns the `StoredWeights` of a file, like `npy.open_file`."""
    view = memoryview(files.map_file(path))
    # A file has the size of its header in eight bytes, the header in JSON, and the
    # arrays.
    header_size = int.from_bytes(view[:8], "little")
    if header_size > _MAX_HEADER_SIZE:
        raise ValueError(
            f"it has a header of {header_size:,} bytes, more than the limit of "
            f"{_MAX_HEADER_SIZE:,}"
        )
    # The library checks that the header agrees with the size of the file. The arrays
    # are not read with it, because it copies them.
    with safetensors.safe_open(path, framework="numpy"):
        pass
    header = json.loads(bytes(view[8 : 8 + header_size]))
    header.pop("__metadata__", None)
    check_count(len(header))
    data = view[8 + header_size :]
    return StoredWeights(
        group_by_layer(
            {key: _tensor(key, data, **entry) for key, entry in header.items()}
        )
    )


def _tensor(key, data, dtype, shape, data_offsets):
    number_type, bits = _DTYPES.get(dtype, (dtype, None))
    check_dtype(key, number_type)
    begin, end = data_offsets

    def read():
        array = np.frombuffer(data[begin:end], bits).reshape(shape)
        return from_bfloat16(array) if dtype == "BF16" else array

    return StoredArray(tuple(shape), read)
