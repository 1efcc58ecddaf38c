"""A trained network with everything that is needed to classify images."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
import warnings

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import datasets
from alexnet_tf.data import image_files
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.inference.image_arguments import encoded_bytes
from alexnet_tf.inference.input_layer import PreprocessInput
from alexnet_tf.models import alexnet
from alexnet_tf.models.labels import decode_predictions
from alexnet_tf.models.labels import imagenet_classes
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.models.readers.stored import printable_list
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import read_shapes
from alexnet_tf.network_json import find_run
from alexnet_tf.network_json import preset_of_weights
from alexnet_tf.network_json import read_network
from alexnet_tf import presets
from alexnet_tf import published
from alexnet_tf.training.fine_tuning import check_no_mean
from alexnet_tf.workdir import BEST_WEIGHTS_FILE
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import STATISTICS_FILE

_MAX_CLASSES = 100_000
_MAX_CROPS = 32  # The largest number of crops in a batch.

# Retrieval indexes written by version 0.1 contain fingerprints that were computed with
# these names.
_LEGACY_NAMES = {
    "pca_color_": "colour_noise_",  # word: kept
    "colour_noise_std": "colour_noise",  # word: kept
    "mean_position='center'": "mean_position='centre'",  # word: kept
    ", exif_orientation=False": "",
}


def preprocess_input(images, preset):
    """Preprocesses images for a network with published weights of ImageNet.

    Returns float32 [..., crop, crop, 3], inputs of a model from
    `AlexNet(preset, weights=...)`. Images are resized and cropped, channels are put in
    the order of the preset, and the mean of ImageNet is subtracted. If the preset has
    `divide_by_std`, the result is divided by the standard deviation. The weights of a
    run, and tiny_textures and cifar10_full, have a mean of their own:
    `Classifier.center_crop` subtracts it.

    Resized pixels are rounded to whole gray levels, as in training. The gradient with
    respect to images of a floating dtype ignores this rounding.

    Outside of a `tf.function`, the values are checked too. If all are between 0 and 1,
    as in the convention of torchvision, there is a warning.

    Args:
        images: [..., H, W, 3], RGB in [0, 255] of any dtype; all images have the same
            size. For a Keras tensor, such as `keras.Input((None, None, 3))`, the result
            is one too.
        preset: a preset for `presets.get`, such as a name in `presets.PRESETS`.

    Raises:
        ValueError: if there is no such preset, the images are not RGB, or integers are
            not in [0, 255].
    """
    preset = presets.get(preset)
    if keras.utils.is_keras_tensor(images):
        return PreprocessInput(preset)(images)
    images = tf.convert_to_tensor(images)
    rank = images.shape.rank
    if rank is None or rank < 3 or images.shape[-1] != 3:
        raise ValueError(
            f"Expected RGB images [..., H, W, 3]. Received: shape {images.shape}."
        )
    _check_range(images)
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


def _check_range(images):
    """Warns of images in [0, 1], and rejects integers that are no pixels.

    The values are not known while a function is traced, and are not checked then.

    Args:
        images: a tensor.
    """
    dtype = images.dtype
    has_other_values = dtype.is_floating or dtype.is_integer and dtype != tf.uint8
    if not has_other_values or not tf.executing_eagerly() or 0 in images.shape:
        return
    least, largest = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    if dtype.is_integer and not 0 <= least <= largest <= 255:
        raise ValueError(
            "Expected pixels in [0, 255]. Received: integers from "
            f"{least:.0f} to {largest:.0f}. Convert images of 16 bits by dividing them "
            "by 257."
        )
    # The images may be black, and then the largest value is 0.
    if dtype.is_floating and 0 <= least and 0 < largest <= 1:
        warnings.warn(
            "The images have values from 0 to 1, which are rounded to 0 and 1. "
            "preprocess_input expects pixels from 0 to 255: multiply the images by "
            "255.",
            stacklevel=3,
        )


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model with its preprocessing and its classes.

    Attributes:
        model: a `keras.Model` that outputs probabilities.
        preset: the `presets.Preset` that the model was built from.
        classes: the names of the classes, see `labels.decode_predictions`.
        statistics: the `pixel_statistics.Statistics` of the preprocessing.
        has_class_names: False if `classes` are the numbers of the outputs, because
            the names are not known.
    """

    model: keras.Model
    preset: presets.Preset
    classes: tuple[str, ...]
    statistics: pixel_statistics.Statistics
    has_class_names: bool = True

    @functools.cached_property
    def fingerprint(self):
        """Hex digest of layers, preprocessing, statistics and weights, 16 characters.

        The digest is computed once: do not change the weights afterwards.
        """
        spec = repr((self.preset.layers, self.preset.preprocessing))
        for name, legacy_name in _LEGACY_NAMES.items():
            spec = spec.replace(name, legacy_name)
        digest = hashlib.sha256(spec.encode())
        digest.update(np.ascontiguousarray(self.statistics.mean_image))
        # The standard deviations of `divide_by_std` come from the covariance.
        digest.update(np.ascontiguousarray(self.statistics.covariance))
        for variable in self.model.weights:
            digest.update(np.ascontiguousarray(variable))
        return digest.hexdigest()[:16]

    def probabilities(self, encoded, ten_crop=False):
        """Returns float32 [classes], the probabilities of the classes of one image.

        For a list of N images the result is float32 [N, classes]. They are computed in
        batches, which takes less time than one by one.

        Args:
            encoded: the path of a JPEG, PNG, BMP, GIF or WebP file; its bytes; an image
                of Pillow; or pixels as a uint8 array or tensor, RGB [H, W, 3], RGB and
                an alpha channel, which is ignored, [H, W, 4], or gray [H, W] or
                [H, W, 1]. A list or tuple of these for several images.
            ten_crop: whether to average over the paper's ten crops (section 4.1)
                instead of using the center crop.

        Raises:
            ValueError: if `encoded` is not an image.
            OSError: if the file cannot be read.
        """
        if not isinstance(encoded, list | tuple):
            return self._run(self._crops(encoded, ten_crop)[tf.newaxis])[0]
        batches = _split(encoded, ten_crop)
        outputs = [np.zeros([0, len(self.classes)], np.float32)]
        for batch in batches:
            crops = tf.stack([self._crops(image, ten_crop) for image in batch])
            outputs.append(self._run(crops, len(batches[0])))
        return np.concatenate(outputs)

    def predict(self, encoded, top=5, ten_crop=False):
        """Returns [(id, name, probability), ...] of the most probable classes.

        For a list of images the result is a list of such lists.

        Args:
            encoded, ten_crop: see `probabilities`.
            top: the number of classes.

        Raises:
            ValueError: if `encoded` is not an image, or `top` is less than 1.
            OSError: if the file cannot be read.
        """
        probabilities = self.probabilities(encoded, ten_crop)
        if isinstance(encoded, list | tuple):
            return decode_predictions(probabilities, top, self.classes)
        return decode_predictions(probabilities[np.newaxis], top, self.classes)[0]

    def _crops(self, encoded, ten_crop):
        """Returns the crops of an image, float32 [1 or 10, crop, crop, 3]."""
        if not ten_crop:
            return self.center_crop(encoded)[tf.newaxis]
        encoded = encoded_bytes(encoded)
        with _decoding(encoded):
            return preprocess.ten_crop(
                encoded, self.preset.preprocessing, self.statistics
            )

    def _run(self, crops, batch_size=1):
        """Returns the mean probabilities over crops, float32 [images, classes].

        Args:
            crops: float32 [images, crops, H, W, 3].
            batch_size: a number of images, to which `crops` is filled up: functions of
                the network are compiled for each new number, which takes a second.
        """
        num_images, num_crops = crops.shape[:2]
        padding = np.zeros([5, 2], int)
        padding[0, 1] = max(0, batch_size - num_images)
        flat = tf.reshape(tf.pad(crops, padding), [-1, *crops.shape[2:]])
        with compiled_normalization():
            outputs = tf.cast(self.model(flat, training=False), tf.float32).numpy()
        outputs = outputs.reshape(-1, num_crops, outputs.shape[-1])[:num_images]
        return outputs.mean(axis=1)

    def center_crop(self, encoded):
        """Returns the center crop of an image, float32 [crop, crop, 3].

        The crop is an input of the model: the mean is subtracted.

        Args:
            encoded: one image, see `probabilities`.

        Raises:
            ValueError: if `encoded` is not an image.
            OSError: if the file cannot be read.
        """
        encoded = encoded_bytes(encoded)
        with _decoding(encoded):
            return preprocess.evaluation_image(
                encoded, self.preset.preprocessing, self.statistics
            )

    def center_square(self, encoded):
        """Returns the resized center square, from which crops are taken.

        The result is uint8 RGB [image_size, image_size, 3].

        Args:
            encoded: one image, see `probabilities`.

        Raises:
            ValueError: if `encoded` is not an image.
            OSError: if the file cannot be read.
        """
        encoded = encoded_bytes(encoded)
        with _decoding(encoded):
            square = preprocess.center_square(encoded, self.preset.preprocessing)
        return square.numpy()


def load_classifier(weights, preset=None, layout=None, mean=None, checkpoint="last"):
    """Loads the `Classifier` of published weights, a run, or a weights file.

    The work directory of a run contains the preset, the classes and the pixel
    statistics, also for its best.safetensors. Any other file contains only weights:
    `preset` names the network, the published means of ImageNet are used, and 1000
    classes are taken to be those of ImageNet.

        alexnet_tf.inference.load_classifier("torchvision").predict("cat.jpg")

    The classifier ignores the EXIF orientation of images, unless the network was
    trained on images that were turned upright; `for_image_files` returns one that turns
    image files, as the commands do.

    Args:
        weights: a name in `published.WEIGHTS`, "imagenet" for the published weights of
            `preset`, the work directory of a run, or a weights file for
            `weights.load_weights`.
        preset: a preset for `presets.get`, such as a name in `presets.PRESETS`; None
            for that of the weights.
        layout: the axis order of the file, see `weights.load_weights`.
        mean: the path of a mean image to subtract in place of ImageNet's mean per
            channel, see `mean_file`. Only for weights without a mean of their own.
        checkpoint: "last" for the newest checkpoint of a run, "best" for the weights
            with the lowest validation error, which only runs with `keep_best` have.

    Raises:
        FileNotFoundError: if there is no such file, run or checkpoint.
        OSError: if published weights cannot be downloaded.
        ValueError: if the preset is missing for a file or is not that of the weights,
            the weights are those of a different network, the mean does not fit, or
            "best" is asked of weights that are not a run.
    """
    spec = preset_of_weights(weights, preset)
    path = published.locate(weights, preset)
    weights_path = _checkpoint_path(path, checkpoint)
    run = find_run(path)
    if run is not None:
        check_no_mean(mean, weights)
        _, classes = read_network(run)
        has_class_names = True
        statistics = pixel_statistics.read(os.path.join(run, STATISTICS_FILE))
    else:
        classes, has_class_names = _class_names(path, spec)
        statistics = pixel_statistics.published(spec.preprocessing, mean)
    model = alexnet.AlexNet(spec, len(classes))
    load_weights(
        model,
        weights_path,
        layout=layout,
        channel_order=spec.preprocessing.channel_order,
    )
    return Classifier(model, spec, classes, statistics, has_class_names)


def predict_files(
    weights,
    patterns,
    *,
    preset=None,
    layout=None,
    mean=None,
    checkpoint="last",
    top=5,
    ten_crop=False,
    with_images=False,
    exif_orientation=None,
):
    """Classifies image files.

    Raises the errors of `load_classifier` and `image_files.find`, and a ValueError if
    `top` is less than 1.

    Args:
        weights, preset, layout, mean, checkpoint: see `load_classifier`.
        patterns: paths, glob patterns, folders and lists of image files, see
            `image_files.find`.
        top: the number of classes to name.
        ten_crop: see `Classifier.probabilities`.
        with_images: whether predictions contain the images, 196 KB each at 256 pixels.
        exif_orientation: see `for_image_files`.

    Returns:
        An iterator over one `Prediction` for each file, in order. A file that cannot be
        read has a `Prediction` with an error. Files are read and classified in batches.
    """
    if top < 1:
        raise ValueError(f"Expected top to be at least 1. Received: {top=}.")
    paths = [path for path, _ in image_files.find(patterns)]
    classifier = load_classifier(weights, preset, layout, mean, checkpoint)
    classifier = for_image_files(classifier, weights, exif_orientation)
    batches = _split(paths, ten_crop)
    return itertools.chain.from_iterable(
        _predict_batch(
            classifier, batch, len(batches[0]), top, ten_crop, with_images
        )
        for batch in batches
    )


def for_image_files(classifier, weights, exif_orientation=None):
    """Returns a `Classifier` for image files, which may have an EXIF orientation.

    Data sets of TFDS are used as they are stored, but image files often come from
    cameras and phones.

    Args:
        classifier: a `Classifier`.
        weights: the weights of the classifier, see `load_classifier`.
        exif_orientation: whether to turn images upright by the EXIF orientation of
            their JPEG files. Default: as in training for a run on image files; True for
            all other weights.
    """
    preset = classifier.preset
    if exif_orientation is None:
        dataset = find_run_data(weights).dataset
        is_from_files = dataset is not None and datasets.has_image_files(dataset)
        exif_orientation = not is_from_files or preset.preprocessing.exif_orientation
    preset = presets.override(preset, exif_orientation=exif_orientation)
    return dataclasses.replace(classifier, preset=preset)


def for_dataset(classifier, weights, dataset, exif_orientation=None):
    """Returns a `Classifier` for the images of a data set.

    For image files it is that of `for_image_files`, so that an image has the same
    probabilities in a data set as by itself. For a data set of TFDS it is `classifier`,
    unless `exif_orientation` is given.

    Args:
        classifier, weights, exif_orientation: see `for_image_files`.
        dataset: the name of the data set, see `datasets.load`.
    """
    if exif_orientation is None and not datasets.has_image_files(dataset):
        return classifier
    return for_image_files(classifier, weights, exif_orientation)


def _split(images, ten_crop):
    """Splits a list into batches of nearly equal size, none of which is too large."""
    max_size = _MAX_CROPS // 10 if ten_crop else _MAX_CROPS
    num_batches = -(-len(images) // max_size)
    size = -(-len(images) // max(num_batches, 1)) or 1
    return [images[start : start + size] for start in range(0, len(images), size)]


def _predict_batch(classifier, paths, batch_size, top, ten_crop, with_images):
    """Returns one `Prediction` for each path, see `predict_files`."""
    read = [_read_file(classifier, path, ten_crop, with_images) for path in paths]
    all_crops = [crops for _, crops in read if crops is not None]
    classes = iter(())
    if all_crops:
        probabilities = classifier._run(tf.stack(all_crops), batch_size)
        classes = iter(decode_predictions(probabilities, top, classifier.classes))
    return [
        prediction
        if crops is None
        else dataclasses.replace(prediction, classes=next(classes))
        for prediction, crops in read
    ]


def _read_file(classifier, path, ten_crop, with_images):
    """Returns a `Prediction` without classes, and the crops; None after an error."""
    try:
        with open(path, "rb") as file:
            encoded = file.read()
        crops = classifier._crops(encoded, ten_crop)
        image = classifier.center_square(encoded) if with_images else None
    except OSError as error:
        return Prediction(path, error=error.strerror), None
    except bad_images.UndecodableError as error:
        return Prediction(path, error=error.fault), None
    except ValueError as error:  # A path with a null character.
        return Prediction(path, error=str(error)), None
    return Prediction(path, image=image), crops


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The result for one image file.

    Attributes:
        path: the path of the file.
        classes: [(id, name, probability), ...] of the most probable classes, see
            `labels.decode_predictions`.
        image: see `Classifier.center_square`; None if it was not requested.
        error: why the file could not be read, None if it could.
    """

    path: str
    classes: list[tuple] = dataclasses.field(default_factory=list)
    image: np.ndarray | None = None
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data to evaluate a model on, from its run or from arguments.

    Attributes:
        dataset: the name of the data set; None if neither the run nor the caller names
            one.
        train_split: the split that the run was trained on.
        split: the split to evaluate and to show images of; None for validation, or test
            if there is no validation split.
        data_dir: the directory of TFDS's data sets.
        skip_bad_images: whether to skip unreadable images, as the run did.
        image_key, label_key: the features of a data set of TFDS, see `datasets.load`.
    """

    dataset: str | None
    train_split: str
    split: str | None
    data_dir: str | None
    skip_bad_images: bool = False
    image_key: str | None = None
    label_key: str | None = None

    def source(self):
        """Loads the `Source` of `split`. Raises the errors of `datasets.load`."""
        return self._select_images(self.load(self.split))

    def train_source(self):
        """Loads the `Source` of `train_split`. Raises the errors of `datasets.load`."""
        return self._select_images(self.load(self.train_split))

    def load(self, split):
        """Loads the `Source` of any split with all images, unreadable ones too.

        Raises the errors of `datasets.load`.
        """
        return datasets.load_as_spelled(
            self.dataset,
            split,
            self.data_dir,
            image_key=self.image_key,
            label_key=self.label_key,
        )

    def _select_images(self, source):
        return source.without_bad_images() if self.skip_bad_images else source


def find_run_data(
    weights,
    dataset=None,
    split=None,
    data_dir=None,
    default_dataset=None,
    *,
    image_key=None,
    label_key=None,
):
    """Returns the `RunData` of a run, in which arguments replace recorded values.

    For downloaded weights it has the data set that they were trained on.

    If a different data set is given, everything that the run records about its data is
    ignored. Another spelling of its path does not make it different.

    Args:
        weights: the work directory of a run, a name in `published.WEIGHTS`, "imagenet",
            or a weights file, which records no data set.
        dataset, split, data_dir, image_key, label_key: values of `RunData` that replace
            the run's, or None.
        default_dataset: the data set if neither the run nor `dataset` names one.
    """
    run = _recorded_flags(weights)
    if dataset and not datasets.is_same(dataset, run.get("dataset", "")):
        run = {"dataset": datasets.canonical_name(dataset)}
    return RunData(
        run.get("dataset", default_dataset),
        run.get("train_split", "train"),
        split or run.get("eval_split"),
        data_dir or run.get("data_dir"),
        run.get("on_bad_image") == "skip",
        image_key or run.get("image_key"),
        label_key or run.get("label_key"),
    )


def _recorded_flags(weights):
    """Returns the flags of a run, or those that are known of published weights."""
    if weights == "imagenet":
        return {"dataset": "imagenet2012"}
    row = published.find(weights)
    if row and not row.folder:
        return {"dataset": row.dataset}
    run = find_run(published.locate(weights))
    return {} if run is None else read_flags(run)


@contextlib.contextmanager
def _decoding(encoded):
    """Replaces TensorFlow's errors about an image by an `UndecodableError`."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        raise bad_images.UndecodableError(encoded, error) from error


def _checkpoint_path(path, checkpoint):
    """Returns the path of the weights of a run or file for `load_weights`."""
    if checkpoint == "last":
        return path
    if checkpoint != "best":
        raise ValueError(
            f'Expected checkpoint="last" or "best". Received: {checkpoint=}.'
        )
    if not os.path.isdir(path):
        raise ValueError(
            "Expected the work directory of a run for checkpoint=best. Received: "
            f"weights={path}, a file. Leave the checkpoint out."
        )
    best_path = os.path.join(path, BEST_WEIGHTS_FILE)
    if not os.path.exists(best_path):
        raise FileNotFoundError(
            f"The run in {path} has no best checkpoint, because it was trained without "
            "--keep_best. Leave checkpoint=best out to use its newest checkpoint."
        )
    return best_path


def _class_names(weights, preset):
    """Returns the classes of a weights file, and whether they are names.

    They are those of ImageNet if there are 1000, and numbers otherwise.
    """
    last = preset.layers[-1].name
    layers = read_shapes(weights, preset.weighted_layers)
    if last not in layers:
        raise ValueError(
            f"{weights} has no layer {last}, the last one of the preset {preset.name}. "
            f"Its layers are {printable_list(layers)}. Give the preset of this file, "
            "or another file."
        )
    kernel, bias = (layers[last].get(part, ()) for part in ("kernel", "bias"))
    count = bias[0] if len(bias) == 1 else 0
    # Without this limit, a damaged or hostile file could make the model any size.
    if len(kernel) != 2 or count not in kernel or not 0 < count <= _MAX_CLASSES:
        raise ValueError(
            f"Layer {last} in {weights} does not have 1 to {_MAX_CLASSES:,} classes: "
            f"its kernel has the shape {list(kernel)}, and its biases {list(bias)}. "
            "Give the preset of this file, or another file."
        )
    if count == len(imagenet_classes()):
        return tuple(imagenet_classes()), True
    return tuple(str(number) for number in range(count)), False
