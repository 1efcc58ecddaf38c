"""Images for tests: class folders and sources with faults."""

import dataclasses
import os

import numpy as np
import tensorflow as tf


def write_image_folder(folder, *, classes=2, count=6, side=80):
    """A folder of class folders with random JPEGs."""
    for label in range(classes):
        os.makedirs(folder / f"class{label}")
        for index in range(count):
            random = np.random.default_rng((label, index))
            pixels = random.integers(0, 256, (side, side, 3), np.uint8)
            encoded = tf.io.encode_jpeg(pixels).numpy()
            (folder / f"class{label}" / f"{index}.jpg").write_bytes(encoded)
    return f"folder:{folder}"


def bad_third(make_source, **values):
    """Six images of which the third is `values`."""
    source = make_source(6)

    def replaced(place, example):
        third = {key: tf.constant(value) for key, value in values.items()}
        return tf.cond(place == 2, lambda: example | third, lambda: example)

    read = lambda seed: source.read(seed).enumerate().map(replaced)  # noqa: E731
    return dataclasses.replace(source, read=read)
