"""Loads images from which the ranges of integer activations are taken."""

import contextlib
import itertools

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import preprocess
from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import for_dataset


def check_source(weights, dataset):
    """Checks that a run or an argument names a data set.

    Args:
        weights, dataset: see `find_run_data`.

    Raises:
        ValueError: if neither does.
    """
    if find_run_data(weights, dataset).dataset is None:
        raise ValueError(
            "Expected a data set with representative images, because a weights file "
            f"does not name one. Received: weights={weights} alone. Add --dataset, or "
            "the argument dataset in Python."
        )


def load_inputs(
    classifier,
    weights,
    count,
    *,
    dataset=None,
    split=None,
    data_dir=None,
    image_key=None,
    label_key=None,
):
    """Returns the center crops of some images, float32 [N, crop, crop, 3].

    They are the first images of the shuffled split that can be read. The order is the
    same in each call.

    Args:
        classifier: a `Classifier`.
        weights: the weights of the classifier, see `find_run_data`.
        count: the number of images, at least 1. N is smaller if the split has fewer.
        dataset, split, data_dir, image_key, label_key: the data, see `datasets.load`.
            Default: those that the run was trained on.

    Raises:
        ValueError: if there is no such data set, or none of its images can be read.
        OSError: if the data is missing or damaged.
    """
    run = find_run_data(
        weights, dataset, data_dir=data_dir, image_key=image_key, label_key=label_key
    )
    classifier = for_dataset(classifier, weights, run.dataset)
    source = run.load(split or run.train_split)
    source.check_fits(classifier.preset.preprocessing)
    with bad_images.diagnosing(source, lambda: (0, 0)):
        inputs = [*itertools.islice(_readable_crops(classifier, source), count)]
    if not inputs:
        raise ValueError(
            f"Expected at least one image that can be read. Received: {source}, which "
            "has none."
        )
    return np.stack(inputs)


def _readable_crops(classifier, source):
    """Yields the center crops of the shuffled images of a `Source`."""
    # A pipeline takes longer to set up than a hundred images take here.
    for element in source.read(0):
        with contextlib.suppress(tf.errors.InvalidArgumentError):
            example = source.example_of(element)
            yield preprocess.evaluation_image(
                example["image"],
                classifier.preset.preprocessing,
                classifier.statistics,
            ).numpy()
