"""Reads networks of MatConvNet, such as imagenet-caffe-alex.mat, from .mat files.

The networks are those called SimpleNN: a cell "layers" of structures. Convolutions have
a "name" and "weights", a cell with a kernel [height, width, in, out] and a bias, or, in
older files, "filters" and "biases". Fully connected layers are convolutions whose
windows are as large as the maps. conv1 takes RGB images, also in networks that were
converted from Caffe (`import-caffe.py` in vlfeat/matconvnet).
"""

import math

from alexnet_tf.models.readers import matlab_file
from alexnet_tf.models.readers.stored import check_dtype
from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights
from alexnet_tf.models.readers.stored import transpose_matrix
from alexnet_tf.models.readers import unsupported

# Published files have a variable "layers". Files that were saved during training have
# a structure "net" with a field "layers".
_VARIABLES = ("layers", "net")
_FIELDS = ("layers", "type", "name", "weights", "filters", "biases")
_NORMALIZATIONS = ("lrn", "normalize")


def open_file(path):
    """Returns the `StoredWeights` of a .mat file, like `npy.open_file`."""
    with open(path, "rb") as file:
        if file.read(10) == b"MATLAB 7.3":
            raise ValueError(
                "it was saved in version 7.3 of the format, which is not supported. "
                "Save it in MATLAB with the option -v7"
            )
    layers = _find_layers(matlab_file.read_variables(path, _VARIABLES, _FIELDS))
    types = [layer.get("type") for layer in layers]
    if "bnorm" in types:
        raise ValueError(unsupported.BATCH_NORMALIZATION)
    arrays = {}
    for layer in layers:
        if layer.get("type") == "conv":
            name = layer.get("name")
            if not isinstance(name, str) or name in arrays:
                raise ValueError("its convolutions do not have different names")
            arrays[name] = _read_layer(name, layer)
    return StoredWeights(
        arrays, layout="keras", network=_network_name(types), channel_order="rgb"
    )


def _find_layers(variables):
    """Returns the list of the structures of the layers."""
    network = variables if "layers" in variables else variables.get("net")
    if not isinstance(network, dict) or "layers" not in network:
        raise ValueError(
            'it is not a network of MatConvNet: it has no variable "layers"'
        )
    if "params" in network:
        raise ValueError(
            "it holds a DagNN network of MatConvNet, and only SimpleNN networks are "
            "supported"
        )
    layers = network["layers"]
    if not isinstance(layers, list) or not all(
        isinstance(layer, dict) for layer in layers
    ):
        raise ValueError("its layers are not a cell of structures")
    return layers


def _network_name(types):
    """Returns the name of the network from the types of its layers."""
    first_pool = types.index("pool") if "pool" in types else len(types)
    first_norms = [types.index(name) for name in _NORMALIZATIONS if name in types]
    if not first_norms:
        # imagenet-matconvnet-alex.mat was trained with batch normalization, which was
        # then merged into the kernels. It has the shapes of AlexNet.
        raise ValueError(
            "its network does not normalize responses, as AlexNet and CaffeNet do"
        )
    return "AlexNet" if min(first_norms) < first_pool else "CaffeNet"


def _read_layer(name, layer):
    """Returns {"kernel": `StoredArray`, "bias": `StoredArray`} of a convolution."""
    weights = layer.get("weights", [layer.get("filters"), layer.get("biases")])
    if (
        not isinstance(weights, list)
        or len(weights) != 2
        or not all(isinstance(part, matlab_file.Numbers) for part in weights)
    ):
        raise ValueError(f"{printable(name)} does not have a kernel and a bias")
    kernel, bias = weights
    for array in weights:
        check_dtype(name, array.dtype)
    # MATLAB omits ones at the end of a shape.
    shape = kernel.shape + (1,) * (4 - len(kernel.shape))
    if len(shape) > 4 or max(bias.shape) != math.prod(bias.shape):
        raise ValueError(f"{printable(name)} has arrays of the wrong shapes")
    is_dense = name.startswith("fc")

    def read_kernel():
        array = kernel.read().reshape(shape)
        if not is_dense:
            return array
        # The columns have the order H, W, C.
        return transpose_matrix(array.transpose(3, 0, 1, 2).reshape(shape[3], -1))

    return {
        "kernel": StoredArray(
            (math.prod(shape[:3]), shape[3]) if is_dense else shape, read_kernel
        ),
        "bias": StoredArray((max(bias.shape),), lambda: bias.read().ravel()),
    }
