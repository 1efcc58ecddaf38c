"""Errors that name the unreadable image of a data set, and what is wrong with it."""

import contextlib
import logging
import os
import re

import tensorflow as tf

from alexnet_tf.data import decode

_log = logging.getLogger(__name__)
_UNREADABLE = (
    tf.errors.NotFoundError,
    tf.errors.DataLossError,
    tf.errors.PermissionDeniedError,
)


def diagnose(error, source, examples):
    """Returns the error to raise for `error`: one that names the fault in the data.

    TensorFlow does not say which image it could not decode, so the images are read
    once more, one at a time, up to the first that fails.

    Args:
        error: a `tf.errors.OpError` that a pipeline has raised.
        source: the `Source` that the pipeline reads.
        examples: a `tf.data.Dataset` of the examples that were requested, in the
            pipeline's order. Errors come in that order too, however far the pipeline
            reads ahead.

    Returns:
        A `ValueError` that names an unreadable image or gives the number of examples,
        an `OSError` if files are missing or damaged, or `error` itself if the data has
        no fault.
    """
    # If one of several devices can't read an image, another lacks one, and that may be
    # the only error reported: a wrong count calls for a search as well.
    searched = (tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError)
    if isinstance(error, searched):
        _log.error("Looking for an image that can't be read in %s.", source)
        try:
            bad = find_bad_image(source, examples)
        except _UNREADABLE as cause:
            error = cause
        except tf.errors.FailedPreconditionError:
            pass  # The number of examples is wrong, and no image is unreadable.
        else:
            if bad:
                return bad
    return _readable_error(error, source)


def _readable_error(error, source):
    """Returns an error in plain words for missing files or a wrong count."""
    if isinstance(error, _UNREADABLE):
        return OSError(
            f"{source} could not be read completely: {short_message(error)}. Restore "
            "what is missing, or prepare the data set again."
        )
    count = re.search(r"contained (.+) element", error.message)
    if isinstance(error, tf.errors.FailedPreconditionError) and count:
        return ValueError(
            f"Expected {source.num_examples} images in {source}. Received: "
            f"{count[1]}. Prepare the data set again."
        )
    return error


@contextlib.contextmanager
def diagnosing(source, requested):
    """Replaces the errors of a pipeline that runs in its body by those of `diagnose`.

    Args:
        source: the `Source` that the pipeline reads, unshuffled.
        requested: a function that returns (first, count), the range of the examples
            that were requested last; a count of -1 stands for all examples from `first`
            on.
    """
    try:
        yield
    except tf.errors.OpError as error:
        first, count = requested()
        examples = source.examples().skip(first).take(count)
        raise diagnose(error, source, examples) from error


def short_message(error):
    """Returns the message of a `tf.errors.OpError` in one line without node names."""
    # The last unindented line has the cause; the lines before it give the place in the
    # code, the indented ones the node of the graph. Errors of several devices come as
    # "  (0) NOT_FOUND:  ...", followed by totals.
    lines = re.findall(
        r"^(?:  \(\d+\) [A-Z_]+: +)?(?!\d+ (?:root|successful|derived) )(\S.*)",
        error.message,
        re.MULTILINE,
    )
    # Where one device can't read an image, another merely lacks it.
    causes = [line for line in lines if "was expected to contain" not in line]
    *_, line = causes or lines or [type(error).__name__]
    return re.sub(r"\{\{.*?\}\} ?|.*Iterator::\S+ | *\[Op:.*", "", line).strip()


def find_bad_image(source, examples):
    """Returns a `ValueError` that names the first unreadable image, or None.

    Args:
        source: the `Source` that the examples belong to.
        examples: eager examples as in `Source.examples`.
    """
    for example in examples:
        fault = _fault(example, source)
        if fault:
            return ValueError(
                "Expected a JPEG, PNG, BMP or GIF image and a label from 0 "
                f"to {len(source.classes) - 1}. Received: "
                f"{os.fsdecode(example['name'].numpy())} of {source} "
                f"({len(example['image'].numpy())} bytes): {fault}. Repair it "
                "or remove it from the data set."
            )
    return None


def _fault(example, source):
    """Returns what is wrong with an example, "" if nothing is."""
    label = int(example["label"])
    if not source.has_class(label):
        return f"its label is {label}"
    try:
        decode.image_shape(example["image"])
        tf.io.decode_image(example["image"], channels=3, expand_animations=False)
    except tf.errors.InvalidArgumentError as error:
        return short_message(error)
    return ""
