"""Damaged and malicious ZIP archives of PyTorch are rejected."""

import struct
import zipfile

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
    torch_files.save_zip(tmp_path / "a.pth", torch_state())
    check_loaded(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"byteorder": b"big"}, "its numbers are big-endian"),
        ({"data.pkl": None, "other/data.pkl": b"."}, "its member data.pkl is missing"),
        ({"data/1": None}, "its member data/1 is missing"),
        ({"data/1": bytes(16)}, "its member data/1 has 16 bytes instead of 12"),
        ({"data/1": bytes(8)}, "its member data/1 has 8 bytes instead of 12"),
        ({"data.pkl": b""}, "it holds an item of 1 bytes, of which only 0 are left"),
        ({"data.pkl": b"cposix\nsystem\n."}, "it refers to the .* posix.system"),
    ],
)
def test_rejects_archives_with_wrong_members(tmp_path, changes, message):
    torch_files.save_zip(tmp_path / "a.pth", torch_state(), changes=changes)
    check_rejected(tmp_path / "a.pth", message)


def test_ignores_other_members(tmp_path):
    """Files of older versions have no byte order, and those of newer ones have more."""
    changes = {"byteorder": None, ".data/serialization_id": b"0" * 40, "x/y": b"z"}
    torch_files.save_zip(tmp_path / "a.pth", torch_state(), changes=changes)
    check_loaded(tmp_path / "a.pth")


def test_rejects_compressed_members(tmp_path):
    torch_files.save_zip(
        tmp_path / "a.pth", torch_state(), compression=zipfile.ZIP_DEFLATED
    )
    check_rejected(tmp_path / "a.pth", "its member data.pkl is compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "name, message",
    [
        ("archive/data/1", "it has two members called data/1"),
        ("other/data/9", "its members are not in one folder"),
        ("data/9", "its members are not in one folder"),
    ],
)
def test_rejects_archives_with_additional_members(tmp_path, name, message):
    torch_files.save_zip(tmp_path / "a.pth", torch_state())
    with zipfile.ZipFile(tmp_path / "a.pth", "a") as archive:
        archive.writestr(name, bytes(12))
    check_rejected(tmp_path / "a.pth", message)


def change_entry(path, name, offset, value):
    """Changes a field in the entry of a member in the directory of an archive.

    Args:
        path: the path of the archive.
        name: the name of the member.
        offset: the position of the field in the entry.
        value: the bytes to write.
    """
    content = bytearray(path.read_bytes())
    # The name follows the 46 bytes of the entry, and the signature begins the entry.
    start = content.rindex(name.encode()) - 46
    assert content[start : start + 4] == b"PK\x01\x02"
    content[start + offset : start + offset + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    "offset, value, message",
    [
        (8, b"\1\0", "its member data/1 is compressed or encrypted"),
        (10, b"\x63\0", "its member data/1 is compressed or encrypted"),
        (24, struct.pack("<I", 2**31), "its member data/1 exceeds the file"),
        (24, struct.pack("<I", 13), "its member data/1 has 13 bytes instead of 12"),
        (42, struct.pack("<I", 10), "its member data/1 is damaged"),
        (42, struct.pack("<I", 2**31), "its member data/1 is damaged"),
    ],
)
def test_rejects_members_with_wrong_entries(tmp_path, offset, value, message):
    torch_files.save_zip(tmp_path / "a.pth", torch_state())
    change_entry(tmp_path / "a.pth", "archive/data/1", offset, value)
    check_rejected(tmp_path / "a.pth", message)


@pytest.mark.parametrize("kept", [10, 0.3, 0.9, 0.999])
def test_rejects_truncated_files(tmp_path, kept):
    path = tmp_path / "a.pth"
    torch_files.save_zip(path, torch_state())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    check_rejected(path, "it is a damaged or incomplete ZIP archive")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files(tmp_path, data):
    """A damaged file is loaded completely, or it is rejected and changes nothing."""
    path = tmp_path / "a.pth"
    torch_files.save_zip(path, torch_state())
    path.write_bytes(damaged(path.read_bytes(), data))
    check_loads_or_rejects(two_layer_model(), path)
