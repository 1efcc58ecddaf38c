"""Decodes BMP files of all color depths, except compressed ones.

`tf.io.decode_image` ignores palettes and bit masks, and does not support 1, 2, 4 or 16
bits per pixel.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from alexnet_tf.data.separate_graph import separate_graph

SIGNATURE = b"BM"
# The sizes in bytes of the header that OS/2 introduced, and of all kinds of headers.
_OS2_HEADER_SIZE = 12
_OS2_HEADER_BYTES = b"\x0c\0\0\0"
_HEADER_SIZES = np.array([_OS2_HEADER_SIZE, 40, 52, 56, 64, 108, 124])
# The bytes of the depth (two) and of the compression (four, 0 for none) in a header.
_PLAIN_24_BITS, _PLAIN_32_BITS = b"\x18\0\0\0\0\0", b"\x20\0\0\0\0\0"
# (position, number of bytes) of the attributes of `_Header`, of which the masks are
# three integers. All of them are in the first 66 bytes of the file.
_NUM_FIRST_BYTES = 66
_FIELDS = (
    (14, 4), (18, 4), (22, 4), (28, 2), (30, 4), (10, 4), (54, 4), (58, 4), (62, 4)
)  # fmt: skip
_OS2_FIELDS = (
    (14, 4), (18, 2), (20, 2), (24, 2), (0, 0), (10, 4), (0, 0), (0, 0), (0, 0)
)  # fmt: skip
_IS_SIGNED = np.array([field[0] in (18, 22) for field in _FIELDS])
_DEPTHS = np.array([1, 2, 4, 8, 16, 24, 32])
_UNCOMPRESSED, _BIT_MASKS, _BIT_MASKS_WITH_ALPHA = 0, 3, 6
_COMPRESSIONS = ("no", "RLE8", "RLE4", "an unknown", "JPEG", "PNG", "an unknown")


@dataclasses.dataclass(frozen=True)
class _Header:
    """The header of a BMP; all values are int64.

    Attributes:
        size: the size of the header in bytes.
        width, height: the size of the image; the height is negative if the rows are
            stored from the top.
        depth: the number of bits per pixel.
        compression: `_UNCOMPRESSED`, `_BIT_MASKS` or `_BIT_MASKS_WITH_ALPHA`.
        pixels_position: the position in the file where the pixels begin.
        masks: the bits of red, green and blue in a pixel, [3]. They are meaningful only
            for the latter two values of `compression`.
    """

    size: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor
    depth: tf.Tensor
    compression: tf.Tensor
    pixels_position: tf.Tensor
    masks: tf.Tensor


def image_shape(encoded):
    """Reads the height and width of a BMP from its header, int32 [2].

    Args:
        encoded: string [], the bytes of the BMP.

    Raises:
        tf.errors.InvalidArgumentError: if the BMP is of a kind that can't be decoded.
    """
    start = _first_bytes(encoded)
    return tf.cond(
        _is_plain(start),
        lambda: tf.abs(
            tf.io.decode_raw(tf.strings.substr(start, 18, 8), tf.int32)[::-1]
        ),
        lambda: _shape_of_other(start),
    )


def decode(encoded):
    """Decodes a BMP, uint8 RGB [H, W, 3].

    Args:
        encoded: string [], the bytes of the BMP.

    Raises:
        tf.errors.InvalidArgumentError: if the BMP is of a kind that can't be decoded,
            or a part of it is missing.
    """
    start = _first_bytes(encoded)
    image = tf.cond(
        _is_plain(start),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
        lambda: _decode_other(encoded, _read_header(start)),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _first_bytes(encoded):
    """Returns the first 66 bytes of a file, string []. Beyond its end, they are 0."""
    start = tf.strings.substr(encoded, 0, _NUM_FIRST_BYTES)
    padded = tf.strings.join([start, b"\0" * _NUM_FIRST_BYTES])
    return tf.strings.substr(padded, 0, _NUM_FIRST_BYTES)


def _is_plain(start):
    """Returns whether `tf.io.decode_image`, which is faster, decodes a BMP correctly.

    Args:
        start: the result of `_first_bytes`.
    """
    depth_and_compression = tf.strings.substr(start, 28, 6)
    return (tf.strings.substr(start, 14, 4) != _OS2_HEADER_BYTES) & (
        (depth_and_compression == _PLAIN_24_BITS)
        | (depth_and_compression == _PLAIN_32_BITS)
    )


def _shape_of_other(start):
    """Reads the height and width of a BMP that is not plain, int32 [2]."""
    header = _read_header(start)
    # The absolute value of the lowest int32 is out of range.
    height = tf.minimum(tf.abs(header.height), tf.int32.max)
    return tf.cast(tf.stack([height, header.width]), tf.int32)


def _read_header(start):
    """Reads the `_Header` of a BMP, and rejects kinds that can't be decoded.

    Args:
        start: the result of `_first_bytes`.
    """
    fields = _read_fields(start)
    return _Header(*tf.unstack(fields[:6]), fields[6:])


@separate_graph(([], tf.string))
def _read_fields(start):
    """Returns the attributes of the `_Header` as an array, int64 [9]."""
    data = tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int64)
    size = tf.linalg.matvec(_weights((14, 4)), data)[0]
    fields = tf.where(
        size == _OS2_HEADER_SIZE,
        tf.linalg.matvec(_weights(*_OS2_FIELDS), data),
        tf.linalg.matvec(_weights(*_FIELDS), data),
    )
    # The width and the height may be negative.
    is_negative = (fields >= 2**31) & _IS_SIGNED
    fields -= tf.where(is_negative, tf.constant(2**32, tf.int64), 0)
    header = _Header(*tf.unstack(fields[:6]), fields[6:])
    with tf.control_dependencies(_checks(header)):
        return tf.identity(fields)


def _weights(*fields):
    """Returns a matrix [fields, 66] that turns the first bytes into integers.

    Args:
        *fields: (position, number of bytes) of each integer, which is little-endian. An
            integer without bytes is 0.
    """
    weights = np.zeros([len(fields), _NUM_FIRST_BYTES], np.int64)
    for row, (position, num_bytes) in zip(weights, fields):
        row[position : position + num_bytes] = 256 ** np.arange(num_bytes)
    return weights


def _checks(header):
    """Returns operations that reject unknown headers, compression and depths."""
    compression, depth = header.compression, header.depth
    has_masks = (compression == _BIT_MASKS) | (compression == _BIT_MASKS_WITH_ALPHA)
    # In OS/2's header of 64 bytes, the same numbers stand for kinds of compression.
    has_masks &= ((depth == 16) | (depth == 32)) & (header.size != 64)
    name = tf.gather(_COMPRESSIONS, tf.minimum(compression, len(_COMPRESSIONS) - 1))
    return [
        _check(
            tf.reduce_any(header.size == _HEADER_SIZES),
            ["an unknown kind of header, of ", tf.strings.as_string(header.size),
             " bytes"],
        ),
        _check((compression == _UNCOMPRESSED) | has_masks, [name, " compression"]),
        _check(
            tf.reduce_any(depth == _DEPTHS),
            [tf.strings.as_string(depth), " bits per pixel"],
        ),
    ]  # fmt: skip


def _check(is_supported, kind):
    """Returns an operation that rejects an image that is not supported.

    Args:
        is_supported: whether the image is supported.
        kind: strings that, joined, name the property that is not supported.
    """
    message = tf.strings.join(
        ["The BMP has ", *kind, ", which cannot be read. Convert it to PNG."]
    )
    return tf.debugging.Assert(is_supported, [message])


def _decode_other(encoded, header):
    """Decodes a BMP that is not plain, uint8 RGB [H, W, 3]."""
    rows = _read_rows(encoded, header)
    pixels = tf.cond(
        header.depth <= 8,
        lambda: tf.gather(_palette(encoded, header), _indices(rows, header)),
        lambda: tf.cond(
            header.depth == 16,
            lambda: _decode_16_bits(rows, header),
            lambda: _decode_bytes(rows, header),
        ),
    )
    return tf.cond(header.height < 0, lambda: pixels, lambda: tf.reverse(pixels, [0]))


def _read_rows(encoded, header):
    """Reads the rows of the image as they are stored, uint8 [H, row size].

    Raises:
        tf.errors.InvalidArgumentError: if a part of the rows is missing.
    """
    row_bits = header.depth * header.width
    row_size = (row_bits + 31) // 32 * 4
    height = tf.abs(header.height)
    # The last row may lack the bytes that fill it up to a multiple of four.
    end = header.pixels_position + row_size * (height - 1) + (row_bits + 7) // 8
    check = tf.debugging.Assert(
        end <= tf.cast(tf.strings.length(encoded), tf.int64),
        ["The BMP ends before its last pixel."],
    )
    with tf.control_dependencies([check]):
        padded = tf.strings.join([encoded, b"\0\0\0"])
    rows = tf.strings.substr(padded, header.pixels_position, row_size * height)
    return tf.reshape(tf.io.decode_raw(rows, tf.uint8), [height, row_size])


def _indices(rows, header):
    """Returns the indices of the pixels in the palette, int32 [H, W]."""
    depth = tf.cast(header.depth, tf.int32)
    # The first pixel of a byte is in its highest bits.
    shifts = tf.cast(tf.range(8 - depth, -1, -depth), tf.uint8)
    mask = tf.cast(tf.bitwise.left_shift(1, depth) - 1, tf.uint8)
    indices = tf.bitwise.right_shift(rows[..., tf.newaxis], shifts)
    indices = tf.reshape(tf.bitwise.bitwise_and(indices, mask), [tf.shape(rows)[0], -1])
    return tf.cast(indices[:, : header.width], tf.int32)


def _palette(encoded, header):
    """Returns the colors of the palette, uint8 RGB [256, 3]. Missing ones are black."""
    entry_size = tf.where(header.size == _OS2_HEADER_SIZE, 3, 4)
    num_bytes = entry_size * tf.bitwise.left_shift(1, tf.cast(header.depth, tf.int32))
    start = tf.cast(14 + header.size, tf.int32)
    end = tf.minimum(tf.cast(header.pixels_position, tf.int32), start + num_bytes)
    colors = tf.strings.substr(encoded, start, tf.maximum(end - start, 0))
    padded = tf.strings.join([colors, b"\0" * 4 * 256])
    colors = tf.io.decode_raw(tf.strings.substr(padded, 0, 256 * entry_size), tf.uint8)
    return tf.reshape(colors, [256, entry_size])[:, 2::-1]  # Stored as BGR.


def _decode_16_bits(rows, header):
    """Decodes pixels of 16 bits, uint8 RGB [H, W, 3]."""
    masks = tf.where(
        header.compression == _UNCOMPRESSED,
        tf.constant([0x7C00, 0x03E0, 0x001F], tf.int64),
        header.masks,
    )
    is_supported = tf.reduce_all((masks > 0) & (masks < 2**16))
    with tf.control_dependencies([_check(is_supported, ["unusual bit masks"])]):
        lowest_bits = tf.bitwise.bitwise_and(masks, -masks)
    values = tf.range(2**16, dtype=tf.int64)[:, tf.newaxis]
    levels = tf.bitwise.bitwise_and(values, masks) // lowest_bits
    colors = tf.cast(levels * 255 // (masks // lowest_bits), tf.uint8)  # [65536, 3]
    pairs = tf.reshape(rows, [tf.shape(rows)[0], -1, 2])[:, : header.width]
    pairs = tf.cast(pairs, tf.int32)
    return tf.gather(colors, pairs[..., 0] + 256 * pairs[..., 1])


def _decode_bytes(rows, header):
    """Decodes pixels of 24 or 32 bits, uint8 RGB [H, W, 3]."""
    byte_masks = tf.constant([0xFF, 0xFF00, 0xFF0000, 0xFF000000], tf.int64)
    is_byte = tf.cast(header.masks[:, tf.newaxis] == byte_masks, tf.int32)  # [3, 4]
    has_masks = header.compression != _UNCOMPRESSED
    is_supported = ~has_masks | tf.reduce_all(tf.reduce_sum(is_byte, axis=1) == 1)
    with tf.control_dependencies([_check(is_supported, ["unusual bit masks"])]):
        bgr = tf.constant([2, 1, 0], tf.int64)
        channels = tf.where(has_masks, tf.argmax(is_byte, axis=1), bgr)
    pixel_size = header.depth // 8
    values = rows[:, : header.width * pixel_size]
    pixels = tf.reshape(values, [-1, header.width, pixel_size])
    return tf.gather(pixels, channels, axis=2)
