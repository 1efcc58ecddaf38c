"""Weights are saved and loaded in every format; damaged files are rejected."""

import io
import os
import pathlib
import pickle
import re
import resource
import shutil
import tracemalloc
import zipfile

import h5py
from hypothesis import HealthCheck, given, settings, strategies as st
import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

import alexnet_tf
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models import alexnet
from alexnet_tf.models import weight_checks
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import read_shapes
from alexnet_tf.models.weights import save_weights
from alexnet_tf import presets
from helpers import networks
from helpers import python2_pickles
from helpers import reference
from helpers.weight_arrays import assert_weights_equal
from helpers.weight_arrays import check_loads_or_rejects
from helpers.weight_arrays import copy_weights
from helpers.weight_arrays import damaged
from helpers.weight_arrays import flat_arrays
from helpers.weight_arrays import narrow_model
from helpers.weight_arrays import reference_arrays
from helpers.weight_arrays import to_caffe_layout
from helpers.weight_arrays import TORCHVISION_NAMES

ARRAY_EXTENSIONS = (".npy", ".npz", ".safetensors")
KERAS_EXTENSIONS = (".weights.h5", ".keras")
EXTENSIONS = ARRAY_EXTENSIONS + KERAS_EXTENSIONS


def to_object_array(value):
    """Returns an array of Python objects, which `numpy.save` pickles."""
    return np.array(value, dtype=object)


def to_dicts(arrays):
    """Converts {layer: [W, b]} to {layer: {"weights": W, "biases": b}}."""
    return {
        name: {"weights": kernel, "biases": bias}
        for name, (kernel, bias) in arrays.items()
    }


def save_lists(path, arrays):
    np.save(path, to_object_array(arrays))


def save_dicts(path, arrays):
    np.save(path, to_object_array(to_dicts(arrays)))


def save_bytes_keys(path, arrays):
    layers = {
        name.encode(): {b"weights": kernel, b"biases": bias}
        for name, (kernel, bias) in arrays.items()
    }
    np.save(path, to_object_array(layers))


def save_python2_dicts(path, arrays):
    python2_pickles.save(path, to_dicts(arrays))


# {file name: function that writes {layer: [W, b]} to a path}.
WRITERS = {
    "lists.npy": save_lists,
    "dicts.npy": save_dicts,
    "bytes.npy": save_bytes_keys,
    "python2_pickles.npy": python2_pickles.save,
    "python2_dicts.npy": save_python2_dicts,
    "arrays.npz": lambda path, arrays: np.savez(path, **flat_arrays(arrays)),
    "deflated.npz": lambda path, arrays: np.savez_compressed(
        path, **flat_arrays(arrays, "W", "b")
    ),
    "arrays.safetensors": lambda path, arrays: safetensors.numpy.save_file(
        flat_arrays(arrays, "weight"), path
    ),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("family", ["caffe", "caffenet"])
def test_outputs_of_loaded_weights_equal_the_reference(tmp_path, family, name):
    arrays, images, logits = reference_arrays(family)
    WRITERS[name](tmp_path / name, arrays)
    model = narrow_model(family)
    report = load_weights(model, tmp_path / name)
    assert report.arrays == 16 and not report.skipped
    assert networks.relative_error(model(images), logits) < 1e-4


@pytest.mark.parametrize("save", [python2_pickles.save, save_python2_dicts])
def test_numpy_reads_the_python2_files_of_the_tests(tmp_path, save):
    arrays, _, _ = reference_arrays("caffe")
    save(tmp_path / "a.npy", arrays)
    loaded = np.load(
        tmp_path / "a.npy", allow_pickle=True, encoding="latin1"
    ).item()
    for name, parts in arrays.items():
        loaded_parts = loaded[name]
        if isinstance(loaded_parts, dict):
            loaded_parts = loaded_parts.values()
        for expected, array in zip(parts, loaded_parts, strict=True):
            np.testing.assert_array_equal(array, expected)


def test_loads_torchvision_weights_into_owt(tmp_path):
    arrays, images, logits = reference_arrays("owt")
    state = flat_arrays(to_caffe_layout(arrays), "weight", names=TORCHVISION_NAMES)
    safetensors.numpy.save_file(state, tmp_path / "alexnet.safetensors")
    model = narrow_model("owt")
    load_weights(model, tmp_path / "alexnet.safetensors")
    assert networks.relative_error(model(images), logits) < 1e-4


def test_loads_the_caffe_layout_only_if_it_is_passed(tmp_path):
    arrays, images, logits = reference_arrays("caffe")
    path = tmp_path / "caffe.npz"
    np.savez(path, **flat_arrays(to_caffe_layout(arrays)))
    model = narrow_model("caffe")
    call = re.escape(f"call load_weights(model, {str(path)!r}, layout='caffe').")
    with pytest.raises(ValueError, match=f"fit in the order .*{call}"):
        load_weights(model, path)
    load_weights(model, path, layout="caffe")
    assert networks.relative_error(model(images), logits) < 1e-4
    with pytest.raises(ValueError, match="layout='torch'"):
        load_weights(model, path, layout="torch")


def test_caffe_layout_reorders_the_inputs_of_fc6(tmp_path):
    """The outputs are wrong if the file has the inputs in the order H, W, C."""
    arrays, images, logits = reference_arrays("caffe")
    wrong_arrays = to_caffe_layout(arrays)
    wrong_arrays["fc6"] = arrays["fc6"][0].T, arrays["fc6"][1]
    path = tmp_path / "caffe.npz"
    np.savez(path, **flat_arrays(wrong_arrays))
    model = narrow_model("caffe")
    load_weights(model, path, layout="caffe")
    assert networks.relative_error(model(images), logits) > 0.02


@pytest.mark.large
@pytest.mark.parametrize("family", ["caffe", "caffenet", "owt"])
def test_loads_weights_of_published_size(tmp_path, family):
    """The files have 61 million parameters and the layouts of published files."""
    model = alexnet.AlexNet(family, classifier_activation=None)
    rng = np.random.default_rng(0)
    side = model.input.shape[1]
    images = rng.normal(0, 60, (2, side, side, 3))
    widths = {
        layer.name: layer.bias.shape[0] for layer in model.layers if layer.weights
    }
    weights = reference.draw_weights(family, widths, images, rng)
    logits, _ = reference.forward(family, weights, images)
    arrays = {
        name: [part.astype(np.float32) for part in parts]
        for name, parts in weights.items()
    }
    if family == "owt":
        path = tmp_path / "full.npz"
        transposed = to_caffe_layout(arrays, (6, 6, 256))
        state = flat_arrays(transposed, "weight", names=TORCHVISION_NAMES)
        np.savez(path, **state)
    else:
        path = tmp_path / "full.npy"
        python2_pickles.save(path, arrays)
    load_weights(model, path)
    assert networks.relative_error(model(images.astype("f4")), logits) < 1e-4


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_round_trip_is_bit_exact(tmp_path, extension):
    saved, loaded = narrow_model("code2012"), narrow_model("code2012", seed=1)
    path = tmp_path / f"weights{extension}"
    save_weights(saved, path)
    report = load_weights(loaded, str(path))
    assert report.arrays == 16
    assert_weights_equal(loaded, saved.get_weights())
    assert os.listdir(tmp_path) == [path.name]


def test_saved_npy_has_the_layout_of_bvlc_alexnet(tmp_path):
    model = narrow_model("caffe")
    save_weights(model, tmp_path / "w.npy")
    arrays = np.load(tmp_path / "w.npy", allow_pickle=True).item()
    assert [*arrays] == [f"conv{i}" for i in range(1, 6)] + ["fc6", "fc7", "fc8"]
    for name, (kernel, bias) in arrays.items():
        layer = model.get_layer(name)
        np.testing.assert_array_equal(kernel, layer.kernel.numpy())
        np.testing.assert_array_equal(bias, layer.bias.numpy())


def test_keras_loads_saved_weights(tmp_path):
    saved, loaded = narrow_model("paper"), narrow_model("paper", seed=1)
    save_weights(saved, tmp_path / "w.weights.h5")
    loaded.load_weights(tmp_path / "w.weights.h5")
    assert_weights_equal(loaded, saved.get_weights())


def test_read_shapes_returns_the_shapes_of_a_file(tmp_path):
    save_weights(narrow_model("caffe"), tmp_path / "w.npy")
    shapes = read_shapes(tmp_path / "w.npy")
    assert shapes["fc8"] == {"kernel": (18, 7), "bias": (7,)}
    assert shapes["conv2"] == {"kernel": (5, 5, 8, 24), "bias": (24,)}


def make_mismatches_by_message():
    """Returns {message: function that changes {layer: [W, b]} to cause the message}."""

    def drop(arrays):
        del arrays["fc7"]

    def add(arrays):
        arrays["conv9"] = arrays["conv1"]

    def resize(arrays):
        arrays["fc8"] = [np.zeros((18, 9), "f4"), np.zeros(9, "f4")]

    def transpose(arrays):
        arrays["fc7"] = [arrays["fc7"][0].T, arrays["fc7"][1]]

    def flatten(arrays):
        arrays["conv3"] = [arrays["conv3"][0].ravel(), arrays["conv3"][1]]

    return {
        r"fc7 +kernel 20x18  bias 18 +missing": drop,
        r"conv9 +missing +kernel 11x11x3x16  bias 16": add,
        r"fc8 +kernel 18x7  bias 7 +kernel 18x9  bias 9": resize,
        r"fc7 +kernel 20x18 .*kernel 18x20": transpose,
        r"conv3 +kernel 3x3x24x12 .*kernel 2592 ": flatten,
    }


MISMATCHES = make_mismatches_by_message()


@pytest.mark.parametrize("message", MISMATCHES)
@pytest.mark.parametrize("name", ["lists.npy", "arrays.npz"])
def test_differing_layers_are_listed_and_nothing_is_loaded(tmp_path, name, message):
    arrays = dict(reference_arrays("caffe")[0])
    MISMATCHES[message](arrays)
    WRITERS[name](tmp_path / name, arrays)
    model = narrow_model("caffe")
    before = copy_weights(model)
    with pytest.raises(ValueError, match=message) as error:
        load_weights(model, tmp_path / name)
    assert "differs in 1:" in str(error.value)
    assert_weights_equal(model, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["lists.npy", "arrays.npz", "arrays.safetensors"])
def test_rejects_weights_that_are_not_finite(tmp_path, name, value):
    arrays = dict(reference_arrays("caffe")[0])
    kernel = arrays["fc8"][0].copy()
    kernel[3, 2] = value
    arrays["fc8"] = [kernel, arrays["fc8"][1]]
    WRITERS[name](tmp_path / name, arrays)
    model = narrow_model("caffe")
    before = copy_weights(model)
    with pytest.raises(ValueError, match="fc8 holds numbers that are not"):
        load_weights(model, tmp_path / name)
    assert_weights_equal(model, before)


def test_skipped_layers_keep_their_initialization(tmp_path):
    arrays, _, _ = reference_arrays("caffe")
    save_lists(tmp_path / "w.npy", arrays)
    model = narrow_model("caffe", classes=3)
    before = model.get_layer("fc8").get_weights()
    report = load_weights(model, tmp_path / "w.npy", skip="fc8")
    assert report.skipped == ("fc8",) and report.arrays == 14
    assert_weights_equal(model.get_layer("fc8"), before)
    np.testing.assert_array_equal(
        model.get_layer("fc7").kernel.numpy(), arrays["fc7"][0]
    )
    del arrays["fc8"]
    loaded_size = sum(part.size for parts in arrays.values() for part in parts)
    assert str(report) == (
        f"{tmp_path / 'w.npy'}: 14 arrays, {loaded_size:,} parameters, into conv1, "
        "conv2, conv3, conv4, conv5, fc6, fc7; skipped: fc8."
    )


@pytest.mark.parametrize("skip", [("fc9",), "fc9"])
def test_rejects_unknown_names_in_skip(tmp_path, skip):
    save_weights(narrow_model("caffe"), tmp_path / "w.npy")
    message = r"conv1.*fc8. The file has conv1.*fc8. Received: skip=\('fc9',\)"
    with pytest.raises(ValueError, match=message):
        load_weights(narrow_model("caffe"), tmp_path / "w.npy", skip=skip)


def test_skip_takes_the_names_in_the_file(tmp_path):
    arrays, _, _ = reference_arrays("owt")
    state = flat_arrays(to_caffe_layout(arrays), "weight", names=TORCHVISION_NAMES)
    safetensors.numpy.save_file(state, tmp_path / "a.safetensors")
    model = narrow_model("owt", classes=3)
    report = load_weights(model, tmp_path / "a.safetensors", skip="classifier.6")
    assert report.skipped == ("fc8",) and report.arrays == 14
    message = r"model has conv1.*The file has .*classifier.6.*skip=\('classifier.7'"
    with pytest.raises(ValueError, match=message):
        load_weights(model, tmp_path / "a.safetensors", skip="classifier.7")


# ---- Advice on files that do not fit ---------------------------------------


def advice(model, path, **options):
    """Returns the last line of the error message for a file that does not fit."""
    with pytest.raises(ValueError, match="does not have the layers of") as error:
        load_weights(model, path, **options)
    return str(error.value).splitlines()[-1]


def test_advice_on_another_number_of_classes_names_the_last_layer(tmp_path):
    """fc7 is square, so that it fits after transposition too."""
    arrays = dict(reference_arrays("caffe")[0])
    arrays["fc7"] = np.eye(20, dtype="f4"), np.zeros(20, "f4")
    arrays["fc8"] = np.zeros((20, 7), "f4"), np.zeros(7, "f4")
    path = tmp_path / "w.npy"
    save_lists(path, arrays)
    preset = networks.narrow_preset("caffe")
    preset = networks.with_layer_values(preset, "fc7", units=20)
    side = networks.SIDES["caffe"]
    model = alexnet.AlexNet(preset, 3, input_shape=(side, side, 3))
    line = advice(model, path)
    assert "layout" not in line
    assert "Build the model with classes=7, or keep fc8 as it is" in line
    assert f"call load_weights(model, {str(path)!r}, skip='fc8')" in line
    assert "--reinit=fc8" in line
    assert load_weights(model, str(path), skip="fc8").skipped == ("fc8",)


def test_advice_on_the_layout_and_the_classes_of_a_file(tmp_path):
    arrays, _, _ = reference_arrays("caffe")
    path = tmp_path / "caffe.npz"
    np.savez(path, **flat_arrays(to_caffe_layout(arrays)))
    line = advice(narrow_model("caffe", classes=3), path)
    assert f"{str(path)!r}, layout='caffe'). Only the last layer differs" in line
    assert "classes=7" in line
    call = f"load_weights(model, {str(path)!r}, skip='fc8', layout='caffe')"
    assert call in line
    line = advice(narrow_model("caffe", classes=3), path, layout="caffe")
    assert line.startswith("Only the last layer differs") and call in line
    model = narrow_model("caffe", classes=3)
    assert load_weights(model, str(path), skip="fc8", layout="caffe").arrays == 14


def test_advice_names_the_channel_order_that_a_file_needs():
    shapes = {"conv1": {"kernel": (3, 3, 3, 8)}, "fc8": {"kernel": (8, 3)}}
    other = {**shapes, "fc8": {"kernel": (8, 7)}}
    with pytest.raises(ValueError) as error:
        weight_checks.check_layers_match(
            shapes, other, "model", "a.mat", "keras", {"channel_order": "bgr"}
        )
    call = "call load_weights(model, 'a.mat', skip='fc8', channel_order='bgr')"
    assert call in str(error.value)


def test_advice_names_the_preset_that_a_file_belongs_to(tmp_path):
    save_weights(alexnet_tf.AlexNet("tiny", 4), tmp_path / "w.npz")
    model = alexnet_tf.AlexNet("cifar10_full", 10)
    assert advice(model, tmp_path / "w.npz") == (
        "The file has the layers of the preset tiny."
    )


def test_advice_on_other_layers_names_the_call_that_skips_them(tmp_path):
    arrays = dict(reference_arrays("caffe")[0])
    del arrays["fc7"]
    save_lists(tmp_path / "w.npy", arrays)
    line = advice(narrow_model("caffe"), tmp_path / "w.npy")
    assert line.startswith("Choose the preset and the number of classes of the file")
    assert line.endswith("skip=(...)) with the names of the layers to leave out.")


def test_alexnet_gives_the_same_advice_for_the_classes_of_a_run():
    path = alexnet_tf.download("tiny_textures")
    with pytest.raises(ValueError) as error:
        alexnet_tf.AlexNet("tiny", 5, weights=path)
    line = str(error.value).splitlines()[-1]
    assert f"without weights and call load_weights(model, {path!r}, skip='fc8')" in line


@pytest.mark.parametrize("saved_top", [True, False])
def test_alexnet_without_top_loads_files_with_and_without_it(tmp_path, saved_top):
    keras.utils.set_random_seed(5)
    saved = alexnet_tf.AlexNet("tiny", 10, include_top=saved_top)
    path = tmp_path / "w.npz"
    alexnet_tf.save_weights(saved, path)
    keras.utils.set_random_seed(6)
    model = alexnet_tf.AlexNet("tiny", include_top=False, weights=path)
    for layer in model.layers:
        assert_weights_equal(layer, saved.get_layer(layer.name).get_weights())


def test_alexnet_rejects_a_different_number_of_classes(tmp_path):
    path = tmp_path / "w.npz"
    alexnet_tf.save_weights(alexnet_tf.AlexNet("tiny", 10), path)
    with pytest.raises(ValueError, match="fc8 +kernel 128x5 .*kernel 128x10"):
        alexnet_tf.AlexNet("tiny", 5, weights=path)


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_converts_other_floating_dtypes(tmp_path, dtype):
    arrays = {
        name: [part.astype(dtype) for part in parts]
        for name, parts in reference_arrays("caffe")[0].items()
    }
    save_lists(tmp_path / "w.npy", arrays)
    model = narrow_model("caffe")
    load_weights(model, tmp_path / "w.npy")
    np.testing.assert_array_equal(
        model.get_layer("fc6").kernel.numpy(), arrays["fc6"][0].astype("f4")
    )


def test_rejects_float64_values_beyond_float32(tmp_path):
    arrays = dict(reference_arrays("caffe")[0])
    arrays["fc8"] = [arrays["fc8"][0], np.full(7, 1e300)]
    save_lists(tmp_path / "w.npy", arrays)
    with pytest.raises(ValueError, match="fc8 holds numbers that are not finite"):
        load_weights(narrow_model("caffe"), tmp_path / "w.npy")


def test_rejects_integers(tmp_path):
    arrays = {
        name: [part.astype("i4") for part in parts]
        for name, parts in reference_arrays("caffe")[0].items()
    }
    np.savez(tmp_path / "w.npz", **flat_arrays(arrays))
    with pytest.raises(ValueError, match="conv1.kernel.npy is of type int32"):
        load_weights(narrow_model("caffe"), tmp_path / "w.npz")


# ---- Paths and names -------------------------------------------------------


@pytest.mark.parametrize(
    "name, suggestion",
    [
        ("torchvison", "torchvision"),
        ("DEFAULT", "torchvision"),
        ("IMAGENET1K_V1", "torchvision"),
        ("ImageNet", "imagenet"),
        ("bvlc-alexnet", "bvlc_alexnet"),
    ],
)
def test_a_name_close_to_one_of_published_weights_is_suggested(name, suggestion):
    message = f"at {name}. The published weights are torch.* Did you mean {suggestion}"
    for load in (
        lambda: alexnet_tf.AlexNet("tiny", weights=name),
        lambda: load_weights(narrow_model("owt"), name),
        lambda: read_shapes(name),
    ):
        with pytest.raises(FileNotFoundError, match=rf"{message}\?"):
            load()


def test_names_like_no_published_weights_get_the_list_of_names(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        read_shapes("xyz")
    assert str(error.value).endswith("tiny_textures, cifar10_full.")
    with pytest.raises(FileNotFoundError) as error:
        read_shapes(str(tmp_path / "torchvision"))
    assert str(error.value).endswith(f"exists at {tmp_path / 'torchvision'}.")


def test_addresses_are_not_downloaded():
    address = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
    with pytest.raises(FileNotFoundError, match="Addresses are not downloaded"):
        alexnet_tf.AlexNet("tiny", weights=address)


@pytest.mark.parametrize("weights", [True, 1, ["a.npy"], np.zeros(3)])
def test_rejects_weights_that_are_not_a_path(weights):
    for load in (
        lambda: alexnet_tf.AlexNet("tiny", weights=weights),
        lambda: load_weights(narrow_model("caffe"), weights),
        lambda: save_weights(narrow_model("caffe"), weights),
    ):
        with pytest.raises(ValueError, match="Expected a path of weights or a name"):
            load()


def test_a_tilde_stands_for_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    saved = alexnet_tf.AlexNet("tiny", 4)
    save_weights(saved, "~/w.npz")
    assert os.listdir(tmp_path) == ["w.npz"]
    path = pathlib.Path("~/w.npz")
    model = alexnet_tf.AlexNet("tiny", 4, weights=path)
    assert_weights_equal(model, saved.get_weights())
    assert load_weights(model, path).path == str(tmp_path / "w.npz")
    assert read_shapes("~/w.npz")["fc8"]["bias"] == (4,)


def test_a_tilde_in_the_path_of_a_run_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    shutil.copytree(alexnet_tf.download("tiny_textures"), tmp_path / "run")
    model = alexnet_tf.AlexNet(weights="~/run")
    assert model.name == "alexnet_tiny" and model.output.shape == (None, 10)


# ---- Damaged and malicious files -------------------------------------------


def write_npy_header(path, header):
    """Writes a .npy file that has a header and no data."""
    text = header.encode().ljust(118) + b"\n"
    size = len(text).to_bytes(2, "little")
    path.write_bytes(b"\x93NUMPY\x01\x00" + size + text)


def test_errors_state_what_is_wrong_with_a_file(tmp_path):
    model = narrow_model("caffe")

    def reason(path):
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            load_weights(model, path)
        return str(error.value)

    missing = tmp_path / "nothing.npy"
    assert f"No weights file or run directory exists at {missing}." in reason(missing)
    (tmp_path / "model.bin").write_bytes(b"x")
    assert "none of the formats" in reason(tmp_path / "model.bin")
    assert "No checkpoint was found in" in reason(tmp_path)
    np.save(tmp_path / "mean.npy", np.zeros((3, 256, 256)))
    assert "shape (3, 256, 256)" in reason(tmp_path / "mean.npy")
    np.save(tmp_path / "list.npy", to_object_array([1, "a"]))
    assert "shape (2,)" in reason(tmp_path / "list.npy")
    save_lists(tmp_path / "three.npy", {"conv1": [np.ones(1, "f4")] * 3})
    assert "'conv1' is neither [W, b]" in reason(tmp_path / "three.npy")
    save_lists(tmp_path / "text.npy", {"conv1": ["a", "b"]})
    assert "holds something other than an array" in reason(tmp_path / "text.npy")
    np.savez(tmp_path / "odd.npz", conv1=np.ones(1, "f4"))
    assert "'conv1' is not of the form" in reason(tmp_path / "odd.npz")
    np.savez(tmp_path / "objects.npz", conv1_W=to_object_array({}))
    assert "type object" in reason(tmp_path / "objects.npz")
    (tmp_path / "new.npy").write_bytes(b"\x93NUMPY\x03\x00" + bytes(200))
    assert "(3, 0), not 1.0 or 2.0" in reason(tmp_path / "new.npy")


@pytest.mark.parametrize(
    "name", [*WRITERS, *(f"keras{extension}" for extension in KERAS_EXTENSIONS)]
)
@pytest.mark.parametrize(
    "kept_size",  # A number of bytes, or a fraction of the size if less than 1.
    [
        0,
        pytest.param(1, marks=pytest.mark.large),
        pytest.param(100, marks=pytest.mark.large),
        0.5,
        0.999,
    ],
)
def test_rejects_truncated_files(tmp_path, name, kept_size):
    arrays, _, _ = reference_arrays("caffe")
    model = narrow_model("caffe")
    path = tmp_path / name
    if name in WRITERS:
        WRITERS[name](path, arrays)
    else:
        save_weights(model, path)
    content = path.read_bytes()
    if kept_size < 1:
        kept_size = int(kept_size * len(content))
    path.write_bytes(content[:kept_size])
    before = copy_weights(model)
    with pytest.raises(ValueError, match="weights file cannot be read: .*" + name):
        load_weights(model, path)
    assert_weights_equal(model, before)


class Calls:
    """An object whose pickle calls a function when `pickle.load` reads it."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def test_does_not_run_code_in_a_pickle(tmp_path):
    created_path = tmp_path / "ran"
    for payload in (
        Calls(os.mkdir, str(created_path)),
        Calls(np.dtype, Calls(os.mkdir, str(created_path))),
        {"conv1": [Calls(eval, f"open({str(created_path)!r}, 'w')"), None]},
    ):
        np.save(tmp_path / "w.npy", to_object_array(payload))
        with pytest.raises(ValueError, match="w.npy: .*the function"):
            load_weights(narrow_model("caffe"), tmp_path / "w.npy")
        assert not created_path.exists()
        # NumPy does run the code, which shows that the payload is valid.
        np.load(tmp_path / "w.npy", allow_pickle=True)
        assert created_path.exists()
        created_path.rmdir() if created_path.is_dir() else created_path.unlink()


@pytest.mark.parametrize("shape", ["(100000000000,)", "(10, 10000000000)"])
def test_does_not_allocate_the_terabytes_that_a_header_states(tmp_path, shape):
    """The shape is compared with that of the model before memory is allocated."""
    path = tmp_path / "conv1.kernel.npy"
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': %s}" % shape
    write_npy_header(path, header)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.write(path, path.name)
    model = narrow_model("caffe")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="differs in 8"):
            load_weights(model, tmp_path / "w.npz")
        with pytest.raises(ValueError, match="instead of {layer"):
            load_weights(model, path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_does_not_read_more_than_the_largest_valid_header(tmp_path):
    path = tmp_path / "w.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'")
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="w.npy: EOF"):
            load_weights(narrow_model("caffe"), path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_does_not_decompress_bytes_after_the_array(tmp_path):
    """In the file, 100 MB of zeros in 100 KB follow an array of the right shape."""
    arrays, _, _ = reference_arrays("caffe")
    path = tmp_path / "w.npz"
    np.savez_compressed(path, **flat_arrays(arrays))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            padding = bytes(100_000_000) if name.startswith("fc8") else b""
            archive.writestr(name, data + padding)
    tracemalloc.start()
    try:
        load_weights(narrow_model("caffe"), path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_rejects_other_compression_methods(tmp_path):
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("conv1/kernel.npy", b"\0" * 60_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="compression method that NumPy does not"):
            load_weights(narrow_model("caffe"), path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_rejects_two_arrays_for_one_part(tmp_path):
    arrays, _, _ = reference_arrays("caffe")
    np.savez(tmp_path / "a.npz", **flat_arrays(arrays), fc8_W=arrays["fc8"][0])
    two_kernels = {"weights": np.ones(1, "f4"), "W": np.ones(1, "f4")}
    save_lists(tmp_path / "b.npy", {"conv1": two_kernels})
    model = narrow_model("caffe")
    save_weights(model, tmp_path / "c.weights.h5")
    with h5py.File(tmp_path / "c.weights.h5", "a") as file:
        file["layers/dense/vars/2"] = np.zeros(3, "f4")
    for name, message in [
        ("a.npz", "fc8 has two arrays for its kernel"),
        ("b.npy", "'conv1' is neither"),
        ("c.weights.h5", "fc6 .*0 32x20  1 20  2 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_weights(model, tmp_path / name)


def test_rejects_two_names_of_a_layer(tmp_path):
    arrays, _, _ = reference_arrays("owt")
    state = flat_arrays(to_caffe_layout(arrays), "weight", names=TORCHVISION_NAMES)
    state["conv1.weight"] = state["features.0.weight"]
    safetensors.numpy.save_file(state, tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match="stand for the same layers: .*conv1"):
        load_weights(narrow_model("owt"), tmp_path / "two.safetensors")


def test_names_in_error_messages_are_short_and_printable(tmp_path):
    arrays = dict(reference_arrays("caffe")[0])
    arrays["a" * 50_000] = arrays["\x1b[2J"] = arrays["fc8"]
    np.savez(tmp_path / "w.npz", **flat_arrays(arrays))
    with pytest.raises(ValueError, match="differs in 2") as error:
        load_weights(narrow_model("caffe"), tmp_path / "w.npz")
    assert "\x1b" not in str(error.value) and len(str(error.value)) < 2000


def test_a_classifier_names_some_layers_of_a_file_that_lacks_the_last(tmp_path):
    names = ["\x1b[2J", "a" * 50_000, *(f"layer{number}" for number in range(500))]
    np.savez(
        tmp_path / "w.npz", **{f"{name}/kernel": np.ones(1, "f4") for name in names}
    )
    with pytest.raises(ValueError, match="w.npz has no layer fc8") as error:
        load_classifier(str(tmp_path / "w.npz"), "tiny")
    message = str(error.value)
    assert r"Its layers are \x1b[2J, " + "a" * 40 + ", layer0, layer1" in message
    assert "layer16 and 483 more. Give the preset" in message


@pytest.mark.parametrize("name", ["w.pkl", "w.npy"])
def test_rejects_keys_of_a_pickle_that_are_too_long(tmp_path, name):
    """A key of this kind took gigabytes in the search for names of layers."""
    arrays = {"a." * 1_000_000 + "kernel": np.ones(2, "f4")}
    if name == "w.npy":
        save_lists(tmp_path / name, {key: [array] * 2 for key, array in arrays.items()})
    else:
        (tmp_path / name).write_bytes(pickle.dumps(arrays, 2))
    with pytest.raises(ValueError, match="a name of more than 1,000 characters"):
        read_shapes(tmp_path / name)


def test_names_of_parts_in_error_messages_are_short_and_printable(tmp_path):
    arrays = flat_arrays(reference_arrays("caffe")[0])
    for part in ("g" * 50_000, *(f"part{number}" for number in range(500))):
        arrays[f"fc8/{part}"] = np.ones(2, "f4")
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(ValueError, match="differs in 1") as error:
        load_weights(narrow_model("caffe"), tmp_path / "w.npz")
    row = "kernel 18x7  bias 7  " + "g" * 40 + " 2  part0 2  part1 2  and 498 more\n"
    assert row in str(error.value) and len(str(error.value)) < 2000
    shapes = {"fc8": {"\x1b[2J": (3,)}}
    with pytest.raises(ValueError) as error:
        weight_checks.check_layers_match({}, shapes, "model", "w.npz", None, {})
    assert r"\x1b[2J 3" in str(error.value) and "\x1b" not in str(error.value)


def test_loads_big_endian_arrays_from_an_npz(tmp_path):
    arrays = reference_arrays("caffe")[0]
    np.savez(
        tmp_path / "w.npz",
        **{key: array.astype(">f4") for key, array in flat_arrays(arrays).items()},
    )
    model = narrow_model("caffe")
    load_weights(model, tmp_path / "w.npz")
    np.testing.assert_array_equal(
        model.get_layer("fc6").kernel.numpy(), arrays["fc6"][0]
    )


def test_rejects_hdf5_links_and_external_data(tmp_path):
    """Through links, loading weights could read other files of the machine."""
    secret_path = tmp_path / "secret.h5"
    with h5py.File(secret_path, "w") as file:
        file["vars"] = np.zeros(3)
    model = narrow_model("caffe")
    path = tmp_path / "w.weights.h5"

    def reason():
        with pytest.raises(ValueError, match="w.weights.h5") as error:
            load_weights(model, path)
        return str(error.value)

    save_weights(model, path)
    with h5py.File(path, "a") as file:
        del file["layers/dense/vars"]
        file["layers/dense/vars"] = h5py.ExternalLink(str(secret_path), "vars")
    assert "soft or external link" in reason()

    for options in (
        dict(external=[(str(secret_path), 0, 28)], shape=(7,)),
        dict(chunks=(7,), shape=(7,), compression="gzip"),
    ):
        save_weights(model, path)
        with h5py.File(path, "a") as file:
            del file["layers/dense_2/vars/1"]
            file["layers/dense_2/vars"].create_dataset("1", dtype="f4", **options)
        assert "not stored as Keras stores it" in reason()


def test_rejects_compressed_keras_files(tmp_path):
    model = narrow_model("caffe")
    save_weights(model, tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(
        tmp_path / "b.keras", "w", zipfile.ZIP_DEFLATED
    ) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match="weights are compressed"):
        load_weights(model, tmp_path / "b.keras")


def test_does_not_read_the_config_of_a_keras_file(tmp_path):
    saved, loaded = narrow_model("caffe"), narrow_model("caffe", seed=1)
    save_weights(saved, tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        data = archive.read("model.weights.h5")
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        archive.writestr("config.json", '{"module": "os", "class_name": "x"}')
        archive.writestr("model.weights.h5", data)
    load_weights(loaded, tmp_path / "b.keras")
    assert_weights_equal(loaded, saved.get_weights())


@pytest.mark.parametrize("extension", ["keras", "npz"])
def test_no_member_of_an_archive_is_written_anywhere(
    tmp_path, monkeypatch, extension
):
    """Names of members that are paths to other folders have no effect."""
    saved = narrow_model("caffe")
    (tmp_path / "in/here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "in/here")
    path = tmp_path / f"in/here/w.{extension}"
    save_weights(saved, path)
    array = io.BytesIO()
    np.save(array, np.zeros(3, np.float32))
    absolute = str(tmp_path / "absolute.npy")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../escaped.npy", "../../escaped/kernel.npy", absolute):
            archive.writestr(name, array.getvalue())
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    loaded = narrow_model("caffe", seed=1)
    if extension == "npz":
        with pytest.raises(ValueError, match="escaped"):
            load_weights(loaded, path)
    else:
        load_weights(loaded, path)
        assert_weights_equal(loaded, saved.get_weights())
    assert times == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory):
    """Returns ({extension: bytes of a valid file}, the saved model, a folder)."""
    folder = tmp_path_factory.mktemp("fuzz")
    inputs = x = keras.Input((4,))
    for name in ("fc7", "fc8"):
        x = keras.layers.Dense(3, name=name)(x)
    model = keras.Model(inputs, x)
    files = {}
    for extension in ARRAY_EXTENSIONS:
        path = folder / f"valid{extension}"
        save_weights(model, path)
        files[extension] = path.read_bytes()
    return files, model, folder


@pytest.mark.parametrize("extension", ARRAY_EXTENSIONS)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files(valid_files, extension, data):
    """A damaged file is loaded completely, or it is rejected and changes nothing."""
    files, model, folder = valid_files
    path = folder / f"damaged{extension}"
    path.write_bytes(damaged(files[extension], data))
    check_loads_or_rejects(model, path)


# ---- Saving ----------------------------------------------------------------


def test_rejects_unknown_extensions(tmp_path):
    with pytest.raises(ValueError, match="ends in one of .npy .*w.ckpt"):
        save_weights(narrow_model("caffe"), tmp_path / "w.ckpt")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_saving_to_a_missing_folder_fails(tmp_path, extension):
    path = tmp_path / "none" / f"w{extension}"
    with pytest.raises(OSError, match="could not be written to .*none"):
        save_weights(narrow_model("caffe"), path)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_full_disk_keeps_the_old_file(tmp_path, extension):
    model = narrow_model("caffe")
    path = tmp_path / f"w{extension}"
    save_weights(model, path)
    before = path.read_bytes()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Every format has more than 20,000 bytes, so that writing fails.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="has room for"):
            save_weights(model, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


# ---- Published weights -----------------------------------------------------

PUBLISHED = os.environ.get("ALEXNET_BVLC_NPY")
IMAGES = pathlib.Path(
    os.environ.get(
        "ALEXNET_IMAGES", pathlib.Path(__file__).parents[3] / "shared" / "data"
    )
)
# {image: index of its class}. The images are those in the folder images of
# kratzert/finetune_alexnet_with_tensorflow.
LABELS = {"llama": 355, "sealion": 150, "zebra": 340}


def with_undivided_alpha(preset):
    """Returns a copy of the preset whose alpha is that of Caffe's files, 1e-4."""
    return networks.with_layer_values(preset, presets.ResponseNorm, alpha=1e-4)


# The probabilities are those that kratzert/finetune_alexnet_with_tensorflow computes:
# in the notebook at commit 3e2b50e, and with the graphs at 79dc39d (pooling before
# normalization) and at 3bacc69 (alpha is not divided by the number of channels in the
# sum).
@pytest.mark.skipif(
    not PUBLISHED, reason="ALEXNET_BVLC_NPY does not name bvlc_alexnet.npy"
)
@pytest.mark.parametrize(
    "preset, probabilities",
    [
        (presets.get("caffe"), [0.9984, 0.9834, 1.0000]),
        (presets.get("caffenet"), [0.8966, 0.9392, 0.9999]),
        (with_undivided_alpha(presets.get("caffe")), [0.3659, 0.3423, 0.6496]),
    ],
    ids=["correct", "pooling first", "alpha not divided"],
)
def test_published_weights_give_the_published_probabilities(preset, probabilities):
    """The images are preprocessed as in the notebook.

    The images are resized to 227 x 227 and converted to BGR, and (104, 117, 124) is
    subtracted.
    """
    model = alexnet_tf.AlexNet(preset, weights=PUBLISHED)
    for (name, label), expected in zip(LABELS.items(), probabilities):
        image = tf.io.decode_jpeg((IMAGES / f"{name}.jpeg").read_bytes(), 3)
        image = tf.image.resize(image, (227, 227))[..., ::-1]
        probability = model(image[tf.newaxis] - [104.0, 117.0, 124.0])[0, label]
        # JPEG decoders and interpolations differ in the third decimal.
        assert float(probability) == pytest.approx(expected, abs=0.01)
