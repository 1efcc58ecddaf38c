"""Reads .caffemodel files of Caffe, which hold a protobuf message NetParameter.

The numbers of the fields are those of src/caffe/proto/caffe.proto of BVLC/caffe at
9b89154. A layer is stored in one of three messages: LayerParameter since 2014,
V1LayerParameter in the published files, and V0LayerParameter, within a
V1LayerParameter, in the oldest files.
"""

import dataclasses
import re

from alexnet_tf import files
from alexnet_tf import protobuf
from alexnet_tf.models.readers.network_names import infer_network
from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import StoredWeights
from alexnet_tf.models.readers import unsupported

_MAX_LAYERS = 1000
# A file of text is recognized by this many bytes at its beginning.
_TEXT_SIZE = 4096

# {number of a field: the attribute of `_Layer` that it is added to}.
_LAYER_FIELDS = {1: "name", 2: "kind", 3: "inputs", 4: "outputs", 7: "blobs"}
_V1_FIELDS = {1: "v0", 2: "inputs", 3: "outputs", 4: "name", 5: "kind", 6: "blobs"}
_V0_FIELDS = {1: "name", 2: "kind", 50: "blobs"}
# {number of the field of a layer in NetParameter: the fields of the layer}.
_NETWORK_FIELDS = {2: _V1_FIELDS, 100: _LAYER_FIELDS}

# {type of a layer in V1LayerParameter or V0LayerParameter: type in LayerParameter}.
_KINDS = {
    4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling",
    "conv": "Convolution", "innerproduct": "InnerProduct", "lrn": "LRN",
    "pool": "Pooling",
}  # fmt: skip

# The beginning of a layer or an input in a network's description as text.
_PROTOTXT = re.compile(rb'^\s*(layers?\s*\{|input\s*:\s*"|input_dim\s*:)', re.M)
_CONTROL_CHARACTER = re.compile(rb"[\x00-\x08\x0e-\x1f]")

_NOT_WEIGHTS = {
    "prototxt": "it is the description of a network as text. The weights are in the "
    ".caffemodel file",
    "solver state": "it is the state of a solver. The weights are in the .caffemodel "
    "file that was written with it",
    "mean image": "it is a mean image and holds no weights",
}


def recognizes(path):
    """Returns whether a file is one of those that Caffe writes or reads."""
    return _find_kind(memoryview(files.map_file(path))) is not None


def open_file(path):
    """Returns the `StoredWeights` of a file; raises the errors of `npy.open_file`.

    Caffe writes solver states, mean images and descriptions of networks too. They are
    rejected with an error that says which of these the file is.
    """
    message = memoryview(files.map_file(path))
    kind = _find_kind(message)
    if kind in _NOT_WEIGHTS:
        raise ValueError(_NOT_WEIGHTS[kind])
    name, layers = _read_network(message)
    unsupported.check_names([layer.name for layer in layers])
    weights = {}
    for layer in layers:
        if layer.name in weights and layer.blobs:
            raise ValueError(f"two of its layers are called {printable(layer.name)}")
        if layer.blobs:
            weights[layer.name] = _to_parts(layer)
    if not weights:
        raise ValueError("it describes a network and holds no weights")
    norms, pools = (
        [(layer.inputs, layer.outputs) for layer in layers if layer.kind == kind]
        for kind in ("LRN", "Pooling")
    )
    return StoredWeights(weights, "caffe", infer_network(norms, pools, name))


@dataclasses.dataclass
class _Layer:
    """A layer of a network.

    Attributes:
        name: the name of the layer.
        kind: its type, such as "InnerProduct".
        inputs: the names of its inputs, which Caffe calls bottoms.
        outputs: the names of its outputs, which Caffe calls tops.
        blobs: a `protobuf.Blob` for each array of weights.
    """

    name: str = ""
    kind: str | int = ""
    inputs: list[str] = dataclasses.field(default_factory=list)
    outputs: list[str] = dataclasses.field(default_factory=list)
    blobs: list[protobuf.Blob] = dataclasses.field(default_factory=list)


def _read_network(message):
    """Returns the name of a network and its `_Layer`s."""
    reader = protobuf.Reader()
    name, layers = "", []
    for number, value in reader.fields(message):
        if number == 1:
            name = protobuf.to_text(value)
        elif number in _NETWORK_FIELDS:
            if len(layers) == _MAX_LAYERS:
                raise ValueError(f"it has more than {_MAX_LAYERS:,} layers")
            layers.append(_Layer())
            _add_fields(layers[-1], reader, value, _NETWORK_FIELDS[number])
    return name, layers


def _add_fields(layer, reader, message, attributes):
    """Adds the fields of a message to a `_Layer`.

    Args:
        layer: the `_Layer`.
        reader: the `protobuf.Reader` of the file.
        message: the message.
        attributes: {number of a field: attribute}, one of the constants above.
    """
    for number, value in reader.fields(message):
        match attributes.get(number):
            case "name":
                layer.name = protobuf.to_text(value)
            case "kind":
                kind = value if isinstance(value, int) else protobuf.to_text(value)
                layer.kind = _KINDS.get(kind, kind)
            case "inputs":
                layer.inputs.append(protobuf.to_text(value))
            case "outputs":
                layer.outputs.append(protobuf.to_text(value))
            case "blobs":
                layer.blobs.append(protobuf.read_blob(reader, value))
            case "v0":
                _add_fields(layer, reader, value, _V0_FIELDS)


def _to_parts(layer):
    """Returns {"kernel": `StoredArray`, "bias": `StoredArray`} of a `_Layer`.

    Arrays of old files have four dimensions, such as (1, 1, 4096, 9216) for fc6 and
    (1, 1, 1, 4096) for its bias. Caffe compares such shapes from the end.
    """
    if layer.kind == "BatchNorm":
        raise ValueError(unsupported.BATCH_NORMALIZATION)
    if len(layer.blobs) > 2:
        raise ValueError(
            f"its layer {printable(layer.name)} has {len(layer.blobs)} arrays instead "
            "of a kernel and a bias"
        )
    ranks = {"kernel": 4 if layer.kind == "Convolution" else 2, "bias": 1}
    return {
        part: _stored_array(blob, rank)
        for (part, rank), blob in zip(ranks.items(), layer.blobs)
    }


def _stored_array(blob, rank):
    """Returns a `StoredArray` without leading dimensions of 1 in excess of `rank`."""
    shape = blob.shape
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    return StoredArray(shape, lambda: blob.read(shape))


def _find_kind(message):
    """Returns the kind of a file, "network" or a key of `_NOT_WEIGHTS`, else None."""
    if _is_prototxt(message):
        return "prototxt"
    fields = protobuf.first_fields(message)
    if any(_is_layer(value, _NETWORK_FIELDS.get(number)) for number, value in fields):
        return "network"
    if protobuf.is_blob(message):
        return "mean image"
    values = dict(fields)
    if isinstance(values.get(1), int) and protobuf.is_blob(values.get(3)):
        return "solver state"
    return None


def _is_prototxt(message):
    start = bytes(message[:_TEXT_SIZE])
    return bool(_PROTOTXT.search(start)) and not _CONTROL_CHARACTER.search(start)


def _is_layer(message, attributes):
    """Returns whether a message has the name and the type of a layer.

    Args:
        message: the value of a field of a file.
        attributes: the argument of `_add_fields`; None if the field is not a layer.
    """
    if attributes is None:
        return False
    types = {}
    for number, value in protobuf.first_fields(message):
        if attributes.get(number) == "v0" and _is_layer(value, _V0_FIELDS):
            return True
        types[attributes.get(number)] = type(value)
    has_type = types.get("kind") is (int if attributes is _V1_FIELDS else memoryview)
    return has_type and types.get("name") is memoryview
