"""Decoding of all kinds of images to RGB, and errors for other bytes."""

import dataclasses
import io
import resource
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import decode
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from helpers.encoded_images import encode
from helpers.encoded_images import photograph
from helpers.encoded_images import preprocessing_of
from helpers.encoded_images import run_both_ways

pytestmark = pytest.mark.all_formats


def encode_with_pillow(pixels, image_format, mode="RGB", **options):
    """Encodes pixels in a format that `tf.io` cannot write, and returns the bytes.

    Args:
        pixels: uint8 [H, W, 3], or [H, W] for gray.
        image_format: the name of the format in Pillow.
        mode: Pillow's name of the color space of the file.
        **options: options of the format.
    """
    pillow_image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image = pillow_image.fromarray(pixels).convert(mode)
    image.save(file, image_format, **options)
    return file.getvalue()


def _gray(pixels):
    return np.repeat(pixels[..., :1], 3, axis=-1)


def _with_alpha(pixels):
    return np.concatenate([pixels, 255 - pixels[..., :1]], axis=-1)


def _16_bit(pixels):
    # Decoding must drop the low byte, 255, and not round it up.
    return pixels.astype(np.uint16) * 256 + 255


def _rgb(pixels):
    return pixels


# {kind of image: (function from uint8 RGB pixels to bytes, function from the same
# pixels to the expected RGB pixels, largest error in gray levels)}.
KINDS = {
    "gray jpeg": (
        lambda rgb: tf.io.encode_jpeg(rgb[..., :1], quality=100).numpy(), _gray, 2
    ),
    "progressive jpeg": (
        lambda rgb: tf.io.encode_jpeg(
            rgb, quality=100, progressive=True, chroma_downsampling=False
        ).numpy(),
        _rgb,
        4,
    ),
    "cmyk jpeg": (
        lambda rgb: encode_with_pillow(
            rgb, "JPEG", "CMYK", quality=100, subsampling=0
        ),
        _rgb,
        4,
    ),
    "rgba png": (lambda rgb: encode(_with_alpha(rgb), "png"), _rgb, 0),
    "gray png": (lambda rgb: encode(rgb[..., :1], "png"), _gray, 0),
    "gray-alpha png": (
        lambda rgb: encode(_with_alpha(rgb)[..., [0, 3]], "png"), _gray, 0
    ),
    "16-bit png": (lambda rgb: encode(_16_bit(rgb), "png"), _rgb, 0),
    "16-bit gray png": (
        lambda rgb: encode(_16_bit(rgb)[..., :1], "png"), _gray, 0
    ),
    "gif": (lambda rgb: encode_with_pillow(rgb[..., 0], "GIF", "L"), _gray, 0),
    "palette png": (
        lambda rgb: encode_with_pillow(rgb[..., 0], "PNG", "P"), _gray, 0
    ),
    "bmp": (lambda rgb: encode_with_pillow(rgb, "BMP"), _rgb, 0),
    "gray bmp": (
        lambda rgb: encode_with_pillow(rgb[..., 0], "BMP", "L"), _gray, 0
    ),
}  # fmt: skip


def test_every_kind_of_image_becomes_rgb():
    """The kinds share one pipeline, because each pipeline takes a second."""
    y, x = np.mgrid[:256, :256]
    # JPEGs of quality 100 lose next to nothing of smooth pixels.
    pixels = np.stack([y, (x + y) // 2, 255 - x], axis=-1).astype(np.uint8)

    def crop_and_shape(encoded):
        crop = preprocess.decode_crop(encoded, [3, 30], preprocessing_of("paper"))
        return crop, decode.image_shape(encoded)

    encoded = [to_bytes(pixels) for to_bytes, *_ in KINDS.values()]
    mapped = tf.data.Dataset.from_tensor_slices(encoded).map(crop_and_shape)
    eager = map(crop_and_shape, map(tf.constant, encoded))
    for kind, *results in zip(KINDS, mapped, eager, strict=True):
        _, to_rgb, max_error = KINDS[kind]
        expected = to_rgb(pixels)[3:227, 30:254].astype(int)
        for crop, shape in results:
            assert crop.dtype == tf.uint8 and tuple(shape) == (256, 256), kind
            assert np.abs(crop.numpy() - expected).max() <= max_error, kind


def test_decodes_the_first_frame_of_an_animation():
    pillow_image = pytest.importorskip("PIL.Image")
    frames = [
        pillow_image.fromarray(np.full((40, 50), level, np.uint8))
        for level in (10, 200)
    ]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    crop = run_both_ways(
        lambda encoded: preprocess.decode_crop(
            encoded, [0, 0], preprocessing_of("tiny")
        ),
        file.getvalue(),
    )
    assert (crop == 10).all()


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_image_shape_is_height_then_width(image_format):
    encoded = encode(photograph(31, 57), image_format)
    assert tuple(run_both_ways(decode.image_shape, encoded)) == (31, 57)


@pytest.mark.parametrize("image_format", ["jpeg", "png", "bmp", "gif"])
@pytest.mark.parametrize("shape", [(5, 9), (300, 17)])
def test_image_shape_reads_every_header(image_format, shape):
    pixels = np.zeros((*shape, 3), np.uint8)
    if image_format in ("bmp", "gif"):
        encoded = encode_with_pillow(pixels, image_format.upper())
    else:
        encoded = encode(pixels, image_format)
    assert run_both_ways(decode.image_shape, encoded).tolist() == list(shape)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"no image",
        encode(photograph(80, 90), "jpeg")[:2000],
        encode(photograph(80, 90), "png")[:2000],
    ],
    ids=["empty", "text", "half a jpeg", "half a png"],
)
def test_rejects_bytes_that_are_not_an_image(encoded):
    def crop(encoded):
        return preprocess.decode_crop(encoded, [9, 9], preprocessing_of("tiny"))

    with pytest.raises(tf.errors.InvalidArgumentError):
        crop(tf.constant(encoded))
    with pytest.raises(tf.errors.InvalidArgumentError):
        list(tf.data.Dataset.from_tensors(encoded).map(crop))


def huge_image(image_format):
    """Returns a small file with the header of an image of 30,000 x 30,000 pixels."""
    encoded = bytearray(encode(np.zeros((8, 8, 3), np.uint8), image_format))
    if image_format == "jpeg":
        # The height and the width follow five bytes after the start of the frame.
        position = encoded.index(b"\xff\xc0") + 5
        encoded[position : position + 4] = struct.pack(">HH", 30_000, 30_000)
    else:
        # The first chunk contains the width and the height, and ends with a checksum.
        encoded[16:24] = struct.pack(">ii", 30_000, 30_000)
        encoded[29:33] = struct.pack(">I", zlib.crc32(encoded[12:29]))
    return bytes(encoded)


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_rejects_a_huge_image_by_its_header(image_format):
    paper, tiny = preprocessing_of("paper"), preprocessing_of("tiny")
    encoded = tf.constant(huge_image(image_format))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for function in (
        lambda encoded: preprocess.decode_crop(encoded, [0, 0], paper),
        tf.function(lambda encoded: preprocess.center_square(encoded, tiny)),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match="134,217,728 pix"):
            function(encoded)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 500 * 1024  # The image itself would take 2.7 GB.


def test_an_error_names_the_huge_image(make_source):
    source, encoded = make_source(3), huge_image("png")
    huge_images = dataclasses.replace(
        source,
        read=lambda seed: source.read(seed).map(
            lambda example: {**example, "image": encoded}
        ),
    )
    with pytest.raises(ValueError, match="images 0 of .*134,217,728 pixels"):
        pixel_statistics.compute(huge_images, preprocessing_of("tiny"), verbose=0)
