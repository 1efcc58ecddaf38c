"""Errors that say which smaller batch size to try after running out of memory."""

import contextlib
import re

import tensorflow as tf

from alexnet_tf.data.bad_images import short_message
from alexnet_tf.training import system_errors

# The messages of GPU libraries contain one of these codes if the memory is too small.
_GPU_CODES = ("OUT_OF_MEMORY", "ALLOC_FAILED")


@contextlib.contextmanager
def suggesting_smaller_batch(batch_size, num_replicas=1, workdir=None):
    """Replaces errors about a lack of memory by one that suggests a batch size.

    Args:
        batch_size: the number of images in a batch.
        num_replicas: the number of devices that share a batch equally.
        workdir: the work directory of a run with a checkpoint, whose batch size cannot
            change any more; None otherwise. It may be a function that returns this.

    Raises:
        MemoryError: if the body raises a MemoryError or an error of TensorFlow about
            the memory of a device.
        OSError: if TensorFlow reports a full disk or too many open files, for which it
            has the same error.
    """
    try:
        yield
    except (MemoryError, tf.errors.OpError) as error:
        _check_files(error)
        if not _is_about_memory(error):
            raise
        workdir = workdir() if callable(workdir) else workdir
        advice = _advice(batch_size // 2 // num_replicas * num_replicas, workdir)
        raise MemoryError(
            f"Out of memory with batches of {batch_size} "
            f"image{'s' * (batch_size != 1)}{_describe_tensor(error)}. {advice}"
        ) from error


def _check_files(error):
    """Raises an OSError if an error is about the disk or the number of open files."""
    if not isinstance(error, tf.errors.ResourceExhaustedError):
        return
    for numbers, advice in (
        (system_errors.FULL_DISK, "Free some disk space"),
        (
            system_errors.TOO_MANY_OPEN_FILES,
            "Raise the limit of open files (ulimit -n)",
        ),
    ):
        if system_errors.has_number(error, numbers):
            raise OSError(
                f"A file could not be opened or written: {short_message(error)}. "
                f"{advice} and run the same command again."
            ) from error


def _is_about_memory(error):
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return True
    return any(code in error.message for code in _GPU_CODES)


def _describe_tensor(error):
    """Returns the tensor that TensorFlow could not allocate, if the error names one."""
    tensor = re.search(r"allocating tensor with shape ?(\[[\d,]*\])", str(error))
    return f" (no room for a tensor of {tensor[1]})" if tensor else ""


def _advice(smaller_size, workdir):
    if smaller_size == 0:
        return "Close other programs that use the memory, or choose a smaller network."
    if workdir is None:
        return f"Try --batch_size={smaller_size}."
    return (
        "If other programs used the memory, the same command resumes the run from its "
        "last checkpoint. Otherwise, go on from its weights in another run: --weights="
        f"{workdir} --batch_size={smaller_size} and another --workdir."
    )
