"""Damaged and malicious files in the format of PyTorch 0.1.10 to 1.5 are rejected."""

from hypothesis import HealthCheck, given, settings, strategies as st
import pytest

from helpers import torch_files
from helpers.weight_arrays import check_loads_or_rejects
from helpers.weight_arrays import damaged
from helpers.weight_files import check_loaded
from helpers.weight_files import check_rejected
from helpers.weight_files import torch_state
from helpers.weight_files import two_layer_model


def test_reads_the_file_that_the_other_tests_damage(tmp_path):
    torch_files.save_legacy(tmp_path / "a.pth", torch_state())
    check_loaded(tmp_path / "a.pth")


def test_reads_pickles_of_protocol_4(tmp_path):
    """A frame precedes the constant by which the format is recognized."""
    path = tmp_path / "a.pth"
    torch_files.save_legacy(path, torch_state())
    frame = b"\x80\x04\x95" + (13).to_bytes(8, "little")
    path.write_bytes(frame + path.read_bytes()[2:])
    check_loaded(path)


def test_storages_have_the_order_of_the_list_of_keys(tmp_path):
    path = tmp_path / "a.pth"
    keys = ["1", "0", "2", "3"]
    torch_files.save_legacy(path, torch_state(), keys=keys)
    # The storages 0 and 1 have 12 and 3 elements.
    check_rejected(path, "its storage 1 should have 3 numbers, and has 12")


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(version=1002), "it has another version of PyTorch's format"),
        (dict(system={"little_endian": False}), "its numbers are big-endian"),
        (dict(system={}), "its numbers are big-endian"),
        (dict(system=[]), "its numbers are big-endian"),
        (dict(keys=["0", "1", "2"]), "its list of storages is invalid"),
        (dict(keys=["0", "1", "2", "4"]), "its list of storages is invalid"),
        (dict(keys=["0", "1", "2", "2"]), "its list of storages is invalid"),
        (dict(keys=dict.fromkeys("0123")), "its list of storages is invalid"),
        (dict(keys=[1.5, "1", "2", "3"]), "its list of storages is invalid"),
        (dict(keys=[[], "1", "2", "3"]), "a key, .* that is not a string"),
        (dict(counts={"1": 4}), "its storage 1 should have 3 numbers, and has 4"),
        (dict(counts={"1": -1}), "its storage 1 should have 3 numbers, and has -1"),
        (dict(counts={"3": 2**62}), "its storage 3 should have 3 numbers, and has 46"),
    ],
)
def test_rejects_files_with_wrong_values(tmp_path, changes, message):
    torch_files.save_legacy(tmp_path / "a.pth", torch_state(), **changes)
    check_rejected(tmp_path / "a.pth", message)


@pytest.mark.parametrize("missing", [1, 12, 13, 19])
def test_rejects_truncated_files(tmp_path, missing):
    """The last 12 bytes are three elements, which follow a count of eight bytes."""
    path = tmp_path / "a.pth"
    torch_files.save_legacy(path, torch_state())
    path.write_bytes(path.read_bytes()[:-missing])
    check_rejected(path, "it is incomplete: its storage 3 exceeds the file")


@pytest.mark.parametrize("kept", [30, 100, 500])
def test_rejects_files_that_end_in_a_pickle(tmp_path, kept):
    path = tmp_path / "a.pth"
    torch_files.save_legacy(path, torch_state())
    path.write_bytes(path.read_bytes()[:kept])
    check_rejected(path, "it holds an item of .* bytes, of which only")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files(tmp_path, data):
    """A damaged file is loaded completely, or it is rejected and changes nothing."""
    path = tmp_path / "a.pth"
    torch_files.save_legacy(path, torch_state())
    path.write_bytes(damaged(path.read_bytes(), data))
    check_loads_or_rejects(two_layer_model(), path)
