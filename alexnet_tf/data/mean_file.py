"""Reads the mean images that Caffe subtracts: .binaryproto and .npy files.

The two formats are told apart by their content. Files may come from untrusted sources,
and nothing in them is run. The image is read after its size has been checked.
"""

import os

import numpy as np

from alexnet_tf import files
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
    try:
        mean = _read_array(path)
        _check_values(mean)
    except ValueError as error:
        raise ValueError(
            f"The mean image cannot be read: {path}: {error}. Expected a mean image of "
            "Caffe, a .binaryproto or .npy file."
        ) from error
    return np.ascontiguousarray(mean[::-1].transpose(1, 2, 0))


def _read_array(path):
    """Returns the array in a file, float32 [3, H, W] with the channels B, G, R."""
    message = memoryview(files.map_file(path))
    if message[: len(_NPY_PREFIX)] == _NPY_PREFIX:
        array = _map_npy(path)
        array = array.reshape(_check_shape(array.shape))
    elif protobuf.is_blob(message):
        blob = protobuf.read_blob(protobuf.Reader(), message)
        array = blob.read(_check_shape(blob.shape))
    else:
        raise ValueError("it is in neither of the two formats of mean images")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _map_npy(path):
    """Returns the array in a .npy file, mapped into memory: only its header is read."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    # NumPy parses the header as Python literals, and raises several types of errors.
    except Exception as error:
        raise ValueError(
            f"it is a damaged .npy file ({type(error).__name__})"
        ) from error
    if array.dtype.kind != "f":
        raise ValueError(
            f"it holds {array.dtype.name} numbers instead of floating-point numbers"
        )
    return array


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


def _check_values(mean):
    if not np.isfinite(mean).all():
        raise ValueError("it holds numbers that are not finite")
    if not 0 <= mean.min() <= mean.max() <= 255:
        raise ValueError(
            f"its values range from {mean.min():.6g} to {mean.max():.6g} instead of "
            "being between 0 and 255"
        )
