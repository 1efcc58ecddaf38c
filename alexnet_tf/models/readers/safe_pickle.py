"""Reads NumPy arrays from a pickle without running any of its code.

A pickle is a program for a stack machine, and may call any function of any module.
This reader implements only the instructions that Python 2 and 3 use for NumPy arrays,
dicts, lists, tuples, strings, integers, booleans and None. It never imports a module
or calls a function for a pickle: a function that the program refers to is represented
by its name, and what the five functions of `_FUNCTIONS` do is implemented here.
"""

import math
import re

import numpy as np

# One array takes about 40 instructions. Without a limit, a file of nothing but
# instructions would take 56 times its size in memory.
_MAX_INSTRUCTIONS = 100_000
# The limit of NumPy 1; NumPy 2 allows 64.
_MAX_DIMENSIONS = 32
# The limit for names of functions, keys of dicts and dtypes, in characters.
_MAX_NAME_LENGTH = 100

# The functions that a pickle may refer to, by module and name.
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

# The instructions that push a constant.
_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
# The number of bytes of the integer that follows the instruction.
_INTEGER_SIZES = {b"J": 4, b"K": 1, b"M": 2}
# These instructions are followed by a length and by data of this length: a byte string,
# a text, or an integer (LONG1). The values of the dicts are the numbers of bytes of the
# length.
_BYTES_LENGTH_SIZES = {
    b"U": 1, b"T": 4, b"C": 1, b"B": 4, b"\x8e": 8, b"\x96": 8,
}  # fmt: skip
_TEXT_LENGTH_SIZES = {b"\x8c": 1, b"X": 4, b"\x8d": 8}
_LONG1 = b"\x8a"
# The number of items of the tuple that the instruction makes.
_TUPLE_SIZES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
# The instructions that take all items above the last mark: TUPLE, APPENDS, SETITEMS.
_MARKED = {b"t", b"e", b"u"}


def load(buffer):
    """Returns the pickled object, with an `Array` in place of each NumPy array.

    The values of arrays are views of `buffer`, except those of arrays that Python 3
    pickled with protocol 2, which are copies. The keys of dicts are returned as str.
    Byte strings that are not keys, including the strings of Python 2, are returned as
    memoryviews or bytes.

    Args:
        buffer: bytes, or a memory map of a file.

    Raises:
        ValueError: if the pickle holds an object of another type, is damaged, or has
            more than 100,000 instructions.
    """
    machine = _Machine(memoryview(buffer))
    try:
        return machine.run()
    except _UnsupportedPickle as error:
        raise ValueError(
            "Expected a pickle of NumPy arrays in dicts and lists. Received: "
            f"{error} at byte {machine.position}. Use `pickle.load` or "
            "`numpy.load(..., allow_pickle=True)`, which run any code in the file, "
            "only if you trust its origin."
        ) from None


class _UnsupportedPickle(Exception):
    """The reason why a pickle is rejected."""


class _Function(str):
    """The name of a function in a pickle, which is a value of `_FUNCTIONS`."""


class Array:
    """An array in a pickle.

    Attributes:
        value: a NumPy array if the array holds numbers. If it holds objects, a list of
            the objects, or the object itself for an array without dimensions.
    """

    value = None


class _DType:
    """A dtype in a pickle: a code such as "f4" or "O8", and a byte order."""

    def __init__(self, code):
        self.code, self.byte_order = code, "="


class _Machine:
    """The stack machine that executes the program in a pickle."""

    def __init__(self, view):
        self.view = view
        self.position = 0
        self.stack, self.marks, self.memo = [], [], {}
        self.encoded_size = 0

    def run(self):
        for _ in range(_MAX_INSTRUCTIONS):
            instruction = bytes(self.read(1))
            if instruction == b".":
                return self.pop()
            self.execute(instruction)
        raise _UnsupportedPickle(f"more than {_MAX_INSTRUCTIONS:,} instructions")

    def execute(self, instruction):
        if instruction in _CONSTANTS:
            self.stack.append(_CONSTANTS[instruction])
        elif instruction in _INTEGER_SIZES:
            self.stack.append(self.read_integer(_INTEGER_SIZES[instruction]))
        elif instruction in _BYTES_LENGTH_SIZES:
            self.stack.append(self.read_data(_BYTES_LENGTH_SIZES[instruction]))
        elif instruction in _TEXT_LENGTH_SIZES:
            text = self.read_data(_TEXT_LENGTH_SIZES[instruction])
            self.stack.append(_decode(text, "utf-8"))
        elif instruction == _LONG1:
            data = self.read_data(length_size=1)
            self.stack.append(int.from_bytes(data, "little", signed=True))
        elif instruction in _TUPLE_SIZES:
            self.stack.append(tuple(self.pop_many(_TUPLE_SIZES[instruction])))
        elif instruction in _MARKED:
            self.execute_marked(instruction)
        else:
            self.execute_other(instruction)

    def execute_marked(self, instruction):
        """Executes an instruction of `_MARKED`."""
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
            case b"(":  # MARK
                self.marks.append(len(self.stack))
            case b"]":  # EMPTY_LIST
                self.stack.append([])
            case b"}":  # EMPTY_DICT
                self.stack.append({})
            case b"a":  # APPEND
                self.extend(self.pop_many(1))
            case b"s":  # SETITEM
                self.update(self.pop_many(2))
            case b"c":  # GLOBAL
                self.push_function(self.read_line(), self.read_line())
            case b"\x93":  # STACK_GLOBAL
                self.push_function(*self.pop_many(2))
            case b"R":  # REDUCE
                self.call(*self.pop_many(2))
            case b"b":  # BUILD
                self.build(self.pop())
            case b"\x80" | b"\x95":  # PROTO, FRAME
                self.read(1 if instruction == b"\x80" else 8)
            case _:
                self.execute_memo(instruction)

    def execute_memo(self, instruction):
        match instruction:
            case b"q" | b"r":  # BINPUT, LONG_BINPUT
                key = self.read_integer(1 if instruction == b"q" else 4)
                self.memo[key] = self.top()
            case b"\x94":  # MEMOIZE
                self.memo[len(self.memo)] = self.top()
            case b"h" | b"j":  # BINGET, LONG_BINGET
                key = self.read_integer(1 if instruction == b"h" else 4)
                if key not in self.memo:
                    raise _UnsupportedPickle("a reference to an unknown object")
                self.stack.append(self.memo[key])
            case _:
                raise _UnsupportedPickle(f"the instruction {instruction!r}")

    def push_function(self, module, name):
        are_strings = isinstance(module, str) and isinstance(name, str)
        if not are_strings or (module, name) not in _FUNCTIONS:
            raise _UnsupportedPickle(
                f"the function {_printable(module)}.{_printable(name)}"
            )
        self.stack.append(_Function(_FUNCTIONS[module, name]))

    def call(self, function, arguments):
        match function, arguments:
            case _Function("_reconstruct"), (_Function("ndarray"), (0,), _):
                result = Array()
            case _Function("dtype"), (code, *_):
                result = _DType(_to_str(code))
            case _Function("encode"), (str(text), str("latin1")):
                # A small pickle can encode one string many times, and each result
                # takes memory.
                self.encoded_size += len(text)
                if self.encoded_size > len(self.view):
                    raise _UnsupportedPickle("more bytes than the file has")
                result = _encode(text)
            case _Function("_frombuffer"), (data, _DType() as dtype, shape, order):
                result = Array()
                result.value = _array_value(shape, dtype, order == "F", data)
            case _:
                raise _UnsupportedPickle("an unsupported function call")
        self.stack.append(result)

    def build(self, state):
        """Sets the state of the object at the top of the stack."""
        match self.top(), state:
            case Array() as array, (_, shape, _DType() as dtype, fortran, data):
                array.value = _array_value(shape, dtype, bool(fortran), data)
            case _DType() as dtype, (_, byte_order, None, None, None, *_):
                dtype.byte_order = _to_str(byte_order)
            case _:
                raise _UnsupportedPickle("an invalid array state")

    def extend(self, items):
        if not isinstance(self.top(), list):
            raise _UnsupportedPickle("an item appended to something other than a list")
        self.top().extend(items)

    def update(self, items):
        if not isinstance(self.top(), dict):
            raise _UnsupportedPickle("an entry set in something other than a dict")
        if len(items) % 2:
            raise _UnsupportedPickle("a key without a value")
        for key, value in zip(items[::2], items[1::2]):
            self.top()[_to_str(key)] = value

    def read(self, size):
        """Returns the next `size` bytes of the pickle as a memoryview."""
        if not 0 <= size <= len(self.view) - self.position:
            raise _UnsupportedPickle(
                f"an item of {size} bytes, of which only "
                f"{len(self.view) - self.position} are left"
            )
        self.position += size
        return self.view[self.position - size : self.position]

    def read_integer(self, size):
        # Among the integers of four bytes, only that of the instruction J is signed.
        # Reading lengths as signed too rejects arrays of 2 GiB and more; the largest
        # array of AlexNet has 151 MB.
        return int.from_bytes(self.read(size), "little", signed=size == 4)

    def read_data(self, length_size):
        """Returns data that are preceded by their length."""
        return self.read(self.read_integer(length_size))

    def read_line(self):
        start = self.position
        while bytes(self.read(1)) != b"\n":
            if self.position - start > _MAX_NAME_LENGTH:
                raise _UnsupportedPickle(
                    f"a name of more than {_MAX_NAME_LENGTH} characters"
                )
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


def _array_value(shape, dtype, fortran, data):
    """Returns `Array.value` for the state of an array in a pickle."""
    is_short_tuple = isinstance(shape, tuple) and len(shape) <= _MAX_DIMENSIONS
    if not is_short_tuple or not all(type(n) is int and 0 <= n for n in shape):
        raise _UnsupportedPickle("an invalid array shape")
    if dtype.code in ("O", "O8", "O4"):
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise _UnsupportedPickle("the wrong number of objects for an array")
        return data[0] if shape == () else data
    if not re.fullmatch("f[248]", dtype.code) or dtype.byte_order not in (*"<>=|",):
        raise _UnsupportedPickle(f"numbers of type {_printable(dtype.code)}")
    numpy_dtype = np.dtype(dtype.code).newbyteorder(dtype.byte_order)
    if not isinstance(data, (bytes, memoryview)):
        raise _UnsupportedPickle("an array without data")
    if len(data) != math.prod(shape) * numpy_dtype.itemsize:
        raise _UnsupportedPickle(f"{len(data)} bytes for an array of shape {shape}")
    array = np.frombuffer(data, numpy_dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _to_str(name):
    """Returns a key, the code of a dtype or a byte order as str.

    Args:
        name: a str, or the bytes or memoryview of a Python 2 string.
    """
    if isinstance(name, (bytes, memoryview)):
        if len(name) > _MAX_NAME_LENGTH:
            raise _UnsupportedPickle(
                f"a name of more than {_MAX_NAME_LENGTH} characters"
            )
        return _decode(name, "latin1")
    if not isinstance(name, str) or isinstance(name, _Function):
        raise _UnsupportedPickle("a key, a dtype or a byte order that is not a string")
    return name


def _decode(data, encoding):
    try:
        return str(data, encoding)
    except UnicodeDecodeError:
        raise _UnsupportedPickle(f"a string that is not {encoding}") from None


def _encode(text):
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise _UnsupportedPickle("a string that is not latin1") from None


def _printable(text):
    return repr(text)[:60] if isinstance(text, str) else "?"
