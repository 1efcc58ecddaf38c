"""Arrays are grouped by layer; names in messages are short; matrices are transposed."""

import numpy as np
import pytest

from alexnet_tf.models.readers import stored


def test_groups_arrays_of_all_spellings_by_layer():
    keys = ["a/kernel", "a/bias", "b.weight", "b.bias", "c_W", "c_b", "d_w_0", "d_b_0"]
    layers = stored.group_by_layer({key: key for key in keys})
    assert layers == {
        "a": {"kernel": "a/kernel", "bias": "a/bias"},
        "b": {"kernel": "b.weight", "bias": "b.bias"},
        "c": {"kernel": "c_W", "bias": "c_b"},
        "d": {"kernel": "d_w_0", "bias": "d_b_0"},
    }


@pytest.mark.parametrize(
    "key", ["conv1", "conv1_w_momentum", "/kernel", "conv1 kernel", ""]
)
def test_rejects_arrays_that_are_neither_kernels_nor_biases(key):
    with pytest.raises(ValueError, match=f"'{key}' is not of the form conv1/kernel"):
        stored.group_by_layer({"conv1/bias": 1, key: 2})


def test_kernels_of_one_layer_may_have_prefixes():
    keys = ["a/lstm/kernel", "a/lstm/recurrent_kernel", "b/depthwise_kernel"]
    assert stored.group_by_layer({key: key for key in keys}) == {
        "a/lstm": {"kernel": keys[0], "recurrent_kernel": keys[1]},
        "b": {"depthwise_kernel": keys[2]},
    }
    # Names of Caffe2, which can have a scope.
    assert stored.group_by_layer({"gpu_0/conv1_w": 1}) == {"gpu_0/conv1": {"kernel": 1}}


def test_rejects_two_kernels_of_a_layer():
    with pytest.raises(ValueError, match="conv1 has two arrays for its kernel"):
        stored.group_by_layer({"conv1/W": 1, "conv1.kernel": 2})


@pytest.mark.parametrize(
    "text, printed",
    [
        ("conv1/kernel", "conv1/kernel"),
        ("it's \"fc8\"", "it's \"fc8\""),
        ("für", "für"),
        ("a\x1b[2J\nb", r"a\x1b[2J\nb"),
        ("\u202eb\udc80", r"\u202eb\udc80"),
        ("a" * 61, "a" * 60),
    ],
)
def test_printable_escapes_and_shortens(text, printed):
    assert stored.printable(text) == printed


def test_printable_list_shortens_names_and_lists():
    assert stored.printable_list(["a", "b\n"]) == r"a, b\n"
    assert stored.printable_list([]) == ""
    assert stored.printable_list(["a" * 100], 5) == "aaaaa"
    names = [str(number) for number in range(1020)]
    shown = ", ".join(names[:19])
    assert stored.printable_list(names[:19]) == shown
    assert stored.printable_list(names) == f"{shown} and 1,001 more"


def test_printable_keeps_the_given_length():
    assert stored.printable("a" * 1000, 500) == "a" * 500


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 7), (200, 3), (0, 4)])
def test_transposes_matrices_in_blocks(shape):
    matrix = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    transposed = stored.transpose_matrix(matrix)
    np.testing.assert_array_equal(transposed, matrix.T)
    assert transposed.flags.c_contiguous and transposed.dtype == matrix.dtype


def test_reorders_the_inputs_of_a_transposed_matrix():
    height, width, channels, num_outputs = 2, 3, 4, 70
    matrix = np.arange(num_outputs * 24, dtype="f4").reshape(num_outputs, 24)
    transposed = stored.transpose_matrix(matrix, (height, width, channels))
    for h, w, c in np.ndindex(height, width, channels):
        row = (h * width + w) * channels + c
        column = (c * height + h) * width + w
        np.testing.assert_array_equal(transposed[row], matrix[:, column])
