"""NumPy arrays out of a pickle, without running any of it.

A pickle is a program for a machine with a stack, one that may call any function
of any module. This reader knows the instructions that NumPy's arrays, dicts,
lists and strings are written with, in Python 2 and 3, and no others. It imports
and calls nothing: a function that the program names stays a name, and what
five of them do with arrays is done here.
"""

import math
import re

import numpy as np

# One array takes about 40 instructions. A file of nothing but instructions
# would grow to 56 times its size.
_MOST_INSTRUCTIONS = 100_000
_MOST_DIMENSIONS = 32
_NAMES = {
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

# Instructions that are followed by a length of so many bytes, and a string.
_BYTES = {
    b"U": 1, b"T": 4, b"C": 1, b"B": 4, b"\x8e": 8, b"\x96": 8, b"\x8a": 1,
}  # fmt: skip
_TEXTS = {b"\x8c": 1, b"X": 4, b"\x8d": 8}
_TUPLES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
_MARKED = {b"t", b"e", b"u"}


def load(buffer):
    """What is pickled in `buffer`: dicts, lists, tuples, strings and `Array`s.

    Their numbers are views of `buffer`, not copies. Strings of Python 2 and
    bytes come as memoryviews, keys of dicts as str.

    Args:
        buffer: bytes, or a memory map of a file.

    Raises:
        ValueError: if the pickle needs anything else, is cut short, or takes
            more than 100,000 instructions.
    """
    machine = _Machine(memoryview(buffer))
    try:
        return machine.run()
    except _Refused as refused:
        raise ValueError(
            "Expected a pickle of NumPy arrays in dicts and lists. Received: "
            f"{refused} at byte {machine.position}. A pickle can run any code "
            "where others load it: don't, unless you know who made it."
        ) from None


class _Refused(Exception):
    """What the pickle holds that it should not."""


class _Name(str):
    """A function that the pickle names, one of `_NAMES`' values."""


class Array:
    """An array in a pickle.

    Attributes:
        value: of numbers, a NumPy array; of objects, the one object of an
            array without dimensions, or else a list of them.
    """

    value = None


class _Type:
    """A dtype: "f4", "O8" and the like, and its byte order."""

    def __init__(self, code):
        self.code, self.order = code, "="


class _Machine:
    def __init__(self, view):
        self.view = view
        self.position = 0
        self.stack, self.marks, self.memo = [], [], {}
        self.encoded = 0

    def run(self):
        for _ in range(_MOST_INSTRUCTIONS):
            instruction = bytes(self.take(1))
            if instruction == b".":
                return self.pop()
            self.step(instruction)
        raise _Refused(f"more than {_MOST_INSTRUCTIONS:,} instructions")

    def step(self, instruction):
        if instruction in _CONSTANTS:
            self.stack.append(_CONSTANTS[instruction])
        elif instruction in _INTEGERS:
            self.stack.append(self.integer(_INTEGERS[instruction]))
        elif instruction in _BYTES:
            self.string(instruction)
        elif instruction in _TEXTS:
            text = self.take(self.integer(_TEXTS[instruction]))
            self.stack.append(_decoded(text, "utf-8"))
        elif instruction in _TUPLES:
            self.stack.append(tuple(self.pop_many(_TUPLES[instruction])))
        elif instruction in _MARKED:
            self.marked(instruction)
        else:
            self.other(instruction)

    def string(self, instruction):
        data = self.take(self.integer(_BYTES[instruction]))
        if instruction == b"\x8a":  # A number of that many bytes.
            data = int.from_bytes(data, "little", signed=True)
        self.stack.append(data)

    def marked(self, instruction):
        """What takes all that was put on the stack since a mark."""
        if not self.marks or self.marks[-1] > len(self.stack):
            raise _Refused("an instruction without its mark")
        items = self.pop_many(len(self.stack) - self.marks.pop())
        if instruction == b"t":
            self.stack.append(tuple(items))
        elif instruction == b"e":
            self.extend(items)
        else:
            self.update(items)

    def other(self, instruction):
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
            case b"\x80" | b"\x95":  # The protocol; the length of what follows.
                self.take(1 if instruction == b"\x80" else 8)
            case _:
                self.remember(instruction)

    def remember(self, instruction):
        match instruction:
            case b"q" | b"r":
                key = self.integer(1 if instruction == b"q" else 4)
                self.memo[key] = self.top()
            case b"\x94":
                self.memo[len(self.memo)] = self.top()
            case b"h" | b"j":
                key = self.integer(1 if instruction == b"h" else 4)
                if key not in self.memo:
                    raise _Refused("a reference to nothing")
                self.stack.append(self.memo[key])
            case _:
                raise _Refused(f"the instruction {instruction!r}")

    def name(self, module, name):
        strings = isinstance(module, str) and isinstance(name, str)
        if not strings or (module, name) not in _NAMES:
            raise _Refused(f"the function {_shown(module)}.{_shown(name)}")
        self.stack.append(_Name(_NAMES[module, name]))

    def call(self, function, arguments):
        match function, arguments:
            case _Name("_reconstruct"), (_Name("ndarray"), (0,), _):
                result = Array()
            case _Name("dtype"), (code, *_):
                result = _Type(_text(code))
            case _Name("encode"), (str(text), str("latin1")):
                # One string may be asked for again and again, and each time
                # takes its own memory.
                self.encoded += len(text)
                if self.encoded > len(self.view):
                    raise _Refused("more bytes than the file has")
                result = _encoded(text)
            case _Name("_frombuffer"), (data, _Type() as kind, shape, order):
                result = Array()
                result.value = _array(shape, kind, order == "F", data)
            case _:
                raise _Refused("a call of what is not called so")
        self.stack.append(result)

    def build(self, state):
        match self.top(), state:
            case Array() as array, (_, shape, _Type() as kind, fortran, data):
                array.value = _array(shape, kind, bool(fortran), data)
            case _Type() as kind, (_, order, None, None, None, *_):
                kind.order = _text(order)
            case _:
                raise _Refused("a state that no array has")

    def extend(self, items):
        if not isinstance(self.top(), list):
            raise _Refused("an addition to what is no list")
        self.top().extend(items)

    def update(self, items):
        if not isinstance(self.top(), dict) or len(items) % 2:
            raise _Refused("an entry of what is no dict")
        for key, value in zip(items[::2], items[1::2]):
            self.top()[_text(key)] = value

    def take(self, size):
        if not 0 <= size <= len(self.view) - self.position:
            raise _Refused(
                f"{size} bytes where {len(self.view) - self.position} are left"
            )
        self.position += size
        return self.view[self.position - size : self.position]

    def integer(self, size):
        # Only the one of four bytes that stands by itself has a sign; no
        # length comes near it.
        return int.from_bytes(self.take(size), "little", signed=size == 4)

    def line(self):
        start = self.position
        while bytes(self.take(1)) != b"\n":
            if self.position - start > 100:
                raise _Refused("a name of more than 100 letters")
        return _decoded(self.view[start : self.position - 1], "ascii")

    def top(self):
        if not self.stack:
            raise _Refused("an instruction that lacks its value")
        return self.stack[-1]

    def pop(self):
        self.top()
        return self.stack.pop()

    def pop_many(self, count):
        if count > len(self.stack):
            raise _Refused("an instruction that lacks its values")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items


def _array(shape, kind, fortran, data):
    """What the array holds: an array of numbers, or a list of objects."""
    whole = isinstance(shape, tuple) and len(shape) <= _MOST_DIMENSIONS
    if not whole or not all(type(n) is int and 0 <= n for n in shape):
        raise _Refused("a shape that no array has")
    if kind.code in ("O", "O8", "O4"):
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise _Refused("objects that do not fill their array")
        return data[0] if shape == () else data
    if not re.fullmatch("f[248]", kind.code) or kind.order not in tuple("<>=|"):
        raise _Refused(f"numbers of type {_shown(kind.code)}")
    dtype = np.dtype(kind.code).newbyteorder(kind.order)
    if not isinstance(data, (bytes, memoryview)):
        raise _Refused("an array without numbers")
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise _Refused(f"{len(data)} bytes for an array of shape {shape}")
    array = np.frombuffer(data, dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _text(item):
    """A string of Python 2 or 3; keys and type names are short."""
    if isinstance(item, (bytes, memoryview)) and len(item) <= 100:
        return _decoded(item, "latin1")
    if not isinstance(item, str) or isinstance(item, _Name):
        raise _Refused("a key that is no string")
    return item


def _decoded(view, encoding):
    try:
        return str(view, encoding)
    except UnicodeDecodeError:
        raise _Refused(f"a string that is not {encoding}") from None


def _encoded(text):
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise _Refused("bytes beyond latin1") from None


def _shown(text):
    return repr(text)[:60] if isinstance(text, str) else "?"
