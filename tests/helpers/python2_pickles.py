"""Writes .npy files as `numpy.save` wrote them under Python 2, byte by byte.

They contain a pickle of protocol 2, as Python 2's cPickle wrote NumPy's arrays:
strings are byte strings, and so is the data of an array. Today's `numpy.load` reads
them with `allow_pickle=True, encoding="latin1"`, as
`test_numpy_reads_the_python2_files_of_the_tests` checks.
"""

import io
import struct

import numpy as np


def save(path, value):
    """Writes a .npy file with a zero-dimensional array that contains `value`.

    Args:
        path: a `pathlib.Path`.
        value: a NumPy array of numbers; or a list, or a dict with str keys, of such
            values.
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    path.write_bytes(header.getvalue() + b"\x80\x02" + _object_array(value) + b".")


def _object_array(value):
    # NumPy gives the flags 63 to the dtype object.
    dtype = _dtype("O8", byte_order="|", flags=63)
    return _array(b")", dtype, b"](" + _encode(value) + b"e")


def _encode(value):
    match value:
        case np.ndarray():
            byte_order, code = value.dtype.str[0], value.dtype.str[1:]
            dtype = _dtype(code, byte_order, flags=0)
            shape = _tuple(*map(_number, value.shape))
            return _array(shape, dtype, _string(value.tobytes()))
        case dict():
            pairs = (_string(key) + _encode(item) for key, item in value.items())
            return b"}(" + b"".join(pairs) + b"u"
        case list():
            return b"](" + b"".join(map(_encode, value)) + b"e"


def _dtype(code, byte_order, flags):
    """Returns the opcodes of a NumPy dtype and of its state, of format version 3."""
    dtype = _call(b"numpy\ndtype", _string(code), _number(0), _number(1))
    # Version, byte order, subdtype, names, fields, item size, alignment, flags.
    state = [_number(3), _string(byte_order), b"N", b"N", b"N"]
    state += [_number(-1), _number(-1), _number(flags)]
    return dtype + _tuple(*state) + b"b"


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
