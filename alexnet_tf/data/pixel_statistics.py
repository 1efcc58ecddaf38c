"""Mean image and RGB principal components of a training split.

One streaming pass computes them; the result is kept beside the data.
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

_log = logging.getLogger(__name__)
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of the pixels of all central squares of a training split.

    Attributes:
        mean_image: float32 RGB [S, S, 3] on the 0-255 scale.
        covariance: float64 [3, 3], of R, G and B over all pixels.
    """

    mean_image: np.ndarray
    covariance: np.ndarray

    @property
    def channel_mean(self):
        """float32 [3], RGB on the 0-255 scale."""
        return self.mean_image.mean(axis=(0, 1), dtype=np.float64).astype(
            np.float32
        )

    @property
    def channel_std(self):
        """float32 [3], RGB on the 0-255 scale."""
        variances = np.maximum(np.diag(self.covariance), 0)
        return np.sqrt(variances).astype(np.float32)

    @property
    def component_stds(self):
        """float64 [3], along the principal components, ascending."""
        # Rounding can leave a variance of nothing just below zero.
        return np.sqrt(np.maximum(np.linalg.eigh(self.covariance)[0], 0))

    @property
    def components(self):
        """float64 [3, 3], the principal components as columns."""
        return np.linalg.eigh(self.covariance)[1]


def imagenet(preprocessing):
    """The published figures of ILSVRC-2012, one mean per channel.

    Means: `presets.Preprocessing.imagenet_mean`. Standard deviations along the
    principal components and their directions (columns): as the authors' code
    ships them, RGB on the 0-255 scale (cuda-convnet2 at 3238bf0,
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
    side = preprocessing.image_size
    mean = np.array(preprocessing.imagenet_mean, np.float32)
    return Statistics(
        np.broadcast_to(mean, (side, side, 3)),
        components * stds**2 @ components.T,
    )


def compute(source, preprocessing, verbose=1):
    """The `Statistics` of all pictures of `source`, in one pass.

    Args:
        source: a `Source`, the training split.
        preprocessing: a `presets.Preprocessing`.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if a picture can't be read, or the source does not hold as
            many as it says.
    """
    total = np.zeros((preprocessing.image_size,) * 2 + (3,))
    products = np.zeros((3, 3))
    seen = 0
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)
    with bad_images.diagnosing(source, lambda: (seen, _BATCH)):
        for sums, outer, count in _sums(source, preprocessing):
            total += sums.numpy()
            products += outer.numpy()
            seen += int(count)
            bar.update(seen)
    if not seen:
        raise ValueError(f"Expected a good picture in {source}. Received: none.")
    mean_image = total / seen
    pixels = seen * preprocessing.image_size**2
    mean = mean_image.mean(axis=(0, 1))
    covariance = products / pixels - np.outer(mean, mean)
    return Statistics(mean_image.astype(np.float32), covariance)


def load_or_compute(source, preprocessing, fallback_folder, verbose=1):
    """The `Statistics` of `source`, from a file beside the data if it is there.

    ILSVRC-2012 needs no pass where only means per channel are wanted: its
    published figures serve. They also stand in where no figure is of use.

    Args:
        source: a `Source`, the training split.
        preprocessing: a `presets.Preprocessing`.
        fallback_folder: where the file goes if the data's is read-only.
        verbose: 1 for a progress bar, 0 for none.
    """
    if preprocessing.mean == "channel" and (
        source.is_imagenet or _is_published(preprocessing)
    ):
        return imagenet(preprocessing)
    name = _file_name(source, preprocessing)
    paths = [os.path.join(f, name) for f in (source.folder, fallback_folder)]
    for path in paths:
        if os.path.exists(path):
            return read(path)
    _log.info("Computing the mean image of %s, once.", source)
    statistics = compute(source, preprocessing, verbose)
    _save(statistics, paths)
    return statistics


def read(path):
    """The `Statistics` that `write` has written.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = Statistics(arrays["mean_image"], arrays["covariance"])
        side = len(found.mean_image)
        whole = found.mean_image.shape == (side, side, 3) and (
            found.covariance.shape == (3, 3)
        )
        if not whole or not np.isfinite(found.mean_image).all() or not (
            np.isfinite(found.covariance).all()
        ):
            raise ValueError("no mean image and covariance")
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            "Expected a mean image and the colours' covariance. Received: "
            f"{path}, which is damaged ({error}). Remove it."
        ) from error
    return found


def write(statistics, path):
    """Writes `Statistics` as .npz; a file of that name is replaced whole."""
    temporary = f"{path}.{os.getpid()}.tmp.npz"
    try:
        np.savez(
            temporary,
            mean_image=statistics.mean_image,
            covariance=statistics.covariance,
        )
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _is_published(preprocessing):
    """Whether a preset with a mean per channel brings all that it needs."""
    needs = [preprocessing.channel_mean]
    if preprocessing.divide_by_std:
        needs.append(preprocessing.channel_std)
    return None not in needs and not preprocessing.pca_color_std


def _sums(source, preprocessing):
    """Batches of (sum of images, sum of RGB outer products, count)."""
    def sums(images):  # [b, S, S, 3]
        images = tf.cast(images, tf.float64)
        pixels = tf.reshape(images, [-1, 3])
        products = tf.matmul(pixels, pixels, transpose_a=True)
        return tf.reduce_sum(images, axis=0), products, tf.shape(images)[0]

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
            _log.info("Not kept in %s: %s", path, error.strerror)
        else:
            _log.info("Mean image and covariance kept in %s.", path)
            return
