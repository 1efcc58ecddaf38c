"""Loads class folders and list files as a `Source`."""

import functools
import hashlib
import logging
import os
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from alexnet_tf.data import class_folders
from alexnet_tf.data.folder_contents import find_file
from alexnet_tf.data.folder_contents import log_once
from alexnet_tf.data.source import example_name
from alexnet_tf.data.source import fetch_file
from alexnet_tf.data.source import label_limit
from alexnet_tf.data.source import MAX_CLASSES
from alexnet_tf.data.source import read_files
from alexnet_tf.data.source import ReadFrom
from alexnet_tf.data.source import Source
from alexnet_tf.data.splits import check_not_empty
from alexnet_tf.data.splits import default_training_splits
from alexnet_tf.data.splits import evaluation_split
from alexnet_tf.data.splits import SPLIT_ERRORS
from alexnet_tf.data.splits import unknown_split_error
from alexnet_tf.data.text_lines import read_lines

PREFIXES = ("folder:", "list:")


def load(name, split):
    """Loads one split of "folder:PATH" or "list:FILE" as a `Source`.

    Arguments and errors are those of `datasets.load`.
    """
    readers, classes, folder = _scan(name)
    split = split or evaluation_split(name, list(readers))
    examples, sizes = _select(name, split, readers, folder)
    check_not_empty(name, split, len(examples), sizes)
    paths = [path for path, _ in examples]
    labels = np.array([label for _, label in examples], np.int32)
    names = np.array([example_name(path) for path in paths], object)
    # The labels of folders are in the paths.
    listed_labels = labels.tobytes() if name.startswith("list:") else b""
    return Source(
        name,
        split,
        tuple(classes),
        len(paths),
        folder,
        _fingerprint(paths, listed_labels),
        ReadFrom(
            lambda seed, position: (
                read_files(names, labels, seed, position), position
            )
        ),
        fetch_file,
    )  # fmt: skip


def split_names(name):
    """Returns the names of the splits of "folder:PATH" or "list:FILE".

    The errors are those of `datasets.split_names`.
    """
    kind, _, path = name.partition(":")
    if kind == "list":
        return list(_list_files(path))
    readers, _, _ = class_folders.scan(path)
    return list(readers)


def training_splits(name):
    """Returns the splits to train and to evaluate on by default.

    Arguments and errors are those of `datasets.split_names`.
    """
    return default_training_splits(name, split_names(name))


def _scan(name):
    """Finds the splits and classes of a data set.

    Returns:
        (readers, classes, folder): {split: reader}, the class names in the order of
        the labels, and the folder of the data. A reader is a function that returns
        [(path, label)]. It is called only for splits that are used, so that other
        splits may contain any files.
    """
    kind, _, path = name.partition(":")
    return class_folders.scan(path) if kind == "folder" else _scan_lists(path)


def _scan_lists(path):
    """Finds the splits and classes in files of `path label` lines; see `_scan`.

    The largest label of the split "train" determines the number of classes.
    """
    files = _list_files(path)
    path = os.path.expanduser(path)
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    # The labels of these images are needed for any split, but not their files.
    lines = _read_list(files["train"])
    labels = [line.label for line in lines]
    num_classes = 1 + max(labels, default=0)
    _check_num_classes(num_classes, lines, files["train"])
    if min(labels, default=0) == 1:
        log_once(
            logging.WARNING,
            f"The labels in {files['train']} begin at 1, so no image has the "
            "class 0. If they count the classes from 1, subtract 1 from each.",
        )
    readers = {
        split: functools.partial(_read_checked_list, file, num_classes, files["train"])
        for split, file in files.items()
    }
    readers["train"] = lambda: _find_files(lines, files["train"])
    return readers, [str(label) for label in range(num_classes)], folder


def _list_files(path):
    """Returns {split: list file}, without reading the files.

    A single file is the split "train". If `path` is a folder, each file NAME.txt in it
    is the split NAME.

    Raises:
        FileNotFoundError: if there is no split "train".
    """
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        files = {
            name.removesuffix(".txt"): os.path.join(path, name)
            for name in sorted(os.listdir(path))
            # Beside train.txt, macOS writes a file "._train.txt" that is not a list.
            if name.endswith(".txt") and not name.startswith(".")
        }
    else:
        files = {"train": path}
    if "train" not in files or not os.path.isfile(files["train"]):
        raise FileNotFoundError(
            f"There is no list of training images at {path}. A data set list:FILE "
            "needs a file of `path label` lines, or a folder that contains train.txt."
        )
    return files


def _check_num_classes(num_classes, lines, list_file):
    """Rejects a training list with a label that is too large to be intended."""
    limit = label_limit(len(lines))
    if num_classes > limit:
        largest_label = num_classes - 1
        path = next(line.path for line in lines if line.label == largest_label)
        raise ValueError(
            f"Expected labels below {limit} in {list_file}: at most {MAX_CLASSES} "
            "classes, or as many as there are images. Received: label "
            f"{largest_label} for {path}, in a list of {len(lines)} images. Number "
            "the classes from 0."
        )


def _read_checked_list(list_file, num_classes, train_file):
    """Returns [(path, label)] of a list other than the training list.

    Raises:
        ValueError: if a label is not that of a class in the training list.
    """
    lines = _read_list(list_file)
    for line in lines:
        if line.label >= num_classes:
            raise ValueError(
                f"Expected labels from 0 to {num_classes - 1}, the classes of "
                f"{train_file}. Received: {line.label} for {line.path} in {list_file}. "
                "Both lists have to count the classes from 0."
            )
    return _find_files(lines, list_file)


class _Line(NamedTuple):
    """A line of a list file: a path, a label, and the number of the line from 1."""

    path: str
    label: int
    number: int


def _read_list(list_file):
    """Returns a `_Line` for each line of a file of `path label` lines."""
    return [
        _parse_line(line, number, list_file)
        for number, line in enumerate(read_lines(list_file), 1)
        if line
    ]


def _parse_line(line, number, list_file):
    """Returns the `_Line` of a text; paths are relative to the list's folder."""
    fields = line.rsplit(None, 1)
    if len(fields) < 2 or not fields[1].isdecimal():
        raise ValueError(
            "Expected a path, a space or tab and a label, an integer "
            f"of 0 or more. Received: line {number} of {list_file}: {line!r}."
        )
    path = os.path.join(os.path.dirname(list_file), os.path.expanduser(fields[0]))
    return _Line(path, int(fields[1]), number)


def _find_files(lines, list_file):
    """Returns [(path, label)] of the `_Line`s of a list.

    Raises:
        FileNotFoundError: if an image does not exist.
    """
    examples = []
    for path, label, number in lines:
        found = find_file(path)
        if found is None:
            folder = ", which is a folder" if os.path.isdir(path) else ""
            raise FileNotFoundError(
                f"There is no image at {path}{folder}, the path on line {number} of "
                f"{list_file}. Correct the path or remove the line."
            )
        examples.append((found, label))
    return examples


def _fingerprint(paths, labels):
    """Returns a digest of the files' paths, sizes and times of modification.

    Args:
        paths: the paths of the files.
        labels: bytes that are added to the digest.
    """
    digest = hashlib.sha256(labels)
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue  # The error is reported when the image is read.
        digest.update(example_name(path))
        digest.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _select(name, split, readers, folder):
    """Returns the examples of a split in TFDS's notation.

    Returns:
        (examples, sizes): [(path, label)], and {split: number of images} of the splits
        that were read.
    """
    requested = {part.partition("[")[0].strip() for part in split.split("+")}
    splits = {
        key: read()
        for key, read in readers.items()
        if key in requested or "all" in requested
    }
    sizes = {key: len(examples) for key, examples in splits.items()}
    infos = {
        key: tfds.core.SplitInfo(key, [size], 0) for key, size in sizes.items()
    }
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except SPLIT_ERRORS as error:
        raise unknown_split_error(name, split, list(readers), sizes) from error
    selected = []
    for part in parts:
        examples = _sorted_by_digest(splits[part.splitname], folder)
        selected += examples[part.from_ : part.to]
    return selected, sizes


def _sorted_by_digest(examples, folder):
    """Returns [(path, label)] sorted by digests of the paths relative to `folder`.

    Files are found class by class; in that order, "train[:90%]" would lack the last
    classes. Sorted by digest, the parts of a split remain the same when the folder is
    moved. An added image moves only a few other images, those next to the cut, from
    one part to the next.
    """

    def digest(example):
        relative_path = example[0].removeprefix(folder)
        return hashlib.sha256(example_name(relative_path)).digest()

    return sorted(examples, key=digest)
