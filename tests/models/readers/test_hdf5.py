"""HDF5 files of Keras and Caffe are read; damaged and malicious ones are rejected."""

import struct
import zipfile

import h5py
from hypothesis import HealthCheck, given, settings, strategies as st
import keras
import numpy as np
import pytest

from alexnet_tf.models import weight_formats
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import save_weights
from helpers import hdf5_files
from helpers import networks
from helpers.weight_arrays import assert_weights_equal
from helpers.weight_arrays import check_loads_or_rejects
from helpers.weight_arrays import copy_weights
from helpers.weight_arrays import damaged
from helpers.weight_arrays import narrow_model
from helpers.weight_arrays import reference_arrays
from helpers.weight_arrays import to_caffe_layout

KERAS_NAMES = dict(
    conv1="conv2d", conv2="conv2d_1", conv3="conv2d_2", conv4="conv2d_3",
    conv5="conv2d_4", fc6="dense", fc7="dense_1", fc8="dense_2",
)  # fmt: skip


@pytest.fixture(scope="module")
def caffe_model():
    return narrow_model("caffe")


@pytest.fixture(scope="module")
def small_model():
    """Returns a model of conv1 and fc8, which is built and loaded quickly."""
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1")(inputs)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(5, name="fc8")(x))


@pytest.fixture
def small_arrays():
    rng = np.random.default_rng(3)
    shapes = {"conv1": [(3, 3, 3, 4), (4,)], "fc8": [(16, 5), (5,)]}
    return {
        name: [rng.normal(size=shape).astype("f4") for shape in parts]
        for name, parts in shapes.items()
    }


def assert_loads_exactly(model, path, arrays):
    """Checks that `path` sets all weights of the model to {layer: [W, b]}."""
    model.set_weights([np.full_like(array, np.pi) for array in model.get_weights()])
    report = load_weights(model, path)
    assert report.arrays == 2 * len(arrays) and not report.skipped
    for name, parts in arrays.items():
        assert_weights_equal(model.get_layer(name), parts)


def reason(model, path):
    """Returns the reason why a file is rejected, and checks that nothing is loaded."""
    before = copy_weights(model)
    with pytest.raises(ValueError, match="weights file cannot be read") as error:
        load_weights(model, path)
    assert_weights_equal(model, before)
    assert len(str(error.value)) < 1000
    return str(error.value).partition(f"{path}: ")[2]


# {file name: function that writes {layer: [W, b]} to a path}.
WRITERS = {
    "keras2.h5": hdf5_files.write_keras2,
    "model.h5": lambda path, arrays: hdf5_files.write_keras2(
        path, arrays, "model_weights"
    ),
    "jax.h5": lambda path, arrays: hdf5_files.write_keras2(
        path, arrays, suffix="", backend="jax"
    ),
    "keras1.h5": hdf5_files.write_keras1,
    "keras_names.h5": lambda path, arrays: hdf5_files.write_keras2(
        path, {KERAS_NAMES[name]: parts for name, parts in arrays.items()}
    ),
    "caffe.caffemodel.h5": lambda path, arrays: hdf5_files.write_caffe(
        path, to_caffe_layout(arrays)
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_loads_every_array_bit_for_bit(tmp_path, caffe_model, name):
    arrays, images, logits = reference_arrays("caffe")
    WRITERS[name](tmp_path / name, arrays)
    assert_loads_exactly(caffe_model, tmp_path / name, arrays)
    assert networks.relative_error(caffe_model(images), logits) < 1e-4


def test_loads_files_that_keras_writes_in_its_legacy_format(tmp_path, caffe_model):
    arrays, _, _ = reference_arrays("caffe")
    for name, parts in arrays.items():
        caffe_model.get_layer(name).set_weights(parts)
    caffe_model.save(tmp_path / "model.h5")
    assert_loads_exactly(caffe_model, tmp_path / "model.h5", arrays)


def test_loads_nested_models(tmp_path, small_model, small_arrays):
    """The names of arrays in a nested model begin with names of their layers."""
    parts = {
        f"features/features/{name}/{part}:0": array
        for name, arrays in small_arrays.items()
        for part, array in zip(("kernel", "bias"), arrays)
    }
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = ["features"]
        group = file.create_group("features")
        group.attrs["weight_names"] = [*parts]
        for path, array in parts.items():
            group[path] = array
    assert_loads_exactly(small_model, tmp_path / "w.h5", small_arrays)


def test_reorders_the_inputs_of_fc6_in_files_of_imgclsmob(tmp_path):
    """Its networks flatten the maps in the order C, H, W, unlike other Keras models."""
    arrays, images, logits = reference_arrays("owt")
    columns = to_caffe_layout(arrays)["fc6"][0]
    rows = {**arrays, "fc6": [columns.T, arrays["fc6"][1]]}
    hdf5_files.write_imgclsmob(tmp_path / "w.h5", rows)
    model = narrow_model("owt", seed=1)
    assert_loads_exactly(model, tmp_path / "w.h5", arrays)
    assert networks.relative_error(model(images), logits) < 1e-4


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_converts_floating_dtypes(tmp_path, small_model, small_arrays, dtype):
    stored = {
        name: [part.astype(dtype) for part in parts]
        for name, parts in small_arrays.items()
    }
    hdf5_files.write_keras2(tmp_path / "w.h5", stored)
    expected = {
        name: [part.astype("f4") for part in parts] for name, parts in stored.items()
    }
    assert_loads_exactly(small_model, tmp_path / "w.h5", expected)


@pytest.mark.parametrize("dtype", ["i4", "u1", "c8", "bool", "S4", "f4,f4"])
def test_rejects_arrays_of_other_types(tmp_path, small_model, small_arrays, dtype):
    small_arrays["fc8"][1] = np.zeros(5, dtype)
    hdf5_files.write_keras2(tmp_path / "w.h5", small_arrays)
    assert "bias:0 is not of type float16" in reason(small_model, tmp_path / "w.h5")


def test_rejects_unusual_floating_point_numbers(tmp_path, small_model, small_arrays):
    """HDF5 allows any position and bias of the exponent, here 126 instead of 127."""
    hdf5_files.write_keras2(tmp_path / "w.h5", small_arrays)
    content = (tmp_path / "w.h5").read_bytes()
    usual = struct.pack("<BBBBI", 23, 8, 0, 23, 127)
    assert content.count(usual) == 4
    unusual = struct.pack("<BBBBI", 23, 8, 0, 23, 126)
    (tmp_path / "w.h5").write_bytes(content.replace(usual, unusual))
    assert "is not of type float16" in reason(small_model, tmp_path / "w.h5")


def test_rejects_kernels_of_theano(tmp_path, small_model, small_arrays):
    hdf5_files.write_keras2(tmp_path / "a.h5", small_arrays, backend="theano")
    hdf5_files.write_keras1(tmp_path / "b.h5", small_arrays, suffix="")
    for name in ("a.h5", "b.h5"):
        assert "Theano, whose kernels are flipped" in reason(
            small_model, tmp_path / name
        )


def test_rejects_kernels_with_another_order_of_axes(
    tmp_path, small_model, small_arrays
):
    small_arrays["conv1"][0] = small_arrays["conv1"][0].transpose(3, 2, 0, 1)
    hdf5_files.write_keras1(tmp_path / "w.h5", small_arrays)
    assert "shape (4, 3, 3, 3), whose axes" in reason(small_model, tmp_path / "w.h5")


def test_rejects_layers_without_a_kernel_and_a_bias(
    tmp_path, small_model, small_arrays
):
    path = tmp_path / "w.h5"
    kernel = small_arrays["fc8"][0]
    hdf5_files.write_keras2(path, {**small_arrays, "fc8": [kernel]})
    assert "fc8 has only a kernel" in reason(small_model, path)
    for names, message in [
        (["fc8/kernel:0", "fc8/kernel_1:0"], "fc8 has two arrays for its kernel"),
        (["fc8/kernel:0", "fc8/alpha:0"], "fc8/alpha:0 is neither a kernel nor"),
        (["fc8/kernel:0", "fc8/param_1"], "fc8/param_1 is neither a kernel nor"),
    ]:
        hdf5_files.write_keras2(path, small_arrays)
        with h5py.File(path, "a") as file:
            file["fc8"].attrs["weight_names"] = names
            for name in names[1:]:
                file["fc8"][name] = kernel
        assert message in reason(small_model, path)
    hdf5_files.write_caffe(path, {**small_arrays, "fc8": [kernel] * 3})
    assert "fc8 has the arrays 0, 1, 2 instead of" in reason(small_model, path)


def to_older_keras(group, changes):
    """Changes a group of a file of Keras 3, and all groups in it, to an older version.

    Args:
        group: a group of h5py.
        changes: "names" to remove the names of the layers, as in Keras 3.0, "groups" to
            rename the groups of layers as in tf.keras 2.13, and "vars" to remove the
            groups of layers without weights.
    """
    for key in list(group):
        if not isinstance(group[key], h5py.Group):
            continue
        to_older_keras(group[key], changes)
        if key == "vars" and "names" in changes:
            group[key].attrs.pop("name", None)
        if key == "vars" and "vars" in changes and not len(group[key]):
            del group[key]
        if key == "layers" and "groups" in changes:
            group.move(key, "_layer_checkpoint_dependencies")


OLDER_VERSIONS = [["names"], ["names", "groups", "vars"]]


@pytest.mark.parametrize("changes", OLDER_VERSIONS)
def test_loads_files_of_older_versions_of_keras(tmp_path, changes):
    """The names of the groups stand for the layers: conv2d, conv2d_1, dense."""
    arrays, images, logits = reference_arrays("owt")
    saved = narrow_model("owt")
    for name, parts in arrays.items():
        saved.get_layer(name).set_weights(parts)
    path = tmp_path / "w.weights.h5"
    save_weights(saved, path)
    with h5py.File(path, "a") as file:
        to_older_keras(file, changes)
        assert ("layers" in file) == ("groups" not in changes)
    model = narrow_model("owt", seed=1)
    assert_loads_exactly(model, path, arrays)
    assert networks.relative_error(model(images), logits) < 1e-4


@pytest.mark.parametrize("changes", OLDER_VERSIONS)
def test_loads_nested_models_of_older_versions_of_keras(tmp_path, changes):
    inner = keras.Sequential(
        [keras.Input((10,)), keras.layers.Dense(3, name="dense")], name="sequential"
    )
    inputs = keras.Input((2, 4))
    wrapped = keras.layers.Dense(5, name="layer")
    steps = keras.layers.TimeDistributed(wrapped, name="time_distributed")(inputs)
    x = inner(keras.layers.Flatten()(steps))
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(x))
    rng = np.random.default_rng(4)
    arrays = [rng.normal(size=v.shape).astype("f4") for v in model.weights]
    model.set_weights(arrays)
    path = tmp_path / "w.weights.h5"
    save_weights(model, path)
    with h5py.File(path, "a") as file:
        to_older_keras(file, changes)
    model.set_weights([np.zeros_like(array) for array in arrays])
    assert {*load_weights(model, path).loaded} == {
        "dense", "sequential/dense", "time_distributed/layer"
    }  # fmt: skip
    assert_weights_equal(model, arrays)


@pytest.mark.parametrize("names", [["fc8"], ["fc8", "conv1"], np.zeros(0, "S1")])
def test_rejects_layers_of_keras_3_without_names_of_their_own(
    tmp_path, small_model, names
):
    path = tmp_path / "w.weights.h5"
    save_weights(small_model, path)
    with h5py.File(path, "a") as file:
        file["layers/conv2d/vars"].attrs["name"] = names
    assert "does not have a name of its own" in reason(small_model, path)


def test_rejects_other_hdf5_files(tmp_path, small_model):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros(3)
    assert "neither the layout of Keras nor" in reason(small_model, path)
    with h5py.File(path, "w", libver="latest") as file:
        file.create_group("layers")
    assert "newer structure of HDF5 than Keras" in reason(small_model, path)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.zeros(3)
    assert "layer_names does not hold strings" in reason(small_model, path)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["fc8"]
        file.create_group("fc8")
    assert "fc8/ has no attribute called weight_names" in reason(small_model, path)


# ---- Damaged and malicious files -------------------------------------------


def replaced_bias(**options):
    """Returns a function that replaces fc8's bias by a data set with `options`."""

    def change(file):
        del file["fc8/fc8/bias:0"]
        file["fc8/fc8"].create_dataset("bias:0", (5,), "f4", **options)

    return change


def make_changes(secret_path):
    """Returns [(function that changes a file of Keras 2, reason of the error)]."""

    def link_softly(file):
        file["other"] = file["fc8/fc8/bias:0"]
        del file["fc8/fc8/bias:0"]
        file["fc8/fc8/bias:0"] = h5py.SoftLink("/other")

    def link_externally(file):
        del file["fc8/fc8/bias:0"]
        file["fc8/fc8/bias:0"] = h5py.ExternalLink(str(secret_path), "secret")

    def link_to_itself(file):
        file["fc8/a"] = file["fc8"]
        file.attrs["layer_names"] = ["fc8" + "/a" * depth for depth in range(98)]

    def virtual(file):
        del file["fc8/fc8/bias:0"]
        layout = h5py.VirtualLayout((5,), "f4")
        layout[:] = h5py.VirtualSource(str(secret_path), "secret", (5,))
        file["fc8/fc8"].create_virtual_dataset("bias:0", layout)

    def set_names(names):
        def change(file):
            file["fc8"].attrs["weight_names"] = names

        return change

    return [
        (link_softly, "bias:0 is missing, or a soft or external link"),
        (link_externally, "has a soft or external link"),
        (link_to_itself, "it has too many parts"),
        (virtual, "not stored as Keras stores it"),
        (replaced_bias(external=[(str(secret_path), 0, 20)]), "not stored as Keras"),
        (replaced_bias(chunks=(5,)), "not stored as Keras"),
        (replaced_bias(chunks=(5,), compression="gzip"), "not stored as Keras"),
        (replaced_bias(), "bias:0 is incomplete"),
        (set_names(["../fc8/bias:0"]), "fc8/.. is missing"),
        (set_names(["/conv1/conv1/bias:0"]), "fc8/ is missing"),
        (set_names(["./fc8/bias:0"]), "fc8/. is missing"),
        (set_names(["fc8"]), "fc8 is neither a kernel nor a bias"),
        (set_names(["x" * 300]), "has a name of 300 bytes"),
        (set_names(np.array([b"x" * 300])), "names has more than 200 bytes"),
        (set_names(["\x1b[2J" + "x" * 150]), r"array \x1b[2Jxxxxx"),
    ]


CHANGE_COUNT = 15


@pytest.mark.parametrize("index", range(CHANGE_COUNT))
def test_rejects_links_paths_and_other_storage(
    tmp_path, small_model, small_arrays, index
):
    """Through them, loading weights could read other files of the machine."""
    secret_path = tmp_path / "secret.h5"
    with h5py.File(secret_path, "w") as file:
        file["secret"] = np.zeros(5, "f4")
    changes = make_changes(secret_path)
    assert len(changes) == CHANGE_COUNT
    change, message = changes[index]
    hdf5_files.write_keras2(tmp_path / "w.h5", small_arrays)
    with h5py.File(tmp_path / "w.h5", "a") as file:
        change(file)
    assert message in reason(small_model, tmp_path / "w.h5")


def find_once(content, part):
    assert content.count(part) == 1
    return content.index(part)


def make_patches(content):
    """Returns [(position, bytes, reason)] for a file that `write_keras1` wrote."""
    largest = b"\xff" * 8
    heap = find_once(content, b"GCOL")
    tree, symbols = content.index(b"TREE"), content.index(b"SNOD")
    names = content.index(b"HEAP")
    attribute = find_once(content, b"layer_names\0")
    # The values of the attribute follow the name in 16, the type in 24 and the shape in
    # 24 bytes: for each string, its length, and the address and index in the heap.
    strings = attribute + 16 + 24 + 24
    (heap_address,) = struct.unpack_from("<Q", content, strings + 4)
    assert heap_address == heap
    bias = find_once(content, struct.pack("<BBQQ", 3, 1, *bias_location(content)))
    return [
        (0, b"\x89HDG", "none of the formats"),
        (8, b"\2", "newer structure"),
        (13, b"\4", "newer structure"),
        (24, b"\x08", "incomplete"),
        (40, largest, "incomplete"),
        (64, largest, "incomplete or damaged"),
        (tree + 5, b"\1", "there is no TREE"),
        (tree + 32, largest, "incomplete or damaged"),
        (tree + 32, struct.pack("<Q", tree), "there is no SNOD"),
        (symbols + 6, b"\xff\xff", "the name of a member is missing"),
        (names + 8, bytes(8), "the name of a member is missing"),
        (names + 24, largest, "incomplete or damaged"),
        (strings, b"\xff\xff\xff\xff", "a name of 4,294,967,295 bytes"),
        (strings, b"\xc8\0\0\0", "a string is longer than its memory"),
        (strings + 4, largest, "incomplete or damaged"),
        (strings + 12, b"\xff\xff\xff\xff", "a string is longer than its memory"),
        # An object of the size 2^64 - 16 would end where it begins.
        (heap + 24, struct.pack("<Q", 2**64 - 16), "memory|damaged"),
        (bias + 10, largest, "bias:0|fc8_b:0 is incomplete"),
        (bias + 2, struct.pack("<Q", len(content) - 8), "ends before the numbers of"),
        (bias + 2, largest, "fc8_b:0 is incomplete"),
    ]


def bias_location(content):
    """Returns the address and the size of the bias of fc8, which is all sevens."""
    data = np.full(5, 7, "f4").tobytes()
    return find_once(content, data), len(data)


PATCH_COUNT = 20


@pytest.mark.parametrize("index", range(PATCH_COUNT))
def test_checks_each_size_and_address(tmp_path, small_model, small_arrays, index):
    small_arrays["fc8"][1][:] = 7
    path = tmp_path / "w.h5"
    hdf5_files.write_keras1(path, small_arrays)
    content = bytearray(path.read_bytes())
    patches = make_patches(bytes(content))
    assert len(patches) == PATCH_COUNT
    position, patch, message = patches[index]
    content[position : position + len(patch)] = patch
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_weights(small_model, path)


def test_rejects_structures_that_repeat_themselves(tmp_path, small_model, small_arrays):
    """A list of messages or a tree that contains itself does not take forever."""
    path = tmp_path / "w.h5"
    hdf5_files.write_keras1(path, small_arrays)
    content = path.read_bytes()
    # The header of the root group begins with a message that refers to its tree. Here
    # it refers to the same block of messages.
    (header,) = struct.unpack_from("<Q", content, 64)
    block = struct.pack("<HHIQQ", 0x10, 16, 0, header + 16, 24)
    repeated = bytearray(content)
    repeated[header + 2 : header + 4] = b"\xff\xff"
    repeated[header + 16 : header + 40] = block
    path.write_bytes(repeated)
    assert "it has too many parts" in reason(small_model, path)
    # A tree with four children that are itself.
    tree = content.index(b"TREE")
    repeated = bytearray(content)
    repeated[tree + 5 : tree + 8] = b"\xff\4\0"
    for child in range(tree + 32, tree + 96, 16):
        repeated[child : child + 8] = struct.pack("<Q", tree)
    path.write_bytes(repeated)
    assert "levels of a tree do not decrease" in reason(small_model, path)


@pytest.mark.parametrize("name", ["keras2.h5", "keras1.h5", "caffe.caffemodel.h5"])
def test_rejects_truncated_files(tmp_path, small_model, small_arrays, name):
    path = tmp_path / name
    WRITERS[name](path, small_arrays)
    content = path.read_bytes()
    for kept_size in [8, 40, 95, 96, *range(100, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:kept_size])
        with pytest.raises(ValueError, match="incomplete"):
            weight_formats.open_weights(path)


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory, small_model):
    """Returns {extension: bytes of a valid file}."""
    folder = tmp_path_factory.mktemp("valid")
    arrays = {
        name: small_model.get_layer(name).get_weights() for name in ("conv1", "fc8")
    }
    hdf5_files.write_keras2(folder / "w.h5", arrays)
    save_weights(small_model, folder / "w.weights.h5")
    save_weights(small_model, folder / "w.keras")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "w.keras"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files(tmp_path, small_model, valid_files, name, data):
    """A damaged file is loaded completely, or it is rejected and changes nothing."""
    path = tmp_path / name
    path.write_bytes(damaged(valid_files[name], data))
    check_loads_or_rejects(small_model, path)


def test_rejects_archives_whose_headers_are_damaged(tmp_path, small_model):
    """The stated position of the weights is beyond the end of the archive."""
    with zipfile.ZipFile(tmp_path / "w.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"\x89HDF")
    content = bytearray((tmp_path / "w.keras").read_bytes())
    directory = content.index(b"PK\1\2")
    content[directory + 42 : directory + 46] = b"\xff\xff\xff\x7f"
    (tmp_path / "w.keras").write_bytes(content)
    assert "damaged ZIP archive" in reason(small_model, tmp_path / "w.keras")
