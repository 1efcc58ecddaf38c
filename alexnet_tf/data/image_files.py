"""Finds image files by paths, glob patterns, folders and lists; makes a `Source`."""

import functools
import glob
import logging
import os
import re

import numpy as np

from alexnet_tf.data.folder_contents import describe_undecodable
from alexnet_tf.data.folder_contents import find_file
from alexnet_tf.data.folder_contents import find_images
from alexnet_tf.data.folder_contents import IMAGE_EXTENSIONS
from alexnet_tf.data.folder_contents import log_once
from alexnet_tf.data.source import example_name
from alexnet_tf.data.source import fetch_file
from alexnet_tf.data.source import PADDING_LABEL
from alexnet_tf.data.source import read_files
from alexnet_tf.data.source import Source
from alexnet_tf.data.text_lines import read_lines

_LIST_PREFIX = "list:"
_LABELED_LINE = re.compile(r"(.*\S)\s+([0-9]{1,9})")


def find(patterns):
    """Returns [(path, label), ...] of the image files that patterns name, in order.

    The label is an integer if it is in a list file, otherwise None.

    Args:
        patterns: one string or several, in any mixture of

            - the path of a file. Whether it exists is not checked: a missing file is
              reported when it is read.
            - a glob pattern, in which `**` stands for folders of any depth. The matches
              are sorted, and each image is returned once. Folders without images are
              left out if the pattern has `**`. Without a match, the pattern is kept as
              a path.
            - a folder, which stands for the images in it and in its subfolders, see
              `folder_contents.find_images`.
            - "list:FILE". Each line of the file has a path, which is relative to the
              folder of the file. If every line ends in a space or tab and an integer,
              these integers are the labels.

    Raises:
        ValueError: if there are no patterns, a folder has no images, or a list has no
            lines or is not a text file.
        OSError: if a folder or a list cannot be read.
    """
    if isinstance(patterns, str | os.PathLike):
        patterns = [patterns]
    files = [
        file for pattern in patterns for file in _find_pattern(os.fspath(pattern))
    ]
    if not files:
        raise ValueError(
            "Expected at least one image. Received: none. Name an image file or a "
            "folder of images."
        )
    return files


def to_source(files):
    """Returns a `Source` of image files.

    The source has no classes. A file without a label has `PADDING_LABEL`, which
    evaluation ignores.

    Args:
        files: [(path, label), ...], see `find`.
    """
    names = np.array([example_name(path) for path, _ in files], object)
    labels = [PADDING_LABEL if label is None else label for _, label in files]
    labels = np.array(labels, np.int32)
    return Source(
        name="image files",
        split="all",
        classes=(),
        num_examples=len(files),
        folder="",
        fingerprint="",
        read=functools.partial(read_files, names, labels),
        fetch=fetch_file,
    )


def _find_pattern(pattern):
    """Returns [(path, label), ...] of one pattern, see `find`."""
    if pattern.startswith(_LIST_PREFIX):
        return _read_list(os.path.expanduser(pattern.removeprefix(_LIST_PREFIX)))
    pattern = os.path.expanduser(pattern)
    exists = os.path.exists(pattern)
    matches = [] if exists else sorted(glob.glob(pattern, recursive=True))
    paths = []
    for path in matches or [pattern]:
        # `**` matches all folders, of which some have no images.
        may_be_empty = "**" in pattern and not exists
        paths += _images_in(path, may_be_empty) if os.path.isdir(path) else [path]
    # `**` also matches the images in the folders that it matches.
    return [(path, None) for path in dict.fromkeys(paths)]


def _images_in(folder, may_be_empty):
    """Returns the sorted paths of the images in a folder and its subfolders.

    Raises:
        ValueError: if there are none, unless `may_be_empty`.
        OSError: if the folder or a subfolder cannot be read.
    """
    images, undecodable, _ = find_images(folder)
    if not images and not may_be_empty:
        found = "none"
        if undecodable:
            found += f", but {describe_undecodable(undecodable)}"
        raise ValueError(
            f"Expected images ({', '.join(IMAGE_EXTENSIONS)}) in the folder {folder}. "
            f"Received: {found}."
        )
    if undecodable:
        log_once(
            logging.WARNING,
            f"Some images in {folder} cannot be decoded ("
            f"{describe_undecodable(undecodable)}). They are left out.",
        )
    return images


def _read_list(list_file):
    """Returns [(path, label), ...] of a list file, see `find`."""
    if not os.path.isfile(list_file):
        raise FileNotFoundError(
            f"There is no list of images at {list_file}. {_LIST_PREFIX}FILE needs a "
            "text file with one path per line."
        )
    lines = [line for line in read_lines(list_file) if line]
    if not lines or any("\0" in line for line in lines):
        problem = "is not a text file" if lines else "is empty"
        raise ValueError(
            f"The list of images {list_file} {problem}. It needs one path per line."
        )
    matches = [_LABELED_LINE.fullmatch(line) for line in lines]
    if all(matches):
        files = [(match[1], int(match[2])) for match in matches]
    else:
        files = [(line, None) for line in lines]
    folder = os.path.dirname(list_file)
    paths = [os.path.join(folder, os.path.expanduser(path)) for path, _ in files]
    return [(find_file(path) or path, label) for path, (_, label) in zip(paths, files)]
