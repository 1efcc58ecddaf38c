"""Loads data sets of TensorFlow Datasets (TFDS) as a `Source`."""

import functools
import json
import os

import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data.source import check_not_empty
from alexnet_tf.data.source import evaluation_split
from alexnet_tf.data.source import Source
from alexnet_tf.data.source import SPLIT_ERRORS
from alexnet_tf.data.source import unknown_split_error
from alexnet_tf.data import tfds_errors

# `resized_copy.prepare` writes its settings to this file, beside the records.
SETTINGS_FILE = "prepare.json"


def load(name, split, data_dir):
    """Loads one split of a data set of TFDS as a `Source`.

    Arguments and errors are those of `datasets.load`.
    """
    builder = _prepared_builder(name, data_dir)
    sizes = {key: info.num_examples for key, info in builder.info.splits.items()}
    is_default = split is None
    split = split or evaluation_split(name, list(sizes))
    try:
        info = builder.info.splits[split]
    except SPLIT_ERRORS as error:
        raise unknown_split_error(name, split, list(sizes), sizes) from error
    check_not_empty(name, split, info.num_examples, sizes)
    source = Source(
        name,
        split,
        tuple(builder.info.features["label"].names),
        info.num_examples,
        str(builder.data_path),
        f"{builder.info.full_name} {split} {info.num_examples}",
        functools.partial(_read, builder, split),
        prepared=_prepared_settings(str(builder.data_path)),
    )
    if is_default:
        source.check_labeled()
    return source


def split_names(name, data_dir):
    """Returns the names of the splits of a data set of TFDS.

    Arguments and errors are those of `datasets.split_names`.
    """
    builder = _prepared_builder(name, data_dir)
    return list(builder.info.splits)


def _read(builder, split, shuffle_seed):
    """Returns a `tf.data.Dataset` of examples, for `Source.read`."""
    # By default, TFDS reads 16 files in turn even without shuffling, so that the
    # examples of "train[50%:]" would not be the second half of those of "train".
    in_order = {"interleave_cycle_length": 1} if shuffle_seed is None else {}
    examples = builder.as_dataset(
        split=split,
        shuffle_files=shuffle_seed is not None,
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(
            shuffle_seed=shuffle_seed,
            **in_order,
            add_tfds_id=True,
            # A cache would hold the bytes of a small data set twice.
            try_autocache=False,
            # The pipelines of `input_pipeline` end with a prefetch.
            skip_prefetch=True,
            # `Source.examples` checks the number of examples itself. Each worker of a
            # data service reads only a part of them.
            assert_cardinality=False,
        ),
    )
    return examples.map(
        lambda example: {
            "image": example["image"],
            "label": tf.cast(example["label"], tf.int32),
            "name": example["tfds_id"],
        }
    )


def _prepared_settings(folder):
    """Returns the settings of a resized copy in a folder, for `Source.prepared`.

    For other data sets it returns None.
    """
    path = os.path.join(folder, SETTINGS_FILE)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)
    return {key: settings[key] for key in ("image_size", "resize")}


def _prepared_builder(name, data_dir):
    """Returns the TFDS builder of a data set, which is prepared if necessary."""
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        tfds_errors.check_data_dir(name, data_dir)
    # The check comes first, since a download may take hours.
    _check_features(builder)
    _prepare(builder)
    return builder


def _builder(name, data_dir):
    """Returns the TFDS builder of a data set.

    Raises:
        ValueError: if TFDS has no such data set, version or configuration.
        FileNotFoundError: if `data_dir` is a folder of the data set.
    """
    # Shells do not expand the ~ in --data_dir=~/tensorflow_datasets.
    data_dir = data_dir and os.path.expanduser(data_dir)
    if name == "textures":
        # Importing the module registers the data set with TFDS.
        from alexnet_tf.data import textures

        return textures.Textures(data_dir=data_dir)
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError, LookupError, TypeError) as error:
        tfds_errors.check_data_dir(name, data_dir)
        raise tfds_errors.unknown_data_set_error(name, data_dir, error) from error


def _prepare(builder):
    """Downloads and prepares the data set unless that has been done already.

    Raises:
        FileNotFoundError: if the user has to download archives first.
        OSError: if the data set can't be downloaded or prepared.
    """
    if builder.is_prepared():
        return
    _check_archives(builder)
    try:
        builder.download_and_prepare()
    except Exception as error:  # Builders raise errors of many types.
        raise OSError(
            f"{builder.name} could not be prepared in {builder.data_dir}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _check_archives(builder):
    """Raises a `FileNotFoundError` if the user has to download archives first."""
    instructions = getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None)
    # builder.data_dir is ROOT/NAME/VERSION or ROOT/NAME/CONFIGURATION/VERSION.
    root = str(builder.data_dir).rpartition(f"{os.sep}{builder.name}{os.sep}")[0]
    folder = os.path.join(root, "downloads", "manual")
    if instructions and not (os.path.isdir(folder) and os.listdir(folder)):
        raise FileNotFoundError(
            f"{builder.name} is not prepared in {builder.data_dir}, and its archives "
            f"are not in {folder}. {_download_advice(builder.name, instructions)} Or "
            "set data_dir to the folder that holds the prepared data set."
        )


def _download_advice(name, instructions):
    """Returns what to download, in one line; `instructions` are those of TFDS."""
    if name == "imagenet2012":
        return (
            "Download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar "
            "from https://image-net.org/ and put them there without unpacking them."
        )
    return " ".join(instructions.split())


def _check_features(builder):
    """Raises a `ValueError` unless the examples of a data set are labeled images."""
    features = dict(builder.info.features)
    if not (
        isinstance(features.get("image"), tfds.features.Image)
        and isinstance(features.get("label"), tfds.features.ClassLabel)
    ):
        raise ValueError(
            "Expected a data set for image classification, with the features "
            f'"image" and "label". Received: {builder.name} with '
            f"{', '.join(features)}."
        )
