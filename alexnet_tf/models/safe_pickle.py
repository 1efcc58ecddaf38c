"""Reads NumPy arrays from a pickle without running any of its code.

A pickle is a program for a stack machine, and may call any function of any module.
This reader implements only the instructions that Python 2 and 3 use for NumPy's
arrays, dicts, lists, tuples and strings. It imports and calls nothing: a function
that the program names is represented by its name, and the effect of the five
functions in `_FUNCTIONS` on arrays is implemented here.
"""

import math
import re

import numpy as np

# One array takes about 40 instructions. Without a limit, a file of nothing but
# instructions would take 56 times its size in memory.
_MAX_INSTRUCTIONS = 100_000
_MAX_DIMENSIONS = 32
_FUNCTIONS = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    **{
        (f"numpy.{core}.{module}", name): name
        for core in ("core", "_core")
        for module, name in [
            ("multiarray", "_reconstruct"),
            ("numeric", "_frombuffer"),
        ]
    },
}
_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
_INTEGERS = {b"J": 4, b"K": 1, b"M": 2}

# Instructions that are followed by a length, which takes this many bytes, and a
# string of that length.
_BYTES = {
    b"U": 1, b"T": 4, b"C": 1, b"B": 4, b"\x8e": 8, b"\x96": 8, b"\x8a": 1,
}  # fmt: skip
_TEXTS = {b"\x8c": 1, b"X": 4, b"\x8d": 8}
_TUPLES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
_MARKED = {b"t", b"e", b"u"}


def load(buffer):
    """Returns the pickled object: dicts, lists, tuples, strings and `Array`s.

    The numbers of arrays are views of `buffer`, not copies. Strings of Python 2 and
    bytes are returned as memoryviews, and the keys of dicts as str.

    Args:
        buffer: bytes, or a memory map of a file.

    Raises:
        ValueError: if the pickle needs anything else, is truncated, or has more
            than 100,000 instructions.
    """
    machine = _Machine(memoryview(buffer))
    try:
        return machine.run()
    except _UnsupportedPickle as error:
        raise ValueError(
            "Expected a pickle of NumPy arrays in dicts and lists. Received: "
            f"{error} at byte {machine.position}. Other readers run any code that "
            "a pickle contains: use one only if you trust the origin of the file."
        ) from None


class _UnsupportedPickle(Exception):
    """Raised with the reason why a pickle is rejected."""


class _Function(str):
    """The name of a function that the pickle refers to, a value of `_FUNCTIONS`."""


class Array:
    """An array in a pickle.

    Attributes:
        value: a NumPy array of numbers; or, if the array holds objects, a list of
            them, and the object itself for an array without dimensions.
    """

    value = None


class _DType:
    """A dtype: a code such as "f4" or "O8", and its byte order."""

    def __init__(self, code):
        self.code, self.order = code, "="


class _Machine:
    """The stack machine that a pickle is a program for."""

    def __init__(self, view):
        self.view = view
        self.position = 0
        self.stack, self.marks, self.memo = [], [], {}
        self.encoded_size = 0

    def run(self):
        for _ in range(_MAX_INSTRUCTIONS):
            instruction = bytes(self.take(1))
            if instruction == b".":
                return self.pop()
            self.execute(instruction)
        raise _UnsupportedPickle(f"more than {_MAX_INSTRUCTIONS:,} instructions")

    def execute(self, instruction):
        if instruction in _CONSTANTS:
            self.stack.append(_CONSTANTS[instruction])
        elif instruction in _INTEGERS:
            self.stack.append(self.integer(_INTEGERS[instruction]))
        elif instruction in _BYTES:
            self.string(instruction)
        elif instruction in _TEXTS:
            text = self.take(self.integer(_TEXTS[instruction]))
            self.stack.append(_decode(text, "utf-8"))
        elif instruction in _TUPLES:
            self.stack.append(tuple(self.pop_many(_TUPLES[instruction])))
        elif instruction in _MARKED:
            self.execute_marked(instruction)
        else:
            self.execute_other(instruction)

    def string(self, instruction):
        data = self.take(self.integer(_BYTES[instruction]))
        if instruction == b"\x8a":  # An integer of that many bytes.
            data = int.from_bytes(data, "little", signed=True)
        self.stack.append(data)

    def execute_marked(self, instruction):
        """Executes an instruction that takes all items above the last mark."""
        if not self.marks or self.marks[-1] > len(self.stack):
            raise _UnsupportedPickle("an instruction without its mark")
        items = self.pop_many(len(self.stack) - self.marks.pop())
        if instruction == b"t":
            self.stack.append(tuple(items))
        elif instruction == b"e":
            self.extend(items)
        else:
            self.update(items)

    def execute_other(self, instruction):
        match instruction:
            case b"(":
                self.marks.append(len(self.stack))
            case b"]":
                self.stack.append([])
            case b"}":
                self.stack.append({})
            case b"a":
                self.extend(self.pop_many(1))
            case b"s":
                self.update(self.pop_many(2))
            case b"c":
                self.name(self.line(), self.line())
            case b"\x93":
                self.name(*self.pop_many(2))
            case b"R":
                self.call(*self.pop_many(2))
            case b"b":
                self.build(self.pop())
            case b"\x80" | b"\x95":  # Protocol version; frame length.
                self.take(1 if instruction == b"\x80" else 8)
            case _:
                self.execute_memo(instruction)

    def execute_memo(self, instruction):
        match instruction:
            case b"q" | b"r":
                key = self.integer(1 if instruction == b"q" else 4)
                self.memo[key] = self.top()
            case b"\x94":
                self.memo[len(self.memo)] = self.top()
            case b"h" | b"j":
                key = self.integer(1 if instruction == b"h" else 4)
                if key not in self.memo:
                    raise _UnsupportedPickle("a reference to nothing")
                self.stack.append(self.memo[key])
            case _:
                raise _UnsupportedPickle(f"the instruction {instruction!r}")

    def name(self, module, name):
        strings = isinstance(module, str) and isinstance(name, str)
        if not strings or (module, name) not in _FUNCTIONS:
            raise _UnsupportedPickle(
                f"the function {_printable(module)}.{_printable(name)}"
            )
        self.stack.append(_Function(_FUNCTIONS[module, name]))

    def call(self, function, arguments):
        match function, arguments:
            case _Function("_reconstruct"), (_Function("ndarray"), (0,), _):
                result = Array()
            case _Function("dtype"), (code, *_):
                result = _DType(_text(code))
            case _Function("encode"), (str(text), str("latin1")):
                # A pickle can encode one string many times, and each result takes
                # memory.
                self.encoded_size += len(text)
                if self.encoded_size > len(self.view):
                    raise _UnsupportedPickle("more bytes than the file has")
                result = _encode(text)
            case _Function("_frombuffer"), (data, _DType() as dtype, shape, order):
                result = Array()
                result.value = _array(shape, dtype, order == "F", data)
            case _:
                raise _UnsupportedPickle("an unsupported function call")
        self.stack.append(result)

    def build(self, state):
        match self.top(), state:
            case Array() as array, (_, shape, _DType() as dtype, fortran, data):
                array.value = _array(shape, dtype, bool(fortran), data)
            case _DType() as dtype, (_, order, None, None, None, *_):
                dtype.order = _text(order)
            case _:
                raise _UnsupportedPickle("an invalid array state")

    def extend(self, items):
        if not isinstance(self.top(), list):
            raise _UnsupportedPickle("an item appended to something other than a list")
        self.top().extend(items)

    def update(self, items):
        if not isinstance(self.top(), dict) or len(items) % 2:
            raise _UnsupportedPickle("an entry of something other than a dict")
        for key, value in zip(items[::2], items[1::2]):
            self.top()[_text(key)] = value

    def take(self, size):
        if not 0 <= size <= len(self.view) - self.position:
            raise _UnsupportedPickle(
                f"{size} bytes where {len(self.view) - self.position} are left"
            )
        self.position += size
        return self.view[self.position - size : self.position]

    def integer(self, size):
        # Among the integers of four bytes, only the instruction J has a sign; no
        # length is large enough to be affected.
        return int.from_bytes(self.take(size), "little", signed=size == 4)

    def line(self):
        start = self.position
        while bytes(self.take(1)) != b"\n":
            if self.position - start > 100:
                raise _UnsupportedPickle("a name of more than 100 characters")
        return _decode(self.view[start : self.position - 1], "ascii")

    def top(self):
        if not self.stack:
            raise _UnsupportedPickle("an instruction without its operand")
        return self.stack[-1]

    def pop(self):
        self.top()
        return self.stack.pop()

    def pop_many(self, count):
        if count > len(self.stack):
            raise _UnsupportedPickle("an instruction without its operands")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items


def _array(shape, dtype, fortran, data):
    """Returns the value of an `Array`: an array of numbers, or a list of objects."""
    is_tuple = isinstance(shape, tuple) and len(shape) <= _MAX_DIMENSIONS
    if not is_tuple or not all(type(n) is int and 0 <= n for n in shape):
        raise _UnsupportedPickle("an invalid array shape")
    if dtype.code in ("O", "O8", "O4"):
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise _UnsupportedPickle("the wrong number of objects for an array")
        return data[0] if shape == () else data
    if not re.fullmatch("f[248]", dtype.code) or dtype.order not in tuple("<>=|"):
        raise _UnsupportedPickle(f"numbers of type {_printable(dtype.code)}")
    numpy_dtype = np.dtype(dtype.code).newbyteorder(dtype.order)
    if not isinstance(data, (bytes, memoryview)):
        raise _UnsupportedPickle("an array without data")
    if len(data) != math.prod(shape) * numpy_dtype.itemsize:
        raise _UnsupportedPickle(f"{len(data)} bytes for an array of shape {shape}")
    array = np.frombuffer(data, numpy_dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _text(item):
    """Returns a string of Python 2 or 3, a key or the name of a type, as str."""
    if isinstance(item, (bytes, memoryview)) and len(item) <= 100:
        return _decode(item, "latin1")
    if not isinstance(item, str) or isinstance(item, _Function):
        raise _UnsupportedPickle("a key that is not a string")
    return item


def _decode(view, encoding):
    try:
        return str(view, encoding)
    except UnicodeDecodeError:
        raise _UnsupportedPickle(f"a string that is not {encoding}") from None


def _encode(text):
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise _UnsupportedPickle("a string that is not latin1") from None


def _printable(text):
    return repr(text)[:60] if isinstance(text, str) else "?"
