"""Reads the layouts of HDF5 files of Keras 1, 2 and 3.

Keras 2 stores the kernels of convolutions as [height, width, in, out] for images of
any layout. The inputs of fc6 are in the order H, W, C only if the network was trained
on images [height, width, channels]. A weights file does not state this layout: if the
images were [channels, height, width], the inputs of fc6 are loaded in the wrong order.
"""

import itertools
import re

from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights
from alexnet_tf.models.readers import unsupported

# The last parts of the names of arrays: conv1/kernel:0 with TensorFlow, conv1/kernel
# with other backends; a number is added if TensorFlow already knew the name.
_KERAS2_ARRAY = re.compile(r"(kernel|bias)(?:_\d+)?(?::0)?")
# In Keras 1, conv1_W:0 with TensorFlow, and conv1_W with Theano.
_KERAS1_ARRAY = re.compile(r".*_([Wb])(?:_\d+)?(:0)?")
# The names of the group of a model's layers, in Keras 3 and in tf.keras 2.13.
_KERAS3_LAYERS = ("layers", "_layer_checkpoint_dependencies")
_MAX_DEPTH = 20
_KERAS1_PARTS = {"W": "kernel", "b": "bias"}
# The layers of osmr/imgclsmob's networks, without repeated parts of the names.
_IMGCLSMOB_LAYER = re.compile(
    r"(?:\w+\.)?(?:features\.stage\d+\.unit\d+\.conv|output1\.fc\d+(?:\.fc)?)"
)


def read_keras3(root):
    """Returns the `StoredWeights` of a file of Keras 3 or tf.keras 2.13.

    Keras numbers the arrays of a layer. If there are two, they are called "kernel" and
    "bias" in the result, and otherwise "0", "1" and so on. The name of a layer in a
    nested model or in a wrapper follows that of the model or wrapper: base/conv1.

    Args:
        root: the `hdf5_structure.Group` of the file. The groups of the layers are named
            after their classes, as in conv2d_1; the name of the layer is an attribute.
            Older versions do not write the attribute. Their layers get the names of
            the groups, whose numbers follow the order of the layers.
    """
    layers = {}
    _read_keras3_layers(keras3_layers(root), "", layers, depth=0)
    return StoredWeights(layers, layout="keras")


def keras3_layers(group):
    """Returns the `hdf5_structure.Group` of the layers of a model; None without one."""
    for name in _KERAS3_LAYERS:
        if name in group:
            return group.group(name)
    return None


def _read_keras3_layers(groups, prefix, layers, depth):
    """Adds the arrays of the layers in a group to `layers`."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"its models are nested more than {_MAX_DEPTH} times")
    for key in groups.names():
        group = groups.group(key)
        arrays, names = _read_keras3_variables(group, key)
        nested = keras3_layers(group)
        is_nested = nested is not None or "layer" in group
        if (arrays or is_nested) and (len(names) != 1 or prefix + names[0] in layers):
            raise ValueError(f"{printable(key)} does not have a name of its own")
        if arrays:
            layers[prefix + names[0]] = arrays
        if nested is not None:
            _read_keras3_layers(nested, f"{prefix}{names[0]}/", layers, depth + 1)
        if "layer" in group:
            _read_keras3_layers(
                _Single(group.group("layer")), f"{prefix}{names[0]}/", layers, depth + 1
            )


def _read_keras3_variables(group, key):
    """Returns {part: `StoredArray`} of a layer, and a list of the names it has.

    Args:
        group: the `hdf5_structure.Group` of the layer.
        key: the name of the group, for files without the names of the layers.
    """
    if "vars" not in group:
        return {}, [key]
    variables = group.group("vars")
    names = variables.strings("name") if variables.has_attribute("name") else [key]
    count = len(variables.names())
    parts = ("kernel", "bias") if count == 2 else map(str, range(count))
    arrays = {
        part: variables.array(str(number)) for number, part in enumerate(parts)
    }
    return arrays, names


class _Single:
    """Presents the layer of a wrapper like a group of layers."""

    def __init__(self, group):
        self._group = group

    def names(self):
        return ["layer"]

    def group(self, name):
        return self._group


def read_keras2(root):
    """Returns the `StoredWeights` of a file of Keras 1 or 2.

    Args:
        root: the `hdf5_structure.Group` of the weights. Attributes list the names of
            its groups, which are layers or nested models, and of the arrays in each of
            the groups.
    """
    groups = {name: root.group(name) for name in root.strings("layer_names")}
    paths = {name: group.strings("weight_names") for name, group in groups.items()}
    unsupported.check_names([*groups, *itertools.chain(*paths.values())])
    _check_backend(root, paths)
    layers = {}
    for group_name, group in groups.items():
        for path in paths[group_name]:
            layer = _layer_name(group_name, path, paths[group_name])
            parts = layers.setdefault(layer, {})
            part = _part_name(path)
            if part in parts:
                raise ValueError(f"{printable(layer)} has two arrays for its {part}")
            parts[part] = group.array(path)
    _check_layers(layers)
    if layers and all(map(_IMGCLSMOB_LAYER.fullmatch, layers)):
        return _imgclsmob_weights(layers)
    return StoredWeights(layers, layout="keras")


def _check_backend(root, paths):
    """Raises an error if the kernels are those of Theano, which are flipped.

    Keras 1 stored kernels in the order of axes of the images, and only its last
    versions stored the name of the backend.
    """
    backend = root.strings("backend") if root.has_attribute("backend") else []
    is_theano = backend == ["theano"] or any(
        match and not match[2]
        for path in itertools.chain(*paths.values())
        if (match := _KERAS1_ARRAY.fullmatch(path))
    )
    if is_theano:
        raise ValueError(
            "it was saved by Keras with Theano, whose kernels are flipped, and it does "
            "not state the order of their axes. Convert it with the version of Keras "
            "that wrote it"
        )


def _part_name(path):
    """Returns "kernel" or "bias" for the path of an array."""
    name = path.rpartition("/")[2]
    if match := _KERAS2_ARRAY.fullmatch(name):
        return match[1]
    if match := _KERAS1_ARRAY.fullmatch(name):
        return _KERAS1_PARTS[match[1]]
    raise ValueError(f"its array {printable(path)} is neither a kernel nor a bias")


def _layer_name(group_name, path, paths):
    """Returns the name of an array's layer.

    Args:
        group_name: the name of the group with the array.
        path: the path of the array in the group.
        paths: the paths of all arrays in the group. A group with arrays of several
            layers is a nested model.
    """
    parents = {each.rpartition("/")[0] for each in paths}
    if len(parents) == 1:
        return group_name
    parts = path.split("/")[:-1]
    # TensorFlow repeats the names of models in the names of their variables, as in
    # features/features/stage1/stage1/unit1.
    return ".".join(
        part for part, previous in zip(parts, [None, *parts]) if part != previous
    )


def _check_layers(layers):
    for name, parts in layers.items():
        if parts.keys() != {"kernel", "bias"}:
            raise ValueError(
                f"{printable(name)} has only a {''.join(parts)} instead of a kernel "
                "and a bias"
            )
        shape = parts["kernel"].shape
        if len(shape) == 4 and shape[0] != shape[1]:
            raise ValueError(
                f"{printable(name)} has a kernel of shape {shape}, whose axes are not "
                "in the order [height, width, in, out]. Save it again in Keras 2 or "
                "later"
            )


def _imgclsmob_weights(layers):
    """Returns weights of osmr/imgclsmob, whose inputs of fc6 are in the order C, H, W.

    Its networks for TensorFlow transpose the maps before they flatten them (`flatten`
    in tf2cv/models/common.py). Therefore the arrays are given the layout of Caffe,
    which has the same order.
    """
    return StoredWeights(
        {
            name.replace("output1", "output"): {
                "kernel": _to_caffe(parts["kernel"]),
                "bias": parts["bias"],
            }
            for name, parts in layers.items()
        },
        layout="caffe",
    )


def _to_caffe(kernel):
    """Returns a `StoredArray` [out, in, ...] for a kernel [..., in, out]."""
    axes = (3, 2, 0, 1) if len(kernel.shape) == 4 else (1, 0)
    return StoredArray(
        tuple(kernel.shape[axis] for axis in axes),
        lambda: kernel.read().transpose(axes),
    )
