"""Writes files in the three formats of PyTorch, byte by byte and without PyTorch.

The values that are written are dicts, lists, tuples, strings, numbers and None, with a
NumPy array in place of each tensor. The order of the axes of an array in memory is
kept.

Real files have other keys of storages, and their pickles memoize repeated strings.
"""

import collections
import dataclasses
import io
import struct
import tarfile
import zipfile

import numpy as np

_CLASSES = {
    "f8": "Double", "f4": "Float", "f2": "Half", "u2": "BFloat16",
    "i8": "Long", "i4": "Int", "u1": "Byte",
}  # fmt: skip
# PyTorch aligns the numbers of each storage in ZIP archives to this number of bytes.
_ALIGNMENT = 64
_FOLDER = "archive"


@dataclasses.dataclass(frozen=True)
class Style:
    """The details in which versions of PyTorch and Python differ.

    Attributes:
        python2: whether strings are byte strings, and ordered dicts are made from
            pairs.
        parameters: whether tensors are parameters of a module.
        module: the module of the storages, "torch" or "torch.cuda".
        with_view_metadata: whether the persistent IDs of storages have a sixth item,
            `view_metadata`.
    """

    python2: bool = False
    parameters: bool = False
    module: str = "torch"
    with_view_metadata: bool = False


def save_zip(path, value, style=Style(), changes=None, compression=zipfile.ZIP_STORED):
    """Writes a file of PyTorch 1.6 or later.

    Args:
        path: the path of the file.
        value: the value to save.
        style: a `Style`.
        changes: {name of a member: its content, or None to leave it out}, for files
            with errors.
        compression: a compression method of `zipfile`.
    """
    encoder = Encoder(style)
    members = {"data.pkl": encoder.pickle(value), "byteorder": b"little"}
    for key, (_, data) in encoder.storages.items():
        members[f"data/{key}"] = data
    members |= {"version": b"3\n"} | (changes or {})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            if content is not None:
                _add_aligned(archive, f"{_FOLDER}/{name}", content)


def save_legacy(path, value, style=Style(with_view_metadata=True), **changes):
    """Writes a file of PyTorch 0.1.10 to 1.5.

    Args:
        path: a `pathlib.Path`.
        value: the value to save.
        style: a `Style` whose `with_view_metadata` is set.
        **changes: values to write in place of `version`, `system`, `keys` or `counts`
            ({key of a storage: number of elements}), for files with errors.
    """
    encoder = Encoder(style)
    pickled = encoder.pickle(value)
    keys = changes.get("keys", [*encoder.storages])
    counts = changes.get("counts", {})
    system = changes.get("system", {"protocol_version": 1001, "little_endian": True})
    content = encoder.pickle(0x1950A86A20F9469CFC6C)
    content += encoder.pickle(changes.get("version", 1001))
    content += encoder.pickle(system) + pickled + encoder.pickle(keys)
    for key, (count, data) in encoder.storages.items():
        content += struct.pack("<q", counts.get(key, count)) + data
    path.write_bytes(content)


def save_tar(path, value, style=Style(), changes=None):
    """Writes a file of PyTorch 0.1.1 to 0.1.9.

    Args:
        path: the path of the file.
        value: the value to save.
        style: a `Style`.
        changes: {name of a member: its content}, for files with errors.
    """
    encoder = Encoder(style, by_key=True)
    members = {"sys_info": encoder.pickle({}), "pickle": encoder.pickle(value)}
    members["tensors"] = encoder.pickle(len(encoder.tensors)) + b"".join(
        _describe(encoder, key, tensor) for key, tensor in encoder.tensors.items()
    )
    members["storages"] = encoder.pickle(len(encoder.storages))
    for key, (count, data) in encoder.storages.items():
        members["storages"] += encoder.pickle((int(key), "cpu", encoder.classes[key]))
        members["storages"] += struct.pack("<q", count) + data
    members["storages"] += encoder.pickle([])
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (members | (changes or {})).items():
            info = tarfile.TarInfo(name)
            # A fraction of a second is stored in an extended header, as in files that
            # were written by PyTorch.
            info.size, info.mtime = len(content), 1_480_000_000.5
            archive.addfile(info, io.BytesIO(content))


class Encoder:
    """Pickles values as PyTorch does.

    Attributes:
        storages: {key: (number of elements, bytes)} of the arrays in the values.
        classes: {key: `Global` of the class of the storage}.
        tensors: {key: (key of the storage, shape, strides)}, if tensors are pickled as
            keys (`by_key`).
    """

    def __init__(self, style, by_key=False):
        self.style, self.by_key = style, by_key
        self.storages, self.classes, self.tensors = {}, {}, {}

    def pickle(self, value):
        return b"\x80\x02" + self.encode(value) + b"."

    def encode(self, value):
        match value:
            case None | bool():
                return {None: b"N", True: b"\x88", False: b"\x89"}[value]
            case int():
                return self.encode_integer(value)
            case float():
                return b"G" + struct.pack(">d", value)
            case Global():
                return f"c{value.module}\n{value.name}\n".encode()
            case str():
                return self.encode_string(value)
            case Raw():
                return value.instructions
            case np.ndarray():
                return self.encode_array(value)
            case tuple():
                return b"(" + b"".join(map(self.encode, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.encode, value)) + b"e"
            case dict():
                return self.encode_dict(value)

    def encode_integer(self, value):
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        if self.style.python2 and -(2**63) <= value < 2**63:
            return b"I%d\n" % value
        size = (value.bit_length() + 8) // 8
        return b"\x8a" + bytes([size]) + value.to_bytes(size, "little")

    def encode_string(self, text):
        if self.style.python2:
            return b"U" + bytes([len(text)]) + text.encode()
        return b"X" + struct.pack("<I", len(text)) + text.encode()

    def encode_dict(self, value):
        is_ordered = isinstance(value, collections.OrderedDict)
        pairs = [[key, item] for key, item in value.items()]
        if is_ordered and self.style.python2:
            return self.call("collections", "OrderedDict", pairs)
        items = b"".join(self.encode(key) + self.encode(item) for key, item in pairs)
        if not is_ordered:
            return b"}(" + items + b"u"
        # The state of the dict of weights holds the versions of PyTorch's modules.
        state = {"_metadata": {"": {"version": 1}}}
        ordered_dict = self.call("collections", "OrderedDict")
        return ordered_dict + b"(" + items + b"u" + self.encode(state) + b"b"

    def encode_array(self, array):
        key, strides = self.add_storage(array)
        if self.by_key:
            tensor_key = str(1000 + len(self.tensors))
            self.tensors[tensor_key] = key, array.shape, strides
            return self.encode(tensor_key) + b"Q"
        count, _ = self.storages[key]
        identifier = ("storage", self.classes[key], key, "cpu", count)
        if self.style.with_view_metadata:
            identifier = (*identifier, None)
        storage = Raw(self.encode(identifier) + b"Q")
        hooks = Raw(self.call("collections", "OrderedDict"))
        arguments = storage, 0, array.shape, strides
        if self.style.python2:
            return self.call("torch._utils", "_rebuild_tensor", *arguments)
        arguments += False, hooks
        tensor = self.call("torch._utils", "_rebuild_tensor_v2", *arguments)
        if not self.style.parameters:
            return tensor
        return self.call("torch._utils", "_rebuild_parameter", Raw(tensor), True, hooks)

    def add_storage(self, array):
        """Adds an array and returns the key of its storage and the strides."""
        code = array.dtype.str[1:]
        key = str(len(self.storages))
        axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
        self.storages[key] = array.size, array.transpose(axes).tobytes()
        self.classes[key] = Global(self.style.module, f"{_CLASSES[code]}Storage")
        return key, tuple(stride // array.itemsize for stride in array.strides)

    def call(self, module, name, *arguments):
        return self.encode(Global(module, name)) + self.encode(arguments) + b"R"


@dataclasses.dataclass(frozen=True)
class Global:
    """A class or function in a pickle."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Raw:
    """Instructions that are copied to a pickle."""

    instructions: bytes


def _describe(encoder, key, tensor):
    """Returns the bytes that describe a tensor in the member `tensors`."""
    storage_key, shape, strides = tensor
    name = encoder.classes[storage_key].name.replace("Storage", "Tensor")
    tensor_class = Global(encoder.style.module, name)
    # Some versions wrote four arbitrary bytes after the number of axes.
    return encoder.pickle((int(key), int(storage_key), tensor_class)) + struct.pack(
        f"<iI{2 * len(shape)}qq", len(shape), 0xDEADBEEF, *shape, *strides, 0
    )


def _add_aligned(archive, name, content):
    """Adds a member whose data begin at a multiple of `_ALIGNMENT` bytes."""
    info = zipfile.ZipInfo(name)
    info.compress_type = archive.compression
    # The padding is an extra field with a header of four bytes. It is in the header
    # before the data only, and not in the directory at the end of the archive.
    start = archive.fp.tell() + 30 + len(name) + 4
    padding = -start % _ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
    archive.writestr(info, content)
    info.extra = b""
