"""Turns the images that users pass in Python into the bytes of image files."""

import os

import numpy as np
from PIL import Image
import tensorflow as tf

from alexnet_tf.files import expand_home

# Modes of Pillow whose pixels have more than 8 bits, which it would clip.
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def encoded_bytes(image):
    """Returns the bytes of an image file.

    Pixels are encoded as a PNG, which is lossless. In this way they are resized exactly
    as those of files are, and an alpha channel is ignored as in files.

    Args:
        image: the path of an image file; its bytes, or a string tensor of them; a
            `PIL.Image.Image` with 8 bits per channel; or pixels as a uint8 array or
            tensor [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]: gray, RGB, or RGB with an
            alpha channel.

    Raises:
        ValueError: if `image` is something else.
        OSError: if the file cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        with open(expand_home(image), "rb") as file:
            return file.read()
    if isinstance(image, bytes) or (tf.is_tensor(image) and image.dtype == tf.string):
        return image
    pixels = _pixels(image)
    if pixels is None:
        raise _unknown_image_error(image)
    return tf.io.encode_png(pixels).numpy()


def _pixels(image):
    """Returns the pixels of an image, uint8 [H, W, 1, 3 or 4], or None."""
    if isinstance(image, Image.Image):
        if image.mode in _DEEP_MODES:
            return None
        image = np.asarray(image.convert("RGB"))
    if not (isinstance(image, np.ndarray) or tf.is_tensor(image)):
        return None
    if image.dtype != np.uint8:
        return None
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    is_image = pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4) and pixels.size
    return pixels if is_image else None


def _unknown_image_error(image):
    received, advice = type(image).__name__, ""
    if isinstance(image, Image.Image):
        received += f" of mode {image.mode}"
        advice = " Scale its pixels to 8 bits, for instance with NumPy."
    elif hasattr(image, "dtype"):
        dtype = getattr(image.dtype, "name", str(image.dtype))
        received += f" of dtype {dtype} and shape {tuple(image.shape)}"
        if "float" in dtype:
            advice = " Scale pixels to [0, 255] and convert them to uint8."
        elif len(image.shape) == 4:
            advice = " Give several images as a list."
    return ValueError(
        "Expected the path of an image file, its bytes, a PIL image of 8 bits per "
        "channel, or uint8 pixels [H, W, 3], [H, W, 4], [H, W, 1] or [H, W]. Received: "
        f"{received}.{advice}"
    )
