"""Finds the splits, classes and images of a tree of class folders."""

import functools
import logging
import os
import re
import unicodedata

from alexnet_tf.data.folder_contents import describe_undecodable
from alexnet_tf.data.folder_contents import find_images
from alexnet_tf.data.folder_contents import IMAGE_EXTENSIONS
from alexnet_tf.data.folder_contents import log_once
from alexnet_tf.data.folder_contents import name_prefix
from alexnet_tf.data.folder_contents import subfolders
from alexnet_tf import settings

# Names such as Train, training_set, test1 and val_images.
_SPLIT_NAME = re.compile(
    r"(?:(train(?:ing)?)|(val(?:id(?:ation)?)?|dev(?:elopment)?|eval(?:uation)?)"
    r"|(test(?:ing)?))[ _.-]*(?:set|data|images|imgs|split)?[ _.-]*\d*"
)
_SPLITS = ("train", "validation", "test")  # in the order of the groups above


def scan(path):
    """Finds the splits and classes in a tree of class folders.

    Returns:
        (readers, classes, folder): {split: reader}, the class names in the order of
        the labels, and the folder of the data. A reader is a function that returns
        [(path, label)]. It is called only for splits that are used, so that other
        splits may contain any files.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the images are not in class folders, or names of classes are the
            same but for their Unicode form.
    """
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        raise FileNotFoundError(
            f"There is no folder {path}. A data set folder:PATH needs a folder that "
            "contains one folder per class."
        )
    names = subfolders(path)
    train_folder = os.path.join(path, "train")
    # A folder "train" without subfolders is a class, not a split.
    if "train" in names and subfolders(train_folder):
        roots = {name: os.path.join(path, name) for name in names}
    else:
        _check_split_names(path, names)
        roots = {"train": path}
    _check_class_level(roots["train"])
    classes = _normalized_subfolders(roots["train"])
    readers = {
        split: functools.partial(_read, root, roots["train"])
        for split, root in roots.items()
    }
    return readers, list(classes.values()), path


def _read(root, train_root):
    """Returns [(path, label)] of the images below the class folders of `root`.

    Args:
        root: the folder of a split.
        train_root: the folder of the training split, whose folders are the classes.

    Raises:
        ValueError: if the class folders of the splits differ, or one of the training
            split has no images.
        OSError: if a folder cannot be read.
    """
    classes, folders = map(_normalized_subfolders, (train_root, root))
    if folders.keys() != classes.keys():
        raise _unmatched_error(root, train_root, folders, classes)
    examples, undecodable, others, num_nested = [], [], [], 0
    for label, key in enumerate(classes):
        folder = os.path.join(root, folders[key])
        images, *left_out = find_images(folder)
        if not images and root == train_root:
            raise _empty_class_error(folder, *left_out)
        examples += [(path, label) for path in images]
        undecodable += left_out[0]
        others += left_out[1]
        num_nested += sum(os.path.dirname(path) != folder for path in images)
    _report(root, len(examples), num_nested, undecodable, others)
    return examples


def _report(root, num_images, num_nested, undecodable, others):
    """Logs which files are used and which are left out, once for each split."""
    if num_nested:
        log_once(
            logging.INFO,
            f"{root} has {num_images} images, {num_nested} of them in folders below "
            "the class folders.",
        )
    if undecodable:
        log_once(
            logging.WARNING,
            f"Some images in {root} cannot be decoded ("
            f"{describe_undecodable(undecodable)}). They are left out.",
        )
    if others:
        log_once(
            logging.INFO,
            f"Skipped {len(others)} file(s) in {root} that are not named as images "
            f"({' '.join(IMAGE_EXTENSIONS)}), such as {others[0]}.",
        )
    in_root, *_ = find_images(root, recursive=False)
    if in_root:
        log_once(
            logging.WARNING,
            f"Left out of {root}: {len(in_root)} image(s) in no class folder, such as "
            f"{in_root[0]}.",
        )


def _normalized_subfolders(root):
    """Returns {name in the Unicode form NFC: name} of the folders in a folder.

    macOS writes an accented letter as two characters (NFD), other systems as one.

    Raises:
        ValueError: if names differ only in their Unicode forms.
    """
    names = {}
    for name in subfolders(root):
        other = names.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise ValueError(
                "Expected names of class folders that differ by more than their "
                f"Unicode forms. Received: {other!a} and {name!a} in {root}, which "
                "look the same. Move the images into one of them."
            )
    return names


def _empty_class_error(folder, undecodable, others):
    """Returns the `ValueError` for a class folder without images."""
    found = "none"
    if undecodable:
        found = f"none, but {describe_undecodable(undecodable)}"
    elif others:
        found = f"none, but {len(others)} other file(s), such as {others[0]}"
    return ValueError(
        f"Expected images ({', '.join(IMAGE_EXTENSIONS)}) in each class folder, "
        f"such as {folder}. Received: {found}. Remove the folder if it is not a class."
    )


def _unmatched_error(root, train_root, folders, classes):
    """Returns the `ValueError` for class folders that differ from the training split's.

    Args:
        root, train_root: see `_read`.
        folders, classes: the results of `_normalized_subfolders` for these.
    """
    advice = (
        "To evaluate on a part of the training images instead, use "
        'train_split="train[:80%]", eval_split="train[80%:]".'
    )
    in_root, *_ = find_images(root, recursive=False)
    if in_root and not folders:
        return ValueError(
            f"Expected the class folders of the training split in {root}. Received: "
            f"{len(in_root)} image(s) without class folders, such as {in_root[0]}, "
            f"which have no labels. {advice}"
        )
    missing = [name for key, name in classes.items() if key not in folders]
    unknown = [name for key, name in folders.items() if key not in classes]
    unmatched = [
        f"{settings.some_of(names)} only in {parent}"
        for names, parent in ((missing, train_root), (unknown, root))
        if names
    ]
    return ValueError(
        "Expected the same class folders in each split. Received: "
        f"{' and '.join(unmatched)}. {advice}"
    )


def _check_split_names(path, names):
    """Rejects class folders that all have names of splits, such as Train and Test.

    Args:
        path: the folder of the data set.
        names: the names of its folders. If one of them is "train", that folder contains
            no folders.

    Raises:
        ValueError: if the names are those of splits, and images are in them.
    """
    matches = [_SPLIT_NAME.fullmatch(name.lower()) for name in names]
    if not all(matches) or not any(match[1] for match in matches):
        return
    roots = [_innermost(os.path.join(path, name)) for name in names]
    train_root = next(root for root, match in zip(roots, matches) if match[1])
    if not subfolders(train_root):
        _check_not_flat(train_root)
        return
    targets = [
        os.path.join(path, _SPLITS[match.lastindex - 1]) for match in matches
    ]
    moves = [
        f"{root} to {target}"
        for root, target in zip(roots, targets)
        if root != target and subfolders(root)
    ]
    raise ValueError(
        "Expected one folder per class, or folders train and validation that contain "
        f"these. Received: {path} with {' and '.join(names)}, the names of splits. "
        f"Move {', '.join(moves)}. Or train on the folder {train_root} alone: "
        f"dataset=folder:{train_root}."
    )


def _check_class_level(root):
    """Rejects a folder of a split whose class folders are missing or one level below.

    Raises:
        ValueError: if the images are directly in it, or it contains only one folder
            that contains folders, but no images.
    """
    names = subfolders(root)
    if not names:
        _check_not_flat(root)
    inner = _innermost(root)
    if inner == root:
        return
    below = subfolders(inner)
    images, *_ = find_images(inner, recursive=False)
    if below and not images:
        raise ValueError(
            f"Expected one folder per class in {root}. Received: one folder, "
            f"{names[0]}, without images of its own. If {', '.join(below[:3])} in "
            f"{inner} are classes, use folder:{inner}."
        )


def _check_not_flat(root):
    """Raises a `ValueError` if images are directly in a folder."""
    images, *_ = find_images(root, recursive=False)
    if not images:
        return
    # If names of files begin with those of classes, as in Kaggle's cat.0.jpg and
    # dog.0.jpg, the message has an example of each of two classes.
    examples = {name_prefix(path): os.path.basename(path) for path in reversed(images)}
    if "" in examples or not 1 < len(examples) <= max(2, len(images) // 2):
        examples = {"CLASS": os.path.basename(images[0])}
    moved = [f"{prefix}/{name}" for prefix, name in sorted(examples.items())[:2]]
    raise ValueError(
        f"Expected images in one folder per class in {root}. Received: none, but "
        f"{len(images)} image(s) outside of class folders, such as {images[0]}. Move "
        f"them into folders of their classes, as in {' and '.join(moved)}, or write a "
        "file of `path label` lines and use list:FILE."
    )


def _innermost(folder):
    """Returns the last of a chain of folders, beginning with `folder`.

    Each folder of the chain but the last contains one folder and no images.
    """
    visited = set()
    while os.path.realpath(folder) not in visited:
        visited.add(os.path.realpath(folder))
        names = subfolders(folder)
        if len(names) != 1 or any(find_images(folder, recursive=False)[:2]):
            break
        folder = os.path.join(folder, names[0])
    return folder
