"""Finds the weights in an object that PyTorch saved.

The object is a dict of tensors, as `state_dict` of a module returns it, or a training
checkpoint, a dict that contains this dict under one of several keys.
"""

import numpy as np

from alexnet_tf.models.readers.stored import check_dtype
from alexnet_tf.models.readers.stored import from_bfloat16
from alexnet_tf.models.readers.stored import group_by_layer
from alexnet_tf.models.readers.stored import part_name
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights
from alexnet_tf.models.readers.torch_pickle import Tensor
from alexnet_tf.models.readers.torch_pickle import Unknown

# The names of the weights in checkpoints, in the order in which they are looked for.
_CHECKPOINT_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network",
    "weights", "params",
)  # fmt: skip
_DTYPES = {
    "float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2",
}  # fmt: skip


def stored_weights(checkpoint, buffer, positions):
    """Returns the `StoredWeights` in an object that PyTorch saved.

    Args:
        checkpoint: the object, with a `torch_pickle.Tensor` in place of each tensor,
            and a `torch_pickle.Unknown` in place of objects of unknown classes.
        buffer: a memory map of the file.
        positions: {key of a storage: position of its elements in the file}. The
            elements of all storages must be within the file.

    Raises:
        ValueError: if the object has no weights, they have unsupported types, or an
            object of an unknown class is in the place of a tensor.
    """
    tensors = _find_tensors(checkpoint)
    arrays = {}
    for name, tensor in tensors.items():
        if _is_array_of_layer(name, tensor):
            number_type = tensor.storage.number_type
            check_dtype(name, "float32" if number_type == "bfloat16" else number_type)
            arrays[name] = _stored_array(tensor, buffer, positions)
    # PyTorch stores kernels as [out, in, ...], and the inputs of fc6 in the order
    # C, H, W.
    return StoredWeights(group_by_layer(arrays), layout="caffe")


def _find_tensors(checkpoint):
    """Returns {name: `Tensor`} of the weights in a checkpoint."""
    if isinstance(checkpoint, Unknown):
        raise checkpoint.error()
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f"it holds an object of type {type(checkpoint).__name__} instead of a dict "
            "of tensors, which torch.save(model.state_dict(), path) writes"
        )
    candidates = [checkpoint.get(key) for key in _CHECKPOINT_KEYS]
    for candidate in (*candidates, checkpoint):
        if isinstance(candidate, dict):
            tensors = {
                name: value
                for name, value in candidate.items()
                if isinstance(name, str) and isinstance(value, Tensor)
            }
            if tensors:
                _check_all_known(candidate)
                return tensors
    for value in (*candidates, *checkpoint.values()):
        if isinstance(value, Unknown):
            raise value.error()
    raise ValueError(
        "it has no tensors, neither directly nor in a dict called "
        f"{', '.join(_CHECKPOINT_KEYS)}"
    )


def _check_all_known(state):
    """Raises an error if an object of an unknown class is in the place of a tensor."""
    for name, value in state.items():
        if isinstance(value, Unknown) and isinstance(name, str):
            if part_name(name.rpartition(".")[2]) is not None:
                raise value.error()


def _is_array_of_layer(name, tensor):
    """Returns whether a tensor belongs to a layer.

    A checkpoint may also hold integers, such as the number of batches that a batch
    normalization has seen, and scalars, such as the best accuracy.
    """
    part = part_name(name.rpartition(".")[2])
    is_floating = tensor.storage.number_type in _DTYPES
    return tensor.shape != () and (is_floating or part is not None)


def _stored_array(tensor, buffer, positions):
    storage = tensor.storage
    first = storage.start + tensor.offset

    def read():
        array = np.ndarray(
            tensor.shape,
            _DTYPES[storage.number_type],
            buffer,
            positions[storage.key] + first * storage.item_size,
            tuple(step * storage.item_size for step in tensor.strides),
        )
        return from_bfloat16(array) if storage.number_type == "bfloat16" else array

    return StoredArray(tensor.shape, read)
