"""A trained network with everything that is needed to classify images."""

import dataclasses
import functools
import glob
import hashlib
import os

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.models import alexnet
from alexnet_tf.models.labels import decode_predictions
from alexnet_tf.models.labels import imagenet_classes
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import read_shapes
from alexnet_tf import presets
from alexnet_tf.workdir import preset_of_weights
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_network
from alexnet_tf.workdir import STATISTICS_FILE

_MAX_CLASSES = 100_000

# Indices of version 0.1 contain fingerprints that were computed with these names.
_NAMES_IN_FINGERPRINTS = {
    "pca_color_": "colour_noise_",  # word: kept
    "colour_noise_std": "colour_noise",  # word: kept
    "mean_position='center'": "mean_position='centre'",  # word: kept
}


def preprocess_input(images, preset):
    """Returns the input of a network with published weights, made from pixels.

    The result is float32 [..., S, S, 3]: resized, cropped, with channels in the order
    of the preset and the mean of ImageNet subtracted, as a model from
    `AlexNet(preset, weights=...)` expects it.

    Args:
        images: [..., H, W, 3], RGB in [0, 255] of any dtype; all images of a batch
            have one size.
        preset: a name in `presets.PRESETS`, or a `presets.Preset`.

    Raises:
        ValueError: if there is no such preset, or the images are not RGB.
    """
    if not isinstance(preset, presets.Preset):
        preset = presets.get(preset)
    images = tf.convert_to_tensor(images)
    rank = images.shape.rank
    if rank is None or rank < 3 or images.shape[-1] != 3:
        raise ValueError(
            f"Expected RGB images [..., H, W, 3]. Received: shape {images.shape}."
        )
    preprocessing = preset.preprocessing
    batch_shape = tf.concat([[-1], tf.shape(images)[-3:]], axis=0)
    crops = preprocess.center_crop(
        tf.reshape(images, batch_shape),
        preprocessing,
        pixel_statistics.imagenet(preprocessing),
    )
    size = preprocessing.crop_size
    shape = [*images.shape[:-3], size, size, 3]
    return tf.reshape(crops, [-1 if side is None else side for side in shape])


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model with its preprocessing and its classes.

    Attributes:
        model: a `keras.Model` that outputs probabilities.
        preset: the `presets.Preset` that it was built from.
        classes: the names of its classes, see `labels.decode_predictions`.
        statistics: the `pixel_statistics.Statistics` of its preprocessing.
    """

    model: keras.Model
    preset: presets.Preset
    classes: tuple[str, ...]
    statistics: pixel_statistics.Statistics

    @functools.cached_property
    def fingerprint(self):
        """Text that changes when the outputs for an image may change."""
        spec = repr((self.preset.layers, self.preset.preprocessing))
        for name, name_in_fingerprints in _NAMES_IN_FINGERPRINTS.items():
            spec = spec.replace(name, name_in_fingerprints)
        digest = hashlib.sha256(spec.encode())
        digest.update(np.ascontiguousarray(self.statistics.mean_image))
        # `divide_by_std` uses the covariance.
        digest.update(np.ascontiguousarray(self.statistics.covariance))
        for variable in self.model.weights:
            digest.update(np.ascontiguousarray(variable))
        return digest.hexdigest()[:16]

    def probabilities(self, encoded, ten_crop=False):
        """Returns float32 [classes], the probabilities of the classes of one image.

        Args:
            encoded: the bytes of a JPEG, PNG, BMP or GIF file.
            ten_crop: whether to average over the paper's ten crops (section 4.1)
                instead of using the center crop.

        Raises:
            ValueError: if the bytes are not an image.
        """
        make_input = preprocess.ten_crop if ten_crop else preprocess.evaluation_image
        try:
            crops = make_input(encoded, self.preset.preprocessing, self.statistics)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(
                f"Expected a JPEG, PNG, BMP or GIF image. Received: {len(encoded)} "
                "bytes of another kind, or a damaged image."
            ) from error
        if not ten_crop:
            crops = crops[tf.newaxis]
        return np.mean(self.model(crops, training=False), axis=0)

    def predict(self, encoded, top=5, ten_crop=False):
        """Returns [(id, name, probability), ...] of the most probable classes.

        Args:
            encoded, ten_crop: see `probabilities`, errors too.
            top: the number of classes.
        """
        probabilities = self.probabilities(encoded, ten_crop)[np.newaxis]
        return decode_predictions(probabilities, top, self.classes)[0]

    def center_crop(self, encoded):
        """Returns float32 [crop, crop, 3], the network's input for one image."""
        return preprocess.evaluation_image(
            encoded, self.preset.preprocessing, self.statistics
        )

    def center_square(self, encoded):
        """Returns uint8 RGB [S, S, 3], the part of an image that crops come from."""
        return preprocess.center_square(encoded, self.preset.preprocessing).numpy()


def load_classifier(weights, preset=None, layout=None):
    """Loads the `Classifier` of a run or of a file of weights.

    The work directory of a run contains the preset, the classes and the pixel
    statistics. A file contains only weights: `preset` names the network, the published
    means of ImageNet are used, and 1000 classes are taken to be those of ImageNet.

    Args:
        weights: the work directory of a run, or a file for `weights.load_weights`.
        preset: a name in `presets.PRESETS`; None for that of the run.
        layout: the axis order of a file, see `weights.load_weights`.

    Raises:
        FileNotFoundError: if there is no such file or run.
        ValueError: if the preset is missing for a file or is not that of the run, or
            the file belongs to another network.
    """
    spec = preset_of_weights(weights, preset)
    if os.path.isdir(weights):
        _, classes = read_network(weights)
        statistics = pixel_statistics.read(os.path.join(weights, STATISTICS_FILE))
    else:
        classes = _class_names(weights, spec)
        statistics = pixel_statistics.imagenet(spec.preprocessing)
    model = alexnet.AlexNet(spec, len(classes))
    load_weights(model, weights, layout=layout)
    return Classifier(model, spec, tuple(classes), statistics)


def predict_files(
    weights,
    patterns,
    *,
    preset=None,
    layout=None,
    top=5,
    ten_crop=False,
    with_images=False,
):
    """Classifies image files, and yields one `Prediction` after the other.

    Args:
        weights, preset, layout: see `load_classifier`, errors too.
        patterns: paths and glob patterns of image files.
        top: the number of classes to name.
        ten_crop: see `Classifier.probabilities`.
        with_images: whether predictions contain the images, 196 KB each at 256 pixels.
    """
    classifier = load_classifier(weights, preset, layout)
    for path in _expand(patterns):
        try:
            with open(path, "rb") as file:
                encoded = file.read()
            classes = classifier.predict(encoded, top, ten_crop)
            image = classifier.center_square(encoded) if with_images else None
            yield Prediction(path, classes, image)
        except OSError as error:
            yield Prediction(path, error=error.strerror)
        except ValueError as error:
            yield Prediction(path, error=str(error))


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The result for one image file.

    Attributes:
        path: the path of the file.
        classes: [(id, name, probability), ...], see `labels.decode_predictions`.
        image: uint8 RGB [S, S, 3], see `Classifier.center_square`; None if it was not
            asked for.
        error: why the file could not be read, None if it could.
    """

    path: str
    classes: list[tuple] = dataclasses.field(default_factory=list)
    image: np.ndarray | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data set of a run, as recorded in its flags.txt.

    Attributes:
        dataset: its name; None if the run does not record it.
        train_split: the split that the run was trained on.
        split: the split to measure and show; None for validation or else test.
        data_dir: the directory of TFDS's data sets.
        skips: whether the run skipped unreadable images, which are then skipped here
            too.
    """

    dataset: str | None
    train_split: str
    split: str | None
    data_dir: str | None
    skips: bool = False

    def source(self):
        """Loads the `Source` to measure and show; errors as `datasets.load`."""
        return self._load(self.split)

    def train_source(self):
        """Loads the `Source` of the training split; errors as `datasets.load`."""
        return self._load(self.train_split)

    def _load(self, split):
        source = datasets.load(self.dataset, split, self.data_dir)
        return source.without_bad_images() if self.skips else source


def find_run_data(weights, dataset=None, split=None, data_dir=None, otherwise=None):
    """Returns the `RunData` of a run, with the given values in place of its own.

    The splits of a run belong to its data set: for another data set they are ignored.

    Args:
        weights: the work directory of a run, or a file of weights, which records no
            data set.
        dataset, split, data_dir: values of `RunData` that replace the run's, or None.
        otherwise: the data set if neither the run nor `dataset` names one.
    """
    run = read_flags(weights) if os.path.isdir(weights) else {}
    if dataset not in (None, run.get("dataset")):
        run = {}
    return RunData(
        dataset or run.get("dataset", otherwise),
        run.get("train_split", "train"),
        split or run.get("eval_split"),
        data_dir or run.get("data_dir"),
        run.get("on_bad_image") == "skip",
    )


def _expand(patterns):
    """Returns files in order; a pattern that matches none stays, to be reported."""
    paths = []
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        matches = [] if os.path.exists(pattern) else sorted(glob.glob(pattern))
        paths += matches or [pattern]
    return paths


def _class_names(weights, preset):
    """Returns the names of ImageNet's classes, or numbers if there are not 1000."""
    last = preset.layers[-1].name
    shapes = read_shapes(weights).get(last, {})
    kernel, bias = shapes.get("kernel", ()), shapes.get("bias", ())
    count = bias[0] if len(bias) == 1 else 0
    # A file can claim any number, and the model would be built with it.
    if len(kernel) != 2 or count not in kernel or not 0 < count <= _MAX_CLASSES:
        raise ValueError(
            f"Expected {last} of 1 to {_MAX_CLASSES:,} classes in {weights}. "
            f"Received: kernel {list(kernel)}, bias {list(bias)}."
        )
    if count == len(imagenet_classes()):
        return tuple(imagenet_classes())
    return tuple(str(number) for number in range(count))
