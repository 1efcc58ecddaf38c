"""Extracts the features of many images in one pass, from one or several layers."""

import dataclasses
import os

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import image_files
from alexnet_tf.data import preprocess
from alexnet_tf.data.source import PIPELINE_OPTIONS
from alexnet_tf.inference import feature_files
from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import for_dataset
from alexnet_tf.inference.classifier import for_image_files
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf import settings
from alexnet_tf.training import out_of_memory


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of the N images that could be read, and the reasons for the others.

    Attributes:
        features: {layer: float32 [N, ...]}; None if they were written to a file.
        names: the N paths of the images or, in TFDS's format, their names.
        labels: int32 [N]; None if there are no labels.
        errors: [(name, reason), ...] of the images that could not be read.
    """

    features: dict[str, np.ndarray] | None
    names: list[str]
    labels: np.ndarray | None
    errors: list[tuple[str, str]]


def extract_features(
    weights,
    images=None,
    layers=None,
    *,
    preset=None,
    layout=None,
    mean=None,
    dataset=None,
    split=None,
    data_dir=None,
    image_key=None,
    label_key=None,
    pool=None,
    ten_crop=False,
    batch_size=32,
    on_bad_image="skip",
    exif_orientation=None,
    output=None,
    verbose=1,
):
    """Computes the outputs of one or several layers for many images.

    This is what `python -m alexnet_tf.extract` runs.

        result = alexnet_tf.inference.extract_features(
            "runs/textures-tiny", "stimuli/*.png", ["fc6", "fc7"]
        )
        result.features["fc6"]  # float32 [N, 128], in the order of result.names

    Args:
        weights, preset, layout, mean: the network, see `classifier.load_classifier`.
        images: paths, glob patterns, folders and lists of image files, see
            `image_files.find`. None for a data set.
        layers: the names of layers, see `alexnet.features`. Default: the penultimate
            layer, which is fc7 for all presets but `cifar10_full`.
        dataset, split, data_dir, image_key, label_key: the data set if there are no
            `images`, see `datasets.load`. Default: those of the run or of the published
            weights.
        pool: "mean" to average maps over height and width, so that [N, H, W, C]
            becomes [N, C]; None to keep them.
        ten_crop: whether to average the features over the paper's ten crops (section
            4.1) instead of using the center crop.
        batch_size: the number of images in a batch.
        on_bad_image: "skip" to omit unreadable images and list them in
            `Features.errors`, "error" to stop at the first.
        exif_orientation: see `classifier.for_image_files` and
            `classifier.for_dataset`.
        output: the path of a .npz, .npy or .h5 file to write the features to, see
            `feature_files`. Only one batch of features is then in memory. Default: the
            features are returned.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        The `Features`.

    Raises:
        ValueError: if an argument is out of range, there is no such layer, the weights
            do not fit, no image can be read, or an image is unreadable and
            `on_bad_image` is "error".
        OSError: if weights or data are missing, or the file cannot be written.
        MemoryError: if the memory does not suffice for a batch.
    """
    layers = [*dict.fromkeys(settings.as_names(layers))]
    _check_options(pool, on_bad_image, batch_size)
    data = {
        "dataset": dataset, "split": split, "data_dir": data_dir,
        "image_key": image_key, "label_key": label_key,
    }  # fmt: skip
    _check_data(images, data)
    if output is not None:
        feature_files.check_path(output, layers)
    classifier = load_classifier(weights, preset, layout, mean)
    layers = layers or [alexnet.penultimate_layer(classifier.model)]
    # An unknown layer is reported before a data set is prepared, which may take hours.
    _feature_model(classifier.model, layers)
    source, has_labels = _open(weights, images, data)
    if images is None:
        classifier = for_dataset(classifier, weights, source.name, exif_orientation)
    else:
        classifier = for_image_files(classifier, weights, exif_orientation)
    blocks = feature_blocks(
        classifier,
        source,
        layers,
        pool=pool,
        ten_crop=ten_crop,
        batch_size=batch_size,
        on_bad_image=on_bad_image,
        verbose=verbose,
    )
    if output is None:
        arrays = _Arrays(source.num_examples)
        summary = _append_all(blocks, arrays.append, has_labels)
        return dataclasses.replace(summary, features=arrays.filled())
    with feature_files.create(output) as file:
        summary = _append_all(blocks, file.append, has_labels)
        file.finish(summary.names, summary.labels)
    return summary


def feature_blocks(
    classifier,
    source,
    layers,
    *,
    pool=None,
    ten_crop=False,
    batch_size=32,
    on_bad_image="skip",
    verbose=1,
):
    """Yields the `Features` of each batch of a source, in order.

    Args:
        classifier: a `Classifier`.
        source: a `Source`. Its labels are passed on unchecked.
        layers, pool, ten_crop, batch_size, on_bad_image, verbose: see
            `extract_features`.

    Raises:
        ValueError: if there is no such layer, the images were prepared for different
            preprocessing, an image is unreadable and `on_bad_image` is "error", or the
            source does not hold the number of images that it declares.
        OSError: if the data is missing or damaged.
        MemoryError: if the memory does not suffice for a batch.
    """
    source.check_fits(classifier.preset.preprocessing)
    batch_size = min(batch_size, source.num_examples)
    extract = _feature_function(classifier.model, layers, pool)
    make_crops = _crop_function(classifier, ten_crop)
    bar = keras.utils.Progbar(source.num_examples, verbose=verbose)
    # Unreadable images raise no error here, so there is no range to search for one.
    with (
        out_of_memory.suggesting_smaller_batch(batch_size),
        bad_images.diagnosing(source, lambda: (0, 0)),
    ):
        for batch in _batches(source, make_crops, batch_size):
            block = _block(batch, batch_size, source, extract, make_crops)
            if block.errors and on_bad_image == "error":
                raise _bad_image_error(*block.errors[0])
            yield block
            bar.add(len(batch["name"]))


def _open(weights, images, data):
    """Returns the `Source` of the images, and whether all of them have labels.

    Args:
        weights, images: as for `extract_features`.
        data: a dictionary with its arguments that select a data set.
    """
    if images is not None:
        files = image_files.find(images)
        has_labels = all(label is not None for _, label in files)
        return image_files.to_source(files), has_labels
    run_data = find_run_data(weights, **data)
    if run_data.dataset is None:
        raise ValueError(
            "Expected images or a data set, because a weights file does not name one. "
            f"Received: weights={weights} alone."
        )
    return run_data.load(run_data.split), True


def _crop_function(classifier, ten_crop):
    """Returns a function from an encoded image to float32 [crops, H, W, 3]."""
    preprocessing, statistics = classifier.preset.preprocessing, classifier.statistics

    def center_crop(encoded):
        image = preprocess.evaluation_image(encoded, preprocessing, statistics)
        return image[tf.newaxis]

    def ten_crops(encoded):
        return preprocess.ten_crop(encoded, preprocessing, statistics)

    return ten_crops if ten_crop else center_crop


def _feature_model(model, layers):
    """Returns a `keras.Model` that outputs {layer: outputs}, see `alexnet.features`."""
    outputs = {layer: alexnet.features(model, layer).output for layer in layers}
    return keras.Model(model.input, outputs)


def _feature_function(model, layers, pool):
    """Returns a function from float32 [B, crops, H, W, 3] to {layer: float32 [B, ...]}.

    Layers with a dtype policy such as mixed_bfloat16 have outputs of other dtypes,
    which files and NumPy do not support. The function averages over the crops and, if
    `pool` is "mean", over the height and width of maps.
    """
    feature_model = _feature_model(model, layers)
    crop_shape = model.input.shape[1:]

    @tf.function
    def extract(crops):
        flat = tf.reshape(crops, [-1, *crop_shape])
        with compiled_normalization():
            outputs = feature_model(flat, training=False)
        outputs = {layer: tf.cast(x, tf.float32) for layer, x in outputs.items()}
        if pool == "mean":
            outputs = {
                layer: tf.reduce_mean(x, [1, 2]) if x.shape.rank == 4 else x
                for layer, x in outputs.items()
            }
        return {
            layer: tf.reduce_mean(
                tf.reshape(x, [*crops.shape[:2], *x.shape[1:]]), axis=1
            )
            for layer, x in outputs.items()
        }

    return extract


def _batches(source, make_crops, batch_size):
    """Returns the images of a `Source` in batches, as a `tf.data.Dataset`.

    A batch has the elements of `Source.read`, as a dictionary of tensors [B], and

        indices  int64 [R], the positions in the batch of the images that were read
        crops    float32 [R, crops, H, W, 3], the crops of these images

    Args:
        source: a `Source`.
        make_crops: a function from an encoded image to its crops.
        batch_size: the number of images in a batch.
    """

    def read(index, element):
        return index, make_crops(source.example_of(element)["image"])

    def read_batch(elements):
        # After an error, a pipeline goes on with the next image.
        readable = (
            tf.data.Dataset.from_tensor_slices(elements)
            .enumerate()
            .map(read, num_parallel_calls=tf.data.AUTOTUNE)
            .ignore_errors()
            .batch(batch_size)
        )
        nothing = tf.data.Dataset.from_tensors(
            tf.nest.map_structure(
                lambda spec: tf.zeros([0, *spec.shape[1:]], spec.dtype),
                readable.element_spec,
            )
        )
        return (
            readable.concatenate(nothing)
            .take(1)
            .map(lambda indices, crops: {
                **elements, "indices": indices, "crops": crops,
            })
        )  # fmt: skip

    return (
        source.read(None)
        .with_options(PIPELINE_OPTIONS)
        .apply(tf.data.experimental.assert_cardinality(source.num_examples))
        .batch(batch_size)
        # While the last images of a batch are decoded, the next batch is begun.
        .interleave(
            read_batch, cycle_length=2, num_parallel_calls=2, deterministic=True
        )
        .prefetch(1)
    )


def _block(batch, batch_size, source, extract, make_crops):
    """Returns the `Features` of a batch of `_batches`."""
    names = [os.fsdecode(name) for name in batch["name"].numpy()]
    indices = batch["indices"].numpy()
    errors = [
        (names[i], _reason(source, batch, i, make_crops))
        for i in np.setdiff1d(np.arange(len(names)), indices)
    ]
    # Each new number of images would take seconds, because the function is compiled
    # for it.
    padding = np.zeros([5, 2], int)
    padding[0, 1] = batch_size - len(indices)
    outputs = extract(tf.pad(batch["crops"], padding))
    return Features(
        {layer: array.numpy()[: len(indices)] for layer, array in outputs.items()},
        [names[i] for i in indices],
        batch["label"].numpy()[indices],
        errors,
    )


def _reason(source, batch, index, make_crops):
    """Returns why the image at an index of a batch could not be read."""
    try:
        if source.fetch:
            with open(batch["name"][index].numpy(), "rb") as file:
                encoded = file.read()
        else:
            encoded = batch["image"][index].numpy()
        make_crops(encoded)
    except OSError as error:
        return error.strerror
    except tf.errors.OpError as error:
        return bad_images.UndecodableError(encoded, error).fault
    return "it could not be read the first time, but it can be read now"


def _bad_image_error(name, reason):
    return ValueError(
        f"Expected readable images. Received: {name}: {reason}. Repair or "
        'remove it, or omit it with on_bad_image="skip".'
    )


class _Arrays:
    """Collects features in memory.

    Args:
        max_rows: the number of rows if all images are readable.
    """

    def __init__(self, max_rows):
        self._max_rows, self._num_rows = max_rows, 0
        self._arrays = None

    def append(self, features):
        """Adds the next rows, {layer: [b, ...]}."""
        if self._arrays is None:
            self._arrays = {
                layer: np.empty((self._max_rows, *block.shape[1:]), block.dtype)
                for layer, block in features.items()
            }
        for layer, block in features.items():
            end = self._num_rows + len(block)
            self._arrays[layer][self._num_rows : end] = block
        self._num_rows = end

    def filled(self):
        """Returns {layer: [rows, ...]} of all rows that were added."""
        return {
            layer: array[: self._num_rows] for layer, array in self._arrays.items()
        }


def _append_all(blocks, append, has_labels):
    """Passes the features of all blocks to `append`.

    Returns:
        The `Features` of all images without the features themselves.

    Raises:
        ValueError: if no image could be read.
    """
    names, labels, errors = [], [], []
    for block in blocks:
        append(block.features)
        names += block.names
        labels.append(block.labels)
        errors += block.errors
    if not names:
        name, reason = errors[0]
        raise ValueError(
            f"Expected at least one readable image. Received: {len(errors)} that "
            f"cannot be read, the first of which is {name}: {reason}"
        )
    return Features(
        None, names, np.concatenate(labels) if has_labels else None, errors
    )


def _check_options(pool, on_bad_image, batch_size):
    if pool not in (None, "mean"):
        raise ValueError(f'Expected pool "mean" or None. Received: {pool=}.')
    if on_bad_image not in ("skip", "error"):
        raise ValueError(
            f'Expected on_bad_image "skip" or "error". Received: {on_bad_image=}.'
        )
    if batch_size < 1:
        raise ValueError(
            f"Expected a batch_size of at least 1. Received: {batch_size=}."
        )


def _check_data(images, data):
    """Raises a `ValueError` if there are images and arguments of a data set."""
    given = [f"{key}={value!r}" for key, value in data.items() if value is not None]
    if images is not None and given:
        raise ValueError(
            "Expected either images or a data set. Received: images and "
            f"{', '.join(given)}."
        )
