"""Loads data sets of TensorFlow Datasets (TFDS) as a `Source`."""

import dataclasses
import functools
import importlib.util
import json
import logging
import os

import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data import array_records
from alexnet_tf.data import interleaving
from alexnet_tf.data.source import ReadFrom
from alexnet_tf.data.source import Source
from alexnet_tf.data.splits import check_not_empty
from alexnet_tf.data.splits import default_training_splits
from alexnet_tf.data.splits import evaluation_split
from alexnet_tf.data.splits import SPLIT_ERRORS
from alexnet_tf.data.splits import unknown_split_error
from alexnet_tf.data import tfds_errors
from alexnet_tf.data import tfds_features

_log = logging.getLogger(__name__)

# `resized_copy.prepare` writes its settings to this file, beside the records.
SETTINGS_FILE = "prepare.json"
_HUGGING_FACE = "huggingface:"
# The number of files that TFDS reads in turn when it shuffles them.
_CYCLE_LENGTH = 16


def load(name, split, data_dir, image_key=None, label_key=None):
    """Loads one split of a data set of TFDS as a `Source`.

    Arguments and errors are those of `datasets.load`.
    """
    builder, keys = _prepared_builder(name, data_dir, image_key, label_key)
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
        tfds_features.class_names(builder, keys[1]),
        info.num_examples,
        str(builder.data_path),
        f"{builder.info.full_name} {split} {info.num_examples}{_fingerprint(keys)}",
        ReadFrom(functools.partial(_read_from, builder, split, keys)),
        prepared=_prepared_settings(str(builder.data_path)),
        in_process=array_records.is_array_record(builder),
    )
    if is_default:
        source.check_labeled()
    return source


def split_names(name, data_dir, image_key=None, label_key=None):
    """Returns the names of the splits of a data set of TFDS.

    Arguments and errors are those of `datasets.split_names`.
    """
    builder, _ = _prepared_builder(name, data_dir, image_key, label_key)
    return list(builder.info.splits)


def training_splits(name, data_dir):
    """Returns the splits to train and to evaluate on by default.

    Arguments and errors are those of `datasets.split_names`.
    """
    builder = _builder(name, data_dir)
    # Resized copies have the order of the original. Folders and lists are sorted by
    # digests of the paths, so parts of their copies have images of all classes. A data
    # set that is not a copy may be sorted by class.
    is_copy = builder.is_prepared() and _prepared_settings(str(builder.data_path))
    if not is_copy:
        return "train", None
    return default_training_splits(name, list(builder.info.splits))


def _read_from(builder, split, keys, shuffle_seed, position):
    """Returns the examples and the number of those left out, for `ReadFrom`."""
    decoders = tfds_features.decoders(builder, *keys)
    num_skipped = position
    if array_records.is_array_record(builder):
        examples = array_records.as_dataset(
            builder, split, decoders, shuffle_seed, position
        )
    elif position:
        examples, num_skipped = _read_last_records(
            builder, split, decoders, shuffle_seed, position
        )
    else:
        # By default, TFDS reads 16 files in turn even without shuffling, so that the
        # examples of "train[50%:]" would not be the second half of those of "train".
        examples = _read_records(
            builder, split, decoders, shuffle_files=shuffle_seed is not None,
            shuffle_seed=shuffle_seed,
            interleave_cycle_length=1 if shuffle_seed is None else _CYCLE_LENGTH,
        )  # fmt: skip
    return examples.map(functools.partial(_example, keys)), num_skipped


def _read_last_records(builder, split, decoders, shuffle_seed, position):
    """Returns TFDS's last examples in shuffled order, and the number of the others.

    Files that contain none of the last examples are not opened.
    """
    files = builder.info.splits[split].file_instructions
    # The files in the order in which TFDS shuffles them.
    order = tf.data.Dataset.range(len(files)).shuffle(len(files), shuffle_seed)
    files = [files[index] for index in order.as_numpy_iterator()]
    config = tfds.ReadConfig()
    num_skipped, rest = interleaving.position_near(
        [file.take for file in files], position,
        cycle_length=_CYCLE_LENGTH, block_length=config.interleave_block_length,
    )  # fmt: skip
    # TFDS cannot read an empty list of files: after the end, the last file is read from
    # its end.
    rest = rest or [(len(files) - 1, files[-1].take)]
    rest = [_without_records(files[index], start) for index, start in rest]
    examples = _read_records(
        builder, split, decoders, shuffle_files=False,
        interleave_cycle_length=_CYCLE_LENGTH,
        experimental_interleave_sort_fn=lambda _: rest,
    )  # fmt: skip
    return examples, num_skipped


def _without_records(file, count):
    """Returns TFDS's description of a file without its first `count` records."""
    return dataclasses.replace(file, skip=file.skip + count, take=file.take - count)


def _example(keys, example):
    """Returns the example of `Source` from that of TFDS."""
    image_key, label_key = keys
    return {
        "image": tfds_features.encoded_image(example[image_key]),
        "label": tfds_features.int32_label(example[label_key]),
        "name": example["tfds_id"],
    }


def _read_records(builder, split, decoders, shuffle_files, **config):
    """Returns TFDS's examples of a data set in another format than ArrayRecord.

    Args:
        builder, split, decoders, shuffle_files: as for `builder.as_dataset`.
        **config: settings of `tfds.ReadConfig`.
    """
    return builder.as_dataset(
        split=split,
        shuffle_files=shuffle_files,
        decoders=decoders,
        read_config=tfds.ReadConfig(
            **config,
            add_tfds_id=True,
            # Otherwise, data sets that are ordered on purpose could not be shuffled.
            enable_ordering_guard=False,
            # A cache would hold the bytes of a small data set twice.
            try_autocache=False,
            # The pipelines of `input_pipeline` end with a prefetch.
            skip_prefetch=True,
            # `Source.examples` checks the number of examples itself. Each worker of a
            # data service reads only a part of them.
            assert_cardinality=False,
        ),
    )


def _fingerprint(keys):
    """Returns the names of features that are not the default, for a fingerprint."""
    is_default = keys == (tfds_features.IMAGE_KEY, tfds_features.LABEL_KEY)
    return "" if is_default else f" {' '.join(keys)}"


def _prepared_settings(folder):
    """Returns the settings of a resized copy in a folder, for `Source.prepared`.

    For other data sets it returns None.
    """
    path = os.path.join(folder, SETTINGS_FILE)
    if not tf.io.gfile.exists(path):  # It may be in cloud storage, such as gs://.
        return None
    with tf.io.gfile.GFile(path) as file:
        settings = json.load(file)
    return {key: settings[key] for key in ("image_size", "resize")}


def _prepared_builder(name, data_dir, image_key, label_key):
    """Returns the TFDS builder of a data set, and the names of its features.

    The data set is prepared if necessary.

    Returns:
        (builder, (image_key, label_key)); see `tfds_features.find_keys`.
    """
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        tfds_errors.check_data_dir(name, data_dir)
    # The check comes first, since a download may take hours.
    keys = tfds_features.find_keys(builder, image_key, label_key)
    is_new = data_dir and not tf.io.gfile.exists(os.path.expanduser(data_dir))
    if is_new and not builder.is_prepared():
        _log.warning(
            "%s does not exist. It is created now, and %s is prepared in it.",
            data_dir, name,
        )  # fmt: skip
    _prepare(builder)
    if array_records.is_array_record(builder):
        array_records.check_installed(builder)
    return builder, keys


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
    if name.startswith(_HUGGING_FACE):
        return _hugging_face_builder(name, data_dir)
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError, LookupError, TypeError) as error:
        tfds_errors.check_data_dir(name, data_dir)
        raise tfds_errors.unknown_data_set_error(name, data_dir, error) from error


def _hugging_face_builder(name, data_dir):
    """Returns the TFDS builder of a data set of the Hugging Face Hub.

    Raises:
        ModuleNotFoundError: if a package that TFDS needs for it is not installed.
        OSError: if the data set can't be found or downloaded.
    """
    # TFDS prints several lines when it fails to import the package.
    missing = [
        package
        for package in ("datasets", "huggingface_hub")
        if importlib.util.find_spec(package) is None
    ]
    if missing:
        raise ModuleNotFoundError(
            f"{name} needs the Python package {missing[0]}, which is not installed: "
            "pip install datasets"
        )
    try:
        return tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # The packages raise errors of many types.
        cause = error.__cause__ or error
        reason = str(cause).strip().split("\n")[0]
        raise OSError(
            f"{name} could not be loaded from the Hugging Face Hub: "
            f"{type(cause).__name__}: {reason}"
        ) from error


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
        advice = "set data_dir to the folder that holds the prepared data set"
        others = tfds_errors.prepared_names(builder.name, root)
        if others:
            advice = f"name the version that is prepared there: {', '.join(others)}"
        raise FileNotFoundError(
            f"{builder.name} is not prepared in {builder.data_dir}, and its archives "
            f"are not in {folder}. {_download_advice(builder.name, instructions)} Or "
            f"{advice}."
        )


def _download_advice(name, instructions):
    """Returns what to download, in one line; `instructions` are those of TFDS."""
    if name == "imagenet2012":
        return (
            "Download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar "
            "from https://image-net.org/ and put them there without unpacking them."
        )
    return " ".join(instructions.split())
