"""Errors that say which image of a data set is unreadable, and why."""

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
    """The error to raise for `error`: one that says what is wrong in the data.

    Itself if nothing is. TensorFlow does not say which picture it could not
    decode, so they are read once more, one at a time, up to the first that
    fails.

    Args:
        error: a `tf.errors.OpError` out of a pipeline.
        source: the `Source` that the pipeline read.
        examples: those that were asked for, in the pipeline's order. Errors
            come in that order too, however far it reads ahead.
    """
    # With several devices, one may fail and only another be heard of, which
    # misses a picture; so these are read again too.
    looked = (tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError)
    if isinstance(error, looked):
        _log.error("Looking for a picture that can't be read in %s.", source)
        try:
            bad = find_bad_image(source, examples)
        except _UNREADABLE as cause:
            error = cause
        except tf.errors.FailedPreconditionError:
            pass  # The miscount itself.
        else:
            if bad:
                return bad
    if isinstance(error, _UNREADABLE):
        return OSError(
            f"Expected to read all of {source}. Received: {short_message(error)}. Put "
            "back what is missing, or prepare the data set again."
        )
    count = re.search(r"contained (.+) element", error.message)
    if isinstance(error, tf.errors.FailedPreconditionError) and count:
        return ValueError(
            f"Expected {source.num_examples} pictures in {source}. Received: "
            f"{count[1]}. Prepare the data set again."
        )
    return error


@contextlib.contextmanager
def diagnosing(source, where):
    """Errors of a pipeline inside say what is wrong in the data: `diagnose`.

    Args:
        source: the `Source` that the pipeline reads, unshuffled.
        where: () -> (first, count) of the pictures that were asked for; a
            count of -1 stands for all that follow.
    """
    try:
        yield
    except tf.errors.OpError as error:
        first, count = where()
        asked = source.examples().skip(first).take(count)
        raise diagnose(error, source, asked) from error


def short_message(error):
    """What a `tf.errors.OpError` says, in one line, without names of nodes."""
    # What comes before says where in the code, what is indented in which node;
    # several devices fail as "  (0) NOT_FOUND:  ...", with totals at the end.
    lines = re.findall(
        r"^(?:  \(\d+\) [A-Z_]+: +)?(?!\d+ (?:root|successful|derived) )(\S.*)",
        error.message,
        re.MULTILINE,
    )
    # Where one device meets the fault, another only misses the picture.
    causes = [line for line in lines if "was expected to contain" not in line]
    *_, line = causes or lines or [type(error).__name__]
    return re.sub(r"\{\{.*?\}\} ?|.*Iterator::\S+ | *\[Op:.*", "", line).strip()


def find_bad_image(source, examples):
    """The error that names the first bad picture, None if there is none."""
    for example in examples:
        reason = _fault(example, source)
        if reason:
            return ValueError(
                "Expected a JPEG, PNG, BMP or GIF picture and a label from 0 "
                f"to {len(source.classes) - 1}. Received: "
                f"{os.fsdecode(example['name'].numpy())} of {source} "
                f"({len(example['image'].numpy())} bytes): {reason}. Mend it "
                "or take it out of the data set."
            )
    return None


def _fault(example, source):
    """What is wrong with an example, "" for nothing."""
    label = int(example["label"])
    if not source.has_class(label):
        return f"its label is {label}"
    try:
        decode.image_shape(example["image"])
        tf.io.decode_image(
            example["image"], channels=3, expand_animations=False
        )
    except tf.errors.InvalidArgumentError as error:
        return short_message(error)
    return ""
