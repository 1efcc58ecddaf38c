"""Reads files of PyTorch 0.1.10 to 1.5, which newer versions can still write.

They consist of five pickles (see `torch_pickle`): a constant, the version of the
format, a dict about the machine, the saved object, and a list of keys. For each key,
the number of elements in its storage follows as int64, and then the elements.
"""


from alexnet_tf import files
from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.torch_pickle import TorchMachine
from alexnet_tf.models.readers.torch_state_dict import stored_weights

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_VERSION = 1001
# The instruction that pushes the constant, which is the first or third of a file.
MAGIC_BYTES = b"\x8a\x0a" + _MAGIC_NUMBER.to_bytes(10, "little")


def open_file(path):
    """Returns the `StoredWeights` of a file, like `npy.open_file`."""
    buffer = files.map_file(path)
    machine = TorchMachine(buffer)
    if machine.run() != _MAGIC_NUMBER or machine.run() != _VERSION:
        raise ValueError("it has another version of PyTorch's format")
    system = machine.run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError(
            "its numbers are big-endian. Save it on a little-endian machine"
        )
    checkpoint = machine.run()
    keys = machine.run()
    positions = _find_storages(machine, keys)
    return stored_weights(checkpoint, buffer, positions)


def _find_storages(machine, keys):
    """Returns {key: position of the elements} of all storages.

    Args:
        machine: a `TorchMachine` whose position is that of the first storage.
        keys: the keys of the storages, in the order of the file.
    """
    if not isinstance(keys, list) or len(keys) != len(machine.storages):
        raise ValueError("its list of storages is invalid")
    positions = {}
    for key in map(machine.to_key, keys):
        storage = machine.storages.get(key)
        if storage is None or key in positions:
            raise ValueError("its list of storages is invalid")
        count = int.from_bytes(_read(machine, 8, key), "little", signed=True)
        if count != storage.array_size:
            raise ValueError(
                f"its storage {printable(key)} should have {storage.array_size} "
                f"numbers, and has {count}"
            )
        positions[key] = machine.position
        _read(machine, count * storage.item_size, key)
    return positions


def _read(machine, size, key):
    if size > len(machine.view) - machine.position:
        raise ValueError(
            f"it is incomplete: its storage {printable(key)} exceeds the file"
        )
    return machine.read(size)
