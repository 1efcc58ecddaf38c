"""Finds the images that a figure shows: of a split, or image files of the user."""

import os

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import decode
from alexnet_tf.data import image_files
from alexnet_tf.data.source import example_name
from alexnet_tf.data.source import PADDING_LABEL
from alexnet_tf.inference.classifier import for_image_files


def find_images(images):
    """Returns the paths of image files, an empty list for no `images`.

    Args:
        images: paths, glob patterns, folders and lists, see `image_files.find`.

    Raises:
        ValueError: if a folder or a list has no images.
        OSError: if one of the files does not exist, or a folder or a list cannot be
            read.
    """
    paths = [path for path, _ in image_files.find(images)] if images else []
    for path in paths:
        if not os.path.isfile(path):
            raise FileNotFoundError(f"There is no image file at {path}.")
    return paths


def for_images(classifier, weights, paths):
    """Returns a `Classifier` for image files if there are any, else `classifier`."""
    return for_image_files(classifier, weights) if paths else classifier


def load(data, paths, count, seed):
    """Returns a `Source`, and the examples of it to show.

    Args:
        data: the `RunData` of the split.
        paths: the image files to show instead of images of the split.
        count: the largest number of images of the split.
        seed: the random seed of their choice.
    """
    if paths:
        source = image_files.to_source([(path, None) for path in paths])
        return source, [_read(path) for path in paths]
    source = data.source()
    return source, sample(source, count, seed)


def _read(path):
    """Returns an example without a class.

    Raises:
        ValueError: if the file is not an image.
    """
    with open(path, "rb") as file:
        encoded = file.read()
    try:
        decode.ensure_readable(encoded)
    except tf.errors.InvalidArgumentError as error:
        reason = bad_images.short_message(error)
        raise ValueError(
            f"{path} cannot be decoded as a JPEG, PNG, BMP, GIF or WebP image: "
            f"{reason}."
        ) from error
    return {"image": encoded, "label": PADDING_LABEL, "name": example_name(path)}


def sample(source, count, seed):
    """Returns at most `count` random examples, in the order of the split."""
    rng = np.random.default_rng(seed)
    indices = rng.permutation(source.num_examples)[:count]
    return source.take_indices(sorted(indices.tolist()))
