"""Networks of MatConvNet are read; damaged and malicious .mat files are rejected."""

import struct
import tracemalloc
import zlib

from hypothesis import HealthCheck, given, settings, strategies as st
import numpy as np
import pytest

from alexnet_tf.models import weight_formats
from alexnet_tf.models.weights import load_weights
from helpers import mat_files
from helpers import networks
from helpers.weight_arrays import assert_weights_equal
from helpers.weight_arrays import copy_weights
from helpers.weight_arrays import damaged
from helpers.weight_arrays import narrow_model
from helpers.weight_arrays import reference_arrays

ORDERS = {"caffe": "conv relu lrn pool", "caffenet": "conv relu pool lrn"}


@pytest.fixture(scope="module")
def caffe_model():
    return narrow_model("caffe")


def load(model, path):
    return load_weights(model, path, channel_order="bgr")


def assert_loads_exactly(model, path, arrays):
    """Checks that `path` sets all weights of the model to {layer: [W, b]}."""
    model.set_weights([np.full_like(array, np.pi) for array in model.get_weights()])
    assert load(model, path).arrays == 16
    for name, parts in arrays.items():
        assert_weights_equal(model.get_layer(name), parts)


def reason(model, path):
    """Returns the reason why a file is rejected, and checks that nothing is loaded."""
    before = copy_weights(model)
    with pytest.raises(ValueError, match="weights file cannot be read") as error:
        load(model, path)
    assert_weights_equal(model, before)
    assert len(str(error.value)) < 1000
    return str(error.value).partition(f"{path}: ")[2]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("family", ORDERS)
def test_loads_every_array_bit_for_bit(tmp_path, family, compressed):
    arrays, images, logits = reference_arrays(family)
    layers = mat_files.to_layers(arrays, order=ORDERS[family])
    variables = {"meta": {"classes": ["tench", None]}, "layers": layers}
    mat_files.write(tmp_path / "w.mat", variables, compressed)
    model = narrow_model(family)
    assert_loads_exactly(model, tmp_path / "w.mat", arrays)
    assert networks.relative_error(model(images), logits) < 1e-4


def test_loads_files_of_old_versions_and_of_training_runs(tmp_path, caffe_model):
    arrays, _, _ = reference_arrays("caffe")
    old_layers = mat_files.to_layers(arrays, old=True)
    mat_files.write(tmp_path / "old.mat", {"layers": old_layers, "classes": []})
    assert_loads_exactly(caffe_model, tmp_path / "old.mat", arrays)
    network = {"layers": mat_files.to_layers(arrays), "meta": {"trainOpts": "x"}}
    mat_files.write(tmp_path / "net-epoch-1.mat", {"net": network, "state": []})
    assert_loads_exactly(caffe_model, tmp_path / "net-epoch-1.mat", arrays)


def test_conv1_stays_rgb_in_a_model_with_rgb_inputs(tmp_path):
    arrays, _, _ = reference_arrays("caffe")
    mat_files.write(tmp_path / "w.mat", {"layers": mat_files.to_layers(arrays)})
    model = narrow_model("caffe")
    load_weights(model, tmp_path / "w.mat", channel_order="rgb")
    np.testing.assert_array_equal(
        model.get_layer("conv1").kernel.numpy(), arrays["conv1"][0][:, :, ::-1]
    )
    with pytest.raises(ValueError, match="its conv1 takes RGB images"):
        load_weights(model, tmp_path / "w.mat")


def test_loads_numbers_that_matlab_stored_in_smaller_types(tmp_path, caffe_model):
    """MATLAB stores an array of type double or single as uint8 if that holds it."""
    arrays = dict(reference_arrays("caffe")[0])
    arrays["fc8"] = [arrays["fc8"][0], np.arange(7, dtype="f4")]
    layers = mat_files.to_layers(arrays)
    layers[-1]["weights"][1] = mat_files.matrix_from_parts(
        6, (1, 7), "", mat_files.element(2, bytes(range(7)))
    )
    mat_files.write(tmp_path / "w.mat", {"layers": layers})
    assert_loads_exactly(caffe_model, tmp_path / "w.mat", arrays)


def test_rejects_the_file_of_the_other_network(tmp_path, caffe_model):
    layers = mat_files.to_layers(reference_arrays("caffe")[0], order=ORDERS["caffenet"])
    mat_files.write(tmp_path / "w.mat", {"layers": layers})
    assert "it holds the weights of CaffeNet" in reason(caffe_model, tmp_path / "w.mat")


@pytest.mark.parametrize("compressed", [False, True])
def test_scipy_reads_the_files_of_the_tests(tmp_path, compressed):
    scipy_io = pytest.importorskip("scipy.io")
    arrays, _, _ = reference_arrays("caffe")
    layers = mat_files.to_layers(arrays)
    mat_files.write(tmp_path / "w.mat", {"layers": layers}, compressed)
    loaded = scipy_io.loadmat(tmp_path / "w.mat", squeeze_me=True)["layers"]
    assert [str(layer["type"]) for layer in loaded] == [
        layer["type"] for layer in layers
    ]
    convolutions = [layer for layer in loaded if layer["type"] == "conv"]
    for layer, (name, (kernel, bias)) in zip(convolutions, arrays.items(), strict=True):
        assert layer["name"] == name
        loaded_kernel, loaded_bias = layer["weights"].item()
        if name == "conv1":
            loaded_kernel = loaded_kernel[:, :, ::-1]
        np.testing.assert_array_equal(loaded_kernel.reshape(kernel.shape), kernel)
        np.testing.assert_array_equal(loaded_bias, bias)


@pytest.mark.parametrize("compressed", [False, True])
def test_loads_files_that_scipy_writes(tmp_path, caffe_model, compressed):
    """MatConvNet's importer writes its files with SciPy."""
    scipy_io = pytest.importorskip("scipy.io")
    arrays, _, _ = reference_arrays("caffe")
    layers = mat_files.to_layers(arrays)
    for layer in layers:
        layer.pop("opts", None)
        if "weights" in layer:
            cell = np.empty((1, 2), object)
            cell[0, 0], cell[0, 1] = layer["weights"]
            layer["weights"] = cell
    network = {
        "layers": np.array(layers).reshape(1, -1),
        "normalization": {"averageImage": np.zeros((9, 9, 3))},
        "classes": [],
    }
    path = tmp_path / "w.mat"
    scipy_io.savemat(path, network, oned_as="row", do_compression=compressed)
    assert_loads_exactly(caffe_model, path, arrays)


# ---- Files that fit no preset, damaged and malicious files -----------------


@pytest.fixture
def layers():
    return mat_files.to_layers(reference_arrays("caffe")[0])


def test_rejects_networks_that_fit_no_preset(tmp_path, caffe_model, layers):
    path = tmp_path / "w.mat"
    without_lrn = [layer for layer in layers if layer["type"] != "lrn"]
    mat_files.write(path, {"layers": without_lrn})
    assert "does not normalize responses" in reason(caffe_model, path)
    mat_files.write(path, {"layers": [*layers, {"type": "bnorm"}]})
    assert "has batch normalization" in reason(caffe_model, path)
    mat_files.write(path, {"layers": [], "params": [], "vars": []})
    assert "DagNN network of MatConvNet" in reason(caffe_model, path)
    mat_files.write(path, {"net": {"layers": [], "params": []}})
    assert "DagNN network of MatConvNet" in reason(caffe_model, path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
    assert "Save it in MATLAB with the option -v7" in reason(caffe_model, path)
    path.write_bytes(mat_files.HEADER[:126] + b"MI" + bytes(100))
    assert "another byte order" in reason(caffe_model, path)


def make_changes():
    """Returns [(function that changes the layers, reason of the error)]."""

    def set_field(field, value):
        def change(layers):
            layers[-1][field] = value

        return change

    numbers = mat_files.element(7, bytes(28))
    return [
        (set_field("name", "fc7"), "do not have different names"),
        (set_field("name", None), "do not have different names"),
        (set_field("name", "\x1b[2J" * 10), "does not have|missing"),
        (set_field("name", "x" * 10_000), "strings has 20,000 bytes"),
        (set_field("weights", [np.ones((1, 7), "f4")]), "fc8 does not have a kernel"),
        (set_field("weights", ["a", "b"]), "fc8 does not have a kernel"),
        (set_field("weights", [[], []]), "fc8 does not have a kernel"),
        (set_field("weights", {"name": "x"}), "fc8 does not have a kernel"),
        (
            set_field("weights", [np.ones((1, 7), "i4")] * 2),
            "fc8 is of type int32 instead of",
        ),
        (
            set_field("weights", [np.ones((1,) * 5, "f4")] * 2),
            "fc8 has arrays of the wrong shapes",
        ),
        (
            set_field("weights", [np.ones((2, 2), "f4")] * 2),
            "fc8 has arrays of the wrong shapes",
        ),
        # The shapes in the headers take terabytes or overflow.
        (
            set_field(
                "weights",
                [mat_files.matrix_from_parts(7, (2**31 - 1,) * 4, "", numbers)],
            ),
            "size of one of its arrays does not match",
        ),
        (
            set_field("weights", mat_files.matrix_from_parts(1, (2**31 - 1,) * 4, "")),
            "one of its elements is too short",
        ),
        (
            set_field("weights", mat_files.matrix_from_parts(7, (), "", numbers)),
            "invalid header",
        ),
        (
            set_field(
                "weights", mat_files.matrix_from_parts(7, (1,) * 40, "", numbers)
            ),
            "invalid header",
        ),
        (
            set_field("weights", mat_files.element(14, b"\6\0\0\0\xff\xff\xff\xff")),
            "exceeds the one that contains it",
        ),
        (
            set_field("weights", mat_files.element(14, b"\6\0\xff\xff" + bytes(4))),
            "invalid tag",
        ),
        (set_field("weights", [[[[[[[[[[]]]]]]]]]]), "nested more than 8 deep"),
        (set_field("weights", [None] * 6000), "has more than 5,000 matrices"),
    ]


CHANGE_COUNT = 19


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("index", range(CHANGE_COUNT))
def test_rejects_other_contents(tmp_path, caffe_model, layers, index, compressed):
    changes = make_changes()
    assert len(changes) == CHANGE_COUNT
    change, message = changes[index]
    change(layers)
    mat_files.write(tmp_path / "w.mat", {"layers": layers}, compressed)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as error:
            load(caffe_model, tmp_path / "w.mat")
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert "\x1b" not in str(error.value)


def test_inflates_in_small_steps(tmp_path, caffe_model, layers):
    """100 MB of zeros in 100 KB, in fields that are not used, take no memory."""
    path = tmp_path / "w.mat"
    zeros = np.zeros((50_000_000, 1), "u1")
    layers[0]["opts"] = zeros
    mat_files.write(path, {"meta": zeros, "layers": layers}, compressed=True)
    assert path.stat().st_size < 1e6
    tracemalloc.start()
    try:
        load(caffe_model, path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [2**30, 2**32 - 64])
@pytest.mark.parametrize("compressed", [False, True])
def test_does_not_allocate_the_gigabytes_that_a_file_states(
    tmp_path, caffe_model, size, compressed
):
    """The sizes of all elements agree with each other, but the file has no numbers."""
    variable = struct.pack("<II", 14, size + 56)
    variable += mat_files.element(6, struct.pack("<II", 7, 0))
    variable += mat_files.element(5, struct.pack("<II", 1, size // 4))
    variable += mat_files.element(1, b"layers") + struct.pack("<II", 7, size)
    content = mat_files.element(15, zlib.compress(variable)) if compressed else variable
    (tmp_path / "w.mat").write_bytes(mat_files.HEADER + content)
    tracemalloc.start()
    try:
        assert reason(caffe_model, tmp_path / "w.mat").startswith(
            ("one of its elements exceeds", "its compressed data end")
        )
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_checks_the_end_of_compressed_data(tmp_path, caffe_model, layers):
    variable = mat_files.matrix(layers, "layers")
    compressed = bytearray(zlib.compress(variable))
    compressed[-1] ^= 1
    path = tmp_path / "w.mat"
    for content, message in [
        (bytes(compressed), "compressed data are damaged"),
        (zlib.compress(variable)[:-1], "compressed data have the wrong size"),
        (zlib.compress(variable + bytes(8)), "compressed data have the wrong size"),
        (zlib.compress(variable[:-16]), "compressed data end too early"),
        (b"\x78\x9c\xff\xff", "compressed data are damaged"),
    ]:
        path.write_bytes(mat_files.HEADER + mat_files.element(15, content))
        assert message in reason(caffe_model, path)


def test_reads_only_the_first_variable_of_a_name(tmp_path, caffe_model, layers):
    """Otherwise a file could have a hundred large variables of this name."""
    path = tmp_path / "w.mat"
    second = mat_files.matrix([{"type": "bnorm"}], "layers")
    content = mat_files.HEADER + mat_files.matrix(layers, "layers") + second
    path.write_bytes(content)
    assert load(caffe_model, path).arrays == 16


def test_limits_the_number_of_variables(tmp_path, caffe_model):
    mat_files.write(tmp_path / "w.mat", {f"v{number}": "x" for number in range(101)})
    assert "more than 100 variables" in reason(caffe_model, tmp_path / "w.mat")


@pytest.mark.parametrize("compressed", [False, True])
def test_rejects_truncated_files(tmp_path, layers, compressed):
    path = tmp_path / "w.mat"
    mat_files.write(path, {"layers": layers}, compressed)
    content = path.read_bytes()
    step = len(content) // 40
    for kept_size in [100, 127, *range(129, len(content), step), len(content) - 1]:
        path.write_bytes(content[:kept_size])
        with pytest.raises(ValueError, match="cannot be read"):
            weight_formats.open_weights(path)


@pytest.mark.parametrize("compressed", [False, True])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files(tmp_path, caffe_model, compressed, data):
    """A damaged file is loaded completely, or it is rejected and changes nothing."""
    path = tmp_path / "w.mat"
    layers = mat_files.to_layers(
        {"conv1": [np.ones((2, 2, 3, 4), "f4"), np.ones(4, "f4")]}
    )
    mat_files.write(path, {"layers": layers}, compressed)
    path.write_bytes(damaged(path.read_bytes(), data))
    tracemalloc.start()
    try:
        file = weight_formats.open_weights(path)
        for array in file.layers.get("conv1", {}).values():
            if np.prod(array.shape, dtype=object) < 1000:
                assert array.read().shape == array.shape
    except ValueError as error:
        assert str(error).startswith("The weights file cannot be read: ")
    finally:
        assert tracemalloc.get_traced_memory()[1] < 20e6
        tracemalloc.stop()
