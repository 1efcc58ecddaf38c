"""Class folders and list files as a `Source`."""

import functools
import hashlib
import logging
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data.source import check_not_empty
from alexnet_tf.data.source import evaluation_split
from alexnet_tf.data.source import IMAGE_EXTENSIONS
from alexnet_tf.data.source import Source
from alexnet_tf.data.source import SPLIT_ERRORS
from alexnet_tf.data.source import unknown_split_error

_log = logging.getLogger(__name__)

PREFIXES = ("folder:", "list:")


def load(name, split):
    """Loads one split of "folder:PATH" or "list:FILE"; see `datasets.load`."""
    readers, classes, folder = _scan(name)
    split = split or evaluation_split(name, list(readers))
    examples = _select(name, split, readers, folder)
    check_not_empty(name, split, len(examples))
    paths = [path for path, _ in examples]
    # Bytes: a name need not be UTF-8.
    names = np.array([os.fsencode(path) for path in paths], object)
    labels = np.array([label for _, label in examples], np.int32)

    def read(shuffle_seed):
        order = np.arange(len(paths))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(order)
        return tf.data.Dataset.from_tensor_slices(
            {"name": names[order], "label": labels[order]}
        )

    def fetch(reference):
        return reference | {"image": tf.io.read_file(reference["name"])}

    return Source(
        name,
        split,
        tuple(classes),
        len(paths),
        folder,
        _fingerprint(paths),
        read,
        fetch,
    )


def split_names(name):
    """Lists the splits of "folder:PATH" or "list:FILE"."""
    return list(_scan(name)[0])


def _scan(name):
    """Finds the files of a data set: ({split: reader}, classes, folder)."""
    kind, _, path = name.partition(":")
    return _scan_folder(path) if kind == "folder" else _read_lists(path)


def _scan_folder(path):
    """({split: reader}, classes, folder) of a tree of class folders.

    A reader gives [(file, label)]: what is not asked for need not be in order.
    """
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise FileNotFoundError(
            "Expected a folder that holds one folder per class. Received: "
            f"{path}, which is none."
        )
    names = _subfolders(path)
    # Not so where "train" is one class among others.
    if "train" in names and _subfolders(os.path.join(path, "train")):
        roots = {name: os.path.join(path, name) for name in names}
    else:
        roots = {"train": path}
    classes = _subfolders(roots["train"])
    readers = {
        split: functools.partial(_class_files, root, classes)
        for split, root in roots.items()
    }
    return readers, classes, path


def _class_files(root, classes):
    if _subfolders(root) != classes:
        odd = sorted(set(_subfolders(root)) ^ set(classes))
        raise ValueError(
            "Expected the same class folders in each split. Received: "
            f"{', '.join(odd)} in one only ({root})."
        )
    files, ignored = [], []
    for label, name in enumerate(classes):
        folder = os.path.join(root, name)
        for entry in sorted(os.listdir(folder)):
            # macOS puts a "._1.jpg" beside 1.jpg that is no picture.
            fits = entry.lower().endswith(IMAGE_EXTENSIONS) and entry[0] != "."
            (files if fits else ignored).append(
                (os.path.join(folder, entry), label)
            )
    if ignored:
        _log.info(
            "Left out %d files in %s that are not called %s: %s, ...",
            len(ignored), root, " ".join(IMAGE_EXTENSIONS), ignored[0][0],
        )
    return files


def _subfolders(path):
    return sorted(
        entry.name
        for entry in os.scandir(path)
        if entry.is_dir() and not entry.name.startswith(".")
    )


def _read_lists(path):
    """({split: reader}, classes, folder) of `path label` lines.

    Readers as in `scan_folder`. A file is the split "train"; of a folder each
    NAME.txt is the split NAME. The labels of "train" say how many classes
    there are.
    """
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        folder = path
        names = [n for n in sorted(os.listdir(path)) if n.endswith(".txt")]
        files = {n.removesuffix(".txt"): os.path.join(path, n) for n in names}
    else:
        folder = os.path.dirname(path) or "."
        files = {"train": path}
    if "train" not in files or not os.path.isfile(files["train"]):
        raise FileNotFoundError(
            "Expected a file of `path label` lines, or a folder that holds "
            f"train.txt. Received: {path}."
        )
    train = _read_list(files["train"])
    count = 1 + max((label for _, label in train), default=0)
    _check_class_count(count, train, files["train"])
    readers = {
        split: functools.partial(_read_known, file, count, files["train"])
        for split, file in files.items()
    }
    readers["train"] = lambda: train
    return readers, [str(label) for label in range(count)], folder


def _check_class_count(count, examples, list_file):
    """Refuses what must be a slip, as a label of 7000000.

    A short list of ImageNet's pictures may well have its 1000 classes; more
    than those, and more than pictures, can't be learned.
    """
    if count > max(len(examples), 1000):
        file = next(file for file, label in examples if label == count - 1)
        raise ValueError(
            "Expected no more classes than pictures, or than 1000, in "
            f"{list_file}. Received: label {count - 1} for {file}, "
            f"{len(examples)} pictures. Number the classes from 0."
        )


def _read_known(list_file, count, train_file):
    """[(file, label)], whose labels the training split knows."""
    examples = _read_list(list_file)
    for file, label in examples:
        if label >= count:
            raise ValueError(
                f"Expected labels from 0 to {count - 1}, those of "
                f"{train_file}. Received: {label} for {file} in {list_file}."
            )
    return examples


def _read_list(list_file):
    folder = os.path.dirname(list_file)
    examples = []
    # A name that is not UTF-8 is found all the same.
    with open(list_file, encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            *path, label = line.strip().rsplit(None, 1)
            where = f"line {number} of {list_file}: {line.strip()!r}"
            if not (path and label.isdecimal()):
                raise ValueError(
                    "Expected a path, a space or tab and a label, an integer "
                    f"of 0 or more. Received: {where}."
                )
            path = os.path.join(folder, os.path.expanduser(*path))
            if not os.path.isfile(path):
                raise FileNotFoundError(
                    f"Expected a picture at {path}. Received: no such file, "
                    f"{where}."
                )
            examples.append((path, int(label)))
    return examples


def _fingerprint(paths):
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue  # Who reads it will say so.
        digest.update(os.fsencode(path))
        digest.update(f" {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _select(name, split, readers, folder):
    """The (file, label) pairs of a split of TFDS's form."""
    asked = {part.partition("[")[0].strip() for part in split.split("+")}
    splits = {
        key: read()
        for key, read in readers.items()
        if key in asked or "all" in asked
    }
    infos = {
        key: tfds.core.SplitInfo(key, [len(files)], 0)
        for key, files in splits.items()
    }
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except SPLIT_ERRORS as error:
        raise unknown_split_error(name, split, list(readers)) from error
    chosen = []
    for part in parts:
        files = _shuffled_by_digest(splits[part.splitname], folder)
        chosen += files[part.from_ : part.to]
    return chosen


def _shuffled_by_digest(files, folder):
    """In an order that has nothing to do with the classes.

    Files lie class by class: "train[:90%]" would leave the last ones out. By
    digests of their names, since what is trained on and what not must stay when a
    picture is added to those that there are, or all of them are moved.
    """

    def digest(file):
        return hashlib.sha256(os.fsencode(file[0].removeprefix(folder))).digest()

    return sorted(files, key=digest)
