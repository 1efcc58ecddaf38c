"""The pickle reader: the arrays that it reads, and everything that it rejects."""

import os
import pickle
import tracemalloc

from hypothesis import example, given, settings, strategies as st
import numpy as np
import pytest

from alexnet_tf.models import safe_pickle

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    np.arange(3, dtype=">f4"),
    np.array([1.5], np.float16),
    np.array(2, np.float32),
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.dtype.str)
def test_reads_arrays_in_lists_and_dicts(array, protocol):
    pickled = pickle.dumps({"W": [array, (array, "text")]}, protocol)
    value = safe_pickle.load(pickled)
    for loaded in (value["W"][0], value["W"][1][0]):
        np.testing.assert_array_equal(loaded.value, array)
        assert loaded.value.dtype == array.dtype
    assert value["W"][1][1] == "text"


def test_arrays_are_views_of_the_buffer():
    pickled = pickle.dumps(np.ones(1000, np.float32), 4)
    array = safe_pickle.load(pickled).value
    base = np.frombuffer(pickled, np.uint8)
    assert np.shares_memory(array, base)


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_arrays_of_objects(protocol):
    inner = {"fc8": [np.ones(2, np.float32)], b"fc7": []}
    outer = safe_pickle.load(pickle.dumps(np.array(inner, object), protocol))
    assert [*outer.value] == ["fc8", "fc7"]
    two = np.array([None, "b"], object)
    assert safe_pickle.load(pickle.dumps(two, protocol)).value == [None, "b"]


class Calls:
    """An object that calls `function` when the pickle module loads it."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def crash(*_):
    raise SystemExit("the pickle's code was run")


def nested_call():
    return Calls(np.dtype, Calls(crash))


def huge_array():
    return Calls(np.ones(1).__reduce__()[0], np.ndarray, (10**12,), b"b")


@pytest.mark.parametrize(
    "value, message",
    [
        (Calls(os.system, "false"), "posix.*system"),
        (Calls(eval, "1"), "builtins.*eval"),
        (nested_call(), "crash"),
        (Calls(crash, state={"a": 1}), "crash"),
        (huge_array(), "an unsupported function call"),
        (np.arange(3), "numbers of type 'i8'"),
        (np.array(["a"]), "numbers of type 'U1'"),
        (np.zeros(2, [("a", "f4")]), "numbers of type|an invalid array state"),
        (1.5, "instruction b'G'"),
        ({1: 2}, "a key that is not a string"),
        ({("a", "b"): 2}, "a key that is not a string"),
        ({1, 2}, "instruction"),
        (np.ma.array([1.0]), "numpy.ma"),
        (np.float32(1), "scalar"),
    ],
)
def test_rejects_everything_but_arrays_of_floats(value, message):
    with pytest.raises(ValueError, match=f"Expected a pickle.*{message}"):
        safe_pickle.load(pickle.dumps(value, 4))


def reconstruct(state):
    """Returns the pickle of an empty array whose state is set to `state`."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
        b"(cnumpy\nndarray\n(K\x00tU\x01btR" + state + b"b."
    )


F4 = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR"


@pytest.mark.parametrize(
    "pickled, message",
    [
        (b"", "1 bytes where 0 are left"),
        (b"\x80\x04", "1 bytes where 0"),
        (b"\x80\x04.", "without its operand at"),
        (b"cos\nsystem\n(U\x02lstR.", "'os'.'system'"),
        (b"c" + b"a" * 200 + b"\nb\n.", "more than 100 characters"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "'os'.'system'"),
        (b"}U\x01bK\x01s\x93.", "without its operands"),
        # A string of 2^40 bytes; an array of 2^40 numbers and of a negative number.
        (b"\x8e" + (2**40).to_bytes(8, "little"), "1099511627776 bytes"),
        (
            reconstruct(
                b"(K\x01(\x8a\x06\x00\x00\x00\x00\x00\x01t"
                + F4 + b"\x89U\x04aaaat"
            ),
            r"4 bytes for an array of shape \(1099511627776,\)",
        ),
        (
            reconstruct(b"(K\x01(J\xff\xff\xff\xfft" + F4 + b"\x89U\x00t"),
            "an invalid array shape",
        ),
        (reconstruct(b"(K\x01(K\x01t" + F4 + b"\x89]t"), "without data"),
        (reconstruct(b"}"), "an invalid array state"),
        (b"h\x05.", "a reference to nothing"),
        (b"t.", "without its mark"),
        (b"(]K\x01\x85a1.", "instruction b'1'"),
        (b"K\x01K\x02a.", "appended to something other than a list"),
        (b"]K\x01K\x02s.", "of something other than a dict"),
        (b"X\x01\x00\x00\x00\xff.", "not utf-8"),
        # Attempts to set the state of a list, or to call a class directly.
        (b"]}b.", "an invalid array state"),
        (b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "an unsupported function call"),
        (b"ccopy_reg\n_reconstructor\n.", "copy_reg"),
        (b"\x82\x01.", "instruction"),
        (b"Pid\n.", "instruction b'P'"),
        (b"]\x8c\x01a\x93.", "the function"),
    ],
)
def test_rejects_malicious_bytes(pickled, message):
    with pytest.raises(ValueError, match=f"Received: .*{message}"):
        safe_pickle.load(pickled)


def test_reads_recursive_objects():
    items = []
    items.append(items)
    value = safe_pickle.load(pickle.dumps(items, 4))
    assert value[0] is value


@pytest.mark.parametrize(
    "pickled",
    [
        b"]" * 2_000_000,
        b"]" + b"q\x00h\x00a" * 1_000_000,
        # 50,000 pairs, each made of the pair before twice: 2^50,000 leaves.
        b")" + b"q\x00h\x00\x86" * 50_000 + b"q\x00}h\x00K\x01s.",
    ],
)
def test_rejects_pickle_bombs(pickled):
    """A file of a few MB takes neither much memory nor endless time."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="instructions|not a string"):
            safe_pickle.load(pickled)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_limits_copies_of_one_string():
    """A text of 1 MB is encoded as bytes a thousand times."""
    text = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6 + b"q\x00"
    encode = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more bytes than the file has"):
            safe_pickle.load(text + encode * 1000 + b".")
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


VALID = pickle.dumps(
    np.array(
        {"conv1": [ARRAYS[0], ARRAYS[2]], b"fc8": {b"weights": ARRAYS[1]}}, object
    ),
    2,
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_reads_or_rejects_damaged_pickles(data):
    """Bytes are replaced, removed and inserted; other errors never occur."""
    damaged = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        end = data.draw(st.integers(start, min(start + 8, len(damaged))))
        damaged[start:end] = data.draw(st.binary(max_size=8))
    tracemalloc.start()
    try:
        safe_pickle.load(bytes(damaged))
    except ValueError as error:
        assert "Expected a pickle of NumPy arrays" in str(error)
    finally:
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
@example(b"\x80\x04\x95" + b"\xff" * 8 + b".")
def test_reads_or_rejects_any_bytes(pickled):
    try:
        safe_pickle.load(pickled)
    except ValueError as error:
        assert "Expected a pickle of NumPy arrays" in str(error)
