"""Test data: class folders of random images, and a source with a bad image."""

import dataclasses
import os

import numpy as np
import tensorflow as tf


def write_image_folder(folder, *, classes=2, count=6, side=80):
    """Writes class folders of random JPEGs.

    Args:
        folder: a `pathlib.Path`, which is created.
        classes: the number of classes.
        count: the number of images of each class.
        side: the height and width of the images.

    Returns:
        The name of the data set, "folder:PATH".
    """
    for label in range(classes):
        os.makedirs(folder / f"class{label}")
        for index in range(count):
            rng = np.random.default_rng((label, index))
            pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
            encoded = tf.io.encode_jpeg(pixels).numpy()
            (folder / f"class{label}" / f"{index}.jpg").write_bytes(encoded)
    return f"folder:{folder}"


def source_with_bad_third(make_source, **values):
    """Returns a `Source` of six images with other `values` in the third example.

    Args:
        make_source: the fixture `make_source`.
        **values: new values of the example's "image", "label" or "name".
    """
    source = make_source(6)

    def replace_third(index, example):
        third = {key: tf.constant(value) for key, value in values.items()}
        return tf.cond(index == 2, lambda: example | third, lambda: example)

    def read(shuffle_seed):
        return source.read(shuffle_seed).enumerate().map(replace_third)

    return dataclasses.replace(source, read=read)
