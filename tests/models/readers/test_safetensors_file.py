"""Files of safetensors are read in all floating types, and their size is limited."""

import json
import tracemalloc

import numpy as np
import pytest

from alexnet_tf.models import weight_formats
from helpers.weight_files import check_rejected
from helpers.weight_files import read_arrays


def write(path, header, data=b""):
    """Writes a file with a header, a dict or bytes."""
    if isinstance(header, dict):
        header = json.dumps(header).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def test_reads_bfloat16(tmp_path):
    # The bits of 1, 1 + 2^-7, -2, the least number above 0, 0 and 3.
    bits = np.array([[0x3F80, 0x3F81, 0xC000], [0x0001, 0, 0x4040]], "<u2")
    entry = {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}
    path = write(tmp_path / "a.safetensors", {"fc7.weight": entry}, bits.tobytes())
    array = read_arrays(path)["fc7"]["kernel"]
    assert array.dtype == np.float32
    assert array.tolist() == [[1, 1 + 2**-7, -2], [2.0**-133, 0, 3]]


def test_rejects_other_types(tmp_path):
    entry = {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}
    path = write(tmp_path / "a.safetensors", {"fc7.weight": entry}, bytes(4))
    check_rejected(path, "fc7.weight is of type I32")


def empty_tensors(count):
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return {f"a{number}/kernel": entry for number in range(count)}


def test_rejects_more_arrays_than_a_network_has(tmp_path):
    path = write(tmp_path / "a.safetensors", empty_tensors(1000))
    assert len(weight_formats.open_weights(path).layers) == 1000
    path = write(tmp_path / "a.safetensors", empty_tensors(1001))
    check_rejected(path, "it has 1,001 arrays, more than the limit of 1,000")


@pytest.mark.parametrize(
    "count, message",
    [
        (45_000, "it has 45,000 arrays"),
        (200_000, "it has a header of 14,.* bytes, more than the limit of 4,000,000"),
    ],
)
def test_large_headers_take_little_memory(tmp_path, count, message):
    path = write(tmp_path / "a.safetensors", empty_tensors(count))
    tracemalloc.start()
    try:
        check_rejected(path, message)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_rejects_a_header_that_exceeds_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes((10**6).to_bytes(8, "little") + b"{}")
    check_rejected(path, ".*[Hh]eader")
