"""Reads and writes weights files as arrays by layer name.

    .npy          {layer: [W, b]} or {layer: {"weights": W, "biases": b}},
                  pickled by Python 2 or 3, as in bvlc_alexnet.npy
    .npz, .safetensors
                  arrays called conv1/kernel, conv1/bias and so on
    .weights.h5, .keras
                  the formats of Keras
    .pth, .pt     a state dict of PyTorch, if PyTorch is installed
    a directory   the newest checkpoint of a run

Files may come from untrusted sources, and code in them is never run. A header of a few
bytes can state a shape that takes terabytes. Therefore arrays are not read before
`load_weights` has compared their shapes with the shapes in the model. The exceptions
are .pth and .pt files, of which PyTorch reads all arrays at once. If an untrusted
source offers several formats, choose .npy, .npz or .safetensors: the files of Keras
contain HDF5, which is read by a C library that a damaged file can crash (1 of 8,500
randomly damaged files crashed it).
"""

import contextlib
import dataclasses
import io
import mmap
import os
import re
import struct
from typing import Callable
import zipfile

import h5py
import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from alexnet_tf.models import safe_pickle

# The largest header that is read, in bytes. The headers that NumPy writes have 128
# bytes.
_MAX_NPY_HEADER_SIZE = 4096
_DTYPES = ("float16", "float32", "float64")
_SAFETENSORS_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}

# {name of a layer's array in files: its name in Keras}.
_PARTS = {
    "kernel": "kernel", "weights": "kernel", "weight": "kernel", "W": "kernel",
    "bias": "bias", "biases": "bias", "b": "bias",
}  # fmt: skip
_KEY = re.compile(rf"(.+)[/._]({'|'.join(_PARTS)})")
_CHECKPOINT_KEY = re.compile(
    r"layers/([^/]+)/_?(kernel|bias)/\.ATTRIBUTES/VARIABLE_VALUE"
)


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array that is still to be read from a file.

    Attributes:
        shape: the shape that the file states.
        read: a function that reads and returns the array.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@contextlib.contextmanager
def open_arrays(path):
    """Yields {layer: {"kernel": `StoredArray`, "bias": `StoredArray`}} of a file.

    The arrays can be read only within the context.

    Args:
        path: a weights file, or the directory of a run.

    Raises:
        FileNotFoundError: if there is no such file or directory, or the directory has
            no checkpoint.
        ModuleNotFoundError: if the format requires PyTorch, which is not installed.
        ValueError: if the format is unknown, or the file is damaged or holds
            something other than weights.
    """
    path = os.fspath(path)
    with contextlib.ExitStack() as stack:
        with errors_naming(path):
            arrays = _choose_reader(path)(path, stack)
        yield arrays


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
    if os.path.isdir(path):
        return _open_checkpoint
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"No weights file or run directory exists at {path}."
        )
    for extension, reader in _READERS.items():
        if path.endswith(extension):
            return reader
    raise ValueError(f"its name ends in none of {' '.join(_READERS)}")


def _open_npy(path, stack):
    file = stack.enter_context(open(path, "rb"))
    buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header = io.BytesIO(buffer[:_MAX_NPY_HEADER_SIZE])
    shape, dtype = _read_npy_header(header)
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
    return {layer: _from_pickle(layer, parts) for layer, parts in layers.items()}


def _read_npy_header(file):
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


def _from_pickle(layer, parts):
    """Converts the unpickled value of a layer to {"kernel": ..., "bias": ...}."""
    if isinstance(parts, (list, tuple)) and len(parts) == 2:
        parts = dict(zip(("kernel", "bias"), parts))
    has_valid_keys = isinstance(parts, dict) and not {*parts} - {*_PARTS}
    if not has_valid_keys or len({_PARTS[key] for key in parts}) < len(parts):
        raise ValueError(f"{layer!r} is neither [W, b] nor weights and biases")
    return {_PARTS[key]: _stored_array(layer, parts[key]) for key in parts}


def _stored_array(layer, array):
    if not isinstance(array, safe_pickle.Array) or not isinstance(
        array.value, np.ndarray
    ):
        raise ValueError(f"{layer!r} holds something other than an array of numbers")
    return StoredArray(array.value.shape, lambda: array.value)


def _open_npz(path, stack):
    archive = stack.enter_context(zipfile.ZipFile(path))
    return _by_layer(
        {
            member.filename.removesuffix(".npy"): _npz_member(archive, member)
            for member in archive.infolist()
        }
    )


def _npz_member(archive, member):
    # With other compression methods, `zipfile` decompresses the whole member to read
    # its first bytes.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"{member.filename} uses a compression method that NumPy does not use"
        )
    with archive.open(member) as file:
        header = io.BytesIO(file.read(_MAX_NPY_HEADER_SIZE))
    shape, dtype = _read_npy_header(header)
    _check_dtype(member.filename, dtype.name)

    def read():
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    return StoredArray(shape, read)


def _open_safetensors(path, stack):
    file = stack.enter_context(_map_safetensors(path))
    return _by_layer({key: _tensor(path, file, key) for key in file.keys()})


def _map_safetensors(path):
    return safetensors.safe_open(path, framework="numpy")


def _tensor(path, file, key):
    header = file.get_slice(key)
    code = header.get_dtype()
    _check_dtype(key, _SAFETENSORS_DTYPES.get(code, code))

    def read():
        # The file is opened again for each array, because one mapping would keep in
        # memory all arrays that have been read: loading would need 2.8 times the size
        # of the arrays instead of 1.6 times.
        with _map_safetensors(path) as reopened_file:
            return reopened_file.get_tensor(key)

    return StoredArray(tuple(header.get_shape()), read)


def _open_h5(path, stack):
    return _hdf5_arrays(stack.enter_context(h5py.File(path, "r")))


def _open_keras(path, stack):
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
    return _hdf5_arrays(stack.enter_context(h5py.File(section, "r")))


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


def _hdf5_arrays(file):
    """Returns the arrays in an HDF5 file of Keras by layer name.

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
                part: _hdf5_array(_child(group, str(number)))
                for number, part in enumerate(("kernel", "bias"))
            }
    return arrays


def _child(group, name):
    """Returns the member of an HDF5 group, if it is stored in the same file."""
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is missing, or a soft or external link")
    return group[name]


def _hdf5_array(dataset):
    # External and virtual datasets refer to other files, and chunks may be compressed.
    if dataset.external or dataset.is_virtual or dataset.chunks:
        raise ValueError(f"{dataset.name} is not stored as Keras stores it")
    _check_dtype(dataset.name, dataset.dtype.name)
    return StoredArray(dataset.shape, lambda: dataset[...])


def _open_torch(path, stack):
    del stack
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Reading {path} requires PyTorch, which is not installed. Install "
            "it, or convert the file to .safetensors on a machine that has it: "
            "safetensors.torch.save_file(torch.load(...), ...)."
        ) from error
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    return _by_layer(
        {
            key: StoredArray(tuple(tensor.shape), tensor.detach().numpy)
            for key, tensor in tensors.items()
        }
    )


def _open_checkpoint(path, stack):
    del stack
    latest = tf.train.latest_checkpoint(os.path.join(path, "checkpoints"))
    if latest is None:
        raise FileNotFoundError(
            f"No checkpoint was found in {path}/checkpoints. Choose the directory "
            "of a run that has saved a checkpoint."
        )
    reader = tf.train.load_checkpoint(latest)
    arrays = {}
    for key, shape in sorted(reader.get_variable_to_shape_map().items()):
        if match := _CHECKPOINT_KEY.fullmatch(key):
            layer, part = match.groups()
            arrays.setdefault(layer, {})[part] = StoredArray(
                tuple(shape), lambda key=key: reader.get_tensor(key)
            )
    return arrays


def _by_layer(by_key):
    """Converts {"conv1/kernel": array} to {"conv1": {"kernel": array}}."""
    arrays = {}
    for key, array in by_key.items():
        match = _KEY.fullmatch(key)
        if not match:
            raise ValueError(
                f"its array name {key!r} is not of the form conv1/kernel"
            )
        layer, part = match.groups()
        parts = arrays.setdefault(layer, {})
        if _PARTS[part] in parts:
            raise ValueError(f"{layer} has two arrays for its {_PARTS[part]}")
        parts[_PARTS[part]] = array
    return arrays


def _check_dtype(name, dtype_name):
    """Raises an error if an array does not hold floating-point numbers.

    Args:
        name: the name of the array.
        dtype_name: the name of its dtype, which is the same for both byte orders.
    """
    if dtype_name not in _DTYPES:
        raise ValueError(
            f"{name} is of type {dtype_name} instead of one of {', '.join(_DTYPES)}"
        )


_READERS = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".safetensors": _open_safetensors,
    ".weights.h5": _open_h5,
    ".keras": _open_keras,
    ".pth": _open_torch,
    ".pt": _open_torch,
}
