"""Reads NumPy arrays from a pickle without running any of its code.

`pickle_machine` explains why no function is called. This module computes the results of
the five functions that Python 2 and 3 use for arrays.
"""

import math
import re

import numpy as np

from alexnet_tf.models.readers.pickle_machine import Function
from alexnet_tf.models.readers.pickle_machine import is_shape
from alexnet_tf.models.readers.pickle_machine import PickleMachine
from alexnet_tf.models.readers.pickle_machine import quote
from alexnet_tf.models.readers.pickle_machine import to_str
from alexnet_tf.models.readers.pickle_machine import UnsupportedPickle


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
    machine = _NumPyMachine(buffer)
    try:
        return machine.run()
    except UnsupportedPickle as error:
        raise ValueError(
            f"it holds {error} at byte {machine.position} of its pickle. Only NumPy "
            "arrays in dicts and lists are read. Use `pickle.load` or "
            "`numpy.load(..., allow_pickle=True)`, which run any code in the file, "
            "only if you trust its origin"
        ) from None


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


class _NumPyMachine(PickleMachine):
    """Executes pickles of NumPy arrays."""

    functions = {
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

    def __init__(self, buffer):
        super().__init__(buffer)
        self.encoded_size = 0

    def make(self, function, arguments):
        match function, arguments:
            case "_reconstruct", (Function("ndarray"), (0,), _):
                return Array()
            case "dtype", (code, *_):
                return _DType(to_str(code))
            case "encode", (str(text), str("latin1")):
                # A small pickle can encode one string many times, and each result
                # takes memory.
                self.encoded_size += len(text)
                if self.encoded_size > len(self.view):
                    raise UnsupportedPickle("more bytes than the file has")
                return _encode(text)
            case "_frombuffer", (data, _DType() as dtype, shape, order):
                result = Array()
                result.value = _array_value(shape, dtype, order == "F", data)
                return result
            case _:
                raise UnsupportedPickle("an unsupported function call")

    def set_state(self, target, state):
        match target, state:
            case Array() as array, (_, shape, _DType() as dtype, fortran, data):
                array.value = _array_value(shape, dtype, bool(fortran), data)
            case _DType() as dtype, (_, byte_order, None, None, None, *_):
                dtype.byte_order = to_str(byte_order)
            case _:
                raise UnsupportedPickle("an invalid array state")


def _array_value(shape, dtype, fortran, data):
    """Returns `Array.value` for the state of an array in a pickle."""
    if not is_shape(shape):
        raise UnsupportedPickle("an invalid array shape")
    if dtype.code in ("O", "O8", "O4"):
        if not isinstance(data, list) or len(data) != math.prod(shape):
            raise UnsupportedPickle("the wrong number of objects for an array")
        return data[0] if shape == () else data
    if not re.fullmatch("f[248]", dtype.code) or dtype.byte_order not in (*"<>=|",):
        raise UnsupportedPickle(f"numbers of type {quote(dtype.code)}")
    numpy_dtype = np.dtype(dtype.code).newbyteorder(dtype.byte_order)
    if not isinstance(data, (bytes, memoryview)):
        raise UnsupportedPickle("an array without data")
    if len(data) != math.prod(shape) * numpy_dtype.itemsize:
        raise UnsupportedPickle(f"{len(data)} bytes for an array of shape {shape}")
    array = np.frombuffer(data, numpy_dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _encode(text):
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise UnsupportedPickle("a string that is not latin1") from None
