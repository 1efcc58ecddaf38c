"""Data sets of TensorFlow Datasets (TFDS) as a `Source`."""

import json
import os

import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data.source import check_not_empty
from alexnet_tf.data.source import evaluation_split
from alexnet_tf.data.source import Source
from alexnet_tf.data.source import SPLIT_ERRORS
from alexnet_tf.data.source import unknown_split_error

# The settings of a data set that `preparing` has made, beside its records.
SETTINGS_FILE = "prepare.json"


def load(name, split, data_dir):
    """Loads one split of a data set of TFDS; arguments as for `datasets.load`."""
    builder = _builder(name, data_dir)
    _check_features(builder)
    _prepare(builder)
    split = split or evaluation_split(name, list(builder.info.splits))
    try:
        info = builder.info.splits[split]
    except SPLIT_ERRORS as error:
        raise unknown_split_error(name, split, list(builder.info.splits)) from error
    check_not_empty(name, split, info.num_examples)

    def read(shuffle_seed):
        # Unshuffled too, TFDS takes turns with 16 files: the second half of a
        # split is then not what comes second in the whole.
        in_order = {"interleave_cycle_length": 1} if shuffle_seed is None else {}
        examples = builder.as_dataset(
            split=split,
            shuffle_files=shuffle_seed is not None,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(
                shuffle_seed=shuffle_seed,
                **in_order,
                add_tfds_id=True,
                # It would hold a small data set's bytes twice.
                try_autocache=False,
                # Ours comes at the end of the pipeline.
                skip_prefetch=True,
                # `examples` does it, and a data service must not.
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

    return Source(
        name,
        split,
        tuple(builder.info.features["label"].names),
        info.num_examples,
        str(builder.data_path),
        f"{builder.info.full_name} {split} {info.num_examples}",
        read,
        prepared=_prepared_settings(str(builder.data_path)),
    )


def split_names(name, data_dir):
    """Lists the splits of a data set of TFDS."""
    builder = _builder(name, data_dir)
    _prepare(builder)
    return list(builder.info.splits)


def _prepared_settings(folder):
    """What `preparing` says of a data set that it has made."""
    path = os.path.join(folder, SETTINGS_FILE)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)
    return {key: settings[key] for key in ("image_size", "resize")}


def _builder(name, data_dir):
    # Shells pass the ~ of --data_dir=~/tensorflow_datasets on unexpanded.
    data_dir = data_dir and os.path.expanduser(data_dir)
    if name == "textures":
        # Imported here so that only who wants it has it registered with TFDS.
        from alexnet_tf.data import textures

        return textures.Textures(data_dir=data_dir)
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, AssertionError, LookupError) as error:
        raise ValueError(
            "Expected textures, folder:PATH, list:FILE or the name of a data "
            f"set of TFDS. Received: dataset={name!r} "
            f"({str(error).strip().splitlines()[0]})."
        ) from error


def _prepare(builder):
    """Makes sure that the data set lies prepared on the disk."""
    if builder.is_prepared():
        return
    manual = getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None)
    # data_dir/NAME/VERSION or data_dir/NAME/CONFIGURATION/VERSION
    root = str(builder.data_dir).rpartition(f"{os.sep}{builder.name}{os.sep}")[0]
    folder = os.path.join(root, "downloads", "manual")
    if manual and not (os.path.isdir(folder) and os.listdir(folder)):
        raise FileNotFoundError(
            f"Expected {builder.name} prepared in {builder.data_dir}, or its "
            f"archives in {folder}. Received: neither. "
            + _archives(builder.name, manual)
            + " Or point data_dir at the folder that holds it prepared."
        )
    try:
        builder.download_and_prepare()
    except Exception as error:  # Whatever stopped it, the way out is the same.
        raise OSError(
            f"{builder.name} could not be prepared in {builder.data_dir}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _archives(name, instructions):
    if name == "imagenet2012":
        return (
            "Download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar "
            "from https://image-net.org/ and put them there as they are."
        )
    return " ".join(instructions.split())


def _check_features(builder):
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
