"""Opens weights files of all formats, and writes three of them.

    .npy          a pickled dict of arrays, as in bvlc_alexnet.npy
    .npz, .safetensors
                  arrays called conv1/kernel, conv1/bias and so on
    .weights.h5, .keras, .h5
                  the formats of Keras 1, 2 and 3
    .caffemodel, .caffemodel.h5
                  files of Caffe
    .onnx         models in ONNX with floating-point weights
    .mat          SimpleNN networks of MatConvNet
    .pth, .pt, .pth.tar
                  files of PyTorch, which is not needed to read them
    .pkl          a pickled dict of arrays called conv1_w, conv1_b and so on
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

from alexnet_tf.models.readers import caffe
from alexnet_tf.models.readers import hdf5
from alexnet_tf.models.readers import matconvnet
from alexnet_tf.models.readers import npy
from alexnet_tf.models.readers import npz
from alexnet_tf.models.readers import onnx_file
from alexnet_tf.models.readers import pickle_file
from alexnet_tf.models.readers import run_directory
from alexnet_tf.models.readers import safetensors_file
from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers import torch_legacy
from alexnet_tf.models.readers import torch_tar
from alexnet_tf.models.readers import torch_zip
from alexnet_tf.models.readers import unread_formats
from alexnet_tf import published
from alexnet_tf import settings

# The format of a file is recognized by this many bytes at its beginning.
_HEADER_SIZE = 512
# Error messages of the libraries may contain names from the file, of any length.
_MAX_REASON_LENGTH = 500
# The constant in older files of PyTorch ends within this many bytes: it comes first, or
# after the 9 bytes of a frame in pickles of protocol 4 and 5.
_MAGIC_END = 32
_PICKLE_PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
# {name of weights in torchvision, in lowercase: name in `published.WEIGHTS`}.
_NAMES_ELSEWHERE = {"default": "torchvision", "imagenet1k_v1": "torchvision"}


def open_weights(path):
    """Returns the `stored.StoredWeights` of a file or a run.

    Args:
        path: a weights file, or the directory of a run, see `to_path`.

    Raises:
        FileNotFoundError: if there is no such file or directory, or the directory has
            no checkpoint.
        ModuleNotFoundError: if the format requires a package that is not installed.
        ValueError: if `path` is not a path, the format is unknown, the file cannot be
            read or is damaged, or it holds something other than weights.
    """
    path = to_path(path)
    with errors_naming(path):
        return _choose_reader(path)(path)


def to_path(path):
    """Returns a path as a str in which ~ is replaced by the user's home directory.

    Args:
        path: a str, or an object that stands for a path, such as a `pathlib.Path`.

    Raises:
        ValueError: if `path` is anything else.
    """
    try:
        return os.path.expanduser(os.fsdecode(path))
    except TypeError:
        raise ValueError(
            "Expected a path of weights or a name of published weights, one of "
            f"{', '.join(published.WEIGHTS)}. Received: {path!r:.80}."
        ) from None


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
            f"The weights file cannot be read: {path}: "
            f"{printable(reason[0], _MAX_REASON_LENGTH)}"
        ) from error


def write(path, arrays):
    """Writes arrays as .npy, .npz or .safetensors.

    Args:
        path: a path with one of these extensions, as a str.
        arrays: {layer: {"kernel": array, "bias": array}}. Arrays may have other names
            than these two.

    Raises:
        OSError: if the file cannot be written.
    """
    by_key = {
        f"{layer}/{part}": array
        for layer, parts in arrays.items()
        for part, array in parts.items()
    }
    if path.endswith(".npy"):
        layers = {
            layer: [*parts.values()] if [*parts] == ["kernel", "bias"] else parts
            for layer, parts in arrays.items()
        }
        np.save(path, np.array(layers, dtype=object), allow_pickle=True)
    else:
        write_arrays(path, by_key)


def write_arrays(path, arrays):
    """Writes arrays as .npz or .safetensors.

    Args:
        path: a path with one of these extensions, as a str.
        arrays: {name: array}.

    Raises:
        OSError: if the file cannot be written.
    """
    if path.endswith(".npz"):
        np.savez(path, **arrays)
    else:
        try:
            safetensors.numpy.save_file(arrays, path)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def _choose_reader(path):
    """Returns the function that opens the file or directory `path`."""
    if os.path.isdir(path):
        return run_directory.open_directory
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"No weights file or run directory exists at {path}.{_advice(path)}"
        )
    with open(path, "rb") as file:
        header = file.read(_HEADER_SIZE)
    # A .safetensors file begins with the length of its header in eight bytes, and the
    # header, which is JSON. The first bytes of the length may equal those of another
    # format.
    if header[4:9] == b"\0\0\0\0{":
        return safetensors_file.open_file
    unread_formats.check_header(header)
    if header.startswith(b"PK"):
        return _choose_archive_reader(path)
    if header.startswith(b"\x93NUMPY"):
        return npy.open_file
    if header.startswith(b"\x89HDF"):
        return hdf5.open_file
    if header.startswith((b"MATLAB 5.0", b"MATLAB 7.3")):
        return matconvnet.open_file
    if torch_legacy.MAGIC_BYTES in header[:_MAGIC_END]:
        return torch_legacy.open_file
    if header[257:262] == b"ustar":
        return torch_tar.open_file
    if header[:1] == b"\x80" and header[1:2] in _PICKLE_PROTOCOLS:
        return pickle_file.open_file
    # Protobuf has no magic number, so these readers look for fields that they need.
    for reader in (onnx_file, caffe):
        if reader.recognizes(path):
            return reader.open_file
    raise ValueError("it has none of the formats of weights files")


def _advice(path):
    """Returns sentences for a path that does not exist and may be meant as a name."""
    names = f" The published weights are {', '.join(published.WEIGHTS)}."
    if "://" in path:
        return f" Addresses are not downloaded: download the file yourself.{names}"
    if os.path.basename(path) != path:
        return ""
    name = _NAMES_ELSEWHERE.get(path.lower(), path.lower())
    return names + settings.suggest(name, [*published.WEIGHTS, "imagenet"])


def _choose_archive_reader(path):
    """Returns the function that opens a file that is a ZIP archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        raise ValueError("it is a damaged or incomplete ZIP archive") from None
    if "model.weights.h5" in names:
        return hdf5.open_archive
    if any(name.endswith("/data.pkl") for name in names):
        return torch_zip.open_file
    unread_formats.check_archive(names)
    return npz.open_file
