"""The members of tar archives are found, and unusual archives are rejected."""

import io
import tarfile

import pytest

from alexnet_tf.models.readers.tar_members import find_members

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def make_archive(members, archive_format=tarfile.PAX_FORMAT, **facts):
    """Returns the bytes of an archive.

    Args:
        members: {name: content}.
        archive_format: a format of `tarfile`.
        **facts: attributes of `tarfile.TarInfo` for all members.
    """
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=archive_format) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for fact, value in facts.items():
                setattr(info, fact, value)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def change_header(archive, position, field):
    """Returns an archive with a field of the first header changed.

    Args:
        archive: the bytes of the archive.
        position: the position of the field in the header.
        field: the bytes to write.
    """
    archive = bytearray(archive)
    archive[position : position + len(field)] = field
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    return bytes(archive)


@pytest.mark.parametrize("archive_format", FORMATS)
@pytest.mark.parametrize("facts", [{}, {"mtime": 1.5}, {"uid": 2**24, "uname": "é"}])
def test_finds_members_at_their_positions(archive_format, facts):
    if archive_format == tarfile.USTAR_FORMAT and "uid" in facts:
        facts = {"uname": "é"}
    members = {"a": b"", "b": b"x", "c": b"y" * 512, "d": b"z" * 513}
    archive = make_archive(members, archive_format, **facts)
    sections = find_members(archive)
    assert [*sections] == ["a", "b", "c", "d"]
    for name, (start, size) in sections.items():
        assert archive[start : start + size] == members[name]


def test_the_end_of_an_archive_may_be_missing():
    """A member is complete without the zeros that fill its last block."""
    archive = make_archive({"a": b"x" * 700})
    assert find_members(archive[: 512 + 700]) == {"a": (512, 700)}


ARCHIVE = make_archive({"a": b"x" * 10})


@pytest.mark.parametrize(
    "archive, message",
    [
        (ARCHIVE[:520], "incomplete: its member a exceeds the file"),
        (ARCHIVE[:500].rstrip(b"\0"), "incomplete: its member a exceeds the file"),
        (b"y" + ARCHIVE[1:], "a damaged tar archive"),
        (change_header(ARCHIVE, 257, b"gnu"), "a damaged tar archive"),
        (change_header(ARCHIVE, 124, b"\x80" + bytes(11)), "an unsupported header"),
        (change_header(ARCHIVE, 124, b"-0000000001\0"), "an unsupported header"),
        (change_header(ARCHIVE, 124, b" " * 12), "an unsupported header"),
        (change_header(ARCHIVE, 124, b"77777777777\0"), "a exceeds the file"),
        (make_archive({"a": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
         "its member a is not a regular file"),
        (make_archive({"a": b""}, type=tarfile.LNKTYPE, linkname="b"), "not a regular"),
        (make_archive({"a": b""}, type=tarfile.FIFOTYPE), "not a regular file"),
        (make_archive({"a": b""}, type=tarfile.DIRTYPE), "not a regular file"),
        (make_archive({"a": b""}, type=tarfile.GNUTYPE_SPARSE), "not a regular file"),
        (make_archive({"a" * 200: b""}, tarfile.GNU_FORMAT), "not a regular file"),
        (make_archive({"é": b""}), "an unsupported extended header"),
        (make_archive({"a": b""}, pax_headers={"size": "5"}), "unsupported extended"),
        (make_archive({"a": b""}, pax_headers={"GNU.sparse": "1"}), "unsupported"),
        (make_archive({"a": b""}, pax_headers={"uname": "a" * 2000}), "is too long"),
        (make_archive({"a": b""}, pax_headers={"uname": "a\n9 size=1"}), "unsupported"),
        (ARCHIVE[:1024] + ARCHIVE, "two members called a"),
        (make_archive({str(n): b"" for n in range(101)}), "or more than 100"),
    ],
)  # fmt: skip
def test_rejects_unusual_and_damaged_archives(archive, message):
    with pytest.raises(ValueError, match=message):
        find_members(archive)


def test_names_in_error_messages_are_printable():
    archive = change_header(ARCHIVE, 0, b"\x1b[2J")
    with pytest.raises(ValueError) as error:
        find_members(archive[:520])
    assert "\x1b" not in str(error.value)
