"""Writes the .npy files that `numpy.save` wrote under Python 2, byte by byte.

They hold protocol 2 of pickle, as Python 2's cPickle used it for NumPy's arrays:
strings are byte strings, and so is the data of an array. Today's `numpy.load`
reads them with `allow_pickle=True, encoding="latin1"`; a test verifies that.
"""

import io
import struct

import numpy as np


def save(path, value):
    """Writes a zero-dimensional array that holds `value` as a .npy file.

    Args:
        path: a `pathlib.Path`.
        value: dicts, lists and NumPy arrays of numbers, nested.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    path.write_bytes(header.getvalue() + b"\x80\x02" + _object_array(value) + b".")


def _object_array(value):
    dtype = _call(b"numpy\ndtype", _string("O8"), _number(0), _number(1))
    state = [_number(3), _string("|"), b"N", b"N", b"N"]
    state += [_number(-1), _number(-1), _number(63)]
    dtype += _tuple(*state) + b"b"
    return _array(b")", dtype, b"](" + _encode(value) + b"e")


def _encode(value):
    match value:
        case np.ndarray():
            code, order = value.dtype.str[1:], value.dtype.str[0]
            dtype = _call(b"numpy\ndtype", _string(code), _number(0), _number(1))
            state = [_number(3), _string(order), b"N", b"N", b"N"]
            state += [_number(-1), _number(-1), _number(0)]
            shape = _tuple(*map(_number, value.shape))
            dtype += _tuple(*state) + b"b"
            return _array(shape, dtype, _string(value.tobytes()))
        case dict():
            pairs = (_string(k) + _encode(v) for k, v in value.items())
            return b"}(" + b"".join(pairs) + b"u"
        case list():
            return b"](" + b"".join(map(_encode, value)) + b"e"


def _array(shape, dtype, data):
    empty = _call(
        b"numpy.core.multiarray\n_reconstruct",
        b"cnumpy\nndarray\n", _tuple(_number(0)), _string("b"),
    )  # fmt: skip
    return empty + _tuple(_number(1), shape, dtype, b"\x89", data) + b"b"


def _call(name, *arguments):
    return b"c" + name + b"\n" + _tuple(*arguments) + b"R"


def _tuple(*items):
    return b"(" + b"".join(items) + b"t"


def _number(value):
    return b"J" + struct.pack("<i", value)


def _string(value):
    value = value.encode("latin1") if isinstance(value, str) else value
    return b"T" + struct.pack("<i", len(value)) + value
