"""Damaged and malicious tar archives of PyTorch are rejected."""

import struct
import tarfile

from hypothesis import HealthCheck, given, settings, strategies as st
import pytest

from helpers import torch_files
from helpers.torch_files import Encoder
from helpers.torch_files import Global
from helpers.torch_files import Style
from helpers.weight_arrays import check_loads_or_rejects
from helpers.weight_arrays import damaged
from helpers.weight_files import check_loaded
from helpers.weight_files import check_rejected
from helpers.weight_files import read_arrays
from helpers.weight_files import torch_state
from helpers.weight_files import two_layer_model

ENCODER = Encoder(Style())
FLOATS = Global("torch", "FloatStorage")
TENSOR = Global("torch", "FloatTensor")


def test_reads_the_file_that_the_other_tests_damage(tmp_path):
    torch_files.save_tar(tmp_path / "a.pth", torch_state())
    check_loaded(tmp_path / "a.pth")


def member_content(*values, data=bytes(100)):
    """Returns the content of a member: values that are pickled one by one, and data."""
    return b"".join(map(ENCODER.pickle, values)) + data


def describe_storage(count, key=0, location="cpu", storage_class=FLOATS):
    """Returns the content of a member `storages` with one storage."""
    data = struct.pack("<q", count)
    return member_content(1, (key, location, storage_class), data=data)


def describe_tensor(*integers, key=1000, storage_key=0, dimensions=None):
    """Returns the content of a member `tensors` with one tensor.

    Args:
        *integers: the sizes, the strides and the offset.
        key: the key of the tensor.
        storage_key: the key of its storage.
        dimensions: the number of axes; None for that of `integers`.
    """
    if dimensions is None:
        dimensions = len(integers) // 2
    data = struct.pack(f"<q{len(integers)}q", dimensions, *integers)
    return member_content(1, (key, storage_key, TENSOR), data=data)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"storages": member_content([])}, "it holds something other than a number"),
        ({"storages": member_content(9)}, "it holds the instruction"),
        ({"storages": member_content(1, 5)}, "it holds an unsupported .* of a storage"),
        ({"storages": describe_storage(1, key="0")}, "it holds an unsupported descr"),
        ({"storages": describe_storage(1, key=[])}, "it holds an unsupported descrip"),
        ({"storages": describe_storage(1, storage_class=TENSOR)}, "it .* FloatTensor"),
        ({"storages": describe_storage(-1)}, "it holds a storage of an invalid size"),
        ({"storages": describe_storage(2**61)}, "it holds an item of 92233720"),
        ({"storages": describe_storage(0) + ENCODER.pickle({})}, "it holds something"),
        (
            {"storages": describe_storage(0) + ENCODER.pickle([(1, 9, 0, 0)])},
            "it holds an unsupported section",
        ),
        (
            {"storages": describe_storage(0) + ENCODER.pickle([(1, 0, 0, 1)])},
            "it holds a storage that exceeds another",
        ),
        ({"tensors": member_content(None)}, "it holds something other than a number"),
        ({"tensors": describe_tensor(3, 1, 0, storage_key=9)}, "it holds an unsup"),
        ({"tensors": describe_tensor(3, 1, 0, key="a")}, "it holds an unsup"),
        ({"tensors": describe_tensor(13, 1, 0)}, "it holds a tensor that exceeds"),
        ({"tensors": describe_tensor(-3, 1, 0)}, "it holds a tensor of an invalid"),
        ({"tensors": describe_tensor(3, 1, -1)}, "it holds a tensor of an invalid"),
        ({"tensors": describe_tensor(dimensions=33)}, "it holds a tensor of 33 axes"),
        ({"tensors": describe_tensor(dimensions=-1)}, "it .* of 4294967295 axes"),
        ({"tensors": describe_tensor(3, dimensions=1)}, "it holds an item of 8 bytes"),
        ({"pickle": ENCODER.encode("7") + b"Q."}, "it .* an unknown tensor"),
        ({"pickle": b"cposix\nsystem\n."}, "it refers to the .* posix.system"),
        ({"tensors": b"cposix\nsystem\n."}, "it holds something other than a num"),
        ({"storages": b"cposix\nsystem\n."}, "it holds something other than a num"),
    ],
)
def test_rejects_members_with_wrong_values(tmp_path, changes, message):
    torch_files.save_tar(tmp_path / "a.pth", torch_state(), changes=changes)
    check_rejected(tmp_path / "a.pth", message)


def test_reads_sections_of_storages(tmp_path):
    """The storage 4 consists of the elements 3 to 5 of the storage 0."""
    path = tmp_path / "a.pth"
    torch_files.save_tar(path, torch_state())
    with tarfile.open(path) as archive:
        content = archive.extractfile("storages").read()
    assert content.endswith(ENCODER.pickle([]))
    content = content.removesuffix(ENCODER.pickle([])) + ENCODER.pickle([(4, 0, 3, 3)])
    tensors = describe_tensor(3, 1, 0, storage_key=4)
    pickled = b"}" + ENCODER.encode("fc7.bias") + ENCODER.encode("1000") + b"Qs."
    changes = {"storages": content, "tensors": tensors, "pickle": pickled}
    torch_files.save_tar(path, torch_state(), changes=changes)
    section = torch_state()["fc7.weight"].ravel()[3:6]
    assert read_arrays(path)["fc7"]["bias"].tolist() == section.tolist()


def test_rejects_other_tar_archives(tmp_path):
    (tmp_path / "weights.npy").write_bytes(b"x")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "weights.npy", "weights.npy")
    check_rejected(tmp_path / "a.tar", "it is a tar archive, but not one of PyTorch")


@pytest.mark.parametrize("kept", [0.1, 0.3, 0.5, 0.7])
def test_rejects_truncated_files(tmp_path, kept):
    """The last quarter of the file consists of zeros."""
    path = tmp_path / "a.pth"
    torch_files.save_tar(path, torch_state())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    check_rejected(path, "it is (incomplete|a tar archive, but not one of PyTorch)")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files(tmp_path, data):
    """A damaged file is loaded completely, or it is rejected and changes nothing."""
    path = tmp_path / "a.pth"
    torch_files.save_tar(path, torch_state())
    path.write_bytes(damaged(path.read_bytes(), data))
    check_loads_or_rejects(two_layer_model(), path)
