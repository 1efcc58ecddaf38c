"""Reads the mean images that Caffe subtracts: .binaryproto and .npy files.

The two formats are told apart by their content. Files may come from untrusted sources,
and nothing in them is run. The image is read after its size has been checked.
"""

import contextlib
import os

import numpy as np

from alexnet_tf import protobuf

_NPY_PREFIX = b"\x93NUMPY"
# The largest height and width of a mean image. ImageNet's is 256 x 256.
_MAX_SIDE = 4096


def read(path):
    """Returns the mean image in a file, float32 RGB [H, W, 3] on the 0-255 scale.

    Args:
        path: a .binaryproto file of Caffe, such as imagenet_mean.binaryproto, or a .npy
            file of Caffe's Python interface, such as ilsvrc_2012_mean.npy. The files
            hold arrays [3, H, W] (or [1, 3, H, W]) with the channels B, G, R.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the file cannot be read.
        ValueError: if the file is damaged or does not hold such an array.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no mean image at {path}.")
    with _errors_naming(path):
        mean = _read_array(path)
        with np.errstate(over="ignore"):
            mean = mean.astype(np.float32)
        if not np.isfinite(mean).all():
            raise ValueError("it holds numbers that are not finite")
        if not 0 <= mean.min() <= mean.max() <= 255:
            raise ValueError(
                f"its values range from {mean.min():.6g} to {mean.max():.6g} instead "
                "of being between 0 and 255"
            )
    return np.ascontiguousarray(mean[::-1].transpose(1, 2, 0))


@contextlib.contextmanager
def _errors_naming(path):
    """Converts errors in reading the file `path` to a `ValueError` that names it."""
    try:
        yield
    except OSError:
        raise
    # NumPy parses the header of .npy files, and raises several types of errors.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"The mean image cannot be read: {path}: {reason[0]}. Expected a mean "
            "image of Caffe, a .binaryproto or .npy file."
        ) from error


def _read_array(path):
    """Returns the array [3, H, W] in a file, with the channels B, G, R."""
    message = protobuf.map_file(path)
    if message[: len(_NPY_PREFIX)] == _NPY_PREFIX:
        # The array is mapped, so its header alone takes no memory.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.dtype.kind != "f":
            raise ValueError(f"it holds numbers of type {array.dtype}")
        return array.reshape(_check_shape(array.shape))
    if not protobuf.is_blob(message):
        raise ValueError("it has neither of the two formats of mean images")
    blob = protobuf.read_blob(protobuf.Reader(), message)
    return blob.read(_check_shape(blob.shape))


def _check_shape(shape):
    """Returns a shape (3, height, width) without a leading dimension of 1."""
    image_shape = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
    if len(image_shape) != 3 or image_shape[0] != 3:
        raise ValueError(f"it holds an array of shape {shape} instead of (3, H, W)")
    if not all(0 < side <= _MAX_SIDE for side in image_shape[1:]):
        raise ValueError(
            f"its image has {image_shape[1]} x {image_shape[2]} pixels instead of 1 to "
            f"{_MAX_SIDE} on each side"
        )
    return image_shape
