"""The pickles of PyTorch are read without calling anything, and with bounded memory."""

import argparse
import collections
import os
import pathlib
import pickle
import re
import struct
import tracemalloc

from hypothesis import example, given, settings, strategies as st
import numpy as np
import pytest

from alexnet_tf.models.readers import safe_pickle
from alexnet_tf.models.readers.torch_pickle import Storage
from alexnet_tf.models.readers.torch_pickle import Tensor
from alexnet_tf.models.readers.torch_pickle import TorchMachine
from alexnet_tf.models.readers.torch_pickle import Unknown
from alexnet_tf.models.readers.torch_state_dict import stored_weights
from helpers.torch_files import Encoder
from helpers.torch_files import Global
from helpers.torch_files import Raw
from helpers.torch_files import Style

FLOATS = Storage("0", "float32", 4, count=6, array_size=6)
ENCODER = Encoder(Style())
IDENTIFIER = "storage", Global("torch", "FloatStorage"), "0", "cpu", 6


def load(pickled):
    return TorchMachine(pickled).run()


def encode_storage(count=6, key="0", name="FloatStorage", section=None):
    """Returns the instructions that push a storage of `count` elements."""
    identifier = ("storage", Global("torch", name), key, "cpu", count, section)
    return Raw(ENCODER.encode(identifier) + b"Q")


def encode_tensor(offset=0, shape=(2, 3), strides=(3, 1), storage=None):
    """Returns the pickle of a tensor without its final instruction.

    The arguments may be invalid. By default, they are those of a valid tensor.
    """
    hooks = Raw(ENCODER.call("collections", "OrderedDict"))
    arguments = storage or encode_storage(), offset, shape, strides, False, hooks
    return b"\x80\x02" + ENCODER.call("torch._utils", "_rebuild_tensor_v2", *arguments)


def test_reads_tensors():
    tensor = load(encode_tensor(offset=1, shape=(2, 2), strides=(1, 3)) + b".")
    assert tensor == Tensor(FLOATS, 1, (2, 2), (1, 3))


def test_reads_tensors_without_elements():
    pickled = encode_tensor(shape=(0, 5), strides=(5, 1), storage=encode_storage(0))
    assert load(pickled + b".").shape == (0, 5)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "b": [1.5, -2.0, float("inf")]},
        {0: True, 2**40: None, -5: False},
        [2**100, -(2**100), "text", (), (1,), (1, 2, 3, 4)],
        collections.OrderedDict(a=collections.OrderedDict(b="c")),
    ],
)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_python_3_pickles(value, protocol):
    assert load(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("text, value", [("0", 0), ("-7", -7), (str(2**62), 2**62)])
def test_reads_integers_that_python_2_pickles_as_text(text, value):
    assert load(f"I{text}\n.".encode()) == value


def test_reads_ordered_dicts_that_python_2_pickles_as_pairs():
    pairs = [["b", 1], ["a", [2]]]
    loaded = load(ENCODER.call("collections", "OrderedDict", pairs) + b".")
    assert [*loaded.items()] == [("b", 1), ("a", [2])]


def test_reads_several_pickles_end_to_end():
    machine = TorchMachine(pickle.dumps(1, 2) + pickle.dumps([2], 2) + b"rest")
    assert machine.run() == 1 and machine.run() == [2]
    assert bytes(machine.view[machine.position :]) == b"rest"


def test_reads_a_section_of_a_storage():
    storage = load(encode_storage(section=("key", 2, 3)).instructions + b".")
    assert (storage.start, storage.count, storage.array_size) == (2, 3, 6)


class Calls:
    """An object whose pickle calls a function when `pickle.load` reads it."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, state)

    def __reduce__(self):
        return self.reduced


class Module:
    """A class of a user, as a whole module in a file would be."""

    def __init__(self):
        self.training = True


@pytest.mark.parametrize(
    "value, name",
    [
        (Calls(os.system, "false"), "posix.system"),
        (Calls(eval, "1"), "(__builtin__|builtins).eval"),
        (Calls(collections.OrderedDict, Calls(os.system, "false")), "posix.system"),
        (Module(), f"{__name__}.Module"),
        (np.ones(1), "numpy._core.(multiarray._reconstruct|numeric._frombuffer)"),
        (np.ma.array([1.0]), "numpy.ma.*_mareconstruct"),
        ({1, 2}, "(__builtin__|builtins).set|set"),
        (frozenset([1]), "(__builtin__|builtins).frozenset|frozenset"),
        (pathlib.PurePosixPath("a/b"), "pathlib.*PurePosixPath"),
        (collections.defaultdict(list, a=[1]), "collections.defaultdict"),
        (collections.Counter("aab"), "collections.Counter"),
        (collections.deque([1, 2]), "collections.deque"),
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (np.float64(56.5), "numpy._core.multiarray.scalar"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_mark_stands_for_objects_of_other_classes(value, name, protocol):
    """Beside weights they are harmless, in the place of weights they are rejected."""
    loaded = load(pickle.dumps({"a": value, "b": 1}, protocol))
    assert loaded["b"] == 1
    assert isinstance(loaded["a"], Unknown)
    assert re.fullmatch(name, loaded["a"].name)
    for checkpoint in (loaded, {"state_dict": loaded}, loaded["a"]):
        with pytest.raises(ValueError, match="class or function|no tensors"):
            stored_weights(checkpoint, b"", {})
    with pytest.raises(ValueError, match=f"class or function ({name}), whose code"):
        stored_weights(loaded, b"", {})


def test_nothing_is_called(tmp_path):
    path = tmp_path / "called"
    value = [Calls(open, str(path), "w"), {1: Calls(eval, "1/0")}]
    for protocol in (2, 4):
        load(pickle.dumps(value, protocol))
    assert not path.exists()


def test_keys_may_be_of_any_type():
    value = {0.5: "a", None: "b", False: "c", (1, (2,)): "d", ("e",): "f", "g": "h"}
    loaded = load(pickle.dumps(value, 2))
    assert [*loaded.values()] == [*"abcdfh"]
    assert (loaded[0.5], loaded[None], loaded[False], loaded["g"]) == (*"abch",)
    assert len(load(pickle.dumps({Module(): 1, frozenset(): 2}, 4))) == 2


def test_the_error_for_a_whole_module_says_what_to_do():
    with pytest.raises(ValueError) as error:
        stored_weights(load(pickle.dumps(Module(), 2)), b"", {})
    assert f"class or function {__name__}.Module, whose" in str(error.value)
    assert "by torch.save(model.state_dict(), path)" in str(error.value)


def test_numpy_pickles_and_torch_pickles_have_different_functions():
    """`safe_pickle` rejects the functions that create tensors, and floats."""
    for pickled, message in [
        (encode_tensor() + b".", "the function 'torch._utils'"),
        (encode_storage().instructions + b".", "the function 'torch'.'FloatStorage'"),
        (ENCODER.call("collections", "OrderedDict") + b".", "function 'collections"),
        (pickle.dumps(1.5, 2), "instruction b'G'"),
        (b"K\x01Q.", "instruction b'Q'"),
        (b"I1\n.", "instruction b'I'"),
        (b")\x81.", r"instruction b'\\x81'"),
    ]:
        with pytest.raises(ValueError, match=message):
            safe_pickle.load(pickled)


# The instruction that pushes an integer of 255 bytes.
HUGE = Raw(b"\x8a\xff" + b"\x7f" * 255)


@pytest.mark.parametrize(
    "pickled, message",
    [
        (encode_tensor(offset=1), "exceeds its storage"),
        (encode_tensor(shape=(2, 4)), "exceeds its storage"),
        (encode_tensor(strides=(4, 1)), "exceeds its storage"),
        (encode_tensor(shape=(HUGE,), strides=(1,)), "exceeds its storage"),
        (encode_tensor(shape=(2,), strides=(HUGE,)), "exceeds its storage"),
        (encode_tensor(shape=(), strides=(), offset=6), "exceeds its storage"),
        (encode_tensor(storage=encode_storage(0)), "exceeds its storage"),
        (encode_tensor(offset=-1), "invalid shape"),
        (encode_tensor(shape=(-2, 3)), "invalid shape"),
        (encode_tensor(strides=(3, -1)), "invalid shape"),
        (encode_tensor(strides=(3,)), "invalid shape"),
        (encode_tensor(shape=[2, 3]), "invalid shape"),
        (encode_tensor(shape=(2, 3.0)), "invalid shape"),
        (encode_tensor(shape=(1,) * 33, strides=(1,) * 33), "invalid shape"),
        (encode_tensor(offset=True), "invalid shape"),
        (encode_tensor(storage=5), "unsupported arguments of _rebuild_tensor_v2"),
        (encode_storage(-1).instructions, "a storage of an invalid size"),
        (encode_storage(2**63).instructions, "a storage of an invalid size"),
        (encode_storage("6").instructions, "a storage of an invalid size"),
        (encode_storage(key=5).instructions, "not a string"),
        (encode_storage(name="FloatTensor").instructions, "class FloatTensor"),
        (encode_storage(section=("k", 4, 3)).instructions, "exceeds another"),
        (encode_storage(section=("k", -1, 3)).instructions, "exceeds another"),
        (encode_storage(section=("k", 4)).instructions, "invalid section"),
        (encode_storage(section=5).instructions, "invalid section"),
        (encode_storage(section=("k", 1.0, 2)).instructions, "exceeds another"),
        (encode_storage(section=("k", 1, 2.0)).instructions, "exceeds another"),
        (b"]" + encode_storage(6).instructions + encode_storage(7).instructions,
         "two different storages with the same key"),
        (b"X\x01\x00\x00\x00aQ", "a reference to an unknown tensor"),
        (b"K\x01Q", "an unsupported persistent ID"),
        (ENCODER.encode(("module", *IDENTIFIER[1:])) + b"Q",
         "a persistent ID of another type"),
        (ENCODER.call("collections", "OrderedDict", 5), "unsupported arguments"),
        (ENCODER.call("collections", "OrderedDict", [5]), "not a pair"),
        (ENCODER.call("collections", "OrderedDict", [["a"]]), "not a pair"),
        (ENCODER.call("collections", "OrderedDict", [("a", 1, 2)]), "not a pair"),
        (ENCODER.call("torch._utils", "_rebuild_parameter", 5, 6, 7), "unsupported"),
        (b"X\x0b\x00\x00\x00OrderedDict)R", "an unsupported function call"),
        (b"]}b", "the state of an object"),
        (b"}]K\x01s", "not a string"),
        (b"}ctorch\nFloatStorage\nK\x01s", "not a string"),
        (b"]K\x01\x90", "an instruction without its mark"),
        (ENCODER.encode(("storage", Global("a", "b"), "0", "cpu", 6)) + b"Q",
         "class or function a.b"),
        (b"I12a\n", "an invalid integer"),
        (b"I" + b"1" * 30 + b"\n", "an invalid integer"),
        (b"G\x00", "an item of 8 bytes, of which only"),
        (b"]\x8c\x01a\x93", "the function of a name that is not a string"),
        (b"0", "the instruction b'0'"),
    ],
)  # fmt: skip
def test_rejects_malicious_bytes(pickled, message):
    with pytest.raises(ValueError, match=message):
        load(pickled + b".")


TEXT = struct.pack("<I", 1_500_000) + "é".encode() * 750_000


@pytest.mark.parametrize(
    "pickled, message",
    [
        # 20,000 pairs, from which 30,000 dicts are made.
        (
            b"](" + b"]q\x00(X\x01\x00\x00\x00aK\x01e" + b"h\x00" * 20_000 + b"eq\x01"
            + b"ccollections\nOrderedDict\nq\x02" + b"h\x02h\x01\x85R" * 30_000,
            "more entries of dicts",
        ),
        # A tuple of tuples with 2^20,000 leaves as the name of a function, as a shape,
        # and as a persistent ID.
        (
            b")" + b"q\x00h\x00\x86" * 20_000 + b"\x8c\x01a\x93",
            "the function of a name that is not a string",
        ),
        (
            b")" + b"q\x00h\x00\x86" * 20_000 + b"q\x00"
            + encode_tensor(shape=Raw(b"h\x00"), strides=Raw(b"h\x00")),
            "invalid shape",
        ),
        (b")" + b"q\x00h\x00\x86" * 20_000 + b"Q", "unsupported persistent ID"),
        (b"]" * 2_000_000, "more than 100,000 instructions"),
        (ENCODER.encode(IDENTIFIER) + b"q\x00" + b"h\x00Q" * 60_000,
         "more than 100,000 instructions"),
        ((b"X" + TEXT) * 5, "more than 4,000,000 bytes of text"),
    ],
    ids=["pairs", "name", "shape", "identifier", "lists", "storages", "texts"],
)  # fmt: skip
def test_rejects_pickle_bombs(pickled, message):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            load(b"\x80\x02" + pickled + b".")
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "pickled",
    [
        # A tuple of tuples with 2^20,000 leaves as a key, and as the arguments of a
        # class.
        b"}" + b")" + b"q\x00h\x00\x86" * 20_000 + b"K\x01s",
        b"ca\nb\n" + b")" + b"q\x00h\x00\x86" * 20_000 + b"R",
        pytest.param(b"ca\nb\n" * 90_000, marks=pytest.mark.large),
    ],
    ids=["key", "arguments", "classes"],
)  # fmt: skip
def test_unknown_objects_take_little_memory(pickled):
    tracemalloc.start()
    try:
        load(b"\x80\x02" + pickled + b".")
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


VALID = ENCODER.pickle(
    {"state_dict": {"a.weight": np.ones((2, 3), "f4")}, "b": [1.5, 2**40]}
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_reads_or_rejects_damaged_pickles(data):
    damaged = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        end = data.draw(st.integers(start, min(start + 8, len(damaged))))
        damaged[start:end] = data.draw(st.binary(max_size=8))
    tracemalloc.start()
    try:
        load(bytes(damaged))
    except ValueError as error:
        assert str(error).startswith("it ")
    finally:
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
@example(b"\x80\x04\x95" + b"\xff" * 8 + b".")
def test_reads_or_rejects_any_bytes(pickled):
    try:
        load(pickled)
    except ValueError as error:
        assert str(error).startswith("it ")
