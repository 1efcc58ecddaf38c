"""Finds the members of a tar archive in memory, without extracting them.

Only regular members are supported, with sizes in octal digits, as all programs write
them for files of less than 8 GB. Links, devices and sparse files are not.
"""

from alexnet_tf.models.readers.stored import printable

_BLOCK_SIZE = 512
_MAX_MEMBERS = 100
# An extended header precedes a member, and gives facts that the header has no room for,
# such as fractions of a second. Names and sizes in it would replace those of the
# header, and are not supported.
_IGNORED_FACTS = {b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname"}
_MAX_EXTENDED_HEADER_SIZE = 1024


def find_members(buffer):
    """Returns {name: (position, size)} of the members of a tar archive.

    Args:
        buffer: a memory map of the archive.

    Raises:
        ValueError: if the archive is damaged, or has members that are not supported.
    """
    sections = {}
    position = 0
    while header := buffer[position : position + _BLOCK_SIZE].rstrip(b"\0"):
        name, kind, size = _parse_header(header.ljust(_BLOCK_SIZE, b"\0"))
        start = position + _BLOCK_SIZE
        if start + size > len(buffer):
            raise ValueError(
                f"it is incomplete: its member {printable(name)} exceeds the file"
            )
        if kind == b"x":
            _check_extended_header(buffer, start, size)
        elif kind not in (b"0", b"\0"):
            raise ValueError(f"its member {printable(name)} is not a regular file")
        elif name in sections or len(sections) == _MAX_MEMBERS:
            raise ValueError(
                f"it has two members called {printable(name)}, or more than "
                f"{_MAX_MEMBERS} members"
            )
        else:
            sections[name] = start, size
        block_count = -(-size // _BLOCK_SIZE)
        position = start + block_count * _BLOCK_SIZE
    return sections


def _parse_header(header):
    """Returns the name, the kind and the size of a member."""
    checksum = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if header[257:262] != b"ustar" or _parse_octal(header[148:156]) != checksum:
        raise ValueError("it is a damaged tar archive")
    name = header[:100].rstrip(b"\0").decode("latin1")
    return name, header[156:157], _parse_octal(header[124:136])


def _parse_octal(field):
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise ValueError("it is a tar archive with a damaged or an unsupported header")
    return int(digits, 8)


def _check_extended_header(buffer, start, size):
    """Raises an error if an extended header has facts that are not ignored."""
    if size > _MAX_EXTENDED_HEADER_SIZE:
        raise ValueError("it is a tar archive with an extended header that is too long")
    # Each line is a length, a space, a name, an equals sign and a value.
    for line in buffer[start : start + size].splitlines():
        if line.partition(b" ")[2].partition(b"=")[0] not in _IGNORED_FACTS:
            raise ValueError("it is a tar archive with an unsupported extended header")
