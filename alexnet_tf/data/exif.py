"""Turns images upright according to the EXIF orientation of their JPEG files.

Cameras and phones store an image as the sensor sees it, and note how to turn it. The
orientation is a number from 1 to 8 (EXIF 2.32, section 4.6.4): an image is transposed
if the number is 5 or more, and may then be mirrored along one axis or both.
"""

import tensorflow as tf

UPRIGHT = 1
_FIRST_TRANSPOSED, _LAST = 5, 8
_FLIPPED_VERTICALLY = (3, 4, 7, 8)
_FLIPPED_HORIZONTALLY = (2, 3, 6, 7)

# EXIF is searched for in this number of bytes at the beginning of a file. A segment has
# at most 64 KB, and the one with EXIF is among the first.
_MAX_BYTES = 2**17
_APP0, _APP1, _APP15, _COMMENT = 0xE0, 0xE1, 0xEF, 0xFE
_IDENTIFIER = b"Exif\0\0"
_ORIENTATION_TAG, _MAX_ENTRIES = 0x0112, 512


def read_orientation(encoded):
    """Reads the EXIF orientation of an image, int32 [] from 1 to 8.

    It is 1, upright, for images that are not JPEGs or have no valid orientation.

    Args:
        encoded: string [], the bytes of the image.
    """
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: _jpeg_orientation(encoded),
        lambda: tf.constant(UPRIGHT),
    )


def upright_shape(shape, orientation):
    """Returns the height and width of an image that is turned upright, int32 [2].

    Args:
        shape: int32 [2], the height and width of the image as it is stored.
        orientation: the EXIF orientation, as returned by `read_orientation`.
    """
    return tf.where(orientation >= _FIRST_TRANSPOSED, shape[::-1], shape)


def stored_window(start, size, shape, orientation):
    """Returns where a window of an upright image is in the image as it is stored.

    Args:
        start, size: int32 [2], the (y, x) of the first pixel of the window in the
            upright image, and its height and width.
        shape: int32 [2], the height and width of the upright image.
        orientation: the EXIF orientation.

    Returns:
        (start, size): int32 [2] each, for the stored image.
    """
    flipped = tf.stack(_flips(orientation))
    start = tf.where(flipped, shape - start - size, start)
    return upright_shape(start, orientation), upright_shape(size, orientation)


def turn_upright(pixels, orientation):
    """Turns stored pixels [H, W, 3] upright.

    Args:
        pixels: the whole image or a window of it.
        orientation: the EXIF orientation.
    """
    is_transposed = orientation >= _FIRST_TRANSPOSED
    pixels = tf.cond(
        is_transposed, lambda: tf.transpose(pixels, [1, 0, 2]), lambda: pixels
    )
    flipped_vertically, flipped_horizontally = _flips(orientation)
    # A slice with a negative step would take ten times as long.
    pixels = tf.cond(
        flipped_vertically, lambda: tf.reverse(pixels, [0]), lambda: pixels
    )
    return tf.cond(
        flipped_horizontally, lambda: tf.reverse(pixels, [1]), lambda: pixels
    )


def _flips(orientation):
    """Returns whether an image is mirrored vertically, and horizontally."""
    return (
        tf.reduce_any(orientation == _FLIPPED_VERTICALLY),
        tf.reduce_any(orientation == _FLIPPED_HORIZONTALLY),
    )


def _jpeg_orientation(encoded):
    """Reads the EXIF orientation of a JPEG, int32 []."""
    start = tf.strings.substr(encoded, 0, _MAX_BYTES)
    # `_byte` reads the last of these zeros beyond the end of the data.
    data = tf.io.decode_raw(tf.strings.join([start, b"\0" * 16]), tf.uint8)
    position = _find_exif(start, data)
    return tf.cond(
        _is_exif(start, position),
        lambda: _read_directory(data, position + 10),
        lambda: tf.constant(UPRIGHT),
    )


def _find_exif(start, data):
    """Returns the position of the EXIF segment.

    Without one, it is that of the first segment that is not metadata.
    """

    def is_other_metadata(position):
        marker = _byte(data, position + 1)
        is_metadata = (marker >= _APP0) & (marker <= _APP15) | (marker == _COMMENT)
        return is_metadata & ~_is_exif(start, position)

    def skip(position):
        return [position + 2 + _integer(data, position + 2, 2, is_little_endian=False)]

    (position,) = tf.while_loop(
        is_other_metadata, skip, [tf.constant(2, tf.int64)]
    )
    return position


def _is_exif(start, position):
    """Returns whether the segment at `position` contains EXIF."""
    marker = _substring(start, position, 2)
    identifier = _substring(start, position + 4, len(_IDENTIFIER))
    return (marker == bytes([0xFF, _APP1])) & (identifier == _IDENTIFIER)


def _substring(text, position, length):
    """Returns a substring, which is empty if `position` is beyond the end of `text`."""
    end = tf.cast(tf.strings.length(text), tf.int64)
    return tf.strings.substr(text, tf.minimum(position, end), length)


def _read_directory(data, position):
    """Reads the orientation in the first image file directory (IFD0), int32 [].

    Args:
        data: the bytes of the file.
        position: the position of the TIFF header. Offsets are relative to it.
    """
    # "II" means little-endian, "MM" big-endian.
    is_little_endian = _byte(data, position) == ord("I")
    directory = position + _integer(data, position + 4, 4, is_little_endian)
    count = tf.minimum(_integer(data, directory, 2, is_little_endian), _MAX_ENTRIES)
    entries = directory + 2 + 12 * tf.range(count)
    is_orientation = _integer(data, entries, 2, is_little_endian) == _ORIENTATION_TAG
    values = _integer(data, entries + 8, 2, is_little_endian)
    value = tf.cast(tf.reduce_max(tf.where(is_orientation, values, 0)), tf.int32)
    is_valid = (value >= UPRIGHT) & (value <= _LAST)
    return tf.where(is_valid, value, UPRIGHT)


def _integer(data, positions, num_bytes, is_little_endian):
    """Reads unsigned integers, int64 of the shape of `positions`."""
    places = range(num_bytes)
    digits = [_byte(data, positions + place) for place in places]
    little = sum(digits[place] * 256**place for place in places)
    big = sum(digits[place] * 256 ** (num_bytes - 1 - place) for place in places)
    return tf.where(is_little_endian, little, big)


def _byte(data, positions):
    """Returns the bytes at some positions as int64. Beyond the end, they are 0."""
    last = tf.cast(tf.size(data) - 1, tf.int64)
    return tf.cast(tf.gather(data, tf.minimum(positions, last)), tf.int64)
