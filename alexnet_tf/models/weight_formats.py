"""Reads and writes files of weights as arrays by layer name.

    .npy          {layer: [W, b]} or {layer: {"weights": W, "biases": b}},
                  pickled by Python 2 or 3: the layout of bvlc_alexnet.npy
    .npz, .safetensors
                  arrays called conv1/kernel, conv1/bias and so on
    .weights.h5, .keras
                  the formats of Keras
    .pth, .pt     a state dict of PyTorch, if PyTorch is installed
    a directory   the newest checkpoint of a run

Files may come from untrusted sources. None of their code is run, and an array is
read only after its shape has been compared with the expected one: a header of a few
bytes can announce terabytes. If an untrusted source offers several formats, take one
of the first three: HDF5, which Keras' files contain, is read by a C library that a
damaged file can crash (1 of 8,500 randomly damaged files did).
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

_NPY_HEADER_SIZE = 4096  # bytes, at most; the headers that NumPy writes have 128
_TYPES = ("float16", "float32", "float64")
_BIG_ENDIAN = tuple(np.dtype(code) for code in (">f2", ">f4", ">f8"))

# Names of a layer's parts in files, and ours.
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
    """An array in a file that has not been read yet.

    Attributes:
        shape: the shape that the file states.
        read: a function that reads and returns the array.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@contextlib.contextmanager
def open_arrays(path):
    """Yields {layer: {"kernel": `StoredArray`, "bias": `StoredArray`}} of a file.

    The arrays can be read within the context.

    Args:
        path: a file, or the directory of a run.

    Raises:
        FileNotFoundError: if there is no such file or directory.
        ValueError: if the format is unknown, or the file is damaged or holds
            anything else.
    """
    path = os.fspath(path)
    with contextlib.ExitStack() as stack:
        with errors_naming(path):
            arrays = _reader(path)(path, stack)
        yield arrays


@contextlib.contextmanager
def errors_naming(path):
    """Converts exceptions raised while reading a file to a `ValueError` naming it."""
    try:
        yield
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    # The exceptions that an untrusted file can cause in six libraries cannot be
    # listed.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"The weights file cannot be read: {path}: {reason[0]}"
        ) from error


def write(path, arrays):
    """Writes arrays as .npy, .npz or .safetensors.

    Args:
        path: a path with one of these extensions.
        arrays: {layer: {"kernel": array, "bias": array}}.
    """
    flat = {
        f"{layer}/{part}": array
        for layer, parts in arrays.items()
        for part, array in parts.items()
    }
    if path.endswith(".npy"):
        lists = {layer: [*parts.values()] for layer, parts in arrays.items()}
        np.save(path, np.array(lists, dtype=object), allow_pickle=True)
    elif path.endswith(".npz"):
        np.savez(path, **flat)
    else:
        try:
            safetensors.numpy.save_file(flat, path)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error


def _reader(path):
    if os.path.isdir(path):
        return _open_checkpoint
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"No weights file or run directory exists at {path}."
        )
    for extension, reader in _READERS.items():
        if path.endswith(extension):
            return reader
    raise ValueError(
        f"its name ends in none of {' '.join(_READERS)}"
    )


def _open_npy(path, stack):
    file = stack.enter_context(open(path, "rb"))
    buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header = io.BytesIO(buffer[:_NPY_HEADER_SIZE])
    shape, dtype = _npy_header(header)
    if dtype != object or shape != ():
        raise ValueError(
            f"it holds an array of shape {shape} and type {dtype} instead of "
            "{layer: [W, b]}"
        )
    content = safe_pickle.load(memoryview(buffer)[header.tell() :])
    if isinstance(content, safe_pickle.Array):
        content = content.value
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__} instead of a dict")
    return {layer: _pickled_parts(layer, parts) for layer, parts in content.items()}


def _npy_header(file):
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = read[np.lib.format.read_magic(file)](file)
    return shape, dtype


def _pickled_parts(layer, parts):
    if isinstance(parts, (list, tuple)) and len(parts) == 2:
        parts = dict(zip(("kernel", "bias"), parts))
    known = isinstance(parts, dict) and not {*parts} - {*_PARTS}
    if not known or len({_PARTS[key] for key in parts}) < len(parts):
        raise ValueError(f"{layer!r} is neither [W, b] nor weights and biases")
    return {_PARTS[key]: _pickled_array(layer, parts[key]) for key in parts}


def _pickled_array(layer, array):
    if not isinstance(array, safe_pickle.Array) or not isinstance(
        array.value, np.ndarray
    ):
        raise ValueError(f"{layer!r} holds something other than an array of numbers")
    return StoredArray(array.value.shape, lambda: array.value)


def _open_npz(path, stack):
    archive = stack.enter_context(zipfile.ZipFile(path))
    return _by_layer(
        {
            member.filename.removesuffix(".npy"): _npz_array(archive, member)
            for member in archive.infolist()
        }
    )


def _npz_array(archive, member):
    # The other methods decompress the whole member to read its first bytes.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(
            f"{member.filename} uses a compression method that NumPy does not use"
        )
    with archive.open(member) as file:
        shape, dtype = _npy_header(io.BytesIO(file.read(_NPY_HEADER_SIZE)))
    _check_type(member.filename, dtype)

    def read():
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    return StoredArray(shape, read)


def _open_safetensors(path, stack):
    file = stack.enter_context(_safetensors(path))
    return _by_layer({key: _tensor(path, file, key) for key in file.keys()})


def _safetensors(path):
    return safetensors.safe_open(path, framework="numpy")


def _tensor(path, file, key):
    header = file.get_slice(key)
    code = header.get_dtype()
    types = {"F16": "float16", "F32": "float32", "F64": "float64"}
    _check_type(key, types.get(code, code))

    def read():
        # The file is opened again for each array, because one mapping would keep
        # everything that was read in memory: the peak is 1.6 times the size of the
        # arrays, and would be 2.8 times.
        with _safetensors(path) as file:
            return file.get_tensor(key)

    return StoredArray(tuple(header.get_shape()), read)


def _open_h5(path, stack):
    return _hdf5_arrays(stack.enter_context(h5py.File(path, "r")))


def _open_keras(path, stack):
    file = stack.enter_context(open(path, "rb"))
    # The archive's description of the model is not read, because it can name
    # functions to call.
    member = zipfile.ZipFile(file).getinfo("model.weights.h5")
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its weights are compressed, which Keras does not do")
    # A local header has 30 bytes, of which the last four are the lengths of the
    # name and the extra field, which come before the data.
    file.seek(member.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    start = member.header_offset + 30 + name + extra
    window = _Window(file, start, member.file_size)
    return _hdf5_arrays(stack.enter_context(h5py.File(window, "r")))


class _Window(io.RawIOBase):
    """A part of a file, as a file object.

    That of `zipfile` reads all bytes that it seeks over: with it, HDF5 took ten
    times as long for a file of 244 MB.
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
        # HDF5 assumes that it received all the bytes that it requested, and for a
        # damaged file it requests more than there are: the others are zeros.
        view[count:] = bytes(len(view) - count)
        self._position += len(view)
        return len(view)


def _hdf5_arrays(file):
    """Returns the arrays of Keras' HDF5 file by layer name.

    The groups are named after the layers' classes; the layer's name is an attribute.
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
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is missing, or a soft or external link")
    return group[name]


def _hdf5_array(dataset):
    # Datasets of the other kinds may refer to other files or be compressed.
    if dataset.external or dataset.is_virtual or dataset.chunks:
        raise ValueError(f"{dataset.name} is not stored as Keras stores it")
    _check_type(dataset.name, dataset.dtype)
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
            "of a run that has saved one."
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


def _by_layer(flat):
    """Converts {"conv1/kernel": array} to {"conv1": {"kernel": array}}."""
    arrays = {}
    for key, array in flat.items():
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


def _check_type(name, dtype):
    # Both byte orders are allowed.
    if str(dtype).lstrip("<>") not in _TYPES and dtype not in _BIG_ENDIAN:
        raise ValueError(
            f"{name} is of type {dtype} instead of one of {', '.join(_TYPES)}"
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
