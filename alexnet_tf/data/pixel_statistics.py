"""Mean image and RGB covariance of a training split.

They are computed in one pass over the split and stored beside the data.
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
from alexnet_tf.data import mean_file
from alexnet_tf.data import preprocess
from alexnet_tf.data.source import PADDING_LABEL
from alexnet_tf.files import atomic_write

_log = logging.getLogger(__name__)
_BATCH_SIZE = 32

# The names of the files that `load_or_compute` stores begin with this prefix.
_FILE_PREFIX = "alexnet_tf_statistics_"


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of the pixels in the center squares of a training split.

    Attributes:
        mean_image: float32 RGB [image_size, image_size, 3] on the 0-255 scale.
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
    """Returns the published `Statistics` of ILSVRC-2012.

    Every pixel of the mean image is `preprocessing.imagenet_mean`. The covariance is
    computed from the principal components (columns) of the RGB values on the 0-255
    scale and the standard deviations along them, which the authors published with
    their code (the field color_pca of make-data/input_meta in cuda-convnet2 at
    3238bf0).

    Args:
        preprocessing: a `presets.Preprocessing`.
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


def published(preprocessing, mean=None):
    """Returns the `Statistics` to use with weights that have none of their own.

    Args:
        preprocessing: a `presets.Preprocessing`.
        mean: the path of a mean image, see `mean_file.read`; None for that of
            `imagenet`.

    Raises:
        ValueError: if the file is not a mean image, if the mean image has another size
            than `preprocessing.image_size`, or if a file is given although
            `preprocessing` subtracts constants.
        OSError: if the file cannot be read.
    """
    statistics = imagenet(preprocessing)
    if mean is None:
        return statistics
    if preprocessing.mean == "channel" and preprocessing.channel_mean is not None:
        raise ValueError(
            "Expected no mean for a preset that subtracts constants. Received: "
            f"mean={mean}. Leave it out."
        )
    mean_image = mean_file.read(os.path.expanduser(mean))
    if mean_image.shape != statistics.mean_image.shape:
        raise ValueError(
            f"Expected a mean image of {preprocessing.image_size} x "
            f"{preprocessing.image_size} pixels. Received: {mean}, of "
            f"{mean_image.shape[1]} x {mean_image.shape[0]}."
        )
    return dataclasses.replace(statistics, mean_image=mean_image)


def compute(source, preprocessing, verbose=1):
    """Computes the `Statistics` of all images of `source` in one pass.

    Args:
        source: a `Source`, the training split. If it `allows_bad_images`, the
            unreadable ones are skipped.
        preprocessing: a `presets.Preprocessing`.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if an image can't be decoded and the source does not allow bad
            images, if no image is readable, or if the source does not have
            `num_examples` images.
        OSError: if files of the data set are missing or damaged.
    """
    image_sum = np.zeros((preprocessing.image_size,) * 2 + (3,))
    outer_product_sum = np.zeros((3, 3))
    num_images = 0
    progress_bar = keras.utils.Progbar(source.num_examples, verbose=verbose)
    with bad_images.diagnosing(source, lambda: (num_images, _BATCH_SIZE)):
        for images, outer_products, count in _batch_sums(source, preprocessing):
            image_sum += images.numpy()
            outer_product_sum += outer_products.numpy()
            num_images += int(count)
            progress_bar.update(num_images)
    if not num_images:
        raise ValueError(
            f"Expected at least one readable image in {source}. Received: none."
        )
    mean_image = image_sum / num_images
    num_pixels = num_images * preprocessing.image_size**2
    mean = mean_image.mean(axis=(0, 1))
    covariance = outer_product_sum / num_pixels - np.outer(mean, mean)
    return Statistics(mean_image.astype(np.float32), covariance)


def load_or_compute(source, preprocessing, fallback_folder, verbose=1):
    """Reads the `Statistics` of `source` from a file, or computes and stores them.

    The file is in the data's folder, or in `fallback_folder`. If neither folder can
    be written to, the statistics are computed without being stored.

    If the preprocessing subtracts a mean per channel, no pass over the data is needed
    in two cases, and the statistics of `imagenet` are returned: `source` is
    ILSVRC-2012, or the preprocessing contains all statistics that it uses and ignores
    the returned ones.

    Args:
        source: a `Source`, the training split.
        preprocessing: a `presets.Preprocessing`.
        fallback_folder: the folder to store the file in if the data's folder is
            read-only.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if the stored file is damaged, as in `read`, or the statistics
            can't be computed, as in `compute`.
        OSError: if the stored file or files of the data set can't be read.
    """
    if preprocessing.mean == "channel" and (
        source.is_imagenet or _contains_all_statistics(preprocessing)
    ):
        return imagenet(preprocessing)
    name = _file_name(source, preprocessing)
    folders = (source.folder, fallback_folder)
    paths = [os.path.join(folder, name) for folder in folders]
    for path in paths:
        if os.path.exists(path):
            return read(path)
    _log.info("Computing the mean image and the covariance of %s.", source)
    statistics = compute(source, preprocessing, verbose)
    _write_to_first_writable(statistics, paths)
    return statistics


def read(path):
    """Reads `Statistics` from a file written by `write`.

    Raises:
        FileNotFoundError: if the file does not exist.
        OSError: if the file can't be read.
        ValueError: if the file is damaged.
    """
    try:
        # `np.load` would also accept a single array, an .npy file.
        with np.lib.npyio.NpzFile(path) as arrays:
            statistics = Statistics(
                np.asarray(arrays["mean_image"]), np.asarray(arrays["covariance"])
            )
        if not _is_valid(statistics):
            raise ValueError("the arrays have wrong shapes, dtypes or values")
    except (ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        # A file of `load_or_compute` may be removed, because it is computed again. The
        # statistics.npz of a run may not: without it the run can be neither resumed
        # nor used.
        raise ValueError(
            "Cannot read a mean image and the covariance of the colors from "
            f"{path}, which is damaged ({error}). Restore the file from a copy. If its "
            f"name begins with {_FILE_PREFIX}, it can be removed instead, and is "
            "computed again."
        ) from error
    return statistics


def write(statistics, path):
    """Writes `Statistics` to an .npz file, and replaces an existing file atomically.

    Raises:
        OSError: if the file can't be written.
    """
    with atomic_write(path) as temporary:
        np.savez(
            temporary,
            mean_image=statistics.mean_image,
            covariance=statistics.covariance,
        )


def _is_valid(statistics):
    """Returns whether both arrays have the right shape and finite real values."""
    mean_image, covariance = statistics.mean_image, statistics.covariance
    return (
        mean_image.shape == 2 * mean_image.shape[:1] + (3,)
        and covariance.shape == (3, 3)
        and all(
            array.dtype.kind in "fiu" and np.isfinite(array).all()
            for array in (mean_image, covariance)
        )
    )


def _contains_all_statistics(preprocessing):
    """Returns whether `preprocessing` contains all statistics that it uses.

    Only valid if `preprocessing.mean` is "channel".
    """
    values = [preprocessing.channel_mean]
    if preprocessing.divide_by_std:
        values.append(preprocessing.channel_std)
    return None not in values and not preprocessing.pca_color_std


def _batch_sums(source, preprocessing):
    """Returns a `tf.data.Dataset` of sums over batches of center squares.

    Each element is a tuple: the sum of the images, float64 [image_size, image_size, 3];
    the sum of the outer products of all RGB values, float64 [3, 3]; and the number of
    images, int32 [].
    """

    @tf.autograph.experimental.do_not_convert
    def sums(images):  # [b, image_size, image_size, 3]
        images = tf.cast(images, tf.float64)
        pixels = tf.reshape(images, [-1, 3])
        outer_products = tf.matmul(pixels, pixels, transpose_a=True)
        return tf.reduce_sum(images, axis=0), outer_products, tf.shape(images)[0]

    @tf.autograph.experimental.do_not_convert
    def square(example):
        return preprocess.center_square(example["image"], preprocessing)

    examples = source.examples()
    if source.allows_bad_images:
        examples = examples.filter(
            lambda example: example["label"] != PADDING_LABEL
        )
    squares = examples.map(square, num_parallel_calls=tf.data.AUTOTUNE)
    return squares.batch(_BATCH_SIZE).map(sums).prefetch(2)


def _file_name(source, preprocessing):
    """Returns a file name that depends on all that determines the statistics.

    These are the images, their size, the method of resizing, and whether images are
    turned upright. The name also depends on the labels of a list, which are a part of
    the fingerprint.
    """
    key = f"{source.fingerprint} {preprocessing.image_size} {preprocessing.resize}"
    if preprocessing.exif_orientation:
        key += " exif_orientation"
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"{_FILE_PREFIX}{digest}.npz"


def _write_to_first_writable(statistics, paths):
    """Writes `Statistics` to the first of some paths that can be written to."""
    for path in paths:
        try:
            write(statistics, path)
        except OSError as error:
            _log.info("Cannot write %s: %s.", path, error.strerror)
        else:
            _log.info("Wrote the mean image and the covariance to %s.", path)
            return
