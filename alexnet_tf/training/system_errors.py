"""Errors of the operating system among those of TensorFlow."""

import errno
import os

from alexnet_tf.data import bad_images

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
TOO_MANY_OPEN_FILES = (errno.EMFILE, errno.ENFILE)
NO_PERMISSION = (errno.EACCES, errno.EPERM)


def has_number(error, numbers):
    """Returns whether an error of TensorFlow is one of the operating system.

    The class of the error does not tell this: a full disk and a lack of memory have the
    same class, and the reader of checkpoints raises a plain `tf.errors.OpError`. But
    the message ends with the system's text for the error.

    Args:
        error: a `tf.errors.OpError`.
        numbers: numbers of the module `errno`.
    """
    reasons = tuple(os.strerror(number) for number in numbers)
    return bad_images.short_message(error).endswith(reasons)
