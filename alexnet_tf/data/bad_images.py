"""Errors that name an unreadable image and say what is wrong with it."""

import contextlib
import errno
import logging
import os
import re

import tensorflow as tf

from alexnet_tf.data import decode

_log = logging.getLogger(__name__)
# In a graph, the message of a failed assertion has fewer lines.
_ensure_readable = tf.function(decode.ensure_readable, autograph=False)
_READ_ERRORS = (
    tf.errors.NotFoundError,
    tf.errors.DataLossError,
    tf.errors.PermissionDeniedError,
)


class BadImageError(ValueError):
    """An image or its label is invalid.

    Attributes:
        fault: a description of the image and of what is wrong with it, as sentences.
        advice: what can be done about it, a sentence without its period.
    """

    def __init__(self, fault, is_removable=True):
        alternative = " or remove it from the data set" if is_removable else ""
        self.fault, self.advice = fault, f"Repair the image{alternative}"
        self._is_removable = is_removable
        super().__init__(f"{fault} {self.advice}.")

    def __reduce__(self):
        # Otherwise, another process would get the message as the fault.
        return type(self), (self.fault, self._is_removable)


class UndecodableError(ValueError):
    """The bytes of an image cannot be decoded.

    Attributes:
        fault: a phrase with the number of bytes and what is wrong with them.
    """

    def __init__(self, encoded, error):
        num_bytes = int(tf.strings.length(encoded))  # A tensor has no `len`.
        self.fault = (
            f"{num_bytes} bytes that cannot be decoded as a JPEG, PNG, BMP, GIF or "
            f"WebP image: {short_message(error)}"
        )
        super().__init__(f"Expected an image. Received: {self.fault}.")


def diagnose(error, source, examples):
    """Returns an error that says what is wrong with the data, to raise for `error`.

    TensorFlow does not say which image it could not decode, so the images are read
    once more, one at a time, until one fails.

    Args:
        error: a `tf.errors.OpError` that a pipeline has raised.
        source: the `Source` that the pipeline reads.
        examples: a `tf.data.Dataset` of the examples that were requested, in the
            pipeline's order. However far the pipeline reads ahead, it raises errors
            in that order.

    Returns:
        A `ValueError` that names an unreadable image or gives the number of examples,
        an `OSError` if files are missing or damaged, or `error` itself if nothing is
        wrong with the data.
    """
    # An image that one of several devices can't read is missing on another device,
    # and TensorFlow may report only the wrong count, a FailedPreconditionError.
    needs_search = isinstance(
        error, (tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError)
    )
    if needs_search:
        _log.error("Looking for an image that can't be read in %s.", source)
        try:
            bad_image_error = find_bad_image(source, examples)
        except tf.errors.OpError as cause:
            # If the number of examples is wrong, no image is unreadable.
            if _is_read_error(cause):
                error = cause
            elif not isinstance(cause, tf.errors.FailedPreconditionError):
                raise
        else:
            if bad_image_error:
                return bad_image_error
    return _data_set_error(error, source)


def _data_set_error(error, source):
    """Returns an error in plain words for missing files or a wrong count.

    Any other error is returned unchanged.
    """
    if _is_read_error(error):
        return OSError(
            f"{source} could not be read completely: {short_message(error)}. Restore "
            "the missing or damaged files, or prepare the data set again."
        )
    count = re.search(r"contained (.+) element", error.message)
    if isinstance(error, tf.errors.FailedPreconditionError) and count:
        return ValueError(
            f"Expected {source.num_examples} images in {source}. Received: "
            f"{count[1]}. Prepare the data set again."
        )
    return error


def _is_read_error(error):
    """Returns whether an error of TensorFlow is one of the file system.

    Many of them, such as an I/O error or a folder in place of a file, have types that
    other errors have too. Their messages end with the system's text for the error.
    """
    reasons = tuple(f"; {os.strerror(number)}" for number in errno.errorcode)
    return isinstance(error, _READ_ERRORS) or short_message(error).endswith(reasons)


@contextlib.contextmanager
def diagnosing(source, requested):
    """Replaces TensorFlow's errors in a `with` block by those of `diagnose`.

    Args:
        source: the `Source` that the body reads, unshuffled.
        requested: a function that returns (first, count), the range of the examples
            that were requested last. A count of -1 stands for all examples from `first`
            to the end.

    Raises:
        ValueError, OSError, tf.errors.OpError: the error that `diagnose` returns.
    """
    try:
        yield
    except tf.errors.OpError as error:
        first, count = requested()
        examples = source.examples().skip(first).take(count)
        raise diagnose(error, source, examples) from error


def short_message(error):
    """Returns the message of a `tf.errors.OpError` in one line without node names.

    It has no period at its end, so that it can be a part of another message.
    """
    # The last unindented line gives the cause, the lines before it the place in the
    # code, and the indented lines the node of the graph. The errors of several devices
    # are indented lines, "  (0) NOT_FOUND:  ...", and lines with totals follow them.
    lines = re.findall(
        r"^(?:  \(\d+\) [A-Z_]+: +)?(?!\d+ (?:root|successful|derived) )(\S.*)",
        error.message,
        re.MULTILINE,
    )
    # A wrong count on one device follows from an unreadable image on another.
    causes = [line for line in lines if "was expected to contain" not in line]
    *_, cause = causes or lines or [type(error).__name__]
    cause = re.sub(r"\{\{.*?\}\} ?|.*Iterator::\S+ | *\[Op:.*", "", cause).strip()
    # An assertion with a single sentence as its data is reduced to the sentence. Other
    # data, such as numbers and names, would not be understood without the prefix.
    assertion = re.fullmatch(r"assertion failed: \[([^][]* [^][]*?)\]", cause)
    cause = assertion[1] if assertion else cause
    if cause.startswith("Unknown image file format"):
        # TensorFlow then lists the formats that it can read, which are not the same as
        # those of this package.
        return "Unknown image file format"
    return cause.rstrip(".")


def describe_left_out(count):
    """Returns a phrase such as ", 1 unreadable left out", and "" for none."""
    return f", {count} unreadable left out" if count else ""


def find_bad_image(source, examples):
    """Returns a `BadImageError` that names the first unreadable image.

    If all images are readable, it returns None.

    Args:
        source: the `Source` that the examples belong to.
        examples: an iterable of eager examples as in `Source.examples`.

    Raises:
        tf.errors.OpError: if an example can't be read from the data set.
    """
    for example in examples:
        problem = _problem(example, source)
        if problem:
            return BadImageError(
                "Expected a JPEG, PNG, BMP, GIF or WebP image and a label from 0 "
                f"to {len(source.classes) - 1}. Received: "
                f"{os.fsdecode(example['name'].numpy())} of {source} "
                f"({len(example['image'].numpy())} bytes): {problem}."
            )
    return None


def _problem(example, source):
    """Returns a description of what is wrong with an example, "" if nothing is."""
    label = int(example["label"])
    if not source.accepts_label(label):
        advice = ", which marks unlabeled images: choose another split"
        return f"its label is {label}{advice if label == -1 else ''}"
    try:
        _ensure_readable(example["image"])
    except tf.errors.InvalidArgumentError as error:
        return short_message(error)
    return ""
