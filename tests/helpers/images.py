"""Test data: class folders of random images, and a source with a bad image."""

import dataclasses
import os

import numpy as np
import tensorflow as tf


def write_image_folder(folder, *, classes=2, count=6, side=80):
    """Writes class folders of random JPEGs; returns the name of the data set."""
    for label in range(classes):
        os.makedirs(folder / f"class{label}")
        for index in range(count):
            random = np.random.default_rng((label, index))
            pixels = random.integers(0, 256, (side, side, 3), np.uint8)
            encoded = tf.io.encode_jpeg(pixels).numpy()
            (folder / f"class{label}" / f"{index}.jpg").write_bytes(encoded)
    return f"folder:{folder}"


def bad_third(make_source, **values):
    """Returns a `Source` of six images with other `values` in the third example.

    Args:
        make_source: the fixture of that name.
        **values: what replaces the image, the label or the name.
    """
    source = make_source(6)

    def replace_third(index, example):
        third = {key: tf.constant(value) for key, value in values.items()}
        return tf.cond(index == 2, lambda: example | third, lambda: example)

    def read(shuffle_seed):
        return source.read(shuffle_seed).enumerate().map(replace_third)

    return dataclasses.replace(source, read=read)
