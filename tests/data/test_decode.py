"""Every kind of image becomes RGB, and bytes that are not an image are refused."""

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


def encode_with_pillow(pixels, image_format, mode="RGB", **options):
    image = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    image.fromarray(pixels).convert(mode).save(file, image_format, **options)
    return file.getvalue()


def _gray(pixels):
    return np.repeat(pixels[..., :1], 3, axis=-1)


def _with_alpha(pixels):
    return np.concatenate([pixels, 255 - pixels[..., :1]], axis=-1)


def _16_bit(pixels):
    # The low byte must be dropped, not rounded up.
    return pixels.astype(np.uint16) * 256 + 255


# name: (pixels -> bytes, pixels -> RGB, gray levels that the format loses)
FORMS = {
    "gray jpeg": (
        lambda p: tf.io.encode_jpeg(p[..., :1], quality=100).numpy(), _gray, 2
    ),
    "progressive jpeg": (
        lambda p: tf.io.encode_jpeg(
            p, quality=100, progressive=True, chroma_downsampling=False
        ).numpy(),
        lambda p: p,
        4,
    ),
    "cmyk jpeg": (
        lambda p: encode_with_pillow(
            p, "JPEG", "CMYK", quality=100, subsampling=0
        ),
        lambda p: p,
        4,
    ),
    "rgba png": (lambda p: encode(_with_alpha(p), "png"), lambda p: p, 0),
    "gray png": (lambda p: encode(p[..., :1], "png"), _gray, 0),
    "gray-alpha png": (
        lambda p: encode(_with_alpha(p)[..., [0, 3]], "png"), _gray, 0
    ),
    "16-bit png": (lambda p: encode(_16_bit(p), "png"), lambda p: p, 0),
    "16-bit gray png": (
        lambda p: encode(_16_bit(p)[..., :1], "png"), _gray, 0
    ),
    "gif": (lambda p: encode_with_pillow(p[..., 0], "GIF", "L"), _gray, 0),
    "palette png": (
        lambda p: encode_with_pillow(p[..., 0], "PNG", "P"), _gray, 0
    ),
    "bmp": (lambda p: encode_with_pillow(p, "BMP"), lambda p: p, 0),
    "gray bmp": (
        lambda p: encode_with_pillow(p[..., 0], "BMP", "L"), _gray, 0
    ),
}  # fmt: skip


@pytest.mark.parametrize("image_format", FORMS)
def test_every_kind_of_image_becomes_rgb(image_format):
    make, to_rgb, max_error = FORMS[image_format]
    y, x = np.mgrid[:256, :256]
    # The pixels are smooth, so that quality 100 loses next to nothing.
    pixels = np.stack([y, (x + y) // 2, 255 - x], axis=-1).astype(np.uint8)
    encoded = make(pixels)
    crop = run_both_ways(
        lambda e: preprocess.decode_crop(e, [3, 30], preprocessing_of("paper")),
        encoded,
    )
    expected = to_rgb(pixels)[3:227, 30:254].astype(int)
    assert np.abs(crop - expected).max() <= max_error
    assert tuple(run_both_ways(decode.image_shape, encoded)) == (256, 256)


def test_decodes_the_first_frame_of_an_animation():
    image = pytest.importorskip("PIL.Image")
    frames = [
        image.fromarray(np.full((40, 50), level, np.uint8))
        for level in (10, 200)
    ]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    crop = run_both_ways(
        lambda e: preprocess.decode_crop(e, [0, 0], preprocessing_of("tiny")),
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
    encoded = (
        encode_with_pillow(pixels, image_format.upper()) if image_format in ("bmp", "gif")
        else encode(pixels, image_format)
    )  # fmt: skip
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


def huge(image_format):
    """A few hundred bytes whose header claims 30,000 x 30,000 pixels."""
    small = bytearray(encode(np.zeros((8, 8, 3), np.uint8), image_format))
    if image_format == "jpeg":
        position = small.index(b"\xff\xc0") + 5
        small[position : position + 4] = struct.pack(">HH", 30_000, 30_000)
    else:
        small[16:24] = struct.pack(">ii", 30_000, 30_000)
        small[29:33] = struct.pack(">I", zlib.crc32(small[12:29]))
    return bytes(small)


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_rejects_a_huge_image_by_its_header(image_format):
    paper, tiny = preprocessing_of("paper"), preprocessing_of("tiny")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for function in (
        lambda e: preprocess.decode_crop(e, [0, 0], paper),
        tf.function(lambda e: preprocess.center_square(e, tiny)),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match="134,217,728 pix"):
            function(tf.constant(huge(image_format)))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 500 * 1024  # The image itself would take 2.6 GB.


def test_an_error_names_the_huge_image(make_source):
    source, encoded = make_source(3), huge("png")
    huge_images = dataclasses.replace(
        source,
        read=lambda seed: source.read(seed).map(
            lambda example: {**example, "image": encoded}
        ),
    )
    with pytest.raises(ValueError, match="images 0 of .*134,217,728 pixels"):
        pixel_statistics.compute(huge_images, preprocessing_of("tiny"), verbose=0)
