"""Decodes the first frame of a GIF onto its canvas.

`tf.io.decode_image` ignores the canvas: the size of its result is that of the largest
frame of the file, and a frame with an offset loses its right and lower parts.
"""

import tensorflow as tf

from alexnet_tf.data.separate_graph import separate_graph

SIGNATURE = b"GIF8"
_HEADER_SIZE = 13
_EXTENSION, _FRAME, _END = 0x21, 0x2C, b"\x3b"
_GRAPHIC_CONTROL = 0xF9


def image_shape(encoded):
    """Reads the height and width of the canvas of a GIF, int32 [2].

    A canvas that is too small for the first frame is enlarged. Browsers and Pillow do
    the same.

    Args:
        encoded: string [], the bytes of the GIF.

    Raises:
        tf.errors.InvalidArgumentError: if the GIF has no frame.
    """
    canvas_shape, *_ = _read_header(encoded)
    return canvas_shape


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
    canvas_shape, offset, background, position, blocks_position = _read_header(encoded)
    frame = tf.io.decode_image(
        _only_first_frame(encoded, position, blocks_position),
        channels=3,
        expand_animations=False,
    )
    frame = tf.ensure_shape(frame, [None, None, 3])
    end = offset + tf.shape(frame)[:2]
    paddings = tf.stack([offset, canvas_shape - end], axis=1)  # [2, 2]
    paddings = tf.pad(paddings, [[0, 1], [0, 0]])
    covered = tf.pad(tf.ones_like(frame[..., :1], tf.bool), paddings)
    return tf.where(covered, tf.pad(frame, paddings), background)


def _only_first_frame(encoded, position, blocks_position):
    """Returns a GIF of the first frame alone, at the upper left corner, string [].

    Decoding the whole file would take the memory of all frames, and would return an
    image of the size of the largest one.
    """
    end, _ = _skip_blocks(_padded_bytes(encoded), blocks_position, True)
    before = tf.strings.substr(encoded, 0, position + 1)
    # The four bytes after the first one are the offset.
    frame = tf.strings.substr(encoded, position + 5, end - position - 5)
    return tf.strings.join([before, b"\0\0\0\0", frame, _END])


@separate_graph(([], tf.string))
def _read_header(encoded):
    """Reads what a GIF says about its canvas and its first frame.

    Returns:
        (canvas_shape, offset, background, position, blocks_position): int32 [2], the
        height and width of the canvas; int32 [2], the (y, x) of the frame on it; uint8
        [3], the color of pixels that the frame does not cover; int32 [], the positions
        in the file where the frame and the blocks of its compressed pixels begin.
    """
    data = _padded_bytes(encoded)
    header = _bytes_at(data, 0, _HEADER_SIZE)
    colors_end = _HEADER_SIZE + _table_size(header[10])
    position, control = _skip_blocks(data, colors_end, False)
    frame = _bytes_at(data, position, 10)
    check = tf.debugging.Assert(frame[0] == _FRAME, ["The GIF has no image."])
    with tf.control_dependencies([check]):
        offset = _y_x(frame[1:5])
    # The first byte after the colors of the frame is the size of its codes.
    blocks_position = position + 11 + _table_size(frame[9])
    is_transparent = _bytes_at(data, control, 1)[0] % 2 == 1
    color_position = _HEADER_SIZE + 3 * header[11]
    has_background = (color_position < colors_end) & ~is_transparent
    background = tf.cast(_bytes_at(data, color_position, 3), tf.uint8)
    return (
        tf.maximum(_y_x(header[6:10]), offset + _y_x(frame[5:9])),
        offset,
        tf.where(has_background, background, 0),
        position,
        blocks_position,
    )


@separate_graph(([None], tf.uint8), ([], tf.int32), ([], tf.bool))
def _skip_blocks(data, position, is_in_block):
    """Skips blocks of pixels and extensions.

    Args:
        data: the result of `_padded_bytes`.
        position: the position in the file where they begin.
        is_in_block: whether the first of them is a block of pixels.

    Returns:
        (position, control): the position after them, and the position of the flags of
        the last extension that says which color is transparent. Without such an
        extension, `control` is -1.
    """

    def continues(position, is_in_block, control):
        del control
        return is_in_block | (tf.cast(data[position], tf.int32) == _EXTENSION)

    def skip(position, is_in_block, control):
        # A block begins with its length. The last one has no bytes. An extension
        # begins with two other bytes.
        first, second = tf.unstack(_bytes_at(data, position, 2))
        is_control = ~is_in_block & (second == _GRAPHIC_CONTROL)
        # Most blocks have the largest length; many of them are skipped at once.
        length = tf.maximum(256 * _count_full_blocks(data, position), first + 1)
        next_position = position + tf.where(is_in_block, length, 2)
        return (
            tf.minimum(next_position, tf.size(data) - 1),
            ~is_in_block | (first > 0),
            tf.where(is_control, position + 3, control),
        )

    position = tf.minimum(position, tf.size(data) - 1)
    position, _, control = tf.while_loop(
        continues, skip, (position, is_in_block, tf.constant(-1))
    )
    return position, control


def _count_full_blocks(data, position):
    """Returns the number of consecutive blocks of 255 bytes, at most 256, int32 []."""
    lengths = data[position : position + 2**16 : 256]
    # The appended element ends the search if all blocks are full.
    is_other = tf.concat([lengths != 255, [True]], axis=0)
    return tf.argmax(tf.cast(is_other, tf.uint8), output_type=tf.int32)


def _table_size(flags):
    """Returns the number of bytes of the color table that `flags` describe."""
    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)


def _y_x(values):
    """Reads x and y, integers of 16 bits, and returns (y, x) as int32 [2]."""
    return tf.reduce_sum(tf.reshape(values, [2, 2]) * [1, 256], axis=1)[::-1]


def _padded_bytes(encoded):
    """Returns the bytes and a zero, which ends all blocks of an incomplete file."""
    return tf.io.decode_raw(tf.strings.join([encoded, b"\0"]), tf.uint8)


def _bytes_at(data, position, count):
    """Returns bytes as int32 [count]. Outside the file, they are 0."""
    last = tf.size(data) - 1
    positions = position + tf.range(count)
    positions = tf.where(positions < 0, last, tf.minimum(positions, last))
    return tf.cast(tf.gather(data, positions), tf.int32)
