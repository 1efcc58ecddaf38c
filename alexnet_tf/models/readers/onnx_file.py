"""Reads .onnx files, which hold a protobuf message ModelProto.

The elements of arrays may be in other files in the folder of the model, as recent
versions of PyTorch write them (see `onnx_external`).

The arrays of weights are the initializers of the graph. `onnx_graph` finds out which of
them belongs to which layer. The numbers of the fields are those of onnx/onnx.proto of
onnx/onnx at f754691.
"""

import hashlib
import math
import os

import numpy as np

from alexnet_tf import files
from alexnet_tf import protobuf
from alexnet_tf.models.readers.onnx_external import ExternalFiles
from alexnet_tf.models.readers.onnx_graph import find_layers
from alexnet_tf.models.readers.onnx_graph import find_network
from alexnet_tf.models.readers.onnx_graph import Node
from alexnet_tf.models.readers.onnx_graph import Tensor
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights

# {number of a type: (its name, the name of the NumPy dtype that it is stored as)}.
_FLOAT_TYPES = {1: ("float32", "<f4"), 10: ("float16", "<f2"), 11: ("float64", "<f8")}
_OTHER_TYPES = {
    2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string",
    9: "bool", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
    16: "bfloat16",
}  # fmt: skip

# {name of a float type: the number of the field of its numbers, if they are not raw}.
_NUMBERS_FIELDS = {"float32": 4, "float16": 5, "float64": 10}
_RAW_DATA = 9
_SEGMENT, _EXTERNAL_DATA, _DATA_LOCATION = 3, 13, 14

# {name of an attribute that `onnx_graph` uses: the number of the field of its value}.
_ATTRIBUTE_FIELDS = {
    "alpha": 2, "beta": 2, "transA": 3, "transB": 3, "value": 5, "perm": 8
}  # fmt: skip

# The size and the first digits of the SHA-256 of alexnet_Opset16.onnx to
# alexnet_Opset18.onnx in the ONNX model zoo (Computer_Vision/ of onnx/models).
_UNTRAINED_SIZE = 244_407_335
_UNTRAINED_HASHES = ("4bc388cc", "d1fef6de", "19f7e4ce")


def recognizes(path):
    """Returns whether a file is a model in ONNX."""
    fields = dict(protobuf.first_fields(memoryview(files.map_file(path))))
    if not isinstance(fields.get(1), int):  # ir_version
        return False
    return any(
        _is_node(value) if number == 1 else number == 5 and _is_tensor(value)
        for number, value in protobuf.first_fields(fields.get(7))
    )


def open_file(path):
    """Returns the `StoredWeights` of a file, like `npy.open_file`."""
    message = memoryview(files.map_file(path))
    _check_trained(message)
    reader = protobuf.Reader()
    external = ExternalFiles(os.path.dirname(os.path.abspath(path)), reader)
    graphs = [value for number, value in reader.fields(message) if number == 7]
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs instead of one")
    name, nodes, tensors = "", [], []
    for number, value in reader.fields(graphs[0]):
        if number == 1:
            nodes.append(_read_node(reader, value, external))
        elif number == 2:
            name = protobuf.to_text(value)
        elif number == 5:
            tensors.append(_read_tensor(reader, value, external))
    layers, layout = find_layers(nodes, tensors)
    return StoredWeights(layers, layout, find_network(nodes, name))


def _is_node(message):
    """Returns whether a message is a NodeProto, by the name of its operator."""
    operator = dict(protobuf.first_fields(message)).get(4)
    return isinstance(operator, memoryview) and bytes(operator[:100]).isalnum()


def _is_tensor(message):
    """Returns whether a message is a TensorProto, by its type and its name."""
    fields = dict(protobuf.first_fields(message))
    return isinstance(fields.get(2), int) and isinstance(fields.get(8), memoryview)


def _check_trained(message):
    """Rejects three files of the ONNX model zoo whose weights are random numbers.

    The script that exported them creates the network with weights=None
    (models/torch_hub/alexnet.py of groq/mlagility at cb89889).
    """
    if len(message) != _UNTRAINED_SIZE:
        return
    if hashlib.sha256(message).hexdigest().startswith(_UNTRAINED_HASHES):
        raise ValueError(
            "it is one of alexnet_Opset16.onnx to alexnet_Opset18.onnx of the ONNX "
            "model zoo, which were exported from an untrained network"
        )


def _read_node(reader, message, external):
    """Returns the `onnx_graph.Node` for a NodeProto."""
    node = Node("", [], [], {})
    for number, value in reader.fields(message):
        if number == 1:
            node.inputs.append(protobuf.to_text(value))
        elif number == 2:
            node.outputs.append(protobuf.to_text(value))
        elif number == 4:
            node = node._replace(operator=protobuf.to_text(value))
        elif number == 5:
            node.attributes.update(_read_attribute(reader, value, external))
    return node


def _read_attribute(reader, message, external):
    """Returns {name: value} for an AttributeProto, {} for one that is not used."""
    name, values = "", {}
    for number, value in reader.fields(message):
        if number == 1:
            name = protobuf.to_text(value)
        else:
            values.setdefault(number, []).append(value)
    number = _ATTRIBUTE_FIELDS.get(name)
    if number not in values:
        return {}
    value = values[number][-1]
    match number:
        case 2:
            return {name: float(protobuf.to_numbers(value, "<f4")[0])}
        case 3:
            return {name: protobuf.to_integer(value)}
        case 5:
            return {name: _read_tensor(reader, value, external)}
        case 8:
            return {name: protobuf.to_shape(values[number])}


def _read_tensor(reader, message, external):
    """Returns the `onnx_graph.Tensor` for a TensorProto.

    Args:
        reader: the `protobuf.Reader` of the file.
        message: the TensorProto.
        external: the `ExternalFiles` of the model.
    """
    name, type_number, values = "", 0, {}
    for number, value in reader.fields(message):
        if number == 2:
            type_number = protobuf.to_integer(value)
        elif number == 8:
            name = protobuf.to_text(value)
        else:
            values.setdefault(number, []).append(value)
    if _SEGMENT in values:
        raise ValueError("its arrays are divided into segments")
    shape = protobuf.to_shape(values.get(1, []))
    if type_number not in _FLOAT_TYPES:
        dtype_name = _OTHER_TYPES.get(type_number, f"number {type_number}")
        return Tensor(name, dtype_name, StoredArray(shape, None))
    dtype_name, dtype = _FLOAT_TYPES[type_number]
    if _EXTERNAL_DATA in values or values.get(_DATA_LOCATION, [0])[-1] != 0:
        entries = values.get(_EXTERNAL_DATA, [])
        read = external.make_read(entries, shape, dtype)
    else:
        read = _make_read(shape, values, dtype_name, dtype)
    return Tensor(name, dtype_name, StoredArray(shape, read))


def _make_read(shape, values, dtype_name, dtype):
    """Returns the function that reads an array.

    Args:
        shape: the shape of the array.
        values: {number of a field of TensorProto: its values}.
        dtype_name: a key of `_NUMBERS_FIELDS`.
        dtype: the name of the NumPy dtype.
    """
    numbers = values.get(_NUMBERS_FIELDS[dtype_name], [])
    if _RAW_DATA in values:
        runs = [protobuf.to_numbers(values[_RAW_DATA][-1], dtype)]
    elif dtype_name == "float16":
        _check_half_size(shape, numbers)
        return lambda: _decode_half(numbers).reshape(shape)
    else:
        runs = [protobuf.to_numbers(value, dtype) for value in numbers]
    protobuf.check_size(shape, runs)
    return lambda: protobuf.join(runs).reshape(shape)


def _check_half_size(shape, values):
    """Raises an error if there are too few or too many bytes for an array.

    The 16 bits of a number are stored as an integer of one to three bytes.
    """
    size = sum(len(value) if isinstance(value, memoryview) else 1 for value in values)
    count = math.prod(shape)
    if min(shape, default=1) < 0 or not count <= size <= 3 * count:
        raise ValueError(
            f"it has an array of shape {shape} with {size} bytes of float16 numbers"
        )


def _decode_half(values):
    """Returns the float16 numbers [n] whose bits are stored as integers.

    Args:
        values: the values of a repeated field of integers, packed or not.
    """
    bits = [
        _decode_packed(np.frombuffer(value, np.uint8))
        if isinstance(value, memoryview)
        else np.array([value], np.uint64)
        for value in values
    ]
    bits = protobuf.join(bits)
    if bits.size and bits.max() > 0xFFFF:
        raise ValueError("it has a float16 number of more than 16 bits")
    return bits.astype("<u2").view("<f2")


def _decode_packed(data):
    """Returns the integers, uint64 [n], in bytes that hold seven bits each.

    All bytes of an integer but the last have the highest bit set.
    """
    ends = np.flatnonzero(data < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1])
    sizes = ends - starts + 1
    if not ends.size or ends[-1] != data.size - 1 or sizes.max() > 3:
        raise ValueError("it has a float16 number of more than three bytes")
    integers = np.zeros(ends.size, np.uint64)
    for byte in range(3):
        present = sizes > byte
        bits = (data[starts[present] + byte] & 0x7F).astype(np.uint64)
        integers[present] |= bits << np.uint64(7 * byte)
    return integers
