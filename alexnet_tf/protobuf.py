"""Reads the fields of protobuf messages, and the arrays in files of Caffe.

A message is a sequence of fields. A field has a number, a wire type and a value: an
integer, a number of 4 or 8 bytes, or a sequence of bytes, which may be a message too.
Its name and its meaning are not in the file, so callers select fields by number.

Files may come from untrusted sources. Reading never executes code that a file refers
to. Byte sequences and numbers are returned as views of the file, which take no memory.
The number of fields that are read from one file is limited, and a nested message is
read only if a caller asks for it. The messages of errors begin with "it", the file,
whose path the callers put in front.
"""

import dataclasses
import itertools
import math
from typing import NamedTuple

import numpy as np

# AlexNet in ONNX has up to 841 fields, as PyTorch 2.13 and tf2onnx 1.17 write it.
_MAX_FIELDS = 20_000
_MAX_DIMENSIONS = 8
_MAX_NAME_LENGTH = 256

# The wire types. The types 3 and 4, for groups, are not used by Caffe and ONNX.
_VARINT, _BYTES = 0, 2
# {wire type of numbers of a fixed size: the size in bytes}.
_FIXED_SIZES = {1: 8, 5: 4}


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: the number of the field.
        value: an int from 0 to 2**64 - 1; the bytes as a memoryview; or the bits of
            numbers of 4 or 8 bytes as a NumPy array, uint32 or uint64 [n]. An array
            holds the values of `n` consecutive fields with the same field number.
    """

    number: int
    value: int | memoryview | np.ndarray


class Reader:
    """Reads the fields of all messages in one file.

    Args:
        max_fields: the number of fields after which reading ends with an error.
    """

    def __init__(self, max_fields=_MAX_FIELDS):
        self._max_fields = self._fields_left = max_fields

    def fields(self, message, clip=False):
        """Yields the `Field`s of a message.

        Args:
            message: a memoryview of bytes.
            clip: whether to accept a last field of bytes that is longer than the
                message. Its value is then the rest of the message.

        Raises:
            ValueError: if the message is damaged, has groups, or has more fields than
                the reader may still read.
        """
        if not isinstance(message, memoryview):
            raise ValueError("it has a number in place of a message")
        position = 0
        while position < len(message):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError(
                    f"it has more than {self._max_fields:,} fields, and files of "
                    "AlexNet have fewer than 1,000"
                )
            number, value, position = _read_field(message, position, clip)
            yield Field(number, value)


def first_fields(message):
    """Returns up to 100 `Field`s from the beginning of a message.

    If the message is damaged, the fields before the damage are returned. A last field
    of bytes may be incomplete, because an incomplete file should be recognized too.
    """
    fields = []
    try:
        fields.extend(Reader(100).fields(message, clip=True))
    except ValueError:
        pass
    return fields


def to_text(value):
    """Returns the value of a string field as a str.

    Raises:
        ValueError: if the value is not bytes or is longer than 256 bytes.
    """
    if not isinstance(value, memoryview) or len(value) > _MAX_NAME_LENGTH:
        raise ValueError(
            f"it has a name that is not a string of at most {_MAX_NAME_LENGTH} bytes"
        )
    return str(value, "utf-8", "replace")


def to_integer(value):
    """Returns the value of a field of signed integers.

    Raises:
        ValueError: if the value is not an integer.
    """
    if not isinstance(value, int):
        raise ValueError("it has a field whose type is not integer")
    return value - 2**64 if value >= 2**63 else value


def to_shape(values):
    """Returns the shape in a repeated field of integers, packed or not, as a tuple.

    Args:
        values: the values of all `Field`s with the number of the repeated field.

    Raises:
        ValueError: if there are more than 8 integers, or a value holds no integers.
    """
    sizes = itertools.chain.from_iterable(map(_unpack_integers, values))
    shape = tuple(itertools.islice(sizes, _MAX_DIMENSIONS + 1))
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"it has an array of more than {_MAX_DIMENSIONS} dimensions")
    return shape


def to_numbers(value, dtype):
    """Returns the elements of a repeated field, packed or not, as a view of the file.

    Args:
        value: the value of a `Field`.
        dtype: the dtype of the elements, such as "<f4".

    Raises:
        ValueError: if the value does not hold numbers of this size.
    """
    dtype = np.dtype(dtype)
    if isinstance(value, np.ndarray) and value.itemsize == dtype.itemsize:
        return value.view(dtype)
    if isinstance(value, memoryview) and len(value) % dtype.itemsize == 0:
        return np.frombuffer(value, dtype)
    raise ValueError(f"it has an array that does not consist of {dtype.name} numbers")


@dataclasses.dataclass(frozen=True)
class Blob:
    """An array in a file of Caffe that has not been read yet.

    Attributes:
        shape: the shape of the array.
        runs: the elements of the array in C order, as consecutive views of the file.
    """

    shape: tuple[int, ...]
    runs: list[np.ndarray]

    def read(self, shape):
        """Returns the array in another shape of the same size."""
        return join(self.runs).reshape(shape)


def join(runs):
    """Returns the concatenation of views; the view itself if there is only one."""
    return runs[0] if len(runs) == 1 else np.concatenate(runs)


def is_blob(message):
    """Returns whether a message begins as Caffe's message BlobProto does."""
    types = {number: type(value) for number, value in first_fields(message)}
    has_old_shape = all(types.get(number) is int for number in (1, 2, 3, 4))
    has_shape = has_old_shape or types.get(7) is memoryview
    return has_shape and not {types.get(5), types.get(8)} <= {int, None}


def read_blob(reader, message):
    """Returns the `Blob` for Caffe's message BlobProto.

    As in Caffe, the four old fields of the shape have precedence over the new one, and
    numbers of double precision over those of single precision
    (src/caffe/blob.cpp and src/caffe/proto/caffe.proto of BVLC/caffe at 9b89154).

    Args:
        reader: the `Reader` of the file.
        message: the message as a memoryview.

    Raises:
        ValueError: if the message is damaged, or the number of elements is not that
            of the shape.
    """
    old_shape, new_shapes, floats, doubles = {}, [], [], []
    for number, value in reader.fields(message):
        if number in (1, 2, 3, 4):  # num, channels, height, width
            old_shape[number] = to_integer(value)
        elif number == 7:  # shape
            dimensions = [size for key, size in reader.fields(value) if key == 1]
            new_shapes.append(to_shape(dimensions))
        elif number == 5:  # data
            floats.append(to_numbers(value, "<f4"))
        elif number == 8:  # double_data
            doubles.append(to_numbers(value, "<f8"))
    if old_shape:
        shape = tuple(old_shape.get(number, 0) for number in (1, 2, 3, 4))
    else:
        shape = new_shapes[-1] if new_shapes else ()
    runs = doubles if any(map(len, doubles)) else floats
    return Blob(shape, check_size(shape, runs))


def check_size(shape, runs):
    """Returns `runs` if they have as many elements as an array of `shape`.

    Raises:
        ValueError: if they do not.
    """
    size = sum(map(len, runs))
    if min(shape, default=1) < 0 or math.prod(shape) != size:
        raise ValueError(f"it has an array of shape {shape} with {size} numbers")
    return runs


def _unpack_integers(value):
    """Yields the integers in one value of a repeated field."""
    if not isinstance(value, memoryview):
        yield to_integer(value)
        return
    position = 0
    while position < len(value):
        integer, position = _read_varint(value, position)
        yield to_integer(integer)


def _read_field(message, start, clip):
    """Returns the number and the value of a field, and the position after it.

    Args:
        message, clip: see `Reader.fields`.
        start: the position of the field in the message.
    """
    tag, position = _read_varint(message, start)
    number, wire_type = tag >> 3, tag & 7
    if not 0 < number < 2**29:
        raise ValueError(f"it has a field with the number {number}")
    if wire_type == _VARINT:
        return number, *_read_varint(message, position)
    if wire_type == _BYTES:
        size, position = _read_varint(message, position)
        if not clip:
            _check_size_left(message, position, size)
        return number, message[position : position + size], position + size
    if wire_type in _FIXED_SIZES:
        size = _FIXED_SIZES[wire_type]
        _check_size_left(message, position, size)
        value = _read_fixed(message, start, position, size)
        return number, value, start + len(value) * (position - start + size)
    raise ValueError(f"it has a field of the wire type {wire_type}")


def _read_varint(message, position):
    """Returns an int of at most 64 bits, and the position of the byte after it."""
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("it ends within a field")
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & (2**64 - 1), position
    raise ValueError("it has an integer of more than 64 bits")


def _read_fixed(message, start, position, size):
    """Returns the values of consecutive fields that have the same tag.

    An array that is not packed has one field for each value.

    Args:
        message: the message.
        start: the position of the tag of the first field.
        position: the position of the value of the first field.
        size: the size of a value in bytes.
    """
    if position - start > 1:
        return np.frombuffer(message, f"<u{size}", 1, position)
    count = (len(message) - start) // (1 + size)
    record = np.dtype([("tag", "u1"), ("number", f"<u{size}")])
    records = np.frombuffer(message, record, count, start)
    length, block_size = 1, 64
    while length < count:
        tags = records["tag"][length : length + block_size]
        differing = np.flatnonzero(tags != message[start])
        if differing.size:
            length += int(differing[0])
            break
        length += len(tags)
        block_size = min(2 * block_size, 2**16)
    return records["number"][:length]


def _check_size_left(message, position, size):
    if size > len(message) - position:
        raise ValueError(
            f"it has a field of {size} bytes, of which only "
            f"{len(message) - position} are left"
        )
