"""A trained network with all that it takes to name pictures."""

import dataclasses
import functools
import hashlib
import os

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.models import alexnet
from alexnet_tf.models.labels import imagenet_classes
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import read_shapes
from alexnet_tf import presets
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_network
from alexnet_tf.workdir import STATISTICS_FILE

_MOST_CLASSES = 100_000


def preprocess_input(images, preset):
    """The input of a network with published weights, from pixels.

    float32 [..., S, S, 3], resized, cut, its channels in order and the mean of
    ImageNet subtracted as `preset` has it: what a network from `AlexNet(preset,
    weights=...)` wants.

    Args:
        images: [..., H, W, 3], RGB in [0, 255] of any type; a batch holds
            pictures of one size.
        preset: a name in `presets.PRESETS`, or a `presets.Preset`.

    Raises:
        ValueError: if there is no such preset or these are no RGB pictures.
    """
    if not isinstance(preset, presets.Preset):
        preset = presets.get(preset)
    images = tf.convert_to_tensor(images)
    if images.shape.rank is None or images.shape.rank < 3 or (
        images.shape[-1] != 3
    ):
        raise ValueError(
            "Expected RGB pictures [..., H, W, 3]. Received: shape "
            f"{images.shape}."
        )
    pixels = preset.preprocessing
    views = preprocess.center_crop(
        tf.reshape(images, tf.concat([[-1], tf.shape(images)[-3:]], axis=0)),
        pixels,
        pixel_statistics.imagenet(pixels),
    )
    shape = [*images.shape[:-3], pixels.crop_size, pixels.crop_size, 3]
    return tf.reshape(views, [-1 if side is None else side for side in shape])


@dataclasses.dataclass(frozen=True)
class Classifier:
    """From encoded pictures to probabilities.

    Attributes:
        model: a `keras.Model` that gives probabilities.
        preset: the `presets.Preset` that it was built from.
        classes: their names in order, see `decode_predictions`.
        statistics: the `pixel_statistics.Statistics` that it is fed with.
    """

    model: keras.Model
    preset: presets.Preset
    classes: tuple[str, ...]
    statistics: pixel_statistics.Statistics

    @functools.cached_property
    def fingerprint(self):
        """Text that changes when what it makes of a picture does."""
        digest = hashlib.sha256()
        spec = self.preset.layers, self.preset.preprocessing
        digest.update(repr(spec).encode())
        digest.update(np.ascontiguousarray(self.statistics.mean_image))
        # Of `divide_by_std`.
        digest.update(np.ascontiguousarray(self.statistics.covariance))
        for variable in self.model.weights:
            digest.update(np.ascontiguousarray(variable))
        return digest.hexdigest()[:16]

    def probabilities(self, encoded, ten_crop=False):
        """float32 [classes] for one picture.

        Args:
            encoded: bytes of a JPEG, PNG, BMP or GIF.
            ten_crop: whether to average over the paper's ten views (section
                4.1), in place of the central one.

        Raises:
            ValueError: if the bytes are no picture.
        """
        view = preprocess.ten_crop if ten_crop else preprocess.evaluation_image
        try:
            views = view(encoded, self.preset.preprocessing, self.statistics)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(
                "Expected a JPEG, PNG, BMP or GIF picture. Received: "
                f"{len(encoded)} bytes that are none, or damaged."
            ) from error
        if not ten_crop:
            views = views[tf.newaxis]
        return np.mean(self.model(views, training=False), axis=0)

    def view(self, encoded):
        """float32 [crop, crop, 3]: the central view, as the network wants it."""
        return preprocess.evaluation_image(
            encoded, self.preset.preprocessing, self.statistics
        )

    def square(self, encoded):
        """uint8 RGB [S, S, 3]: the part of a picture that views are cut from."""
        return preprocess.center_square(
            encoded, self.preset.preprocessing
        ).numpy()


def load_classifier(weights, preset=None, layout=None):
    """The `Classifier` of a run or of a file of weights.

    A run brings its preset, its classes and its statistics along. A file holds
    numbers alone: `preset` says what network they are of, ImageNet's
    published means serve, and 1000 classes are taken for ImageNet's.

    Args:
        weights: the directory of a run, or a file for `load_weights`.
        preset: a name in `presets.PRESETS`; None for the run's own.
        layout: for `load_weights`.

    Raises:
        FileNotFoundError: if there is no such file or run.
        ValueError: if the preset is not given for a file, or is not the run's,
            or the file is not of that network.
    """
    if os.path.isdir(weights):
        spec, classes = read_network(weights)
        if preset not in (None, spec.name):
            raise ValueError(
                f"Expected the preset of the run {weights}, {spec.name}. "
                f"Received: {preset=}."
            )
        statistics = pixel_statistics.read(
            os.path.join(weights, STATISTICS_FILE)
        )
    else:
        if preset is None:
            raise ValueError(
                "Expected a preset, which a file of weights does not say. "
                f"Received: weights={weights} alone."
            )
        spec = presets.get(preset)
        classes = _class_names(weights, spec)
        statistics = pixel_statistics.imagenet(spec.preprocessing)
    model = alexnet.AlexNet(spec, len(classes))
    load_weights(model, weights, layout=layout)
    return Classifier(model, spec, tuple(classes), statistics)


def _class_names(weights, preset):
    """ImageNet's, or numbers where a file of weights has not 1000 classes."""
    last = preset.layers[-1].name
    shapes = read_shapes(weights).get(last, {})
    kernel, bias = shapes.get("kernel", ()), shapes.get("bias", ())
    count = bias[0] if len(bias) == 1 else 0
    # A header can claim any number, and the network would be made to fit it.
    if len(kernel) != 2 or count not in kernel or not 0 < count <= _MOST_CLASSES:
        raise ValueError(
            f"Expected {last} of 1 to {_MOST_CLASSES:,} classes in {weights}. "
            f"Received: kernel {list(kernel)}, bias {list(bias)}."
        )
    if count == len(imagenet_classes()):
        return tuple(imagenet_classes())
    return tuple(str(number) for number in range(count))


@dataclasses.dataclass(frozen=True)
class RunData:
    """Where pictures come from; see the flags of `alexnet_tf.train`.

    Attributes:
        dataset: None if the run does not say.
        train_split: that the run was trained on.
        split: to measure and show; None for validation, else test.
        data_dir: of TFDS.
        skips: whether the run went on without the bad pictures, which are then
            left out here too.
    """

    dataset: str | None
    train_split: str
    split: str | None
    data_dir: str | None
    skips: bool = False

    def source(self):
        """The `Source` to measure and show; errors of `load`."""
        return self._load(self.split)

    def train_source(self):
        """The `Source` of the training split."""
        return self._load(self.train_split)

    def _load(self, split):
        source = datasets.load(self.dataset, split, self.data_dir)
        return source.without_bad() if self.skips else source


def find_run_data(weights, dataset=None, split=None, data_dir=None, otherwise=None):
    """The `RunData` asked for; what is not given is the run's.

    Of another data set than the run's, only what is given counts.

    Args:
        weights: the directory of a run, or a file of weights, which says
            nothing of its data.
        dataset, split, data_dir: of `RunData`, or None.
        otherwise: the data set where neither says one.
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
