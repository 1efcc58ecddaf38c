"""Reads the groups, attributes and arrays of HDF5 files without the library of HDF5.

That library is written in C. Of 2,000 randomly damaged files of Keras 2, 9 made it run
for more than 10 seconds, at least one of them endlessly, and others made it use up to
4 GB of memory; damaged files of Keras 3 crashed it. Of 30,000 such files, none took
this module more than half a second or .1 MB.

This module reads what Keras and Caffe write, and rejects the rest:

- the structure that the library and h5py write unless told otherwise: a superblock of
  version 0, object headers of version 1 and groups with symbol tables
- attributes that are strings
- arrays of floating-point numbers that are stored in one piece

Soft and external links, and external, virtual, chunked and compressed arrays are
rejected, because they can refer to other files or take any amount of memory. The
sections in comments are those of the HDF5 File Format Specification, version 3.0.
"""

import dataclasses
import math
import struct

import numpy as np

from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import StoredArray

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_UNDEFINED_ADDRESS = 2**64 - 1
# The types of messages in an object header (IV.A.2).
_DATASPACE, _DATATYPE, _EXTERNAL_FILES, _LAYOUT = 0x01, 0x03, 0x07, 0x08
_ATTRIBUTE, _CONTINUATION, _SYMBOL_TABLE = 0x0C, 0x10, 0x11
# Classes of datatypes (IV.A.2.d) and of the layout of arrays (IV.A.2.i).
_FLOAT, _STRING, _VARIABLE_LENGTH = 1, 3, 9
_CONTIGUOUS = 1
_SOFT_LINK = 2
# Every step of this module reads a few bytes. Parts of a damaged file may refer to each
# other in circles, and the number of steps is limited so that they do not take forever.
_MAX_READS = 100_000
_MAX_NAME_LENGTH = 200


def open_root(view):
    """Returns the root `Group` of a file.

    Args:
        view: a memoryview of the bytes of the file.

    Raises:
        ValueError: if the file is damaged, or its structure is not supported.
    """
    # II.A. The superblock of version 0 has 96 bytes.
    file = _File(view)
    header = file.read(0, 96)
    if header[:8] != _SIGNATURE or header[8] != 0 or header[13:15] != b"\x08\x08":
        raise ValueError("it has a newer structure of HDF5 than Keras and Caffe write")
    base_address, end = file.integer(24), file.integer(40)
    if base_address != 0 or end > len(view):
        raise ValueError("it is incomplete")
    return Group(file, file.integer(64), "/")


class _File:
    """The bytes of a file."""

    def __init__(self, view):
        self.view = view
        self._reads = 0
        self._heaps = {}

    def section(self, start, size):
        """Returns a memoryview of `size` bytes."""
        self._reads += 1
        if self._reads > _MAX_READS:
            raise ValueError("it has too many parts")
        section = self.view[start : start + size]
        if len(section) < size:
            raise ValueError("it is incomplete or damaged")
        return section

    def read(self, start, size):
        return bytes(self.section(start, size))

    def integer(self, start, size=8):
        return int.from_bytes(self.read(start, size), "little")

    def check_signature(self, start, signature):
        if self.read(start, len(signature)) != signature:
            raise ValueError(f"it is damaged: there is no {signature.decode()}")

    def heap_object(self, address, index, size):
        """Returns the first bytes of an object of a global heap (III.E)."""
        if address not in self._heaps:
            self._heaps[address] = dict(self._heap_objects(address))
        start, object_size = self._heaps[address].get(index, (0, 0))
        if size > object_size:
            raise ValueError("it is damaged: a string is longer than its memory")
        return self.read(start, size)

    def _heap_objects(self, address):
        """Yields (index, (start, size)) of the objects of a global heap."""
        self.check_signature(address, b"GCOL")
        end = address + self.integer(address + 8)
        position = address + 16
        while position + 16 <= end:
            index, size = self.integer(position, 2), self.integer(position + 8)
            # Object 0 is the free space at the end.
            if index == 0:
                return
            yield index, (position + 16, size)
            position += 16 + size + -size % 8


@dataclasses.dataclass(frozen=True)
class _Type:
    """A datatype: its class, its size in bytes, and its bytes in the file."""

    type_class: int
    size: int
    data: bytes


class _Object:
    """A group or an array, with the messages in its header."""

    def __init__(self, file, address, path):
        self.file = file
        self.path = path
        self.messages = {}
        for message_type, data in _read_messages(file, address):
            self.messages.setdefault(message_type, []).append(data)

    def only_message(self, message_type):
        messages = self.messages.get(message_type, [])
        if len(messages) != 1:
            raise ValueError(
                f"{printable(self.path)} is not of the expected kind, or is damaged"
            )
        return messages[0]


class Group(_Object):
    """A group of a file."""

    def __init__(self, file, address, path):
        super().__init__(file, address, path)
        if _SYMBOL_TABLE not in self.messages:
            raise ValueError(
                f"{printable(path)} is not a group, or has a soft or external link"
            )
        tree, heap = _unpack("<QQ", self.only_message(_SYMBOL_TABLE))
        self._addresses = dict(_read_links(file, tree, heap))
        self._attributes = dict(
            _split_attribute(data) for data in self.messages.get(_ATTRIBUTE, [])
        )

    def __contains__(self, name):
        return name in self._addresses

    def names(self):
        """Returns the names of the group's members."""
        return list(self._addresses)

    def has_attribute(self, name):
        """Returns whether the group has an attribute called `name`."""
        return name in self._attributes

    def strings(self, name):
        """Returns a list of the strings of an attribute, or of its only string."""
        if name not in self._attributes:
            raise ValueError(f"{printable(self.path)} has no attribute called {name}")
        type_data, shape_data, data = self._attributes[name]
        datatype, count = _read_type(type_data), math.prod(_read_shape(shape_data))
        size = datatype.size
        if not size or size * count > len(data):
            raise ValueError(f"its attribute {name} is incomplete")
        return [
            self._string(name, datatype, data[start : start + size])
            for start in range(0, size * count, size)
        ]

    def group(self, path):
        """Returns the group at a path such as "layers/conv2d"."""
        group = self
        for name in path.split("/"):
            group = Group(self.file, group.address(name), f"{group.path}{name}/")
        return group

    def array(self, path):
        """Returns the `StoredArray` at a path such as "conv1/kernel:0"."""
        *parents, name = path.split("/")
        group = self.group("/".join(parents)) if parents else self
        return _stored_array(
            _Object(self.file, group.address(name), f"{group.path}{name}")
        )

    def address(self, name):
        """Returns the address of the member called `name`."""
        address = self._addresses.get(name)
        if address is None:
            raise ValueError(
                f"{printable(self.path + name)} is missing, or a soft or external link"
            )
        return address

    def _string(self, attribute, datatype, data):
        # IV.A.2.d; the kind of a type of variable length is in its second byte.
        if datatype.type_class == _VARIABLE_LENGTH and datatype.data[1] & 15 == 1:
            size, address, index = _unpack("<IQI", data)
            if size > _MAX_NAME_LENGTH:
                raise ValueError(
                    f"its attribute {attribute} has a name of {size:,} bytes"
                )
            data = self.file.heap_object(address, index, size)
        elif datatype.type_class != _STRING:
            raise ValueError(f"its attribute {attribute} does not hold strings")
        return _decode(data)


def _unpack(layout, data, start=0):
    """Returns the numbers in a part of the bytes, as `struct.unpack_from` does."""
    if len(data) - start < struct.calcsize(layout):
        raise ValueError("it is damaged: one of its messages is too short")
    return struct.unpack_from(layout, data, start)


def _decode(data):
    """Returns the text in bytes that end at the first zero."""
    text = bytes(data).split(b"\0")[0]
    if len(text) > _MAX_NAME_LENGTH:
        raise ValueError(f"one of its names has more than {_MAX_NAME_LENGTH} bytes")
    return text.decode("utf-8", "replace")


def _read_messages(file, address):
    """Yields (type, data) of the messages of an object header (IV.A.1.a)."""
    if file.integer(address, 1) != 1:
        raise ValueError("it has a newer structure of HDF5 than Keras and Caffe write")
    count = file.integer(address + 2, 2)
    blocks = [(address + 16, file.integer(address + 8, 4))]
    for start, size in blocks:
        end = start + size
        while start + 8 <= end and count:
            message_type, size, flags = _unpack("<HHB", file.section(start, 5))
            data = file.section(start + 8, size)
            if message_type == _CONTINUATION:
                blocks.append(_unpack("<QQ", data))
            # The data of a shared message are in another object.
            is_shared = flags & 2
            yield message_type, b"" if is_shared else data
            start += 8 + size
            count -= 1


def _read_links(file, tree, heap):
    """Yields (name, address) of the members of a group (III.A.1, III.C and III.D)."""
    file.check_signature(heap, b"HEAP")
    names_size, names_start = file.integer(heap + 8), file.integer(heap + 24)
    for node in _read_symbol_nodes(file, tree):
        file.check_signature(node, b"SNOD")
        symbols = file.integer(node + 6, 2)
        for start in range(node + 8, node + 8 + 40 * symbols, 40):
            name_offset, address, kind = _unpack("<QQI", file.section(start, 20))
            size = min(_MAX_NAME_LENGTH + 1, names_size - name_offset)
            if size <= 0:
                raise ValueError("it is damaged: the name of a member is missing")
            name = _decode(file.read(names_start + name_offset, size))
            yield name, None if kind == _SOFT_LINK else address


def _read_symbol_nodes(file, address, parent_level=256):
    """Yields the addresses of the symbol nodes below a node of a tree (III.A.1)."""
    file.check_signature(address, b"TREE")
    level, count = file.integer(address + 5, 1), file.integer(address + 6, 2)
    if level >= parent_level:
        raise ValueError("it is damaged: the levels of a tree do not decrease")
    # Keys and addresses of children alternate.
    for start in range(address + 32, address + 32 + 16 * count, 16):
        child = file.integer(start)
        if level:
            yield from _read_symbol_nodes(file, child, level)
        else:
            yield child


def _split_attribute(data):
    """Returns (name, (type, shape, values)) of an attribute message (IV.A.2.m).

    The type, the shape and the values are the bytes of these parts. Messages of other
    kinds have the name "".
    """
    version = data[0] if data else 0
    if version not in (1, 2, 3) or (version > 1 and data[1]):
        return "", None
    sizes = _unpack("<HHH", data, 2)
    start = 9 if version == 3 else 8
    parts = []
    for size in sizes:
        parts.append(data[start : start + size])
        start += size + (-size % 8 if version == 1 else 0)
    name, datatype, dataspace = parts
    return _decode(name), (datatype, dataspace, data[start:])


def _read_type(data):
    if len(data) < 8:
        raise ValueError("it is damaged: a type is incomplete")
    return _Type(data[0] & 15, int.from_bytes(data[4:8], "little"), bytes(data))


def _read_shape(data):
    """Returns the shape in a dataspace message (IV.A.2.b)."""
    version, rank = data[:2] if len(data) > 3 else (0, 0)
    # The fourth byte of version 2 is 2 for a dataspace without elements.
    if version not in (1, 2) or (version == 2 and data[3] == 2):
        raise ValueError("it is damaged: a shape is missing")
    return _unpack(f"<{rank}Q", data, 8 if version == 1 else 4)


def _float_types():
    """Returns {the bytes of a type after the first one: its NumPy dtype} (IV.A.2.d)."""
    types = {}
    for bits, mantissa, exponent in ((16, 10, 5), (32, 23, 8), (64, 52, 11)):
        for order, is_big_endian in (("<", 0), (">", 1)):
            # The second byte also states that the first bit of mantissas is implied.
            # The last number is the bias of the exponents.
            data = struct.pack(
                "<BBBIHHBBBBI",
                0x20 | is_big_endian, bits - 1, 0, bits // 8, 0, bits,
                mantissa, exponent, 0, mantissa, 2 ** (exponent - 1) - 1,
            )  # fmt: skip
            types[data] = np.dtype(f"{order}f{bits // 8}")
    return types


_FLOAT_TYPES = _float_types()


def _stored_array(dataset):
    """Returns the `StoredArray` of an `_Object`."""
    file, name = dataset.file, printable(dataset.path)
    datatype = _read_type(dataset.only_message(_DATATYPE))
    shape = _read_shape(dataset.only_message(_DATASPACE))
    layout = dataset.only_message(_LAYOUT)
    if layout[1:2] != bytes([_CONTIGUOUS]) or _EXTERNAL_FILES in dataset.messages:
        raise ValueError(f"{name} is not stored as Keras stores it")
    # IV.A.2.i: the version, which is 3 or 4, the class, the address and the size.
    version, _, address, size = _unpack("<BBQQ", layout)
    dtype = _FLOAT_TYPES.get(datatype.data[1:20])
    if datatype.type_class != _FLOAT or dtype is None or version not in (3, 4):
        raise ValueError(f"{name} is not of type float16, float32 or float64")
    if address == _UNDEFINED_ADDRESS or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{name} is incomplete")

    def read():
        if address + size > len(file.view):
            raise ValueError(f"it ends before the numbers of {name}")
        return np.ndarray(shape, dtype, file.view, address)

    return StoredArray(shape, read)
