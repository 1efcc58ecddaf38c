"""Images of known pixels, their encodings, and a check of operations on them."""

import dataclasses

import numpy as np
import tensorflow as tf

from alexnet_tf.data import decode
from alexnet_tf import presets


def preprocessing_of(name, **changes):
    """Returns the `Preprocessing` of a preset, with some of its fields changed."""
    return dataclasses.replace(presets.get(name).preprocessing, **changes)


def run_both_ways(op, *arguments):
    """Runs `op` eagerly and in `Dataset.map`, and checks that the results agree.

    Returns:
        The result as a NumPy array.
    """
    arguments = tuple(map(tf.convert_to_tensor, arguments))
    eager = op(*arguments)
    dataset = tf.data.Dataset.from_tensors(arguments).map(op)
    assert dataset.element_spec.dtype == eager.dtype
    (mapped,) = dataset.as_numpy_iterator()
    np.testing.assert_allclose(mapped, eager.numpy(), rtol=1e-5, atol=1e-4)
    return eager.numpy()


def decode_whole(encoded, exif_orientation=False):
    """Decodes a whole image, uint8 RGB [H, W, 3], upright if `exif_orientation`."""
    encoded, shape = decode.ensure_image(encoded, exif_orientation=exif_orientation)
    return decode.decode_window(
        encoded, [0, 0], shape, exif_orientation=exif_orientation
    )


def photograph(height, width):
    """Returns uint8 RGB [height, width, 3]: waves, and noise of all frequencies."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([y / 17 + x / 29, x / 11, (x + y) / 23], axis=-1)
    noise = np.random.default_rng(height).normal(0, 25, waves.shape)
    return np.clip(127 + 95 * np.sin(waves) + noise, 0, 255).astype(np.uint8)


def encode(pixels, image_format):
    """Encodes pixels as a PNG or a JPEG, and returns the bytes.

    Args:
        pixels: uint8 [H, W, C]; for a PNG, uint16 is possible too.
        image_format: "png", which is lossless, or "jpeg", of quality 95.
    """
    if image_format == "png":
        return tf.io.encode_png(pixels).numpy()
    return tf.io.encode_jpeg(pixels, quality=95).numpy()
