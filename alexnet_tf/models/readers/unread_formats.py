"""Recognizes files that have to be unpacked or converted before they can be read."""

import struct

from alexnet_tf.models.readers.stored import printable

_UNPACK = "Unpack it, and load the weights file that it holds"
# {first bytes of a file: the reason why it is not read}.
_REASONS = {
    b"\x1f\x8b": f"it is compressed with gzip. {_UNPACK}",
    b"BZh": f"it is compressed with bzip2. {_UNPACK}",
    b"\xfd7zXZ\0": f"it is compressed with xz. {_UNPACK}",
    b"7z\xbc\xaf\x27\x1c": f"it is a 7z archive. {_UNPACK}",
    # The magic number of a list of arrays in MXNet's format.
    struct.pack("<Q", 0x112): (
        "it is an MXNet file, whose format is not supported. Load it with MXNet, and "
        "save its arrays with numpy.savez, under names such as conv1/kernel and "
        "conv1/bias"
    ),
}


def check_header(header):
    """Raises an error for a file that has to be unpacked or converted.

    Args:
        header: the first bytes of the file.

    Raises:
        ValueError: if the file has such a format.
    """
    for first_bytes, reason in _REASONS.items():
        if header.startswith(first_bytes):
            raise ValueError(reason)


def check_archive(names):
    """Raises an error for a ZIP archive that holds no array of NumPy.

    Args:
        names: the names of the members.

    Raises:
        ValueError: if none of them ends in .npy.
    """
    if not names:
        raise ValueError("it is an empty ZIP archive")
    if not any(name.endswith(".npy") for name in names):
        first_names = ", ".join(map(printable, names[:3]))
        raise ValueError(f"it is a ZIP archive that holds {first_names}. {_UNPACK}")
