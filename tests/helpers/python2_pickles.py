"""What `numpy.save` wrote under Python 2, byte by byte.

Protocol 2 of pickle, as Python 2's cPickle used it for NumPy's arrays: strings
are strings of bytes, and so are an array's numbers. `numpy.load` of today reads
it with `allow_pickle=True, encoding="latin1"`; a test holds it to that.
"""

import io
import struct

import numpy as np


def save(path, value):
    """An array of no dimensions that holds `value`, as a .npy file."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    path.write_bytes(header.getvalue() + b"\x80\x02" + _objects(value) + b".")


def _objects(value):
    kind = _call(b"numpy\ndtype", _string("O8"), _number(0), _number(1))
    flags = [_number(3), _string("|"), b"N", b"N", b"N"]
    flags += [_number(-1), _number(-1), _number(63)]
    return _array(b")", kind + _tuple(*flags) + b"b", b"](" + _item(value) + b"e")


def _item(value):
    match value:
        case np.ndarray():
            code, order = value.dtype.str[1:], value.dtype.str[0]
            kind = _call(b"numpy\ndtype", _string(code), _number(0), _number(1))
            state = [_number(3), _string(order), b"N", b"N", b"N"]
            state += [_number(-1), _number(-1), _number(0)]
            shape = _tuple(*map(_number, value.shape))
            kind += _tuple(*state) + b"b"
            return _array(shape, kind, _string(value.tobytes()))
        case dict():
            pairs = (_string(k) + _item(v) for k, v in value.items())
            return b"}(" + b"".join(pairs) + b"u"
        case list():
            return b"](" + b"".join(map(_item, value)) + b"e"


def _array(shape, kind, data):
    empty = _call(
        b"numpy.core.multiarray\n_reconstruct",
        b"cnumpy\nndarray\n", _tuple(_number(0)), _string("b"),
    )  # fmt: skip
    return empty + _tuple(_number(1), shape, kind, b"\x89", data) + b"b"


def _call(name, *arguments):
    return b"c" + name + b"\n" + _tuple(*arguments) + b"R"


def _tuple(*items):
    return b"(" + b"".join(items) + b"t"


def _number(value):
    return b"J" + struct.pack("<i", value)


def _string(value):
    value = value.encode("latin1") if isinstance(value, str) else value
    return b"T" + struct.pack("<i", len(value)) + value
