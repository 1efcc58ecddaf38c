"""Reads .weights.h5 and .keras files of Keras.

HDF5 is read by a C library that a damaged file can crash (1 of 8,500 randomly damaged
files crashed it).
"""

import io
import struct
import zipfile

import h5py

from alexnet_tf.models.readers.stored import check_dtype
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights


def open_file(path, stack):
    """Returns the `StoredWeights` of an HDF5 file; see `npy.open_file` for the rest."""
    return _weights(stack.enter_context(h5py.File(path, "r")))


def open_archive(path, stack):
    """Returns the `StoredWeights` of a .keras file; see `npy.open_file` for the rest."""
    file = stack.enter_context(open(path, "rb"))
    # The model's configuration in the archive is not read, because it can refer to
    # functions that Keras would call.
    member = zipfile.ZipFile(file).getinfo("model.weights.h5")
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its weights are compressed, which Keras does not do")
    # The data of a member follow its local header of 30 bytes, its name and its extra
    # field. The last four bytes of the header are the lengths of the name and of the
    # extra field.
    file.seek(member.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", file.read(4))
    start = member.header_offset + 30 + name_length + extra_length
    section = _FileSection(file, start, member.file_size)
    return _weights(stack.enter_context(h5py.File(section, "r")))


class _FileSection(io.RawIOBase):
    """A file object for a section of another file.

    The file object of `zipfile` reads all bytes that it seeks over. With it, HDF5 took
    ten times as long to read a file of 244 MB.
    """

    def __init__(self, file, start, size):
        self._file, self._start, self._size = file, start, size
        self._position = 0

    def seekable(self):
        return True

    def readable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        base = (0, self._position, self._size)[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer):
        view = memoryview(buffer).cast("B")
        remaining = max(self._size - self._position, 0)
        self._file.seek(self._start + self._position)
        count = self._file.readinto(view[:remaining]) if remaining else 0
        # HDF5 assumes that it received all bytes that it requested. For a damaged
        # file, it requests more bytes than there are, and the missing ones are zeros.
        view[count:] = bytes(len(view) - count)
        self._position += len(view)
        return len(view)


def _weights(file):
    """Returns the `StoredWeights` in an HDF5 file of Keras 3.

    The groups of the file are named after the classes of the layers; the name of the
    layer is an attribute.
    """
    arrays = {}
    layers = _child(file, "layers")
    for key in layers:
        group = _child(_child(layers, key), "vars")
        if len(group) not in (0, 2):
            raise ValueError(f"{key} has {len(group)} arrays instead of two")
        if len(group):
            name = group.attrs["name"]
            arrays[str(name)] = {
                part: _array(_child(group, str(number)))
                for number, part in enumerate(("kernel", "bias"))
            }
    return StoredWeights(arrays, layout="keras")


def _child(group, name):
    """Returns the member of an HDF5 group, if it is stored in the same file."""
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is missing, or a soft or external link")
    return group[name]


def _array(dataset):
    # External and virtual datasets refer to other files, and chunks may be compressed.
    if dataset.external or dataset.is_virtual or dataset.chunks:
        raise ValueError(f"{dataset.name} is not stored as Keras stores it")
    check_dtype(dataset.name, dataset.dtype.name)
    return StoredArray(dataset.shape, lambda: dataset[...])
