"""Reads pickled dicts of NumPy arrays.

The dict is {"conv1_w": array, "conv1_b": array, ...}, or {"blobs": such a dict}, which
projects that use Caffe2 write.
"""


import numpy as np

from alexnet_tf import files
from alexnet_tf.models.readers import safe_pickle
from alexnet_tf.models.readers.stored import group_by_layer
from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights

# The key of a dict of names that Paddle adds to the weights.
_PADDLE_KEY = "StructuredToParameterName@@"
# The arrays that Caffe2's optimizer adds to the weights.
_MOMENTUM_SUFFIX = "_momentum"


def open_file(path):
    """Returns the `StoredWeights` of a file, like `npy.open_file`."""
    buffer = files.map_file(path)
    # Newer versions of Paddle store arrays in a way that is not supported. Therefore
    # the key is searched for before the pickle is read.
    if buffer.find(_PADDLE_KEY.encode()) >= 0:
        raise ValueError(
            "it is a file of Paddle, whose format is not supported, because its dense "
            "kernels and its convolution kernels have different orders of axes. Load "
            "it with Paddle, and save its arrays with numpy.savez"
        )
    arrays, layout = safe_pickle.load(buffer), None
    if isinstance(arrays, dict) and isinstance(arrays.get("blobs"), dict):
        # Caffe2 stores kernels as Caffe does.
        arrays, layout = arrays["blobs"], "caffe"
    if not isinstance(arrays, dict):
        raise ValueError(
            f"it holds an object of type {type(arrays).__name__} instead of a dict of "
            "arrays"
        )
    return StoredWeights(
        group_by_layer(
            {
                name: _stored_array(name, array)
                for name, array in arrays.items()
                if not name.endswith(_MOMENTUM_SUFFIX)
            }
        ),
        layout,
    )


def _stored_array(name, array):
    value = array.value if isinstance(array, safe_pickle.Array) else None
    if not isinstance(value, np.ndarray):
        raise ValueError(
            f"its {printable(name)} is not an array of numbers, as in "
            '{"conv1_w": array, "conv1_b": array}'
        )
    return StoredArray(value.shape, lambda: value)
