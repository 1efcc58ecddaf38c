"""BMP files of all kinds."""

import struct


def bmp_file(
    rows, shape, depth, *, header_size=40, palette=b"", masks=(), compression=0
):
    """Returns the bytes of a BMP.

    Args:
        rows: the bytes of each row, in the order in which the rows are stored. Each row
            is padded to a multiple of four bytes.
        shape: the height and width in the header; a negative height stands for rows
            that are stored from the top.
        depth: the number of bits per pixel.
        header_size: the size of the header in bytes; 12 for that of OS/2.
        palette: the bytes of the palette.
        masks: the bit masks of red, green and blue.
        compression: the kind of compression.
    """
    height, width = shape
    pixels = b"".join(row + b"\0" * (-len(row) % 4) for row in rows)
    if header_size == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, depth)
    else:
        header = struct.pack(
            "<IiiHHIIiiII", header_size, width, height, 1, depth, compression,
            len(pixels), 0, 0, 0, 0,
        )  # fmt: skip
        header += struct.pack(f"<{len(masks)}I", *masks)
        header = header.ljust(header_size, b"\0")
    start = 14 + len(header) + len(palette)
    size = start + len(pixels)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, start) + header + palette + pixels


def pack_indices(indices, depth):
    """Returns the bytes of a row of indices below 2**depth.

    In a byte, the first index is in the highest bits.
    """
    bits = "".join(format(index, f"0{depth}b") for index in indices)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def pack_palette(colors, header_size=40):
    """Returns the bytes of a palette, RGB [n, 3], for a header of this size."""
    padding = b"" if header_size == 12 else b"\0"
    return b"".join(bytes(color[::-1]) + padding for color in colors.tolist())
