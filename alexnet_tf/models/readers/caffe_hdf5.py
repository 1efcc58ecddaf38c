"""Reads weights from Caffe's HDF5 files, whose names end in .caffemodel.h5."""

from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import StoredWeights
from alexnet_tf.models.readers import unsupported


def read(root):
    """Returns the `StoredWeights` of a file.

    Args:
        root: the `hdf5_structure.Group` of the file. For each layer, the file has a
            group in "data", whose arrays are called 0 for the kernel and 1 for the
            bias. It has empty groups for layers without weights (`Net::ToHDF5` in
            src/caffe/net.cpp of BVLC/caffe).
    """
    data = root.group("data")
    names = data.names()
    unsupported.check_names(names)
    layers = {}
    for name in names:
        layer = data.group(name)
        parts = layer.names()
        if parts not in ([], ["0", "1"]):
            raise ValueError(
                f"{printable(name)} has the arrays {printable(', '.join(parts))} "
                "instead of 0 and 1"
            )
        if parts:
            layers[name] = {"kernel": layer.array("0"), "bias": layer.array("1")}
    return StoredWeights(layers, layout="caffe")
