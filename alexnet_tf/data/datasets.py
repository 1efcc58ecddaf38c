"""Loads data sets by name, as streams of encoded images and labels.

The following names are supported:

- the name of an image classification data set of TFDS, such as "imagenet2012" or
  "cifar10:3.0.2";
- "textures", a small data set that this package generates;
- "huggingface:NAME" for a data set of Hugging Face, through TFDS, if the package
  datasets is installed;
- "folder:PATH" for a folder with one folder of images per class, or with such a folder
  for each split;
- "list:FILE" for a file of `path label` lines, or "list:FOLDER" for a folder with such
  a file for each split, SPLIT.txt.

Splits are selected in TFDS's notation, for instance "train[:90%]".
"""

import os

from alexnet_tf.data import file_source
from alexnet_tf.data import tfds_source


def load(name, split, data_dir=None, *, image_key=None, label_key=None):
    """Loads one split of a data set as a `Source`.

    Args:
        name: the name of a data set of TFDS, "textures", "huggingface:NAME",
            "folder:PATH", "list:FILE" or "list:FOLDER".
        split: a split in TFDS's notation, such as "train" or "train[:90%]". None
            selects the split to evaluate on: validation if there is one, else
            test.
        data_dir: the directory of TFDS's data sets, "~/tensorflow_datasets" by
            default. Folders and lists ignore it.
        image_key, label_key: the names of TFDS's features that are the images and the
            labels. Default: "image" and "label", or TFDS's `supervised_keys` if a data
            set has no usable features of these names.

    Raises:
        ValueError: if the name or the split is unknown, the split is empty, the data
            set does not consist of labeled images, its classes or labels are
            inconsistent, or `image_key` or `label_key` is given for a folder or a list.
        OSError: if the data is missing and can't be prepared, or can't be read.
        ModuleNotFoundError: if a package that the data set needs is not installed.
    """
    return load_as_spelled(
        canonical_name(name), split, data_dir, image_key=image_key, label_key=label_key
    )


def load_as_spelled(name, split, data_dir=None, *, image_key=None, label_key=None):
    """Loads one split of a data set, whose order may depend on the spelling of `name`.

    Runs may have recorded a spelling that `canonical_name` would change, such as
    "folder:PATH/". Loading it unchanged keeps the order and the parts of a split of
    such a run.

    Args:
        name: the name of the data set, as a run has recorded it or as returned by
            `canonical_name`.
        split, data_dir, image_key, label_key: as in `load`.

    Raises:
        ValueError, OSError, ModuleNotFoundError: as in `load`.
    """
    if has_image_files(name):
        _check_no_keys(name, image_key=image_key, label_key=label_key)
        return file_source.load(name, split)
    return tfds_source.load(name, split, data_dir, image_key, label_key)


def canonical_name(name):
    """Returns the name of a data set without a slash at the end of its path.

    A list file in the working directory gets a path with a folder, "./FILE". The order
    of the images is then the same for these spellings of a path.

    Args:
        name: as in `load`.
    """
    if not has_image_files(name):
        return name
    kind, _, path = name.partition(":")
    path = path.rstrip("/" + os.sep) or path
    if kind == "list" and not os.path.dirname(path) and not os.path.isdir(path):
        path = os.path.join(os.curdir, path)
    return f"{kind}:{path}"


def is_same(name, other_name):
    """Returns whether two names stand for the same data set.

    Their paths may be spelled in different ways, such as relative and absolute.

    Args:
        name, other_name: as in `load`.
    """
    kind, _, path = name.partition(":")
    other_kind, _, other_path = other_name.partition(":")
    if name == other_name or kind != other_kind or not has_image_files(name):
        return name == other_name
    paths = (os.path.expanduser(spelling) for spelling in (path, other_path))
    real_path, other_real_path = map(os.path.realpath, paths)
    return real_path == other_real_path


def split_names(name, data_dir=None, *, image_key=None, label_key=None):
    """Returns the names of the splits of a data set.

    Args:
        name, data_dir, image_key, label_key: as in `load`.

    Raises:
        ValueError: if the name is unknown, or the data set does not consist of labeled
            images. The contents of lists are not read.
        OSError: if the data is missing and can't be prepared, or can't be read.
        ModuleNotFoundError: if a package that the data set needs is not installed.
    """
    if has_image_files(name):
        _check_no_keys(name, image_key=image_key, label_key=label_key)
        return file_source.split_names(name)
    return tfds_source.split_names(name, data_dir, image_key, label_key)


def has_image_files(name):
    """Returns whether a data set consists of image files in a folder or a list.

    Args:
        name: as in `load`.
    """
    return name.startswith(file_source.PREFIXES)


def training_splits(name, train_split=None, eval_split=None, data_dir=None):
    """Returns the splits (train_split, eval_split) of a training run, for `load`.

    The defaults are "train", and None for the split to evaluate on. If neither split is
    given and there is none to evaluate on, the defaults for a folder, a list or a copy
    written by `resized_copy.prepare` are "train[:80%]" and "train[80%:]". For a folder,
    a list or a copy of one, only the paths of the images determine which part they are
    in.

    Args:
        name, data_dir: as in `load`.
        train_split, eval_split: the splits if they are given, otherwise None.

    Raises:
        ValueError, OSError, ModuleNotFoundError: as in `split_names`.
    """
    if train_split is not None or eval_split is not None:
        return train_split or "train", eval_split
    if has_image_files(name):
        return file_source.training_splits(name)
    return tfds_source.training_splits(name, data_dir)


def _check_no_keys(name, **keys):
    """Raises a `ValueError` if a key is given for a folder or a list."""
    given = [f"{key}={value!r}" for key, value in keys.items() if value is not None]
    if given:
        raise ValueError(
            f"Expected no {' or '.join(keys)} for {name}, which has no features of "
            f"TFDS. Received: {', '.join(given)}. Leave them out."
        )
