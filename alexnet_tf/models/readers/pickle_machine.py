"""Executes the instructions of a pickle without calling any function.

A pickle is a program for a stack machine, and may call any function of any module.
`PickleMachine` implements only the instructions for dicts, lists, tuples, strings,
integers, booleans and None. It never imports a module or calls a function for a pickle:
a function that the program refers to is represented by a string, its name.

`safe_pickle` and `torch_pickle` have a subclass each, for the arrays of NumPy and for
the tensors of PyTorch. A subclass lists the functions that a pickle may refer to, and
`make` compares the name of a function with theirs to compute what it would return.
"""

# One array takes about 40 instructions. Without a limit, a file of nothing but
# instructions would take 56 times its size in memory.
_MAX_INSTRUCTIONS = 100_000
# The limit of NumPy 1; NumPy 2 allows 64.
MAX_DIMENSIONS = 32
# The limit for names of functions, and for keys of dicts and dtypes that are bytes, in
# characters.
_MAX_NAME_LENGTH = 100
# The limit for keys and dtypes that are str. The keys of a state dict have a component
# for each module around an array.
_MAX_TEXT_LENGTH = 1000

# The instructions that push a constant.
_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
# The number of bytes of the integer that follows the instruction.
_INTEGER_SIZES = {b"J": 4, b"K": 1, b"M": 2}
# These instructions are followed by a length and by data of this length: bytes, a
# string in UTF-8, or an integer (LONG1). The values of the dicts are the numbers of
# bytes of the length.
_BYTES_LENGTH_SIZES = {
    b"U": 1, b"T": 4, b"C": 1, b"B": 4, b"\x8e": 8, b"\x96": 8,
}  # fmt: skip
_TEXT_LENGTH_SIZES = {b"\x8c": 1, b"X": 4, b"\x8d": 8}
_LONG1 = b"\x8a"
# The number of items of the tuple that the instruction makes.
_TUPLE_SIZES = {b")": 0, b"\x85": 1, b"\x86": 2, b"\x87": 3}
# The instructions that take all items above the last mark: TUPLE, APPENDS, SETITEMS.
_MARKED = {b"t", b"e", b"u"}


class UnsupportedPickle(ValueError):
    """The reason why a pickle is rejected: something that it holds."""


class Function(str):
    """The name of a function in a pickle, which is a value of `functions`."""


class PickleMachine:
    """The stack machine that executes the programs in a buffer.

    A subclass implements `make` and `set_state`.

    Attributes:
        functions: {(module, name): name} of the functions that a pickle may refer to.
        max_text_size: the limit for the strings of all pickles in bytes; None for no
            limit other than the size of the buffer.
        position: the position in the buffer of the next byte to be read.
    """

    functions = {}
    max_text_size = None

    def __init__(self, buffer):
        self.view = memoryview(buffer)
        self.position = 0
        self.instructions_left = _MAX_INSTRUCTIONS
        self.text_size = 0

    def run(self):
        """Returns the object that is pickled at `position`, and moves it past it.

        Raises:
            UnsupportedPickle: if an instruction is not supported, or the limit on the
                number of instructions is reached, which all runs share.
        """
        self.stack, self.marks, self.memo = [], [], {}
        while self.instructions_left:
            self.instructions_left -= 1
            instruction = bytes(self.read(1))
            if instruction == b".":
                return self.pop()
            self.execute(instruction)
        raise UnsupportedPickle(f"more than {_MAX_INSTRUCTIONS:,} instructions")

    # ---- To be implemented by subclasses ------------------------------------

    def make(self, function, arguments):
        """Returns the result of a function.

        Args:
            function: a `Function`.
            arguments: an object that the pickle has made, which may be of any type.

        Raises:
            UnsupportedPickle: if the arguments are not supported.
        """
        raise NotImplementedError

    def set_state(self, target, state):
        """Sets the state of an object that the pickle has made."""
        raise NotImplementedError

    def execute_extra(self, instruction):
        """Executes an instruction that only some subclasses support."""
        raise UnsupportedPickle(f"the instruction {instruction!r}")

    def to_key(self, value):
        """Returns the key of a dict for an object that the pickle uses as a key."""
        return to_str(value)

    def find_function(self, module, name):
        """Returns the `Function` of a name.

        Raises:
            UnsupportedPickle: if there is none in `functions`.
        """
        if (module, name) not in self.functions:
            raise UnsupportedPickle(f"the function {quote(module)}.{quote(name)}")
        return Function(self.functions[module, name])

    # ---- Instructions -------------------------------------------------------

    def execute(self, instruction):
        if instruction in _CONSTANTS:
            self.stack.append(_CONSTANTS[instruction])
        elif instruction in _INTEGER_SIZES:
            self.stack.append(self.read_integer(_INTEGER_SIZES[instruction]))
        elif instruction in _BYTES_LENGTH_SIZES:
            self.stack.append(self.read_data(_BYTES_LENGTH_SIZES[instruction]))
        elif instruction in _TEXT_LENGTH_SIZES:
            self.stack.append(self.read_text(_TEXT_LENGTH_SIZES[instruction]))
        elif instruction == _LONG1:
            data = self.read_data(length_size=1)
            self.stack.append(int.from_bytes(data, "little", signed=True))
        elif instruction in _TUPLE_SIZES:
            self.stack.append(tuple(self.pop_many(_TUPLE_SIZES[instruction])))
        elif instruction in _MARKED:
            self.execute_marked(instruction)
        else:
            self.execute_other(instruction)

    def execute_marked(self, instruction):
        """Executes an instruction of `_MARKED`."""
        items = self.pop_marked()
        if instruction == b"t":
            self.stack.append(tuple(items))
        elif instruction == b"e":
            self.extend(items)
        else:
            self.update(items)

    def execute_other(self, instruction):
        match instruction:
            case b"(":  # MARK
                self.marks.append(len(self.stack))
            case b"]":  # EMPTY_LIST
                self.stack.append([])
            case b"}":  # EMPTY_DICT
                self.stack.append({})
            case b"a":  # APPEND
                self.extend(self.pop_many(1))
            case b"s":  # SETITEM
                self.update(self.pop_many(2))
            case b"c":  # GLOBAL
                self.push_function(self.read_line(), self.read_line())
            case b"\x93":  # STACK_GLOBAL
                self.push_function(*self.pop_many(2))
            case b"R":  # REDUCE
                self.push_result(*self.pop_many(2))
            case b"b":  # BUILD
                state = self.pop()
                self.set_state(self.top(), state)
            case b"\x80" | b"\x95":  # PROTO, FRAME
                self.read(1 if instruction == b"\x80" else 8)
            case _:
                self.execute_memo(instruction)

    def execute_memo(self, instruction):
        match instruction:
            case b"q" | b"r":  # BINPUT, LONG_BINPUT
                key = self.read_integer(1 if instruction == b"q" else 4)
                self.memo[key] = self.top()
            case b"\x94":  # MEMOIZE
                self.memo[len(self.memo)] = self.top()
            case b"h" | b"j":  # BINGET, LONG_BINGET
                key = self.read_integer(1 if instruction == b"h" else 4)
                if key not in self.memo:
                    raise UnsupportedPickle("a reference to an unknown object")
                self.stack.append(self.memo[key])
            case _:
                self.execute_extra(instruction)

    def push_function(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnsupportedPickle("the function of a name that is not a string")
        self.stack.append(self.find_function(module, name))

    def push_result(self, function, arguments):
        if not isinstance(function, Function):
            raise UnsupportedPickle("an unsupported function call")
        self.stack.append(self.make(function, arguments))

    def extend(self, items):
        if not isinstance(self.top(), list):
            raise UnsupportedPickle("an item appended to something other than a list")
        self.top().extend(items)

    def update(self, items):
        if not isinstance(self.top(), dict):
            raise UnsupportedPickle("an entry set in something other than a dict")
        if len(items) % 2:
            raise UnsupportedPickle("a key without a value")
        for key, value in zip(items[::2], items[1::2]):
            self.top()[self.to_key(key)] = value

    # ---- The buffer and the stack -------------------------------------------

    def read(self, size):
        """Returns the next `size` bytes of the buffer as a memoryview."""
        if not 0 <= size <= len(self.view) - self.position:
            raise UnsupportedPickle(
                f"an item of {size} bytes, of which only "
                f"{len(self.view) - self.position} are left"
            )
        self.position += size
        return self.view[self.position - size : self.position]

    def read_integer(self, size):
        # Among the integers of four bytes, only that of the instruction J is signed.
        # Reading lengths as signed too rejects arrays of 2 GiB and more; the largest
        # array of AlexNet has 151 MB.
        return int.from_bytes(self.read(size), "little", signed=size == 4)

    def read_data(self, length_size):
        """Returns data that are preceded by their length."""
        return self.read(self.read_integer(length_size))

    def read_text(self, length_size):
        data = self.read_data(length_size)
        self.text_size += len(data)
        if self.max_text_size is not None and self.text_size > self.max_text_size:
            raise UnsupportedPickle(f"more than {self.max_text_size:,} bytes of text")
        return _decode(data, "utf-8")

    def read_line(self):
        start = self.position
        while bytes(self.read(1)) != b"\n":
            if self.position - start > _MAX_NAME_LENGTH:
                raise UnsupportedPickle(
                    f"a name of more than {_MAX_NAME_LENGTH} characters"
                )
        return _decode(self.view[start : self.position - 1], "ascii")

    def top(self):
        if not self.stack:
            raise UnsupportedPickle("an instruction without its operand")
        return self.stack[-1]

    def pop(self):
        self.top()
        return self.stack.pop()

    def pop_marked(self):
        """Removes and returns all items above the last mark."""
        if not self.marks or self.marks[-1] > len(self.stack):
            raise UnsupportedPickle("an instruction without its mark")
        return self.pop_many(len(self.stack) - self.marks.pop())

    def pop_many(self, count):
        if count > len(self.stack):
            raise UnsupportedPickle("an instruction without its operands")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items


def is_shape(shape):
    """Returns whether an object is a tuple of at most 32 integers, all 0 or more."""
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(n) is int and n >= 0 for n in shape)
    )


def to_str(name):
    """Returns a key, the code of a dtype or a byte order as str.

    Args:
        name: a str, or the bytes or memoryview of a Python 2 string.

    Raises:
        UnsupportedPickle: if `name` is anything else, or is too long.
    """
    if isinstance(name, (bytes, memoryview)):
        _check_length(name, _MAX_NAME_LENGTH)
        return _decode(name, "latin1")
    if not isinstance(name, str) or isinstance(name, Function):
        raise UnsupportedPickle("a key, a dtype or a byte order that is not a string")
    _check_length(name, _MAX_TEXT_LENGTH)
    return name


def _check_length(name, limit):
    if len(name) > limit:
        raise UnsupportedPickle(f"a name of more than {limit:,} characters")


def quote(text):
    """Returns the beginning of a value's representation, for an error message."""
    return repr(text)[:60]


def _decode(data, encoding):
    try:
        return str(data, encoding)
    except UnicodeDecodeError:
        raise UnsupportedPickle(f"a string that is not {encoding}") from None
