"""Files that have to be unpacked or converted are recognized."""

import bz2
import gzip
import lzma
import struct
import zipfile

import pytest
import safetensors.numpy

from helpers import torch_files
from helpers.weight_files import check_loaded
from helpers.weight_files import check_rejected
from helpers.weight_files import torch_state


@pytest.mark.parametrize(
    "compress, name",
    [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")],
)
def test_rejects_compressed_files(tmp_path, compress, name):
    path = tmp_path / "a.pth"
    torch_files.save_zip(path, torch_state())
    path.write_bytes(compress(path.read_bytes()))
    check_rejected(path, f"it is compressed with {name}. Unpack it, and load the")


def test_rejects_7z_archives(tmp_path):
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    check_rejected(tmp_path / "a.7z", "it is a 7z archive. Unpack it")


def test_rejects_zip_archives_of_other_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.h5.zip", "w") as archive:
        archive.writestr("alexnet.h5", b"x")
        archive.writestr("\x1b[2J", b"x")
    message = r"it is a ZIP archive that holds alexnet.h5, \\+x1b\[2J. Unpack it"
    check_rejected(tmp_path / "a.h5.zip", message)
    with zipfile.ZipFile(tmp_path / "b.zip", "w"):
        pass
    check_rejected(tmp_path / "b.zip", "it is an empty ZIP archive")


def test_rejects_files_of_mxnet(tmp_path):
    """The header is the constant, a reserved number, and the number of arrays."""
    header = struct.pack("<QQQI", 0x112, 0, 1, 0xF993FAC9)
    (tmp_path / "a.params").write_bytes(header + bytes(100))
    check_rejected(tmp_path / "a.params", "it is an MXNet file, .* numpy.savez")


@pytest.mark.parametrize("first_bytes", [b"\x80\x02", b"\x12\x01", b"PK", b"\x1f\x8b"])
def test_safetensors_may_begin_with_the_first_bytes_of_other_formats(
    tmp_path, first_bytes
):
    """A file begins with the length of its header, which may end in spaces."""
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file(
        {name: array.T.copy() for name, array in torch_state().items()}, path
    )
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    longer_size = int.from_bytes(first_bytes, "little")
    header = content[8 : 8 + size].rstrip().ljust(longer_size)
    assert len(header) == longer_size
    path.write_bytes(struct.pack("<Q", longer_size) + header + content[8 + size :])
    check_loaded(path)
