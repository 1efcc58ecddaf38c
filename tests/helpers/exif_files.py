"""JPEGs with an EXIF orientation."""

import struct


def segment(marker, content):
    """Returns a segment of a JPEG."""
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def exif_segment(entries, order="<"):
    """Returns an EXIF segment.

    Args:
        entries: [(tag, value), ...] of 16-bit integers.
        order: "<" for little-endian integers, ">" for big-endian ones.
    """
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    # Type 3 is a 16-bit integer. In either byte order, it takes the first two of four
    # bytes for the value.
    fields = [
        struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag, value in entries
    ]
    directory = struct.pack(order + "H", len(entries)) + b"".join(fields) + bytes(4)
    return segment(0xE1, b"Exif\0\0" + header + directory)


def with_segments(jpeg, *segments):
    """Returns a JPEG with other segments at its beginning."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def oriented(jpeg, orientation, order="<"):
    """Returns a JPEG with this EXIF orientation, between entries of other tags."""
    entries = [(0x0106, 2), (0x0112, orientation), (0x0128, 3)]
    return with_segments(jpeg, exif_segment(entries, order))
