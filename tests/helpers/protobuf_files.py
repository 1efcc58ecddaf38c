"""Writes files of Caffe and ONNX without their libraries.

Messages are bytes, so that they can be concatenated and put into each other.
"""

import struct

import numpy as np

# [(name, type)] of the layers of a network, in the order of computation.
_CLASSIFIER = [
    ("pool5", "Pooling"),
    ("fc6", "InnerProduct"), ("relu6", "ReLU"), ("drop6", "Dropout"),
    ("fc7", "InnerProduct"), ("relu7", "ReLU"), ("drop7", "Dropout"),
    ("fc8", "InnerProduct"),
]  # fmt: skip
_LAST_CONVOLUTIONS = [
    ("conv3", "Convolution"), ("relu3", "ReLU"),
    ("conv4", "Convolution"), ("relu4", "ReLU"),
    ("conv5", "Convolution"), ("relu5", "ReLU"),
]  # fmt: skip
NETWORKS = {
    "caffe": [
        ("conv1", "Convolution"), ("relu1", "ReLU"), ("norm1", "LRN"),
        ("pool1", "Pooling"),
        ("conv2", "Convolution"), ("relu2", "ReLU"), ("norm2", "LRN"),
        ("pool2", "Pooling"),
        *_LAST_CONVOLUTIONS, *_CLASSIFIER,
    ],
    "caffenet": [
        ("conv1", "Convolution"), ("relu1", "ReLU"), ("pool1", "Pooling"),
        ("norm1", "LRN"),
        ("conv2", "Convolution"), ("relu2", "ReLU"), ("pool2", "Pooling"),
        ("norm2", "LRN"),
        *_LAST_CONVOLUTIONS, *_CLASSIFIER,
    ],
    "owt": [
        ("conv1", "Convolution"), ("relu1", "ReLU"), ("pool1", "Pooling"),
        ("conv2", "Convolution"), ("relu2", "ReLU"), ("pool2", "Pooling"),
        *_LAST_CONVOLUTIONS, *_CLASSIFIER,
    ],
}  # fmt: skip

# {type in LayerParameter: (in V1LayerParameter, in V0LayerParameter)}.
_OLD_TYPES = {
    "Convolution": (4, "conv"), "InnerProduct": (14, "innerproduct"),
    "LRN": (15, "lrn"), "Pooling": (17, "pool"), "ReLU": (18, "relu"),
    "Dropout": (6, "dropout"),
}  # fmt: skip
_OPERATORS = {
    "Convolution": "Conv", "InnerProduct": "Gemm", "LRN": "LRN", "Pooling": "MaxPool",
    "ReLU": "Relu", "Dropout": "Dropout",
}  # fmt: skip


def varint(integer):
    """Returns an integer in seven bits per byte."""
    integer %= 2**64
    encoded = bytearray()
    while integer >= 0x80:
        encoded.append(integer & 0x7F | 0x80)
        integer >>= 7
    return bytes([*encoded, integer])


def field(number, value):
    """Returns a field, whose wire type follows from the type of the value.

    Args:
        number: the number of the field.
        value: an int, a `np.float32`, a `np.float64`, a str or bytes.
    """
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    # A `np.float64` is also a float.
    if isinstance(value, np.float64):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, np.float32):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else bytes(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(number, values):
    """Returns a field for each value: a repeated field that is not packed."""
    return b"".join(field(number, value) for value in values)


def packed_integers(number, integers):
    """Returns a packed field of integers."""
    return field(number, b"".join(map(varint, integers)))


# ---- Caffe -----------------------------------------------------------------


def blob(array, old_shape=False, packed=True, runs=1):
    """Returns a BlobProto.

    Args:
        array: an array of float32, or of float64 for the field double_data.
        old_shape: whether to store the shape as num, channels, height and width.
        packed: whether the elements, and the shape unless `old_shape`, are packed.
        runs: the number of fields that packed elements are divided into.
    """
    if old_shape:
        shape = (1,) * (4 - array.ndim) + array.shape
        message = b"".join(field(number, size) for number, size in enumerate(shape, 1))
    else:
        write = packed_integers if packed else fields
        message = field(7, write(1, array.shape))
    number = 8 if array.dtype == np.float64 else 5
    if not packed:
        return message + fields(number, array.ravel())
    parts = np.array_split(array.ravel(), runs)
    return message + fields(number, [part.tobytes() for part in parts])


def caffe_layer(name, kind, inputs, outputs, blobs, version):
    """Returns the field of a layer in a NetParameter.

    Args:
        name, inputs, outputs: names.
        kind: the type of the layer, such as "Convolution".
        blobs: a list of BlobProto messages.
        version: 2 for a LayerParameter, 1 for a V1LayerParameter, 0 for a
            V0LayerParameter in a V1LayerParameter.
    """
    if version == 2:
        message = field(1, name) + field(2, kind)
        message += fields(3, inputs) + fields(4, outputs)
        return field(100, message + field(10, 0) + fields(7, blobs))
    v1_kind, v0_kind = _OLD_TYPES[kind]
    message = fields(2, inputs) + fields(3, outputs)
    if version == 1:
        message += field(4, name) + field(5, v1_kind) + fields(6, blobs)
        return field(2, message + fields(7, [np.float32(1), np.float32(2)]))
    inner = field(1, name) + field(2, v0_kind) + fields(50, blobs)
    return field(2, field(1, inner) + message)


def caffemodel(arrays, family="caffe", name="", version=1, **blob_options):
    """Returns a NetParameter with the weights of a network.

    Args:
        arrays: {layer: [kernel, bias]} in the layout of Caffe; {} for none.
        family: a key of `NETWORKS`.
        name: the name of the network.
        version: see `caffe_layer`.
        **blob_options: keyword arguments of `blob`.
    """
    message, previous = field(1, name), "data"
    for layer, kind in NETWORKS[family]:
        in_place = kind in ("ReLU", "Dropout")
        output = previous if in_place else layer
        blobs = [blob(array, **blob_options) for array in arrays.get(layer, ())]
        message += caffe_layer(layer, kind, [previous], [output], blobs, version)
        previous = output
    return message


# ---- ONNX ------------------------------------------------------------------

_FLOAT_TYPES = {"float32": 1, "float16": 10, "float64": 11}


def tensor(name, array, raw=True, packed=False):
    """Returns a TensorProto.

    Args:
        name: the name of the array.
        array: an array of float16, float32, float64, int8 or int64.
        raw: whether to store the elements as raw data.
        packed: whether the shape, and elements that are not raw, are packed.
    """
    number_type = _FLOAT_TYPES.get(array.dtype.name) or {"int8": 3, "int64": 7}[
        array.dtype.name
    ]
    message = (packed_integers if packed else fields)(1, array.shape)
    message += field(2, number_type) + field(8, name)
    if raw:
        return message + field(9, array.tobytes())
    if array.dtype == np.float16:
        bits = array.ravel().view(np.uint16).tolist()
        return message + (packed_integers if packed else fields)(5, bits)
    number = {"float32": 4, "float64": 10}[array.dtype.name]
    return message + (
        field(number, array.tobytes()) if packed else fields(number, array.ravel())
    )


def attribute(name, value):
    """Returns an AttributeProto for an int, a `np.float32`, a tuple or a tensor."""
    if isinstance(value, tuple):
        return field(1, name) + fields(8, value)
    number = 3 if isinstance(value, int) else 2 if isinstance(value, np.float32) else 5
    return field(1, name) + field(number, value)


def node(operator, inputs, outputs, **attributes):
    """Returns a NodeProto; see `attribute` for the values of attributes."""
    return (
        fields(1, inputs)
        + fields(2, outputs)
        + field(4, operator)
        + fields(5, [attribute(*item) for item in attributes.items()])
    )


def onnx_model(nodes, tensors, name="graph"):
    """Returns a ModelProto.

    Args:
        nodes: a list of `node`s.
        tensors: a list of `tensor`s.
        name: the name of the graph.
    """
    graph = fields(1, nodes) + field(2, name) + fields(5, tensors)
    return (
        field(1, 8)
        + field(2, "writer")
        + field(7, graph)
        + field(8, field(1, "") + field(2, 17))
    )


def network_nodes(family, names, product="Gemm"):
    """Returns the `node`s of a network.

    Args:
        family: a key of `NETWORKS`.
        names: a function that takes a layer's name, and returns the names of the arrays
            of its kernel and its bias.
        product: how fully connected layers are computed: "Gemm" with kernels
            [out, in], "Gemm without transB", or "MatMul" and "Add".
    """
    nodes, previous = [], "data"
    for layer, kind in NETWORKS[family]:
        inputs = [previous]
        if kind in ("Convolution", "InnerProduct"):
            inputs += names(layer)
        if layer == "fc6":
            nodes.append(node("Reshape", [previous, "OC2_DUMMY_1"], ["flat"]))
            inputs[0] = "flat"
        if kind != "InnerProduct":
            nodes.append(node(_OPERATORS[kind], inputs, [layer]))
        elif product == "MatMul":
            nodes.append(node("MatMul", inputs[:2], [f"{layer}_product"]))
            nodes.append(node("Add", [f"{layer}_product", inputs[2]], [layer]))
        else:
            options = {"transB": 1} if product == "Gemm" else {}
            nodes.append(node("Gemm", inputs, [layer], **options))
        previous = layer
    return nodes


def onnx_network(
    arrays, family="caffe", product="Gemm", invented_names=False, name="", **options
):
    """Returns a ModelProto with the weights of a network.

    Args:
        arrays: {layer: [kernel, bias]} in the layout of Caffe.
        family, product: see `network_nodes`.
        invented_names: whether arrays have names without the layer's, such as
            "onnx::Op_51_7", in place of "conv1_w_0".
        name: the name of the graph.
        **options: keyword arguments of `tensor`.
    """

    def names(layer):
        if invented_names:
            return [f"onnx::Op_{len(layer)}{layer[-1]}_{i}" for i in (7, 3)]
        return [f"{layer}_w_0", f"{layer}_b_0"]

    tensors = [tensor("OC2_DUMMY_1", np.array([0, -1]))]
    for layer, (kernel, bias) in arrays.items():
        if product != "Gemm" and kernel.ndim == 2:
            kernel = np.ascontiguousarray(kernel.T)
        for array_name, array in zip(names(layer), (kernel, bias)):
            tensors.append(tensor(array_name, array, **options))
    # The order of the arrays has no meaning.
    return onnx_model(network_nodes(family, names, product), tensors[::-1], name)


def tensorflow_network(arrays, family="caffe"):
    """Returns a ModelProto as tf2onnx writes it for a model in Keras.

    Grouped convolutions are split, their biases are added after them, maps are
    flattened in the order H, W, C, and arrays have names of operations.

    Args:
        arrays: {layer: [kernel, bias]} in the layout of Keras.
        family: a key of `NETWORKS`.
    """
    nodes, tensors, previous = [], [], "input"

    def add(operator, inputs, output, **attributes):
        nodes.append(node(operator, inputs, [output], **attributes))
        return output

    def store(name, array):
        tensors.append(tensor(name, np.ascontiguousarray(array)))
        return name

    for layer, kind in NETWORKS[family]:
        if kind == "Convolution":
            kernel, bias = arrays[layer]
            kernel = kernel.transpose(3, 2, 0, 1)
            if family == "owt" or layer in ("conv1", "conv3"):
                names = store(f"m/{layer}_1/split", kernel), store(f"b{layer}", bias)
                previous = add("Conv", [previous, *names], layer)
                continue
            # tf2onnx may write the convolution of the second group first.
            for group in (1, 0):
                half = store(f"{layer}/folded-{group}", np.split(kernel, 2)[group])
                part = add("Transpose", [previous], f"{layer}_in", perm=(0, 3, 1, 2))
                add("Conv", [part, half], f"{layer}_{group}")
            joined = add("Concat", [f"{layer}_0", f"{layer}_1"], f"{layer}_joined")
            bias = store(f"const_fold_{layer}", bias.reshape(1, -1, 1, 1))
            previous = add("Add", [joined, bias], layer)
        elif kind == "InnerProduct":
            if layer == "fc6":
                maps = add("Transpose", [previous], "maps", perm=(0, 2, 3, 1))
                previous = add("Reshape", [maps, "shape"], "flat")
            names = [store(f"m/{layer}_{i}", arrays[layer][i]) for i in (0, 1)]
            product = add("MatMul", [previous, names[0]], f"{layer}_product")
            previous = add("Add", [product, names[1]], layer)
        else:
            previous = add(_OPERATORS[kind], [previous], layer)
    return onnx_model(nodes, tensors[::-1], "tf2onnx")
