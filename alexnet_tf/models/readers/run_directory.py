"""Reads the weights in the work directory of a run."""

import os
import pathlib
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


def checkpoint_paths(path):
    """Returns the paths of the checkpoints of a run, from the oldest to the newest.

    They are found by the names of their files. The list in the file `checkpoint` may be
    damaged, and in earlier versions it had absolute paths, which are wrong once a run
    has been moved.

    Args:
        path: the work directory of the run.
    """
    # TensorFlow writes the index of a checkpoint last.
    indices = pathlib.Path(path, "checkpoints").glob("ckpt-*.index")
    paths = [str(index.with_suffix("")) for index in indices]
    return sorted(paths, key=lambda path: int(path.rpartition("-")[2]))


def open_directory(path):
    """Returns the `StoredWeights` of the newest checkpoint of a run.

    Args:
        path: the work directory of the run.

    Raises:
        FileNotFoundError: if the directory has no checkpoint.
    """
    file_path = os.path.join(path, WEIGHTS_FILE)
    paths = checkpoint_paths(path)
    if not paths and os.path.exists(file_path):
        return safetensors_file.open_file(file_path)
    if not paths:
        raise FileNotFoundError(
            f"No checkpoint was found in {path}/checkpoints. Choose the directory "
            "of a run that has saved a checkpoint."
        )
    reader = tf.train.load_checkpoint(paths[-1])
    layers = {}
    for key, shape in sorted(reader.get_variable_to_shape_map().items()):
        if match := _CHECKPOINT_KEY.fullmatch(key):
            layer, part = match.groups()
            layer = layer.replace("..", ".")  # TensorFlow doubles a period in a name.
            layers.setdefault(layer, {})[part] = StoredArray(
                tuple(shape), lambda key=key: reader.get_tensor(key)
            )
    return StoredWeights(layers, layout="keras")
