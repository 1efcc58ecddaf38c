"""Reads the pickles in files of PyTorch without PyTorch and without running their code.

`pickle_machine` explains why no function is called. These pickles do not contain the
elements of tensors: a tensor is a view of a storage, an array elsewhere in the file.

Training checkpoints also hold objects of other classes, such as flags and the states of
random number generators. They are not needed, and a mark stands for each of them.
"""

import dataclasses
import struct

from alexnet_tf.models.readers.pickle_machine import Function
from alexnet_tf.models.readers.pickle_machine import is_shape
from alexnet_tf.models.readers.pickle_machine import PickleMachine
from alexnet_tf.models.readers.pickle_machine import to_str
from alexnet_tf.models.readers.pickle_machine import UnsupportedPickle
from alexnet_tf.models.readers.stored import printable

# {class of storages or tensors: (name of the type of an element, size in bytes)}.
_NUMBER_TYPES = {
    "Double": ("float64", 8),
    "Float": ("float32", 4),
    "Half": ("float16", 2),
    "BFloat16": ("bfloat16", 2),
    "Long": ("int64", 8),
    "Int": ("int32", 4),
    "Short": ("int16", 2),
    "Char": ("int8", 1),
    "Byte": ("uint8", 1),
    "Bool": ("bool", 1),
}
_TENSOR_FUNCTIONS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
# The pickle of a network of eight layers has about 1 KB of text.
_MAX_TEXT_SIZE = 4_000_000
# The limit for an integer as text, in characters.
_MAX_INTEGER_LENGTH = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
    """A section of an array in a file.

    Attributes:
        key: the name of the array.
        number_type: the type of the elements, such as "float32".
        item_size: the size of an element in bytes.
        count: the number of elements in the section.
        array_size: the number of elements in the array.
        start: the index in the array of the first element of the section.
    """

    key: str
    number_type: str
    item_size: int
    count: int
    array_size: int
    start: int = 0

    def section(self, start, count):
        """Returns the section of `count` elements of this storage, from `start` on."""
        are_integers = type(start) is int and type(count) is int
        if not (are_integers and 0 <= start <= start + count <= self.count):
            raise UnsupportedPickle("a storage that exceeds another")
        return dataclasses.replace(self, count=count, start=self.start + start)


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a file.

    Attributes:
        storage: the `Storage` that holds the elements.
        offset: the index in the storage of the first element.
        shape: the shape.
        strides: the difference of the indices of neighbors along each axis.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Unknown:
    """A class or function that is not called, or an object that it would return.

    Attributes:
        name: its name, shortened.
    """

    name: str

    def error(self):
        """Returns the error for a file that cannot be read without the object."""
        return ValueError(
            f"it refers to the class or function {self.name}, whose code would have to "
            "be run to read it. If you trust the origin of the file, load it with "
            "PyTorch, and save the weights alone by "
            "torch.save(model.state_dict(), path)"
        )


class TorchMachine(PickleMachine):
    """Executes pickles of PyTorch.

    Attributes:
        storages: {key: `Storage`} of the arrays that the pickles refer to.
        tensors: {key: `Tensor`} of the tensors that the pickles may refer to by a key,
            as they do in the oldest files.
    """

    functions = {
        ("collections", "OrderedDict"): "OrderedDict",
        **{("torch._utils", name): name for name in _TENSOR_FUNCTIONS},
        **{
            (module, kind + suffix): kind + suffix
            for module in ("torch", "torch.cuda")
            for kind in _NUMBER_TYPES
            for suffix in ("Storage", "Tensor")
        },
    }
    max_text_size = _MAX_TEXT_SIZE

    def __init__(self, buffer, tensors=None):
        super().__init__(buffer)
        self.storages = {}
        self.tensors = tensors or {}
        self.pairs_left = self.instructions_left

    def run(self):
        """Returns the object that is pickled at `position`, and moves it past it.

        The result has a `Tensor` in place of each tensor, and an `Unknown` in place of
        each object of other classes than those of tensors, numbers, strings, lists,
        tuples and dicts.

        Raises:
            ValueError: if the pickle is damaged, or has an instruction for other
                objects than those that PyTorch saves.
        """
        try:
            return super().run()
        except UnsupportedPickle as error:
            raise ValueError(
                f"it holds {error} at byte {self.position} of its pickle. Only "
                "tensors, numbers and strings in dicts and lists are read"
            ) from None

    def make(self, function, arguments):
        match function, arguments:
            case "OrderedDict", ():
                return {}
            # Python 2 gives the entries as a list of pairs.
            case "OrderedDict", (list(pairs),):
                return self.make_dict(pairs)
            case "_rebuild_tensor", (Storage(), _, _, _):
                return make_tensor(*arguments)
            case "_rebuild_tensor_v2", (Storage(), _, _, _, _, _):
                return make_tensor(*arguments[:4])
            case "_rebuild_parameter", (Tensor() | Unknown() as tensor, _, _):
                return tensor
            case "OrderedDict", (Unknown() as unknown,):
                return unknown
            case _:
                raise UnsupportedPickle(f"unsupported arguments of {function}")

    def find_function(self, module, name):
        if (module, name) in self.functions:
            return super().find_function(module, name)
        return Unknown(printable(f"{module}.{name}"))

    def push_result(self, function, arguments):
        if isinstance(function, Unknown):
            self.stack.append(function)
        else:
            super().push_result(function, arguments)

    def extend(self, items):
        if not isinstance(self.top(), Unknown):
            super().extend(items)

    def update(self, items):
        if not isinstance(self.top(), Unknown):
            super().update(items)

    def make_dict(self, pairs):
        # A small pickle can use one list many times, and each result takes memory.
        self.pairs_left -= len(pairs)
        if self.pairs_left < 0:
            raise UnsupportedPickle("more entries of dicts than instructions")
        result = {}
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise UnsupportedPickle("an entry that is not a pair")
            result[self.to_key(pair[0])] = pair[1]
        return result

    def set_state(self, target, state):
        # The state of the dict of weights holds the versions of PyTorch's modules.
        if not isinstance(target, dict | Unknown):
            raise UnsupportedPickle("the state of an object of another type")

    def to_key(self, value):
        # The states of optimizers have the numbers of the weights as keys.
        if value is None or type(value) in (bool, int, float):
            return value
        if isinstance(value, tuple | Unknown):
            # No entry is looked up by such a key. To hash it could take forever: a
            # small pickle can make a tuple of tuples with any number of items.
            return object()
        return to_str(value)

    def execute_extra(self, instruction):
        match instruction:
            case b"Q":  # BINPERSID
                self.stack.append(self.load_persistent(self.pop()))
            case b"G":  # BINFLOAT
                (number,) = struct.unpack(">d", self.read(8))
                self.stack.append(number)
            case b"I":  # INT, which Python 2 uses for integers of more than 4 bytes.
                self.stack.append(_to_int(self.read_line()))
            case b"\x81":  # NEWOBJ
                self.push_result(*self.pop_many(2))
            case b"\x92":  # NEWOBJ_EX
                function, arguments, _ = self.pop_many(3)
                self.push_result(function, arguments)
            case b"\x8f":  # EMPTY_SET
                self.stack.append(Unknown("set"))
            case b"\x90":  # ADDITEMS
                self.extend(self.pop_marked())
            case b"\x91":  # FROZENSET
                self.pop_marked()
                self.stack.append(Unknown("frozenset"))
            case _:
                super().execute_extra(instruction)

    def load_persistent(self, identifier):
        """Returns the storage or the tensor that a persistent ID stands for."""
        match identifier:
            case tag, Function(storage_class), key, _, count:
                section = None
            case tag, Function(storage_class), key, _, count, section:
                pass
            case str() | bytes() | memoryview():
                return self.find_tensor(to_str(identifier))
            case _, Unknown() as unknown, *_:
                raise unknown.error()
            case _:
                raise UnsupportedPickle("an unsupported persistent ID")
        if to_str(tag) != "storage":
            raise UnsupportedPickle("a persistent ID of another type than a storage")
        storage = self.add_storage(to_str(key), storage_class, count)
        if section is None:
            return storage
        if not isinstance(section, tuple) or len(section) != 3:
            raise UnsupportedPickle("an invalid section of a storage")
        return storage.section(*section[1:])

    def find_tensor(self, key):
        if key not in self.tensors:
            raise UnsupportedPickle("a reference to an unknown tensor")
        return self.tensors[key]

    def add_storage(self, key, storage_class, count):
        """Adds a `Storage` to `storages` and returns it.

        Args:
            key: the key of the storage.
            storage_class: the name of its class, such as "FloatStorage".
            count: the number of its elements.
        """
        kind = storage_class.removesuffix("Storage")
        if kind not in _NUMBER_TYPES:
            raise UnsupportedPickle(f"a storage of the class {storage_class}")
        if type(count) is not int or not 0 <= count < 2**63:
            raise UnsupportedPickle("a storage of an invalid size")
        storage = Storage(key, *_NUMBER_TYPES[kind], count, array_size=count)
        added_storage = self.storages.setdefault(key, storage)
        if added_storage != storage:
            raise UnsupportedPickle("two different storages with the same key")
        return added_storage


def make_tensor(storage, offset, shape, strides):
    """Returns a `Tensor`.

    Raises:
        UnsupportedPickle: if the tensor exceeds its storage.
    """
    are_valid = is_shape(shape) and is_shape(strides) and len(shape) == len(strides)
    if not are_valid or type(offset) is not int or offset < 0:
        raise UnsupportedPickle("a tensor of an invalid shape")
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides))
    if 0 not in shape and last >= storage.count:
        raise UnsupportedPickle("a tensor that exceeds its storage")
    return Tensor(storage, offset, shape, strides)


def _to_int(text):
    # The text is ASCII: all digits are between 0 and 9.
    if len(text) > _MAX_INTEGER_LENGTH or not text.removeprefix("-").isdigit():
        raise UnsupportedPickle("an invalid integer")
    return int(text)
