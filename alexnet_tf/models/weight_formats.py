"""Opens weights files of all formats, and writes three of them.

    .npy          a pickled dict of arrays, as in bvlc_alexnet.npy
    .npz, .safetensors
                  arrays called conv1/kernel, conv1/bias and so on
    .weights.h5, .keras
                  the formats of Keras
    a directory   the newest checkpoint of a run

The format is recognized by the content of the file; its extension is ignored.

Files may come from untrusted sources, and code in them is never run. A header of a few
bytes can state a shape that takes terabytes. Therefore arrays are not read before
`load_weights` has compared their shapes with the shapes in the model.
"""

import contextlib
import os
import zipfile

import numpy as np
import safetensors
import safetensors.numpy

from alexnet_tf.models.readers import hdf5
from alexnet_tf.models.readers import npy
from alexnet_tf.models.readers import npz
from alexnet_tf.models.readers import run_directory
from alexnet_tf.models.readers import safetensors_file

# The number of bytes at the beginning of a file that its format is recognized by.
_HEADER_SIZE = 512


@contextlib.contextmanager
def open_weights(path):
    """Yields the `stored.StoredWeights` of a file or a run.

    The arrays can be read only within the context.

    Args:
        path: a weights file, or the directory of a run.

    Raises:
        FileNotFoundError: if there is no such file or directory, or the directory has
            no checkpoint.
        ModuleNotFoundError: if the format requires a package that is not installed.
        ValueError: if the format is unknown, or the file is damaged or holds
            something other than weights.
    """
    path = os.fspath(path)
    with contextlib.ExitStack() as stack:
        with errors_naming(path):
            weights = _choose_reader(path)(path, stack)
        yield weights


@contextlib.contextmanager
def errors_naming(path):
    """Converts errors in reading the file `path` to a `ValueError` that names it.

    A `FileNotFoundError` or `ModuleNotFoundError` is raised unchanged.
    """
    try:
        yield
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    # Several libraries read the files, and an untrusted file can cause any of the
    # errors of these libraries.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"The weights file cannot be read: {path}: {reason[0]}"
        ) from error


def write(path, arrays):
    """Writes arrays as .npy, .npz or .safetensors.

    Args:
        path: a path with one of these extensions, as a str.
        arrays: {layer: {"kernel": array, "bias": array}}.

    Raises:
        OSError: if the file cannot be written.
    """
    by_key = {
        f"{layer}/{part}": array
        for layer, parts in arrays.items()
        for part, array in parts.items()
    }
    if path.endswith(".npy"):
        lists = {layer: [*parts.values()] for layer, parts in arrays.items()}
        np.save(path, np.array(lists, dtype=object), allow_pickle=True)
    elif path.endswith(".npz"):
        np.savez(path, **by_key)
    else:
        try:
            safetensors.numpy.save_file(by_key, path)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def _choose_reader(path):
    """Returns the function that opens the file or directory `path`."""
    if os.path.isdir(path):
        return run_directory.open_directory
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"No weights file or run directory exists at {path}."
        )
    with open(path, "rb") as file:
        header = file.read(_HEADER_SIZE)
    if header.startswith(b"PK"):
        return _choose_archive_reader(path)
    if header.startswith(b"\x93NUMPY"):
        return npy.open_file
    if header.startswith(b"\x89HDF"):
        return hdf5.open_file
    # The length of a header of .safetensors, which is JSON.
    if header[8:9] == b"{":
        return safetensors_file.open_file
    raise ValueError("it has none of the formats of weights files")


def _choose_archive_reader(path):
    """Returns the function that opens a file that is a ZIP archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "model.weights.h5" in names:
        return hdf5.open_archive
    return npz.open_file
