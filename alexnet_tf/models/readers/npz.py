"""Reads .npz files with arrays called conv1/kernel, conv1/bias and so on."""

import io
import zipfile

import numpy as np

from alexnet_tf.models.readers import npy
from alexnet_tf.models.readers.stored import check_count
from alexnet_tf.models.readers.stored import check_dtype
from alexnet_tf.models.readers.stored import group_by_layer
from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights


def open_file(path):
    """Returns the `StoredWeights` of a .npz file, like `npy.open_file`."""
    with zipfile.ZipFile(path) as archive:
        check_count(len(archive.infolist()))
        arrays = {
            member.filename.removesuffix(".npy"): _member(path, archive, member)
            for member in archive.infolist()
        }
    return StoredWeights(group_by_layer(arrays))


def _member(path, archive, member):
    """Returns the `StoredArray` of a member of the archive at `path`."""
    # With other compression methods, `zipfile` decompresses the whole member to read
    # its first bytes.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"{printable(member.filename)} uses a compression method that NumPy does "
            "not use"
        )
    with archive.open(member) as file:
        header = io.BytesIO(file.read(npy.MAX_HEADER_SIZE))
    shape, dtype = npy.read_header(header)
    check_dtype(member.filename, dtype.name)

    def read():
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    return StoredArray(shape, read)
