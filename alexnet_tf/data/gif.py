"""Decodes the first frame of a GIF onto its canvas.

`tf.io.decode_image` ignores the canvas: the size of its result is that of the largest
frame of the file, and a frame with an offset loses its right and lower parts.
"""

import dataclasses

import tensorflow as tf

SIGNATURE = b"GIF8"
_HEADER_SIZE = 13
_EXTENSION, _FRAME, _END = 0x21, 0x2C, b"\x3b"
_GRAPHIC_CONTROL = 0xF9


@dataclasses.dataclass(frozen=True)
class _Header:
    """What a GIF says about its canvas and its first frame.

    Attributes:
        canvas_shape, frame_shape, offset: int32 [2], the height and width of the canvas
            and of the frame, and the (y, x) of the frame on the canvas.
        background: uint8 [3], the color of pixels that the frame does not cover.
        frame_position: int32 [], the position in the file where the frame begins.
        blocks_position: int32 [], where the blocks of its compressed pixels begin.
    """

    canvas_shape: tf.Tensor
    frame_shape: tf.Tensor
    offset: tf.Tensor
    background: tf.Tensor
    frame_position: tf.Tensor
    blocks_position: tf.Tensor


def image_shape(encoded):
    """Reads the height and width of the canvas of a GIF, int32 [2].

    A canvas that is too small for the first frame is enlarged. Browsers and Pillow do
    the same.

    Args:
        encoded: string [], the bytes of the GIF.

    Raises:
        tf.errors.InvalidArgumentError: if the GIF has no frame.
    """
    return _read_header(_padded_bytes(encoded)).canvas_shape


def decode(encoded):
    """Decodes the first frame of a GIF onto its canvas, uint8 RGB [H, W, 3].

    Transparent pixels are black, as those of `tf.io.decode_image`. Pixels that the
    frame does not cover are black too if the frame has a transparent color; otherwise
    they have the background color of the file (GIF89a, section 18).

    Args:
        encoded: string [], the bytes of the GIF.

    Raises:
        tf.errors.InvalidArgumentError: if the GIF has no frame, or a part of its first
            frame is missing or damaged.
    """
    data = _padded_bytes(encoded)
    header = _read_header(data)
    frame = tf.io.decode_image(
        _only_first_frame(encoded, data, header), channels=3, expand_animations=False
    )
    frame = tf.ensure_shape(frame, [None, None, 3])
    after = header.canvas_shape - header.offset - tf.shape(frame)[:2]
    paddings = tf.stack([header.offset, after], axis=1)  # [2, 2]
    return tf.cond(
        tf.reduce_all(paddings == 0),
        lambda: frame,
        lambda: tf.stack(
            [
                tf.pad(
                    frame[..., channel],
                    paddings,
                    constant_values=header.background[channel],
                )
                for channel in range(3)
            ],
            axis=-1,
        ),
    )


def _only_first_frame(encoded, data, header):
    """Returns a GIF of the first frame alone, at the upper left corner, string [].

    Decoding would otherwise take the memory of all frames, and an image of the size of
    the largest one.
    """
    start = header.frame_position
    end = tf.minimum(
        _skip_blocks(data, header.blocks_position), tf.strings.length(encoded)
    )
    before = tf.strings.substr(encoded, 0, start + 1)
    # The four bytes after the first one are the offset.
    frame = tf.strings.substr(encoded, start + 5, tf.maximum(end - start - 5, 0))
    return tf.strings.join([before, b"\0\0\0\0", frame, _END])


def _read_header(data):
    """Reads the `_Header` of a GIF from the result of `_padded_bytes`."""
    position, is_transparent = _find_frame(data, _HEADER_SIZE + _table_size(data, 10))
    check = tf.debugging.Assert(
        _byte(data, position) == _FRAME, ["The GIF has no image."]
    )
    with tf.control_dependencies([check]):
        position = tf.identity(position)
    offset = _y_x(data, position + 1)
    frame_shape = _y_x(data, position + 5)
    return _Header(
        canvas_shape=tf.maximum(_y_x(data, 6), offset + frame_shape),
        frame_shape=frame_shape,
        offset=offset,
        background=_background(data, is_transparent),
        frame_position=position,
        # The first byte after the colors is the size of the codes.
        blocks_position=position + 11 + _table_size(data, position + 9),
    )


def _find_frame(data, position):
    """Returns (position of the first frame, whether it has a transparent color)."""

    def skip_extension(position, is_transparent):
        flags = _byte(data, position + 3)
        is_control = _byte(data, position + 1) == _GRAPHIC_CONTROL
        is_transparent = tf.where(is_control, flags % 2 == 1, is_transparent)
        return _skip_blocks(data, position + 2), is_transparent

    return tf.while_loop(
        lambda position, _: _byte(data, position) == _EXTENSION,
        skip_extension,
        [position, False],
    )


def _skip_blocks(data, position):
    """Returns the position after a sequence of blocks, which ends with an empty one."""
    last = tf.while_loop(
        lambda position: _byte(data, position) > 0,
        lambda position: [position + 1 + _byte(data, position)],
        [position],
    )
    return last[0] + 1


def _background(data, is_transparent):
    """Returns the color of pixels that no frame covers, uint8 [3]."""
    first = _HEADER_SIZE + 3 * _byte(data, 11)
    has_color = first < _HEADER_SIZE + _table_size(data, 10)
    indices = tf.minimum(first + tf.range(3), tf.size(data) - 1)
    color = tf.gather(data, indices)
    return tf.where(has_color & ~is_transparent, color, tf.zeros_like(color))


def _table_size(data, position):
    """Returns the number of bytes of a color table, whose flags are at `position`."""
    flags = _byte(data, position)
    size = 3 * tf.bitwise.left_shift(2, flags % 8)
    return tf.where(flags >= 128, size, 0)


def _y_x(data, position):
    """Reads two numbers of 16 bits, the second one first, int32 [2]."""
    low_bytes = tf.stack([_byte(data, position + 2), _byte(data, position)])
    high_bytes = tf.stack([_byte(data, position + 3), _byte(data, position + 1)])
    return low_bytes + 256 * high_bytes


def _padded_bytes(encoded):
    """Returns the bytes and a zero, which ends all blocks of an incomplete file."""
    return tf.io.decode_raw(tf.strings.join([encoded, b"\0"]), tf.uint8)


def _byte(data, position):
    """Returns the byte at a position, int32 []. Beyond the end, it is 0."""
    return tf.cast(data[tf.minimum(position, tf.size(data) - 1)], tf.int32)
