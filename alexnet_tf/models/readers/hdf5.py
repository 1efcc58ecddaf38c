"""Reads HDF5 files of Keras and Caffe, and .keras files, which contain one.

    .weights.h5, .keras   Keras 3 and tf.keras 2.13
    .h5                   Keras 1 and 2, and the format that Keras 3 calls legacy
    .caffemodel.h5        Caffe
"""

import struct
import zipfile

from alexnet_tf import files
from alexnet_tf.models.readers import caffe_hdf5
from alexnet_tf.models.readers import hdf5_structure
from alexnet_tf.models.readers import keras_hdf5


def open_file(path):
    """Returns the `StoredWeights` of a file, like `npy.open_file`."""
    return _read_weights(memoryview(files.map_file(path)))


def open_archive(path):
    """Returns the `StoredWeights` of a .keras file, like `npy.open_file`."""
    # The model's configuration in the archive is not read, because it can refer to
    # functions that Keras would call.
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("model.weights.h5")
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its weights are compressed, which Keras does not do")
    view = memoryview(files.map_file(path))
    # The data of a member follow its local header of 30 bytes, its name and its extra
    # field. The last four bytes of the header are the lengths of these two.
    header = view[member.header_offset : member.header_offset + 30]
    if len(header) < 30:
        raise ValueError("it is a damaged ZIP archive")
    start = member.header_offset + 30 + sum(struct.unpack_from("<HH", header, 26))
    return _read_weights(view[start : start + member.file_size])


def _read_weights(view):
    """Returns the `StoredWeights` in the bytes of an HDF5 file."""
    root = hdf5_structure.open_root(view)
    if root.has_attribute("layer_names"):
        return keras_hdf5.read_keras2(root)
    if "model_weights" in root:
        return keras_hdf5.read_keras2(root.group("model_weights"))
    if keras_hdf5.keras3_layers(root) is not None:
        return keras_hdf5.read_keras3(root)
    if "data" in root:
        return caffe_hdf5.read(root)
    raise ValueError(
        "it is an HDF5 file, but has neither the layout of Keras nor that of Caffe"
    )
