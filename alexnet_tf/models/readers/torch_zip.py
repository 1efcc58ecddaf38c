"""Reads files of PyTorch 1.6 and later, which are ZIP archives.

An archive has one folder with the members `data.pkl`, a pickle (see `torch_pickle`),
and `data/KEY` for each storage. The members are not compressed. Their checksums are not
verified, because PyTorch can be told to write none, and does not verify them either.
"""

import struct
import zipfile

from alexnet_tf import files
from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.torch_pickle import TorchMachine
from alexnet_tf.models.readers.torch_state_dict import stored_weights

_LOCAL_HEADER_SIZE = 30


def open_file(path):
    """Returns the `StoredWeights` of a file, like `npy.open_file`."""
    buffer = files.map_file(path)
    members = _find_members(path)
    _check_byte_order(members, buffer)
    start = _locate(members, "data.pkl", buffer)
    size = members["data.pkl"].file_size
    machine = TorchMachine(memoryview(buffer)[start : start + size])
    checkpoint = machine.run()
    positions = {}
    for key, storage in machine.storages.items():
        name = f"data/{key}"
        positions[key] = _locate(members, name, buffer)
        size = storage.array_size * storage.item_size
        if members[name].file_size != size:
            raise ValueError(
                f"its member {printable(name)} has {members[name].file_size} bytes "
                f"instead of {size}"
            )
    return stored_weights(checkpoint, buffer, positions)


def _find_members(path):
    """Returns {name: `zipfile.ZipInfo`} of the members, without their folder."""
    members = {}
    folders = set()
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    for member in infos:
        folder, _, name = member.filename.partition("/")
        if name in members:
            raise ValueError(f"it has two members called {printable(name)}")
        members[name] = member
        folders.add(folder)
    if len(folders) != 1:
        raise ValueError("its members are not in one folder")
    return members


def _check_byte_order(members, buffer):
    # Older files have no member with the byte order.
    if "byteorder" in members and members["byteorder"].file_size == len(b"big"):
        start = _locate(members, "byteorder", buffer)
        if buffer[start : start + len(b"big")] == b"big":
            raise ValueError(
                "its numbers are big-endian. Save it on a little-endian machine"
            )


def _locate(members, name, buffer):
    """Returns the position of the data of a member."""
    if name not in members:
        raise ValueError(f"its member {printable(name)} is missing")
    member = members[name]
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise ValueError(
            f"its member {printable(name)} is compressed or encrypted, which PyTorch "
            "does not do"
        )
    # The data follow the local header, the name and the extra field. The last four
    # bytes of the header are the lengths of the name and of the extra field, which may
    # differ from those in the directory at the end of the archive.
    start = member.header_offset
    header = buffer[start : start + _LOCAL_HEADER_SIZE] if start >= 0 else b""
    if len(header) < _LOCAL_HEADER_SIZE or header[:4] != b"PK\x03\x04":
        raise ValueError(f"its member {printable(name)} is damaged")
    name_length, extra_length = struct.unpack("<HH", header[-4:])
    position = start + _LOCAL_HEADER_SIZE + name_length + extra_length
    if position + member.file_size > len(buffer):
        raise ValueError(f"its member {printable(name)} exceeds the file")
    return position
