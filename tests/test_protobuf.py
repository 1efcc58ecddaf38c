"""Fields of protobuf messages are read as views, and damaged messages are rejected."""

import itertools

import numpy as np
import pytest

from alexnet_tf import protobuf
from helpers.protobuf_files import blob
from helpers.protobuf_files import field
from helpers.protobuf_files import fields
from helpers.protobuf_files import packed_integers
from helpers.protobuf_files import varint


def read(message, **options):
    """Returns [(number, value)], with lists in place of views."""
    view = memoryview(message)
    return [
        (number, value if isinstance(value, int) else value.tolist())
        for number, value in protobuf.Reader().fields(view, **options)
    ]


def read_blob(message):
    return protobuf.read_blob(protobuf.Reader(), memoryview(message))


def bits(*numbers):
    """Returns the bits of float32 or float64 numbers as a list of ints."""
    array = np.array(numbers)
    return array.view(f"u{array.itemsize}").tolist()


def test_reads_fields_of_all_types():
    message = field(1, 300) + field(2, b"ab") + field(3, np.float32(1.5))
    message += field(4, np.float64(-2.5)) + field(2**29 - 1, 2**64 - 1) + field(1, -1)
    assert read(message) == [
        (1, 300),
        (2, [97, 98]),
        (3, bits(np.float32(1.5))),
        (4, bits(-2.5)),
        (2**29 - 1, 2**64 - 1),
        (1, 2**64 - 1),
    ]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200, 300])
def test_numbers_with_the_same_tag_are_read_as_one_array(dtype, count):
    numbers = np.arange(count, dtype=dtype)
    message = fields(5, numbers) + fields(6, numbers[:1]) + fields(5, numbers[:2])
    assert read(message) == [
        (5, bits(*numbers)),
        (6, bits(numbers[0])),
        (5, bits(*numbers[:2])),
    ]


def test_numbers_whose_tag_has_two_bytes_are_read_one_by_one():
    message = fields(16, np.arange(3, dtype="f4"))
    assert read(message) == [(16, bits(np.float32(i))) for i in range(3)]


def test_values_are_views_of_the_message():
    numbers = np.arange(100, dtype="f4")
    buffer = np.frombuffer(
        bytearray(field(1, numbers.tobytes()) + fields(5, numbers)), np.uint8
    )
    packed, separate = protobuf.Reader().fields(memoryview(buffer))
    for number_field in (packed, separate):
        read_numbers = protobuf.to_numbers(number_field.value, "<f4")
        np.testing.assert_array_equal(read_numbers, numbers)
        assert np.shares_memory(read_numbers, buffer)


@pytest.mark.parametrize(
    "message, error",
    [
        (b"\x80", "ends within a field"),
        (field(1, 1)[:1], "ends within a field"),
        (field(1, 300)[:2], "ends within a field"),
        (field(2, b"abc")[:-1], "a field of 3 bytes, of which only 2 are left"),
        (b"\x0a" + varint(2**63), "a field of 9223372036854775808 bytes, of which"),
        (field(1, np.float32(1))[:-1], "a field of 4 bytes, of which only 3 are left"),
        (field(1, np.float64(1))[:-1], "a field of 8 bytes, of which only 7 are left"),
        (b"\x08" + b"\xff" * 10 + b"\1", "an integer of more than 64 bits"),
        (b"\0\0", "a field with the number 0"),
        (varint(2**29 << 3) + b"\0", "a field with the number 536870912"),
        (b"\x0b\x0c", "a field of the wire type 3"),
        (b"\x0c", "a field of the wire type 4"),
        (b"\x0e", "a field of the wire type 6"),
        (b"\x0f", "a field of the wire type 7"),
    ],
)
def test_rejects_damaged_messages(message, error):
    with pytest.raises(ValueError, match=f"it (has )?{error}"):
        read(message)


def test_a_clipped_field_is_the_rest_of_the_message():
    message = field(1, 7) + field(2, b"abc")
    assert read(message[:-1], clip=True) == [(1, 7), (2, [97, 98])]
    assert protobuf.first_fields(memoryview(message[:-1])) == [(1, 7), (2, b"ab")]
    assert protobuf.first_fields(memoryview(field(1, 7) + b"\x0b")) == [(1, 7)]
    assert len(protobuf.first_fields(memoryview(field(1, 7) * 150))) == 100
    assert protobuf.first_fields(7) == protobuf.first_fields(None) == []


def test_the_fields_of_all_messages_of_a_reader_are_limited():
    reader = protobuf.Reader(max_fields=10)
    message = memoryview(field(1, 7) * 6)
    assert len([*reader.fields(message)]) == 6
    fields_left = reader.fields(message)
    assert len([*itertools.islice(fields_left, 4)]) == 4
    with pytest.raises(ValueError, match="it has more than 10 fields"):
        next(fields_left)


def test_converts_shapes_and_names():
    separate = [value for _, value in read(fields(1, [2, 3, -1]))]
    assert protobuf.to_shape(separate) == (2, 3, -1)
    packed = memoryview(packed_integers(1, [2, 300, -1])[2:])
    assert protobuf.to_shape([packed]) == (2, 300, -1)
    assert protobuf.to_shape([5, packed, 6]) == (5, 2, 300, -1, 6)
    assert protobuf.to_shape([1] * 8) == (1,) * 8
    for values in ([1] * 9, [memoryview(b"\1" * 9)], [packed] * 3):
        with pytest.raises(ValueError, match="more than 8 dimensions"):
            protobuf.to_shape(values)
    assert protobuf.to_text(memoryview("é".encode() + b"\xff")) == "é\ufffd"
    for value in (memoryview(b"a" * 257), 3):
        with pytest.raises(ValueError, match="at most 256 bytes"):
            protobuf.to_text(value)


ARRAY = np.arange(24, dtype="f4").reshape(2, 3, 4)


@pytest.mark.parametrize(
    "message, shape",
    [
        (blob(ARRAY), (2, 3, 4)),
        (blob(ARRAY, old_shape=True), (1, 2, 3, 4)),
        (blob(ARRAY, packed=False), (2, 3, 4)),
        (blob(ARRAY, runs=5), (2, 3, 4)),
        (blob(ARRAY.astype("f8")), (2, 3, 4)),
        # The old shape and numbers of double precision have precedence.
        (blob(ARRAY) + blob(ARRAY, old_shape=True)[:8], (1, 2, 3, 4)),
        (blob(ARRAY.astype("f8")) + field(5, bytes(96)), (2, 3, 4)),
        (blob(ARRAY) + field(8, b""), (2, 3, 4)),
    ],
)
def test_reads_blobs(message, shape):
    stored = read_blob(message)
    assert stored.shape == shape
    np.testing.assert_array_equal(stored.read((2, 3, 4)), ARRAY)


def test_recognizes_blobs():
    for message in (
        blob(ARRAY),
        blob(ARRAY, old_shape=True),
        blob(ARRAY, packed=False),
        blob(ARRAY.astype("f8")),
        blob(ARRAY)[:-1],
    ):
        assert protobuf.is_blob(memoryview(message))
    for message in (
        b"", b"text", field(5, b"1234"), field(7, b"") + field(5, 3),
        blob(ARRAY, old_shape=True)[2:], field(7, 3) + field(5, b"1234"),
    ):  # fmt: skip
        assert not protobuf.is_blob(memoryview(message))
