"""Reads files of PyTorch 0.1.1 to 0.1.9, which are tar archives.

One of them is torchvision's alexnet-owt-4df8aa71.pth. The members are

    storages  a pickle of the number of storages; for each storage, a pickle of its key,
              its device and its class, the number of its elements as int64, and the
              elements; finally, a pickle of the storages that are sections of others
    tensors   a pickle of the number of tensors; for each tensor, a pickle of its key,
              the key of its storage and its class, the number of axes as int64, the
              sizes, the strides, and the index of its first element
    pickle    a pickle of the saved object, which refers to tensors by their keys
    sys_info  facts about the machine that are not needed
"""

import struct

from alexnet_tf import files
from alexnet_tf.models.readers.pickle_machine import Function
from alexnet_tf.models.readers.pickle_machine import MAX_DIMENSIONS
from alexnet_tf.models.readers.pickle_machine import UnsupportedPickle
from alexnet_tf.models.readers.tar_members import find_members
from alexnet_tf.models.readers.torch_pickle import make_tensor
from alexnet_tf.models.readers.torch_pickle import TorchMachine
from alexnet_tf.models.readers.torch_state_dict import stored_weights


def open_file(path):
    """Returns the `StoredWeights` of a file, like `npy.open_file`."""
    buffer = files.map_file(path)
    sections = find_members(buffer)
    if not {"storages", "tensors", "pickle"} <= {*sections}:
        raise ValueError(
            "it is a tar archive, but not one of PyTorch. Unpack it, and load the "
            "weights file that it holds"
        )
    views = {
        name: memoryview(buffer)[start : start + size]
        for name, (start, size) in sections.items()
    }
    try:
        storages, positions = _read_storages(views["storages"])
        tensors = _read_tensors(views["tensors"], storages)
    except UnsupportedPickle as error:
        raise ValueError(f"it holds {error}") from None
    checkpoint = TorchMachine(views["pickle"], tensors).run()
    start, _ = sections["storages"]
    return stored_weights(
        checkpoint,
        buffer,
        {key: start + position for key, position in positions.items()},
    )


def _read_storages(view):
    """Returns {key: `Storage`} and {key: position of the elements in `view`}."""
    machine = TorchMachine(view)
    positions = {}
    for _ in range(_to_int(machine.run())):
        match machine.run():
            case int(key), _, Function(storage_class):
                (count,) = _read_integers(machine, 1)
                storage = machine.add_storage(str(key), storage_class, count)
                positions[str(key)] = machine.position
                machine.read(count * storage.item_size)
            case _:
                raise UnsupportedPickle("an unsupported description of a storage")
    storages = machine.storages
    for section in _to_list(machine.run()):
        match section:
            case int(key), int(whole_key), start, count if str(whole_key) in storages:
                storages[str(key)] = storages[str(whole_key)].section(start, count)
            case _:
                raise UnsupportedPickle("an unsupported section of a storage")
    return storages, positions


def _read_tensors(view, storages):
    """Returns {key: `Tensor`}."""
    machine = TorchMachine(view)
    tensors = {}
    for _ in range(_to_int(machine.run())):
        match machine.run():
            case int(key), int(storage_key), _ if str(storage_key) in storages:
                (dimensions,) = _read_integers(machine, 1)
                # Some versions wrote the number of axes with four bytes, and four
                # other bytes after it.
                dimensions &= 0xFFFFFFFF
                if dimensions > MAX_DIMENSIONS:
                    raise UnsupportedPickle(f"a tensor of {dimensions} axes")
                shape = _read_integers(machine, dimensions)
                strides = _read_integers(machine, dimensions)
                (offset,) = _read_integers(machine, 1)
                storage = storages[str(storage_key)]
                tensors[str(key)] = make_tensor(storage, offset, shape, strides)
            case _:
                raise UnsupportedPickle("an unsupported description of a tensor")
    return tensors


def _read_integers(machine, count):
    return struct.unpack(f"<{count}q", machine.read(8 * count))


def _to_int(value):
    if type(value) is not int:
        raise UnsupportedPickle("something other than a number of items")
    return value


def _to_list(value):
    if not isinstance(value, list):
        raise UnsupportedPickle("something other than a list of sections")
    return value
