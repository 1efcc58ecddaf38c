"""Writes features to files while they are computed, one batch at a time.

A file has one array [N, ...] for each layer, with a row for each image:

- .npz holds these arrays under the names of the layers, `names` (string [N]) and, if
  the images have labels, `labels` (int32 [N]).
- .npy holds the array of a single layer. A text file beside it, `fc7.names.txt` for
  `fc7.npy`, has a line for each row: the name of the image and, if the images have
  labels, a tab and the label.
- .h5 is an HDF5 file with the same data sets as .npz.

The values of a .npy file are written one after the other, not through
`numpy.lib.format.open_memmap`: N is known only at the end, because unreadable images
have no row, and on a full disk a memory map ends the process with a SIGBUS, where a
write raises an OSError.
"""

import contextlib
import math
import os
import zipfile

import h5py
import numpy as np

from alexnet_tf import files

# Size in bytes of a chunk, the unit in which HDF5 reads and writes.
_CHUNK_BYTES = 2**20


def check_path(path, layers):
    """Raises an error if features cannot be written to a file, before any work.

    Args:
        path: the path of the file.
        layers: the names of the layers to write.

    Raises:
        ValueError: if `path` does not end in .npz, .npy or .h5, or is a .npy file for
            several layers.
        OSError: if the folder of `path` does not exist, or `path` is a folder.
    """
    extension = _extension(path)
    if extension not in _FORMATS:
        raise ValueError(
            f"Expected output to end in one of {', '.join(_FORMATS)}. Received: "
            f"output={os.fspath(path)!r}."
        )
    if extension == ".npy" and len(layers) > 1:
        raise ValueError(
            "Expected one layer for a .npy file, which holds one array. Received: "
            f"layers {', '.join(layers)} and output={os.fspath(path)!r}. Write a .npz "
            "or .h5 file."
        )
    files.check_output("output", path)
    if extension == ".npy":
        files.check_output("output", names_path(path))


@contextlib.contextmanager
def create(path):
    """Yields an object that writes features to a file.

    Its method `append` takes {layer: float32 [b, ...]}, the next rows of all layers.
    Its method `finish`, to be called once after that, takes the names of all images and
    their labels, int32 [N] or None. The file appears when the body has ended without an
    error.

    Args:
        path: the path of the file, see `check_path`.

    Raises:
        OSError: if the file cannot be written, for instance because the disk is full.
    """
    with contextlib.ExitStack() as stack:
        yield _FORMATS[_extension(path)](path, stack)


def names_path(path):
    """Returns the path of the file with the names that belongs to a .npy file."""
    return os.path.splitext(path)[0] + ".names.txt"


class _NpyWriter:
    """Writes a .npy file and the file with the names beside it."""

    def __init__(self, path, stack):
        # The stack renames the file with the names first: the .npy file, which appears
        # after it, always has its names.
        self._array = _ArrayFile(stack.enter_context(files.atomic_write(path)), stack)
        self._names_file = stack.enter_context(files.atomic_text(names_path(path)))

    def append(self, features):
        (block,) = features.values()
        self._array.append(block)

    def finish(self, names, labels):
        self._array.finish()
        lines = [name.replace("\n", "\\n") for name in names]
        if labels is not None:
            lines = [f"{line}\t{label}" for line, label in zip(lines, labels)]
        self._names_file.writelines(f"{line}\n" for line in lines)


class _NpzWriter:
    """Writes a .npz file.

    All layers are computed together, but the members of a .npz file can only be written
    one after the other. Therefore each layer first has a file of its own.
    """

    def __init__(self, path, stack):
        self._path = stack.enter_context(files.atomic_write(path))
        self._stack = stack
        self._arrays = {}

    def append(self, features):
        for layer, block in features.items():
            if layer not in self._arrays:
                path = os.path.join(os.path.dirname(self._path), f"{layer}.npy")
                self._arrays[layer] = _ArrayFile(path, self._stack)
            self._arrays[layer].append(block)

    def finish(self, names, labels):
        members = {"names": np.array(names, str)}
        if labels is not None:
            members["labels"] = labels
        with zipfile.ZipFile(self._path, "w") as archive:
            for layer, array in self._arrays.items():
                array.finish()
                archive.write(array.path, f"{layer}.npy")
                # The disk need not hold all layers twice.
                os.remove(array.path)
            for key, values in members.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, values, allow_pickle=False)


class _HDF5Writer:
    """Writes an HDF5 file."""

    def __init__(self, path, stack):
        temporary_path = stack.enter_context(files.atomic_write(path))
        self._file = stack.enter_context(h5py.File(temporary_path, "w"))

    def append(self, features):
        for layer, block in features.items():
            if layer not in self._file:
                self._create_data_set(layer, block)
            data_set = self._file[layer]
            count = len(data_set)
            data_set.resize(count + len(block), axis=0)
            data_set[count:] = block

    def finish(self, names, labels):
        # As bytes, names need not be valid UTF-8.
        encoded_names = [os.fsencode(name) for name in names]
        self._file.create_dataset(
            "names", data=encoded_names, dtype=h5py.string_dtype()
        )
        if labels is not None:
            self._file["labels"] = labels

    def _create_data_set(self, layer, block):
        """Creates an empty data set that can grow, for rows like those of `block`."""
        row = block.shape[1:]
        rows_per_chunk = _CHUNK_BYTES // (block.itemsize * math.prod(row))
        self._file.create_dataset(
            layer,
            (0, *row),
            block.dtype,
            maxshape=(None, *row),
            chunks=(max(1, min(rows_per_chunk, len(block))), *row),
        )


class _ArrayFile:
    """A .npy file to which rows are appended.

    Attributes:
        path: the path of the file.
    """

    def __init__(self, path, stack):
        self.path = path
        self._file = stack.enter_context(open(path, "wb"))
        self._header = None
        self._num_rows = 0

    def append(self, block):
        """Appends the rows of an array [b, ...]."""
        if self._header is None:
            self._header = np.lib.format.header_data_from_array_1_0(block)
            np.lib.format.write_array_header_1_0(self._file, self._header)
        self._file.write(np.ascontiguousarray(block).data)
        self._num_rows += len(block)

    def finish(self):
        """Writes the number of rows into the header, and closes the file."""
        shape = (self._num_rows, *self._header["shape"][1:])
        # NumPy pads the header, so that its size does not depend on the number of rows.
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(
            self._file, self._header | {"shape": shape}
        )
        self._file.close()


def _extension(path):
    return os.path.splitext(path)[1].lower()


_FORMATS = {".npz": _NpzWriter, ".npy": _NpyWriter, ".h5": _HDF5Writer}
