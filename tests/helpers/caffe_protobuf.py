"""Caffe's messages for the protobuf library, without Caffe's generated code."""

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory

# The numbers of types and labels in protobuf's descriptor.proto.
_TYPES = {"int32": 5, "int64": 3, "float": 2, "double": 1, "string": 9}
_MESSAGE = 11
_OPTIONAL, _REPEATED = 1, 3

# {message: {field: (number, type)}}. A type in a list is repeated. The type of a
# V1LayerParameter is an enum, which is stored as an int32.
_MESSAGES = {
    "BlobShape": dict(dim=(1, ["int64"])),
    "BlobProto": dict(
        num=(1, "int32"),
        channels=(2, "int32"),
        height=(3, "int32"),
        width=(4, "int32"),
        data=(5, ["float"]),
        shape=(7, "BlobShape"),
        double_data=(8, ["double"]),
    ),
    "V0LayerParameter": dict(
        name=(1, "string"), type=(2, "string"), blobs=(50, ["BlobProto"])
    ),
    "V1LayerParameter": dict(
        layer=(1, "V0LayerParameter"),
        bottom=(2, ["string"]),
        top=(3, ["string"]),
        name=(4, "string"),
        type=(5, "int32"),
        blobs=(6, ["BlobProto"]),
    ),
    "LayerParameter": dict(
        name=(1, "string"),
        type=(2, "string"),
        bottom=(3, ["string"]),
        top=(4, ["string"]),
        blobs=(7, ["BlobProto"]),
    ),
    "NetParameter": dict(
        name=(1, "string"),
        layers=(2, ["V1LayerParameter"]),
        layer=(100, ["LayerParameter"]),
    ),
}


def make_messages():
    """Returns {name: class} of Caffe's messages, such as "NetParameter".

    They have the fields that the tests need.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="caffe.proto", package="caffe", syntax="proto2"
    )
    for name, definitions in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, field_type) in definitions.items():
            field = message.field.add(name=field_name, number=number, label=_OPTIONAL)
            if isinstance(field_type, list):
                (field_type,) = field_type
                field.label = _REPEATED
                field.options.packed = field_type in _TYPES and field_type != "string"
            field.type = _TYPES.get(field_type, _MESSAGE)
            if field.type == _MESSAGE:
                field.type_name = f".caffe.{field_type}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"caffe.{name}")
        )
        for name in _MESSAGES
    }
