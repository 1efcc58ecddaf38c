"""A file becomes arrays by layer name, and the other way round.

    .npy          {layer: [W, b]} or {layer: {"weights": W, "biases": b}},
                  pickled by Python 2 or 3: the layout of bvlc_alexnet.npy
    .npz, .safetensors
                  arrays called conv1/kernel, conv1/bias and so on
    .weights.h5, .keras
                  Keras' own
    .pth, .pt     a state dict of PyTorch, where PyTorch is installed
    a directory   the newest checkpoint of a run

Files may come from strangers. No code of theirs is run, and an array is read
only when its shape is known to be the wanted one: a header of a few bytes can
promise terabytes. Where there is a choice, take one of the first three from a
stranger: HDF5, inside Keras' files, is read by a library in C that a damaged
file can crash (1 of 8,500 damaged at random did).
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

_NPY_HEADER = 4096  # bytes; NumPy's take 128
_TYPES = ("float16", "float32", "float64")
_BIG_ENDIAN = tuple(np.dtype(code) for code in (">f2", ">f4", ">f8"))

# The parts of a layer under the names that are in use.
_PARTS = {
    "kernel": "kernel", "weights": "kernel", "weight": "kernel", "W": "kernel",
    "bias": "bias", "biases": "bias", "b": "bias",
}  # fmt: skip
_KEY = re.compile(rf"(.+)[/._]({'|'.join(_PARTS)})")
_CHECKPOINT_KEY = re.compile(
    r"layers/([^/]+)/_?(kernel|bias)/\.ATTRIBUTES/VARIABLE_VALUE"
)


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array of a file that has not been read yet.

    Attributes:
        shape: that the file claims.
        read: gives it, of that shape.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@contextlib.contextmanager
def opened(path):
    """{layer: {"kernel": `Stored`, "bias": `Stored`}} of a file or directory.

    They can be read within the context.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is of no known kind, damaged, or holds anything else.
    """
    path = os.fspath(path)
    with contextlib.ExitStack() as stack:
        with refused(path):
            arrays = _reader(path)(path, stack)
        yield arrays


@contextlib.contextmanager
def refused(path):
    """Turns whatever is wrong with a file into an error that names it."""
    try:
        yield
    except (FileNotFoundError, ModuleNotFoundError):
        raise
    # What a file of a stranger can provoke in six libraries can't be listed.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"Expected a whole file of weights. Received: {path}: {reason[0]}"
        ) from error


def write(path, arrays):
    """Writes {layer: {"kernel": array, "bias": array}} as .npy, .npz or
    .safetensors."""
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
            f"Expected a file of weights or the directory of a run. Received: "
            f"{path}, which is none."
        )
    for extension, reader in _READERS.items():
        if path.endswith(extension):
            return reader
    raise ValueError(
        f"its name ends in none of {' '.join(_READERS)}, which say what it is."
    )


def _open_npy(path, stack):
    file = stack.enter_context(open(path, "rb"))
    buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header = io.BytesIO(buffer[:_NPY_HEADER])
    shape, dtype = _npy_header(header)
    if dtype != object or shape != ():
        raise ValueError(
            f"an array of shape {shape} and type {dtype} in place of "
            "{layer: [W, b]}"
        )
    content = safe_pickle.load(memoryview(buffer)[header.tell() :])
    if isinstance(content, safe_pickle.Array):
        content = content.value
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__} in place of a dict")
    return {layer: _pickled(layer, parts) for layer, parts in content.items()}


def _npy_header(file):
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = read[np.lib.format.read_magic(file)](file)
    return shape, dtype


def _pickled(layer, parts):
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
        raise ValueError(f"{layer!r} holds what is no array of numbers")
    return Stored(array.value.shape, lambda: array.value)


def _open_npz(path, stack):
    archive = stack.enter_context(zipfile.ZipFile(path))
    return _by_layer(
        {
            member.filename.removesuffix(".npy"): _zipped(archive, member)
            for member in archive.infolist()
        }
    )


def _zipped(archive, member):
    # Others unfold as a whole when their first bytes are read.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed as NumPy does not")
    with archive.open(member) as file:
        shape, dtype = _npy_header(io.BytesIO(file.read(_NPY_HEADER)))
    _check_type(member.filename, dtype)

    def read():
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    return Stored(shape, read)


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
        # Opened for each array, or the whole file stays mapped as it is read:
        # 2.8 times the arrays' bytes at the peak in place of 1.6.
        with _safetensors(path) as file:
            return file.get_tensor(key)

    return Stored(tuple(header.get_shape()), read)


def _open_h5(path, stack):
    return _keras(stack.enter_context(h5py.File(path, "r")))


def _open_keras(path, stack):
    file = stack.enter_context(open(path, "rb"))
    # The description of the network beside them is not read: it can name
    # functions to call.
    member = zipfile.ZipFile(file).getinfo("model.weights.h5")
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("compressed weights, which Keras does not write")
    file.seek(member.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    start = member.header_offset + 30 + name + extra
    window = _Window(file, start, member.file_size)
    return _keras(stack.enter_context(h5py.File(window, "r")))


class _Window(io.RawIOBase):
    """Part of a file, as a file.

    `zipfile` has one that reads all it passes over: HDF5's way about a file
    of 244 MB took it ten times as long.
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
        left = max(self._size - self._position, 0)
        self._file.seek(self._start + self._position)
        count = self._file.readinto(view[:left]) if left else 0
        # HDF5 takes it that it was given all that it asked for, and of a
        # damaged file it asks for more than there is.
        view[count:] = bytes(len(view) - count)
        self._position += len(view)
        return len(view)


def _keras(file):
    """Groups are called after the layers' classes, and say their names."""
    arrays = {}
    layers = _child(file, "layers")
    for key in layers:
        group = _child(_child(layers, key), "vars")
        if len(group) not in (0, 2):
            raise ValueError(f"{key} has {len(group)} arrays in place of two")
        if len(group):
            name = group.attrs["name"]
            arrays[str(name)] = {
                part: _dataset(_child(group, str(number)))
                for number, part in enumerate(("kernel", "bias"))
            }
    return arrays


def _child(group, name):
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is missing, or a link to elsewhere")
    return group[name]


def _dataset(dataset):
    """Plain ones only: others can lie in other files, or unfold."""
    if dataset.external or dataset.is_virtual or dataset.chunks:
        raise ValueError(f"{dataset.name} is not stored as Keras stores it")
    _check_type(dataset.name, dataset.dtype)
    return Stored(dataset.shape, lambda: dataset[...])


def _open_torch(path, stack):
    del stack
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected PyTorch, to read {path}. Received: it is not "
            "installed. Install it, or convert the file to .safetensors where "
            "it is: safetensors.torch.save_file(torch.load(...), ...)."
        ) from error
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    return _by_layer(
        {
            key: Stored(tuple(tensor.shape), tensor.detach().numpy)
            for key, tensor in tensors.items()
        }
    )


def _open_checkpoint(path, stack):
    del stack
    latest = tf.train.latest_checkpoint(os.path.join(path, "checkpoints"))
    if latest is None:
        raise FileNotFoundError(
            "Expected the directory of a run that has saved a checkpoint. "
            f"Received: {path}, without one in {path}/checkpoints."
        )
    reader = tf.train.load_checkpoint(latest)
    arrays = {}
    for key, shape in sorted(reader.get_variable_to_shape_map().items()):
        if match := _CHECKPOINT_KEY.fullmatch(key):
            layer, part = match.groups()
            stored = Stored(tuple(shape), lambda key=key: reader.get_tensor(key))
            arrays.setdefault(layer, {})[part] = stored
    return arrays


def _by_layer(flat):
    """{"conv1/kernel": array} as {"conv1": {"kernel": array}}."""
    arrays = {}
    for key, array in flat.items():
        match = _KEY.fullmatch(key)
        if not match:
            raise ValueError(
                f"an array called {key!r} in place of one like conv1/kernel"
            )
        layer, part = match.groups()
        parts = arrays.setdefault(layer, {})
        if _PARTS[part] in parts:
            raise ValueError(f"{layer} has two arrays for its {_PARTS[part]}")
        parts[_PARTS[part]] = array
    return arrays


def _check_type(name, dtype):
    # Of either byte order.
    if str(dtype).lstrip("<>") not in _TYPES and dtype not in _BIG_ENDIAN:
        raise ValueError(
            f"{name} is of type {dtype}, in place of {', '.join(_TYPES)}"
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
