"""Splits of data sets and their parts, in TFDS's notation, such as "train[:90%]"."""

import dataclasses
import logging
import re

from alexnet_tf.data.folder_contents import IMAGE_EXTENSIONS
from alexnet_tf.data.folder_contents import log_once

# The errors that TFDS raises for splits that it can't parse or find.
SPLIT_ERRORS = (AssertionError, KeyError, NotImplementedError, ValueError)

_SLICE = re.compile(r"(\w+)\[(-?\d+%?)?:(-?\d+%?)?\]")

# The splits to evaluate on, in order of preference.
_EVALUATION_SPLITS = ("validation", "val", "valid", "test")


def evaluation_split(name, splits):
    """Returns the split to evaluate on: validation if there is one, else test.

    Args:
        name: the name of the data set, for the error message.
        splits: the names of the splits of the data set.

    Raises:
        ValueError: if there is no such split.
    """
    for split in _EVALUATION_SPLITS:
        if split in splits:
            return split
    similar = [split for split in splits if _may_be_for_evaluation(split)]
    choice = (
        f'Choose eval_split="{similar[0]}", or use parts' if similar else "Use parts"
    )
    raise ValueError(
        f"Expected a split to evaluate on, one of {', '.join(_EVALUATION_SPLITS)}. "
        f"Received: {name}, which has only {', '.join(splits)}. "
        f"{choice} of a split: "
        'train_split="train[:90%]", eval_split="train[90%:]", or, to evaluate on all '
        f'images, split="{splits[0]}".'
    )


def default_training_splits(name, splits):
    """Returns the default splits (train_split, eval_split) of a training run.

    They are ("train", None), in which None stands for `evaluation_split`. If no split
    has a name like "validation" or "test", they are two parts of "train", and this is
    logged.

    Args:
        name, splits: as in `evaluation_split`.
    """
    if any(map(_may_be_for_evaluation, splits)):
        return "train", None
    train_split, eval_split = "train[:80%]", "train[80%:]"
    log_once(
        logging.INFO,
        f"{name} has no split to evaluate on. Training uses {train_split}, and "
        f"evaluation {eval_split}. Other parts can be chosen by --train_split and "
        "--eval_split.",
    )
    return train_split, eval_split


def _may_be_for_evaluation(split):
    """Returns whether the name of a split is like "validation" or "test"."""
    return split.lower().startswith(("val", "test", "dev", "eval"))


def unknown_split_error(name, split, splits, sizes):
    """Returns the `ValueError` for a split that the data set does not have.

    Args:
        name: the name of the data set.
        split: the unknown split.
        splits: the names of the splits of the data set.
        sizes: {split: number of images} of the splits that are known.
    """
    too_long = [
        f", but {part.split} has only {part.count} images"
        for part in _slices(split, sizes)
        if not (0 <= part.start <= part.count and 0 <= part.end <= part.count)
    ]
    return ValueError(
        f"Expected one of the splits {', '.join(splits)} of {name}, or a part "
        f'of one such as "{splits[0]}[:90%]". Received: split={split!r}'
        f"{''.join(too_long[:1])}."
    )


def check_not_empty(name, split, count, sizes):
    """Checks that a split has images, and that no slice in it ends before it starts.

    Args:
        name, sizes: as in `unknown_split_error`.
        split: the split in TFDS's notation.
        count: the number of images in the split. TFDS gives a negative number for a
            slice that ends before it starts.

    Raises:
        ValueError: if the split is empty, or a slice in it ends before it starts.
    """
    slices = _slices(split, sizes)
    reversed_slices = [part for part in slices if part.start > part.end]
    if count <= 0 or reversed_slices:
        problem = "".join(
            f", because the slice from {part.start} to {part.end} of the {part.count} "
            f"images of {part.split} has none"
            for part in (reversed_slices or slices)[:1]
        )
        raise ValueError(
            f"Expected images in {name}, split {split} (in folders: "
            f"{', '.join(IMAGE_EXTENSIONS)}). Received: none{problem}."
        )


@dataclasses.dataclass(frozen=True)
class _Slice:
    """A part of a split, from `start` to `end` of `count` images."""

    split: str
    start: int
    end: int
    count: int


def _slices(split, sizes):
    """Returns the `_Slice`s in a split in TFDS's notation.

    Args:
        split, sizes: as in `unknown_split_error`. Slices of unknown splits, and parts
            that are not slices, are left out.
    """
    slices = []
    for part in split.split("+"):
        match = _SLICE.fullmatch(part.strip())
        if match and match[1] in sizes:
            count = sizes[match[1]]
            start = _slice_position(match[2] or "0", count)
            end = _slice_position(match[3] or "100%", count)
            slices.append(_Slice(match[1], start, end, count))
    return slices


def _slice_position(text, count):
    """Converts a bound of a slice, such as "5", "-5" or "50%", to a position."""
    if text.endswith("%"):
        position = round(int(text[:-1]) * count / 100)
    else:
        position = int(text)
    return position + count if text.startswith("-") else position
