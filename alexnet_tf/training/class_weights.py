"""Weights of the classes in the loss, so that rare classes count as much as others."""

import json
import os

import numpy as np

from alexnet_tf.data import bad_images
from alexnet_tf.files import write_text
from alexnet_tf.workdir import has_checkpoint

_BATCH_SIZE = 4096


def balanced_weights(counts):
    """Returns the weights of the classes in the loss, float32 [classes].

    The weight of a class is n / (k * n_c) for n images, k classes with images and n_c
    images of the class, as in `sklearn.utils.class_weight.compute_class_weight`. The
    sum of the weights of all images of a class is then the same for all classes, and
    the mean weight of an image is 1. A class without images has weight 0.

    Args:
        counts: int [classes], the number of images of each class; None for equal
            weights, for which the result is None.
    """
    if counts is None:
        return None
    counts = np.asarray(counts, np.float64)
    weights = np.zeros_like(counts)
    present = counts > 0
    weights[present] = counts.sum() / (np.count_nonzero(present) * counts[present])
    return weights.astype(np.float32)


def run_counts(source, workdir, chief):
    """Returns the number of images of each class for a run, int64 [classes].

    Counting reads the whole split, so only the chief counts, before the other workers,
    and only in a new run.

    Args:
        source: the `Source` to train on.
        workdir: the work directory, in which the result is written.
        chief: whether this worker is the chief.

    Raises:
        ValueError: as for `read_counts`.
        OSError: as for `count_labels`.
    """
    if has_checkpoint(workdir) or not chief:
        return read_counts(workdir)
    counts = count_labels(source)
    write_counts(workdir, counts)
    return counts


def count_labels(source):
    """Counts the images of each class, int64 [classes].

    Each label is read once. Image files are not read, and images in TFDS's files are
    not decoded, unless the source `allows_bad_images`: unreadable images are then left
    out.

    Args:
        source: a `Source`.

    Raises:
        OSError: if the data set can't be read.
    """
    counts = np.zeros(len(source.classes), np.int64)
    with bad_images.diagnosing(source, lambda: (0, -1)):
        labels = source.elements().map(lambda element: element["label"])
        labels = labels.batch(_BATCH_SIZE)
        for batch in labels.as_numpy_iterator():
            class_labels = batch[source.has_class(batch)]
            counts += np.bincount(class_labels, minlength=len(counts))
    return counts


def write_counts(path, counts):
    """Writes label_counts.json.

    Args:
        path: the work directory.
        counts: the result of `count_labels`.
    """
    write_text(_counts_path(path), json.dumps([int(count) for count in counts]))


def read_counts(path):
    """Reads label_counts.json, int64 [classes].

    Args:
        path: the work directory.

    Raises:
        ValueError: if the file is missing or damaged.
    """
    try:
        with open(_counts_path(path), encoding="utf-8") as file:
            return np.array(json.load(file), np.int64)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"{_counts_path(path)} is missing or damaged: expected the number of "
            f"images of each class ({error}). Give another --workdir to start a new "
            "run."
        ) from error


def _counts_path(path):
    return os.path.join(path, "label_counts.json")
