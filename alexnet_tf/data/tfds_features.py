"""Finds the images and the labels among the features of a data set of TFDS."""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data import array_records
from alexnet_tf.data import bad_images
from alexnet_tf.data.source import label_limit
from alexnet_tf.data.source import MAX_CLASSES

IMAGE_KEY, LABEL_KEY = "image", "label"

# {(folder, splits, key): the largest label}.
_largest_labels = {}


def find_keys(builder, image_key=None, label_key=None):
    """Returns (image_key, label_key), the names of two features of a data set.

    The defaults are "image" and "label". If the data set has no usable feature of that
    name, the default is the one in TFDS's `supervised_keys`.

    Args:
        builder: the TFDS builder of the data set, which need not be prepared.
        image_key, label_key: the names if they are given, otherwise None.

    Raises:
        ValueError: if there is no such feature or its type is not supported. Supported
            are, for images, an Image of uint8 or uint16 and a Tensor of uint8, and for
            labels, a ClassLabel and a single integer.
    """
    features = dict(builder.info.features)
    supervised_keys = builder.info.supervised_keys
    if not (isinstance(supervised_keys, tuple) and len(supervised_keys) == 2):
        supervised_keys = (IMAGE_KEY, LABEL_KEY)
    image_key = image_key or _default_key(
        features, _is_image, IMAGE_KEY, supervised_keys[0]
    )
    label_key = label_key or _default_key(
        features, _is_label, LABEL_KEY, supervised_keys[1]
    )
    missing = [key for key in (image_key, label_key) if key not in features]
    if missing:
        raise ValueError(
            "Expected a data set for image classification, with the features "
            f'"{image_key}" and "{label_key}". Received: {builder.name} with '
            f"{', '.join(sorted(features))}. If other features are the images and the "
            "labels, name them: --image_key, --label_key."
        )
    if not _is_image(features[image_key]):
        raise _type_error(
            builder,
            image_key,
            "images of type Image (uint8 or uint16) or Tensor (uint8, [height, width] "
            "or [height, width, 1, 3 or 4])",
            "--image_key",
            _is_image,
        )
    if not _is_label(features[label_key]):
        raise _type_error(
            builder,
            label_key,
            "one label for each image, of type ClassLabel or a single integer",
            "--label_key",
            _is_label,
        )
    return image_key, label_key


def class_names(builder, label_key):
    """Returns the names of the classes of a prepared data set, as a tuple.

    Integers without names are the classes "0", "1", ... up to the largest label of the
    split "train", or of all splits if there is none called "train". All of these labels
    are read to find the largest one.

    Args:
        builder: the TFDS builder of the data set.
        label_key: the name of the labels' feature, as returned by `find_keys`.

    Raises:
        ValueError: if the largest label is too large for labels that are classes.
        OSError: if the labels can't be read.
    """
    feature = builder.info.features[label_key]
    if _has_names(feature):
        return tuple(feature.names)
    names = list(builder.info.splits)
    split = "train" if "train" in names else "+".join(names)
    key = (str(builder.data_path), split, label_key)
    if key not in _largest_labels:
        _largest_labels[key] = _largest_label(builder, split, label_key)
    largest = _largest_labels[key]
    limit = label_limit(builder.info.splits[split].num_examples)
    if largest >= limit:
        raise ValueError(
            f"Expected labels below {limit}: at most {MAX_CLASSES} classes, or as many "
            f'as there are images. Received: {largest}, the largest "{label_key}" of '
            f"{builder.name}. Choose another feature with --label_key."
        )
    return tuple(str(label) for label in range(largest + 1))


def decoders(builder, image_key, label_key):
    """Returns TFDS's decoders that read two features, and keep images encoded.

    The pixels of a Tensor are decoded: its encoding is not a format of images.
    """
    is_encoded = isinstance(builder.info.features[image_key], tfds.features.Image)
    return tfds.decode.PartialDecoding(
        {image_key: True, label_key: True},
        decoders={image_key: tfds.decode.SkipDecoding()} if is_encoded else None,
    )


def encoded_image(image):
    """Returns the bytes of an image in a pipeline, string [].

    Args:
        image: the bytes, or the pixels of a Tensor, uint8 [H, W] or [H, W, C].
    """
    if image.dtype == tf.string:
        return image
    pixels = image if image.shape.rank == 3 else image[..., tf.newaxis]
    return tf.io.encode_png(pixels, compression=1)


def int32_label(label):
    """Returns a label as int32 []. A label out of the range of int32 stays invalid."""
    label = tf.minimum(tf.cast(label, tf.int64), tf.int32.max)
    return tf.cast(tf.maximum(label, tf.int32.min), tf.int32)


def _default_key(features, is_usable, name, supervised_key):
    """Returns `supervised_key` if only this feature is usable, otherwise `name`."""
    if name in features and is_usable(features[name]):
        return name
    is_supervised = supervised_key in features and is_usable(features[supervised_key])
    return supervised_key if is_supervised else name


def _is_image(feature):
    """Returns whether a feature of TFDS can be read as images."""
    if isinstance(feature, tfds.features.Image):
        return feature.np_dtype in (np.uint8, np.uint16)
    if not isinstance(feature, tfds.features.Tensor) or feature.np_dtype != np.uint8:
        return False
    shape = feature.shape
    return len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3, 4))


def _is_label(feature):
    """Returns whether a feature of TFDS can be read as labels."""
    return (
        isinstance(feature, tfds.features.Tensor)
        and feature.shape == ()
        and np.issubdtype(feature.np_dtype, np.integer)
    )


def _has_names(feature):
    is_class = isinstance(feature, tfds.features.ClassLabel)
    return is_class and feature.num_classes is not None


def _type_error(builder, key, expected, flag, is_usable):
    """Returns the `ValueError` for a feature of an unsupported type.

    Args:
        builder: the TFDS builder of the data set.
        key: the name of the feature.
        expected: the supported types.
        flag: the flag that names another feature.
        is_usable: a function that returns whether a feature is of a supported type.
    """
    features = dict(builder.info.features)
    usable = [name for name, feature in features.items() if is_usable(feature)]
    if usable:
        way_out = f"Choose another feature with {flag}: {', '.join(usable)}."
    elif _is_floating(features[key]):
        values = "pixels from 0 to 255" if flag == "--image_key" else "labels from 0"
        way_out = f"Write the data set again with integers, {values}."
    else:
        way_out = "Convert the data set, for instance to a folder of images per class."
    return ValueError(
        f'Expected {expected}. Received: the feature "{key}" of {builder.name}, '
        f"{_describe(features[key])}. {way_out}"
    )


def _is_floating(feature):
    # The dtype of a feature that consists of features is a dictionary.
    dtype = getattr(feature, "np_dtype", None)
    return isinstance(dtype, np.dtype | type) and np.issubdtype(dtype, np.floating)


def _describe(feature):
    """Returns the type of a feature of TFDS in words."""
    name = type(feature).__name__
    if isinstance(feature, tfds.features.Sequence):
        return f"a {name} of {type(feature.feature).__name__}"
    if isinstance(feature, tfds.features.Text):
        return name
    if isinstance(feature, (tfds.features.Tensor, tfds.features.Image)):
        return f"{name} of {np.dtype(feature.np_dtype).name}, shape {feature.shape}"
    return name


def _largest_label(builder, split, label_key):
    """Reads all labels of a split, and returns the largest one, at least 0."""
    decoders = tfds.decode.PartialDecoding({label_key: True})
    if array_records.is_array_record(builder):
        examples = array_records.as_dataset(builder, split, decoders)
    else:
        examples = builder.as_dataset(
            split=split,
            decoders=decoders,
            read_config=tfds.ReadConfig(try_autocache=False, skip_prefetch=True),
        )
    labels = examples.map(lambda example: tf.cast(example[label_key], tf.int64))
    try:
        return int(labels.batch(1024).reduce(np.int64(0), _maximum))
    except tf.errors.OpError as error:
        raise OSError(
            f"{builder.name} could not be read: {bad_images.short_message(error)}. "
            "Prepare the data set again."
        ) from error


def _maximum(largest, labels):
    return tf.maximum(largest, tf.reduce_max(labels))
