"""The pickle reader reads arrays of floats, and rejects everything else."""

import os
import pickle
import tracemalloc

from hypothesis import example, given, settings, strategies as st
import numpy as np
import pytest

from alexnet_tf.models.readers import safe_pickle

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
    loaded = safe_pickle.load(pickled)
    for loaded_array in (loaded["W"][0], loaded["W"][1][0]):
        np.testing.assert_array_equal(loaded_array.value, array)
        assert loaded_array.value.dtype == array.dtype
    assert loaded["W"][1][1] == "text"


@pytest.mark.parametrize("protocol, is_view", [(2, False), (3, True), (4, True)])
def test_arrays_are_views_of_the_buffer_from_protocol_3_on(protocol, is_view):
    pickled = pickle.dumps(np.ones(1000, np.float32), protocol)
    array = safe_pickle.load(pickled).value
    assert np.shares_memory(array, np.frombuffer(pickled, np.uint8)) == is_view


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_arrays_of_objects(protocol):
    layers = {"fc8": [np.ones(2, np.float32)], b"fc7": []}
    scalar = np.array(layers, object)
    loaded = safe_pickle.load(pickle.dumps(scalar, protocol))
    assert [*loaded.value] == ["fc8", "fc7"]
    vector = np.array([None, "b"], object)
    assert safe_pickle.load(pickle.dumps(vector, protocol)).value == [None, "b"]


class Calls:
    """An object whose pickle calls a function when `pickle.load` reads it."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, state)

    def __reduce__(self):
        return self.reduced


def crash(*_):
    """Ends the test run if a pickle that calls it is executed."""
    raise SystemExit("the pickle's code was run")


def nested_call():
    return Calls(np.dtype, Calls(crash))


def huge_array():
    """Returns an object whose pickle allocates an array of 10^12 bytes."""
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
        ({1: 2}, "a key, a dtype or a byte order that is not a string"),
        ({("a", "b"): 2}, "a key, a dtype or a byte order that is not a string"),
        ({b"a" * 200: 2}, "a name of more than 100 characters"),
        ({1, 2}, "instruction"),
        (np.ma.array([1.0]), "numpy.ma"),
        (np.float32(1), "scalar"),
    ],
)
def test_rejects_everything_but_arrays_of_floats(value, message):
    with pytest.raises(ValueError, match=f"it holds .*{message}"):
        safe_pickle.load(pickle.dumps(value, 4))


def reconstruct(state):
    """Returns the pickle of an empty array whose state is set to `state`."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
        b"(cnumpy\nndarray\n(K\x00tU\x01btR" + state + b"b."
    )


# The instructions that push the dtype float32.
FLOAT32 = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
# The instructions that push the dtype of objects.
OBJECT = FLOAT32.replace(b"f4", b"O8")


@pytest.mark.parametrize(
    "pickled, message",
    [
        (b"", "an item of 1 bytes, of which only 0 are left"),
        (b"\x80\x04", "an item of 1 bytes, of which only 0"),
        (b"\x80\x04.", "without its operand at"),
        (b"cos\nsystem\n(U\x02lstR.", "'os'.'system'"),
        (b"c" + b"a" * 200 + b"\nb\n.", "more than 100 characters"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "'os'.'system'"),
        (b"}U\x01bK\x01s\x93.", "without its operands"),
        # The next three state a string of 2^40 bytes, an array of 2^40 elements, and an
        # array of a negative number of elements.
        (b"\x8e" + (2**40).to_bytes(8, "little"), "1099511627776 bytes"),
        (
            reconstruct(
                b"(K\x01(\x8a\x06\x00\x00\x00\x00\x00\x01t"
                + FLOAT32 + b"\x89U\x04aaaat"
            ),
            r"4 bytes for an array of shape \(1099511627776,\)",
        ),
        (
            reconstruct(b"(K\x01(J\xff\xff\xff\xfft" + FLOAT32 + b"\x89U\x00t"),
            "an invalid array shape",
        ),
        (reconstruct(b"(K\x01(K\x01t" + FLOAT32 + b"\x89]t"), "without data"),
        (
            reconstruct(b"(K\x01(K\x02t" + OBJECT + b"\x89]t"),
            "the wrong number of objects",
        ),
        # The byte order of the dtype is "x".
        (
            reconstruct(b"(K\x01)" + FLOAT32 + b"(K\x03U\x01xNNNtb\x89U\x04aaaat"),
            "numbers of type 'f4'",
        ),
        (reconstruct(b"}"), "an invalid array state"),
        (b"h\x05.", "a reference to an unknown object"),
        (b"t.", "without its mark"),
        (b"K\x01K\x02(\x86t.", "without its mark"),
        (b"}(K\x01u.", "a key without a value"),
        (b"(]K\x01\x85a1.", "instruction b'1'"),
        (b"K\x01K\x02a.", "appended to something other than a list"),
        (b"]K\x01K\x02s.", "set in something other than a dict"),
        (b"X\x01\x00\x00\x00\xff.", "not utf-8"),
        (
            b"c_codecs\nencode\n(\x8c\x03\xe2\x82\xac\x8c\x06latin1tR.",
            "a string that is not latin1",
        ),
        (b"}cnumpy\nndarray\nK\x01s.", "that is not a string"),
        # The next two set the state of a list, and call a class directly.
        (b"]}b.", "an invalid array state"),
        (b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "an unsupported function call"),
        (b"ccopy_reg\n_reconstructor\n.", "copy_reg"),
        (b"\x82\x01.", "instruction"),
        (b"Pid\n.", "instruction b'P'"),
        (b"]\x8c\x01a\x93.", "the function"),
        (b"\x8c\x01a]\x93.", "the function"),
    ],
)
def test_rejects_malicious_bytes(pickled, message):
    with pytest.raises(ValueError, match=f"it holds .*{message}"):
        safe_pickle.load(pickled)


def test_reads_recursive_objects():
    items = []
    items.append(items)
    loaded = safe_pickle.load(pickle.dumps(items, 4))
    assert loaded[0] is loaded


@pytest.mark.parametrize(
    "pickled",
    [
        b"]" * 2_000_000,
        b"]" + b"q\x00h\x00a" * 1_000_000,
        # Each of 50,000 pairs holds the previous pair twice, which makes 2^50,000
        # leaves.
        b")" + b"q\x00h\x00\x86" * 50_000 + b"q\x00}h\x00K\x01s.",
    ],
)
def test_rejects_pickle_bombs(pickled):
    """Files of a few MB do not take more than 50 MB of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="instructions|not a string"):
            safe_pickle.load(pickled)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_rejects_long_keys():
    """Regular expressions for the names of layers would take gigabytes for them."""
    key = "a." * 500
    assert safe_pickle.load(pickle.dumps({key: 3}, 2)) == {key: 3}
    with pytest.raises(ValueError, match="a name of more than 1,000 characters"):
        safe_pickle.load(pickle.dumps({f"{key}a": 3}, 2))


def test_rejects_pickles_that_encode_a_string_many_times():
    """The pickle encodes a text of 1 MB a thousand times."""
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
    """Replaced, removed or inserted bytes cause no error other than the ValueError."""
    damaged = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        end = data.draw(st.integers(start, min(start + 8, len(damaged))))
        damaged[start:end] = data.draw(st.binary(max_size=8))
    tracemalloc.start()
    try:
        safe_pickle.load(bytes(damaged))
    except ValueError as error:
        assert str(error).startswith("it holds ")
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
        assert str(error).startswith("it holds ")
