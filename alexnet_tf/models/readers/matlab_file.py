"""Reads structures, cells, strings and arrays of MATLAB's version 5 files.

The format is that of "MAT-File Format" by The MathWorks. `save` writes it with -v6 and,
compressed, with -v7; `scipy.io.savemat` writes it too. A file is a sequence of
variables. A variable is a matrix element: a tag with a type and a size, and nested
elements, which are data or, in cells and structures, matrix elements again.

Only the variables and fields that a caller names are read; the others are skipped. The
contents of arrays are read later, when `Numbers.read` is called. Objects, functions and
sparse arrays are skipped.

SciPy is not used, because `scipy.io.loadmat` reads and inflates whole variables into
memory before their shapes are known. Of 20,000 randomly damaged files, none took this
module more than .4 seconds or .1 MB. A file of 1 MB that inflates to 1 GB of zeros took
2 seconds and .4 MB.
"""

import dataclasses
import math
from typing import Callable
import zlib

import numpy as np

from alexnet_tf import files

_HEADER_SIZE = 128
# The types of elements.
_INT32, _UINT32, _MATRIX, _COMPRESSED = 5, 6, 14, 15
_TEXT_ENCODINGS = {
    1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le",
}  # fmt: skip
_NUMBER_DTYPES = {
    1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8",
    12: "<i8", 13: "<u8",
}  # fmt: skip
# The classes of matrices.
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC_CLASSES = {
    6: "float64", 7: "float32", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16",
    12: "int32", 13: "uint32", 14: "int64", 15: "uint64",
}  # fmt: skip
_COMPLEX_FLAG = 0x0800
# Limits. A network of 25 layers has 300 matrices, which are nested six deep.
_MAX_VARIABLES = 100
_MAX_MATRICES = 5000
_MAX_DEPTH = 8
# The largest size of a list of dimensions, which have four bytes each.
_MAX_SHAPE_SIZE = 128
# The largest size of names and strings, in bytes.
_MAX_TEXT_SIZE = 16 * 1024
# The number of bytes that are inflated at once, and the largest number of bytes that a
# variable is inflated to.
_CHUNK_SIZE = 64 * 1024
_MAX_INFLATED_SIZE = 2**30


@dataclasses.dataclass(frozen=True)
class Numbers:
    """An array of numbers in a file.

    Attributes:
        shape: its shape.
        dtype: the name of its NumPy dtype.
        read: a function that reads and returns the array.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def read_variables(path, names, fields):
    """Returns {name: value} of the variables of a file.

    A value is a list for a cell, {field: value} for a structure, a str, or `Numbers`.
    It is None for other variables and fields, structure arrays and empty matrices.

    Args:
        path: the path of the file.
        names: the names of the variables that are wanted.
        fields: the names of the fields that are wanted.

    Raises:
        ValueError, EOFError: if the file is damaged, or exceeds a limit of this module.
    """
    view = memoryview(files.map_file(path))
    if bytes(view[126:128]) != b"IM":
        raise ValueError("it was written on a machine with another byte order")
    parser = _Parser(_Plain(view), fields)
    parser.source.seek(_HEADER_SIZE)
    variables = {}
    for _ in range(_MAX_VARIABLES):
        if parser.source.position == len(view):
            return variables
        # Of variables with the same name, the first one is read.
        wanted = [name for name in names if name not in variables]
        name, value = _read_variable(parser, len(view), wanted, fields)
        variables.setdefault(name, value)
    raise ValueError(f"it has more than {_MAX_VARIABLES} variables")


def _read_variable(parser, end, names, fields):
    """Returns (name, value) of the variable at the position, and moves past it."""
    begin = parser.source.position
    tag = parser.read_tag(end)
    is_compressed = tag.type == _COMPRESSED
    if is_compressed:
        content = _Parser(_Inflated(parser.source.read(tag.size)), fields)
        matrix = content.read_matrix(_MAX_INFLATED_SIZE)
    else:
        content = parser
        content.source.seek(begin)
        matrix = content.read_matrix(end)
    name, value = matrix.name if matrix else "", None
    if matrix and name in names:
        value = content.read_value(matrix)
        if is_compressed:
            content.source.seek(matrix.end)
            content.source.check_end()
    parser.source.seek(tag.next)
    return name, value


class _Plain:
    """The bytes of a file, read from a position."""

    def __init__(self, view):
        self._view = view
        self.position = 0

    def read(self, size):
        data = self._view[self.position : self.position + size]
        if len(data) < size:
            raise EOFError("it ends too early")
        self.position += size
        return data

    def seek(self, position):
        self.position = position


class _Inflated:
    """The bytes that compressed data are inflated to, read from a position.

    Moving backward inflates again from the beginning: no inflated bytes are kept.
    """

    def __init__(self, view):
        self._view = view
        self._restart()

    def read(self, size):
        data = bytearray(size)
        filled = 0
        for chunk in self._chunks(size):
            data[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        return data

    def seek(self, position):
        if position < self.position:
            self._restart()
        for _ in self._chunks(position - self.position):
            pass

    def check_end(self):
        """Raises an error if there are more bytes, or if the checksum is wrong."""
        if self._inflate(1) or not self._inflater.eof:
            raise ValueError("its compressed data have the wrong size")

    def _restart(self):
        self._inflater = zlib.decompressobj()
        self._consumed = 0
        self.position = 0

    def _chunks(self, size):
        while size:
            chunk = self._inflate(min(size, _CHUNK_SIZE))
            if not chunk:
                raise EOFError("its compressed data end too early")
            size -= len(chunk)
            yield chunk

    def _inflate(self, size):
        """Returns up to `size` bytes, and no bytes only at the end."""
        chunk = b""
        while not chunk and not self._inflater.eof:
            data = self._inflater.unconsumed_tail
            if not data:
                data = self._view[self._consumed : self._consumed + _CHUNK_SIZE]
                self._consumed += len(data)
            try:
                chunk = self._inflater.decompress(data, size)
            except zlib.error:
                raise ValueError("its compressed data are damaged") from None
            if not data:
                break
        self.position += len(chunk)
        return chunk


@dataclasses.dataclass(frozen=True)
class _Tag:
    """The tag of an element.

    Attributes:
        type: the type of the element.
        start: the position of the data of the element.
        size: the number of bytes of the data.
        next: the position after the element.
    """

    type: int
    start: int
    size: int
    next: int


@dataclasses.dataclass(frozen=True)
class _Matrix:
    """The first part of a matrix element.

    Attributes:
        matrix_class: the class of the matrix.
        is_complex: whether it holds complex numbers.
        shape: its shape.
        name: the name of the variable, empty for nested matrices.
        end: the position after the element.
    """

    matrix_class: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    end: int


class _Parser:
    """Reads the elements at the position of a `_Plain` or an `_Inflated`.

    The argument `end` of the methods is the end of the enclosing element, which the
    element at the position must not exceed.
    """

    def __init__(self, source, fields):
        self.source = source
        self._fields = fields
        self._matrix_count = 0

    def read_tag(self, end):
        begin = self.source.position
        if end - begin < 8:
            raise ValueError("one of its elements is too short")
        word = int.from_bytes(self.source.read(4), "little")
        # The data of a small element are in the second half of its tag.
        element_type, size = word & 0xFFFF, word >> 16
        if size > 4:
            raise ValueError("one of its elements has an invalid tag")
        if size:
            return _Tag(element_type, begin + 4, size, begin + 8)
        start = begin + 8
        size = int.from_bytes(self.source.read(4), "little")
        if size > end - start:
            raise ValueError("one of its elements exceeds the one that contains it")
        # The elements have padding up to a multiple of eight bytes. Compressed ones
        # have none.
        padding = 0 if element_type == _COMPRESSED else -size % 8
        return _Tag(element_type, start, size, min(start + size + padding, end))

    def read_data(self, end, types):
        """Returns (type, bytes) of a short element, and moves past it."""
        tag = self.read_tag(end)
        if tag.type not in types:
            raise ValueError(f"one of its elements has the type {tag.type}")
        if tag.size > _MAX_TEXT_SIZE:
            raise ValueError(f"one of its names or strings has {tag.size:,} bytes")
        data = bytes(self.source.read(tag.size))
        self.source.seek(tag.next)
        return tag.type, data

    def read_text(self, end):
        element_type, data = self.read_data(end, _TEXT_ENCODINGS)
        return data.decode(_TEXT_ENCODINGS[element_type])

    def read_matrix(self, end):
        """Returns the `_Matrix` at the position, or None for an empty matrix."""
        self._matrix_count += 1
        if self._matrix_count > _MAX_MATRICES:
            raise ValueError(f"it has more than {_MAX_MATRICES:,} matrices")
        tag = self.read_tag(end)
        if tag.type != _MATRIX:
            raise ValueError(f"one of its elements has the type {tag.type}")
        if not tag.size:
            return None
        _, flags = self.read_data(tag.next, [_UINT32])
        _, shape = self.read_data(tag.next, [_INT32, _UINT32])
        if len(flags) != 8 or len(shape) % 4 or not 8 <= len(shape) <= _MAX_SHAPE_SIZE:
            raise ValueError("one of its matrices has an invalid header")
        word = int.from_bytes(flags[:4], "little")
        return _Matrix(
            word & 0xFF,
            bool(word & _COMPLEX_FLAG),
            tuple(np.frombuffer(shape, "<u4").tolist()),
            self.read_text(tag.next),
            tag.next,
        )

    def read_value(self, matrix, depth=0):
        """Returns the value of the `_Matrix` that was read last."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"its matrices are nested more than {_MAX_DEPTH} deep")
        if matrix.matrix_class == _CELL:
            return [
                self.read_nested(matrix.end, depth)
                for _ in range(math.prod(matrix.shape))
            ]
        if matrix.matrix_class == _STRUCT and math.prod(matrix.shape) == 1:
            return self.read_structure(matrix.end, depth)
        if matrix.matrix_class == _CHAR:
            return self.read_text(matrix.end)
        if matrix.matrix_class in _NUMERIC_CLASSES and not matrix.is_complex:
            return self.read_numbers(matrix)
        return None

    def read_nested(self, end, depth):
        matrix = self.read_matrix(end)
        if matrix is None:
            return None
        value = self.read_value(matrix, depth + 1)
        self.source.seek(matrix.end)
        return value

    def read_structure(self, end, depth):
        _, length = self.read_data(end, [_INT32])
        length = int.from_bytes(length, "little")
        _, names = self.read_data(end, _TEXT_ENCODINGS)
        if not names:
            return {}
        if not 0 < length <= len(names) or len(names) % length:
            raise ValueError("one of its structures has invalid names of fields")
        structure = {}
        for start in range(0, len(names), length):
            name = names[start : start + length].split(b"\0")[0].decode("latin-1")
            if name in self._fields:
                structure[name] = self.read_nested(end, depth)
            else:
                self.source.seek(self.read_tag(end).next)
                structure[name] = None
        return structure

    def read_numbers(self, matrix):
        tag = self.read_tag(matrix.end)
        stored_dtype = np.dtype(_NUMBER_DTYPES.get(tag.type, "V1"))
        # MATLAB stores numbers of any class in the smallest type that holds them.
        dtype = _NUMERIC_CLASSES[matrix.matrix_class]
        if math.prod(matrix.shape) * stored_dtype.itemsize != tag.size:
            raise ValueError("the size of one of its arrays does not match its shape")

        def read():
            self.source.seek(tag.start)
            numbers = np.frombuffer(self.source.read(tag.size), stored_dtype)
            return numbers.astype(dtype, copy=False).reshape(matrix.shape, order="F")

        return Numbers(matrix.shape, dtype, read)
