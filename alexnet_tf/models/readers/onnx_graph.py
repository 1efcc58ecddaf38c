"""Finds the layers of a network in a graph of ONNX.

Exporters give arrays arbitrary names, such as onnx::Conv_17. Therefore an array is
assigned to a layer by the node that uses it. If the names do not state the layers, the
layers are numbered in the order of the nodes, which is that of the computation: the
convolutions are conv1, conv2 and so on, and the others fc6, fc7 and so on.
"""

import dataclasses
import math
import re
from typing import Any, NamedTuple

import numpy as np

from alexnet_tf.models.readers.network_names import infer_network
from alexnet_tf.models.readers.stored import check_dtype
from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers import unsupported

# The names of layers in the presets, within the names of arrays such as conv1_w_0.
_NAME = re.compile(r"(?<![A-Za-z0-9])(conv[1-6]|fc(6|7|8|10))(?![A-Za-z0-9])")
# The number of the first layer of each kind, if the arrays have other names.
_FIRST = {"conv": 1, "fc": 6}

_QUANTIZED_OPERATORS = re.compile(r"QLinear\w+|QGemm|\w*[Qq]uantizeLinear|\w+Integer")
_QUANTIZED = (
    "it is quantized: its weights are rounded to 8 bits. Use the file with float32 "
    "weights, such as bvlcalexnet-12.onnx instead of bvlcalexnet-12-int8.onnx"
)


class Node(NamedTuple):
    """An operation in a graph.

    Attributes:
        operator: its name, such as "Conv".
        inputs: the names of its inputs. The name of an omitted one is "".
        outputs: the names of its outputs.
        attributes: {name: value}, with an int, a float, a tuple of ints or a `Tensor`
            for each value.
    """

    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]

    def input(self, index):
        """Returns the name of an input, "" if it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else ""


class Tensor(NamedTuple):
    """An array that is stored in a graph.

    Attributes:
        name: the name of the array.
        dtype_name: the name of its type, such as "float32".
        array: a `StoredArray`. Only arrays of floats can be read.
    """

    name: str
    dtype_name: str
    array: StoredArray


def find_network(nodes, name):
    """Returns "AlexNet" or "CaffeNet", or None if neither can be inferred.

    PyTorch exports a normalization as several operations, the last of which divides the
    layer's input.

    Args:
        nodes: the `Node`s of a graph.
        name: the name of the graph.
    """
    norms, pools = (
        [(node.inputs, node.outputs) for node in nodes if node.operator in operators]
        for operators in (("LRN", "Div"), ("MaxPool",))
    )
    return infer_network(norms, pools, name)


def find_layers(nodes, tensors):
    """Returns ({layer: {"kernel": `StoredArray`, "bias": `StoredArray`}}, layout).

    The layout is "caffe", or "keras" if the graph flattens maps in the order H, W, C,
    as exports of TensorFlow do.

    Args:
        nodes: the `Node`s of a graph, in the order in which they are computed.
        tensors: the `Tensor`s that are stored in the graph.

    Raises:
        ValueError: if the graph is quantized, has no convolutions and fully connected
            layers, or uses other arrays than their kernels and biases.
    """
    unsupported.check_names([tensor.name for tensor in tensors])
    finder = _Finder(tensors)
    for node in nodes:
        finder.add(node)
    layers = [*finder.layers.values()]
    if not layers:
        raise ValueError("its graph has no convolutions and fully connected layers")
    finder.check_all_used(nodes)
    is_channels_last = _flattens_channels_last(nodes, layers)
    return (
        {
            name: layer.to_parts(transpose=is_channels_last)
            for name, layer in zip(_choose_names(layers), layers)
        },
        "keras" if is_channels_last else "caffe",
    )


@dataclasses.dataclass
class _Layer:
    """A convolution or fully connected layer.

    Attributes:
        kind: "conv" or "fc".
        kernel_name: the name of the kernel's array in the file.
        input: the name of the layer's input in the graph.
        kernel: a `StoredArray` [out, in, ...].
        bias: a `StoredArray` [out], or None.
    """

    kind: str
    kernel_name: str
    input: str
    kernel: StoredArray
    bias: StoredArray | None = None

    def to_parts(self, transpose):
        """Returns {"kernel": `StoredArray`, "bias": `StoredArray`}.

        Args:
            transpose: whether to return the kernel as [..., in, out].
        """
        kernel = _transpose(self.kernel) if transpose else self.kernel
        return {"kernel": kernel} | ({"bias": self.bias} if self.bias else {})


class _Finder:
    """Finds layers node by node.

    Attributes:
        layers: {name of an output: the `_Layer` that computes it}.
    """

    def __init__(self, tensors):
        self.layers = {}
        self._tensors = {}
        self._used = set()
        for tensor in tensors:
            if tensor.name in self._tensors:
                raise ValueError(
                    f"two of its arrays are called {printable(tensor.name)}"
                )
            self._tensors[tensor.name] = tensor

    def add(self, node):
        """Adds the layer that a node computes or that the node is a part of, if any."""
        if _QUANTIZED_OPERATORS.fullmatch(node.operator):
            raise ValueError(_QUANTIZED)
        if node.operator == "BatchNormalization":
            raise ValueError(unsupported.BATCH_NORMALIZATION)
        if not node.outputs:
            return
        stored = self._tensors.get(node.input(0))
        match node.operator:
            case "Conv" | "Gemm" | "MatMul":
                self.layers[node.outputs[0]] = self._make_layer(node)
            case "Add":
                self._add_bias(node)
            case "Concat":
                self._join_groups(node)
            case "Constant" if "value" in node.attributes:
                self._tensors[node.outputs[0]] = node.attributes["value"]
            case "Identity" | "Cast" if stored:
                self._tensors[node.outputs[0]] = stored
            case "Transpose" if stored and len(stored.array.shape) == 2:
                transposed = stored._replace(array=_transpose(stored.array))
                self._tensors[node.outputs[0]] = transposed

    def check_all_used(self, nodes):
        """Raises an error if a node uses an array that is not part of a layer.

        Such an array belongs to a layer that AlexNet does not have, such as a batch
        normalization. Arrays with one element and arrays of integers are constants of
        other operations.
        """
        for node in nodes:
            for name in node.inputs:
                tensor = self._tensors.get(name)
                if (
                    tensor
                    and math.prod(tensor.array.shape) > 1
                    and tensor.dtype_name.startswith("float")
                    and tensor.name not in self._used
                ):
                    raise ValueError(
                        f"its operation {printable(node.operator)} uses the array "
                        f"{printable(name)}, and AlexNet has no such layer"
                    )

    def _make_layer(self, node):
        """Returns the `_Layer` for a convolution or a matrix product."""
        name = node.input(1)
        kernel = self._take(node, 1)
        if len(kernel.shape) < 2:
            raise ValueError(
                f"its kernel {printable(name)} has the shape {kernel.shape}"
            )
        if node.operator == "Gemm":
            _check_is_plain_product(node)
        kind = "conv" if node.operator == "Conv" else "fc"
        # A MatMul and, by default, a Gemm have a kernel [in, out].
        if kind == "fc" and not node.attributes.get("transB", 0):
            kernel = _transpose(kernel)
        layer = _Layer(kind, self._tensors[name].name, node.input(0), kernel)
        if node.input(2):
            layer.bias = _to_bias(self._take(node, 2), layer)
        return layer

    def _add_bias(self, node):
        """Adds the bias of a layer whose node has none."""
        for index, other in ((0, 1), (1, 0)):
            layer = self.layers.get(node.input(index))
            if layer and not layer.bias and node.input(other) in self._tensors:
                layer.bias = _to_bias(self._take(node, other), layer)
                self.layers[node.outputs[0]] = self.layers.pop(node.input(index))
                return

    def _join_groups(self, node):
        """Joins the convolutions of a grouped one, which TensorFlow's exports split."""
        groups = [self.layers.get(name) for name in node.inputs]
        if len({*node.inputs}) < max(len(node.inputs), 2):
            return
        if not all(
            layer and layer.kind == "conv" and not layer.bias for layer in groups
        ):
            return
        shapes = [layer.kernel.shape for layer in groups]
        if len({shape[1:] for shape in shapes}) > 1:
            raise ValueError("it joins the outputs of different convolutions")
        kernel = StoredArray(
            (sum(shape[0] for shape in shapes), *shapes[0][1:]),
            lambda: np.concatenate([layer.kernel.read() for layer in groups]),
        )
        for name in node.inputs:
            del self.layers[name]
        self.layers[node.outputs[0]] = dataclasses.replace(groups[0], kernel=kernel)

    def _take(self, node, index):
        """Returns the `StoredArray` of an input, and marks it as used by a layer."""
        name = node.input(index)
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ValueError(
                f"the array {printable(name)} of an operation {node.operator} is not "
                "stored in the file"
            )
        if tensor.dtype_name in ("int8", "uint8"):
            raise ValueError(_QUANTIZED)
        check_dtype(name, tensor.dtype_name)
        self._used.add(tensor.name)
        return tensor.array


def _check_is_plain_product(node):
    """Raises an error if a Gemm computes anything but x W + b or x W^T + b."""
    defaults = {"alpha": 1, "beta": 1, "transA": 0}
    for name, default in defaults.items():
        if node.attributes.get(name, default) != default:
            raise ValueError(
                f"its operation Gemm has {name}={node.attributes[name]} instead of "
                f"{default}"
            )


def _to_bias(array, layer):
    """Returns the `StoredArray` [out] for a bias, which may be [1, out, 1, 1]."""
    outputs = layer.kernel.shape[0]
    if math.prod(array.shape) != outputs:
        raise ValueError(
            f"its layer of {outputs} outputs has a bias of shape {array.shape}"
        )
    return StoredArray((outputs,), lambda: array.read().reshape(outputs))


def _transpose(kernel):
    """Returns a kernel [..., in, out] for one [out, in, ...].

    For kernels of fully connected layers, it also does the reverse.
    """
    axes = (*range(2, len(kernel.shape)), 1, 0)
    shape = tuple(kernel.shape[axis] for axis in axes)
    return StoredArray(shape, lambda: kernel.read().transpose(axes))


def _flattens_channels_last(nodes, layers):
    """Returns whether the maps are flattened in the order H, W, C.

    This is the case if the axes N, C, H, W are transposed after the last convolution.
    """
    name = next((layer.input for layer in layers if layer.kind == "fc"), None)
    by_output = {output: node for node in nodes for output in node.outputs}
    # A damaged graph may have a cycle.
    for _ in nodes:
        node = by_output.get(name)
        if node is None or node.operator == "Conv":
            return False
        if node.operator == "Transpose":
            return node.attributes.get("perm") == (0, 2, 3, 1)
        name = node.input(0)
    return False


def _choose_names(layers):
    """Returns the names of layers, from the file if it has those of the presets."""
    matches = [_NAME.search(layer.kernel_name) for layer in layers]
    names = [match[0] for match in matches if match]
    if len({*names}) == len(layers):
        return names
    counts = dict(_FIRST)
    numbered = []
    for layer in layers:
        numbered.append(f"{layer.kind}{counts[layer.kind]}")
        counts[layer.kind] += 1
    return numbered
