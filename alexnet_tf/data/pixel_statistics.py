"""Mean image and RGB principal components of a training split.

One pass over the split computes them, and the result is stored beside the data.
"""

import dataclasses
import hashlib
import logging
import os
import zipfile

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import preprocess
from alexnet_tf.data.source import PADDING_LABEL
from alexnet_tf.files import atomic_write

_log = logging.getLogger(__name__)
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of the pixels of all central squares of a training split.

    Attributes:
        mean_image: float32 RGB [S, S, 3] on the 0-255 scale.
        covariance: float64 [3, 3], the covariance of R, G and B over all pixels.
    """

    mean_image: np.ndarray
    covariance: np.ndarray

    @property
    def channel_mean(self):
        """The mean per channel, float32 [3], RGB on the 0-255 scale."""
        return self.mean_image.mean(axis=(0, 1), dtype=np.float64).astype(
            np.float32
        )

    @property
    def channel_std(self):
        """The standard deviation per channel, float32 [3], RGB on the 0-255 scale."""
        variances = np.maximum(np.diag(self.covariance), 0)
        return np.sqrt(variances).astype(np.float32)

    @property
    def component_stds(self):
        """Standard deviations along `components`, float64 [3], ascending."""
        # Rounding can leave a variance of zero just below zero.
        return np.sqrt(np.maximum(np.linalg.eigh(self.covariance)[0], 0))

    @property
    def components(self):
        """The principal components of the RGB values as columns, float64 [3, 3]."""
        return np.linalg.eigh(self.covariance)[1]


def imagenet(preprocessing):
    """Returns the published `Statistics` of ILSVRC-2012, one mean per channel.

    The means are `presets.Preprocessing.imagenet_mean`. The principal components
    (columns) and the standard deviations along them are those that the authors'
    code ships, RGB on the 0-255 scale (cuda-convnet2 at 3238bf0,
    make-data/input_meta, color_pca).
    """
    stds = np.array([19.72083305, 37.09388853, 121.78006099])
    components = np.array(
        [
            [0.41795513, -0.71257945, -0.56351045],
            [-0.81698062, -0.02354167, -0.5761844],
            [0.39731118, 0.70119634, -0.59200296],
        ]
    )
    size = preprocessing.image_size
    mean = np.array(preprocessing.imagenet_mean, np.float32)
    return Statistics(
        np.broadcast_to(mean, (size, size, 3)),
        components * stds**2 @ components.T,
    )


def compute(source, preprocessing, verbose=1):
    """Computes the `Statistics` of all images of `source` in one pass.

    Args:
        source: a `Source`, the training split.
        preprocessing: a `presets.Preprocessing`.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if an image cannot be read, or if the source does not have
            `num_examples` images.
    """
    image_sum = np.zeros((preprocessing.image_size,) * 2 + (3,))
    outer_sum = np.zeros((3, 3))
    seen = 0
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)
    with bad_images.diagnosing(source, lambda: (seen, _BATCH)):
        for batch_sum, outer, count in _batch_sums(source, preprocessing):
            image_sum += batch_sum.numpy()
            outer_sum += outer.numpy()
            seen += int(count)
            bar.update(seen)
    if not seen:
        raise ValueError(
            f"Expected at least one readable image in {source}. Received: none."
        )
    mean_image = image_sum / seen
    num_pixels = seen * preprocessing.image_size**2
    mean = mean_image.mean(axis=(0, 1))
    covariance = outer_sum / num_pixels - np.outer(mean, mean)
    return Statistics(mean_image.astype(np.float32), covariance)


def load_or_compute(source, preprocessing, fallback_folder, verbose=1):
    """Reads the `Statistics` of `source` from a file, or computes and stores them.

    The file is beside the data, or in `fallback_folder`. The published figures of
    ILSVRC-2012 need no pass over the data; they are returned for that data set if
    only means per channel are needed, and for any data set if the preset brings
    all figures that it needs.

    Args:
        source: a `Source`, the training split.
        preprocessing: a `presets.Preprocessing`.
        fallback_folder: where the file is stored if the data's folder is
            read-only.
        verbose: 1 for a progress bar, 0 for none.
    """
    if preprocessing.mean == "channel" and (
        source.is_imagenet or _is_published(preprocessing)
    ):
        return imagenet(preprocessing)
    name = _file_name(source, preprocessing)
    folders = source.folder, fallback_folder
    paths = [os.path.join(folder, name) for folder in folders]
    for path in paths:
        if os.path.exists(path):
            return read(path)
    _log.info("Computing the mean image of %s, which is done once.", source)
    statistics = compute(source, preprocessing, verbose)
    _save(statistics, paths)
    return statistics


def read(path):
    """Reads `Statistics` from a file of `write`.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            statistics = Statistics(arrays["mean_image"], arrays["covariance"])
        if not _is_valid(statistics):
            raise ValueError("no mean image and covariance")
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            "Cannot read a mean image and the covariance of the colors from "
            f"{path}, which is damaged ({error}). Remove the file."
        ) from error
    return statistics


def write(statistics, path):
    """Writes `Statistics` as .npz; an existing file is replaced atomically."""
    with atomic_write(path) as temporary:
        np.savez(
            temporary,
            mean_image=statistics.mean_image,
            covariance=statistics.covariance,
        )


def _is_valid(statistics):
    """Returns whether all shapes are right and all values finite."""
    mean_image, covariance = statistics.mean_image, statistics.covariance
    size = len(mean_image)
    return (
        mean_image.shape == (size, size, 3)
        and covariance.shape == (3, 3)
        and np.isfinite(mean_image).all()
        and np.isfinite(covariance).all()
    )


def _is_published(preprocessing):
    """Returns whether a preset with a mean per channel brings all its figures."""
    figures = [preprocessing.channel_mean]
    if preprocessing.divide_by_std:
        figures.append(preprocessing.channel_std)
    return None not in figures and not preprocessing.pca_color_std


def _batch_sums(source, preprocessing):
    """Returns a `tf.data.Dataset` of sums over batches of central squares.

    Its elements are (sum of the images, float64 [S, S, 3]; sum of the outer
    products of their RGB values, float64 [3, 3]; number of images).
    """

    def sums(images):  # [b, S, S, 3]
        images = tf.cast(images, tf.float64)
        pixels = tf.reshape(images, [-1, 3])
        outer = tf.matmul(pixels, pixels, transpose_a=True)
        return tf.reduce_sum(images, axis=0), outer, tf.shape(images)[0]

    examples = source.examples()
    if source.allows_bad_images:
        examples = examples.filter(
            lambda example: example["label"] != PADDING_LABEL
        )
    squares = examples.map(
        lambda example: preprocess.center_square(
            example["image"], preprocessing
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return squares.batch(_BATCH).map(sums).prefetch(2)


def _file_name(source, preprocessing):
    key = f"{source.fingerprint} {preprocessing.image_size}"
    key += f" {preprocessing.resize}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"alexnet_tf_statistics_{digest}.npz"


def _save(statistics, paths):
    for path in paths:
        try:
            write(statistics, path)
        except OSError as error:
            _log.info("Cannot write %s: %s.", path, error.strerror)
        else:
            _log.info("Wrote mean image and covariance to %s.", path)
            return
