"""Reads the weights in the work directory of a run."""

import os
import re

import tensorflow as tf

from alexnet_tf.models.readers import safetensors_file
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights

# A run inside this package has this file in place of checkpoints.
WEIGHTS_FILE = "weights.safetensors"

_CHECKPOINT_KEY = re.compile(
    r"layers/([^/]+)/_?(\w+)/\.ATTRIBUTES/VARIABLE_VALUE"
)


def open_directory(path):
    """Returns the `StoredWeights` of the newest checkpoint of a run.

    Args:
        path: the work directory of the run.

    Raises:
        FileNotFoundError: if the directory has no checkpoint.
    """
    file_path = os.path.join(path, WEIGHTS_FILE)
    latest = tf.train.latest_checkpoint(os.path.join(path, "checkpoints"))
    if latest is None and os.path.exists(file_path):
        return safetensors_file.open_file(file_path)
    if latest is None:
        raise FileNotFoundError(
            f"No checkpoint was found in {path}/checkpoints. Choose the directory "
            "of a run that has saved a checkpoint."
        )
    reader = tf.train.load_checkpoint(latest)
    layers = {}
    for key, shape in sorted(reader.get_variable_to_shape_map().items()):
        if match := _CHECKPOINT_KEY.fullmatch(key):
            layer, part = match.groups()
            layer = layer.replace("..", ".")  # TensorFlow doubles a period in a name.
            layers.setdefault(layer, {})[part] = StoredArray(
                tuple(shape), lambda key=key: reader.get_tensor(key)
            )
    return StoredWeights(layers, layout="keras")
