"""Reads the arrays of ONNX models that are stored in other files.

Recent versions of `torch.onnx.export` write the elements of arrays to a file beside the
model, and the model names the file, the offset and the length of each array in bytes
(field external_data of TensorProto, onnx/onnx.proto of onnx/onnx at f754691).

A model from an untrusted source could name any file of the machine. Therefore only
regular files in the folder of the model are read.
"""

import math
import os
import re

import numpy as np

from alexnet_tf import files
from alexnet_tf import protobuf
from alexnet_tf.models.readers.stored import printable

# Paths to other folders contain a separator, also those of Windows, whose drives and
# streams have a colon. The first character is not a dot, as in ".." and hidden files.
_FILE_NAME = re.compile(r"[^./\\:\0][^/\\:\0]*")
_NUMBER = re.compile(r"[0-9]{1,18}")


class ExternalFiles:
    """The files with arrays in the folder of a model.

    Args:
        folder: the folder of the model.
        reader: the `protobuf.Reader` of the model.
    """

    def __init__(self, folder, reader):
        self._folder, self._reader = folder, reader
        self._contents = {}

    def make_read(self, entries, shape, dtype):
        """Returns the function that reads an array.

        Args:
            entries: the StringStringEntryProto messages of the array.
            shape: the shape of the array.
            dtype: the name of the NumPy dtype.

        Raises:
            ValueError: if the file is not in the folder, or is too short for the array.
        """
        values = self._read_entries(entries)
        content = self._open(values.get("location", ""))
        start = _to_integer(values.get("offset", "0"))
        if min(shape, default=1) < 0:
            raise ValueError(f"it has an array of shape {shape}")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if _to_integer(values.get("length", str(size))) != size:
            raise ValueError(
                f"it states a length of {values['length']} bytes for an array of "
                f"{size} bytes"
            )
        if start + size > len(content):
            raise ValueError(
                f"its file {printable(values['location'])} is incomplete: it has "
                f"{len(content)} bytes, and an array ends at {start + size}"
            )
        section = memoryview(content)[start : start + size]
        return lambda: np.frombuffer(section, dtype).reshape(shape)

    def _read_entries(self, entries):
        """Returns {key: value} of StringStringEntryProto messages."""
        values = {}
        for entry in entries:
            key = value = ""
            for number, text in self._reader.fields(entry):
                if number == 1:
                    key = protobuf.to_text(text)
                elif number == 2:
                    value = protobuf.to_text(text)
            values[key] = value
        return values

    def _open(self, name):
        """Returns the bytes of a file in the folder of the model."""
        if name not in self._contents:
            self._contents[name] = files.map_file(self._find(name))
        return self._contents[name]

    def _find(self, name):
        """Returns the path of a file in the folder of the model."""
        if not _FILE_NAME.fullmatch(name):
            raise ValueError(
                "its arrays are not in a file in its folder. Export it again with this "
                "folder as the current one, or as one file, for example with "
                "torch.onnx.export(..., external_data=False)"
            )
        path = os.path.join(self._folder, name)
        if not os.path.exists(path):
            raise ValueError(
                f"its arrays are in the file {printable(name)}, which is missing in "
                "its folder"
            )
        # A symbolic link could lead to any other file.
        folder = os.path.realpath(self._folder)
        is_inside = os.path.dirname(os.path.realpath(path)) == folder
        if not is_inside or not os.path.isfile(path):
            raise ValueError(
                f"its arrays are in {printable(name)}, which is a link to another "
                "folder or not a regular file"
            )
        return path


def _to_integer(text):
    if not _NUMBER.fullmatch(text):
        raise ValueError("it has an array whose offset or length is not a number")
    return int(text)
