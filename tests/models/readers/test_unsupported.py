"""Networks that no preset has are rejected with the reason, and names stay short."""

import json
import struct
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from alexnet_tf.models.readers import unsupported
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import read_shapes
from helpers import hdf5_files
from helpers.weight_arrays import assert_weights_equal
from helpers.weight_arrays import copy_weights
from helpers.weight_arrays import narrow_model
from helpers.weight_arrays import TORCHVISION_NAMES

# The names of the layers in convnetskeras/convnets.py.
CONVNETS_KERAS_NAMES = (
    "conv_1", "conv_2_1", "conv_2_2", "conv_3", "conv_4_1", "conv_4_2", "conv_5_1",
    "conv_5_2", "dense_1", "dense_2", "dense_3",
)  # fmt: skip
# {name of an array: reason of the error}.
ARRAYS = {
    "features.1.running_mean": "has batch normalization, which none of the presets has",
    "features.1.running_var": "has batch normalization, which none of the presets has",
    "module.bn1.running_mean": "has batch normalization, which none of the presets has",
    "sobel.0.weight": "computes Sobel filters of gray images before conv1",
    "module.sobel.1.bias": "computes Sobel filters of gray images before conv1",
    "lin0.model.1.weight": r"perceptual metric \(LPIPS\)",
    "lin4.model.1.weight": r"perceptual metric \(LPIPS\)",
}


def array_names(name):
    """Returns `name` among the names of the arrays of torchvision's AlexNet."""
    names = [f"{layer}.weight" for layer in TORCHVISION_NAMES.values()]
    return [*names[:3], name, *names[3:]]


@pytest.mark.parametrize("name", ARRAYS)
def test_recognizes_networks_by_the_name_of_an_array(name):
    with pytest.raises(ValueError, match=ARRAYS[name]):
        unsupported.check_names(array_names(name))


@pytest.mark.parametrize(
    "name",
    [
        "features.1.weight", "mean", "running.weight", "top.sobel_0", "lin0.weight",
        "conv_2_1", "conv_2_10.weight", "conv1_w_0", "x" * 300 + ".running_mean",
    ],
)  # fmt: skip
def test_accepts_other_names(name):
    unsupported.check_names(array_names(name))


def test_recognizes_convnets_keras_by_all_of_its_names():
    message = "AlexNet of convnets-keras.*conv_2_1.*bvlc_caffenet"
    with pytest.raises(ValueError, match=message):
        unsupported.check_names(CONVNETS_KERAS_NAMES)
    with pytest.raises(ValueError, match=message):
        unsupported.check_names([f"{name}/{name}_W" for name in CONVNETS_KERAS_NAMES])
    # The networks called VGG in the same file are other ones.
    unsupported.check_names(["conv2_1", "conv2_2", "dense_1", "dense_2"])


def save_npy(path, arrays):
    np.save(path, np.array(arrays, dtype=object))


def save_npz(path, arrays):
    parts = {f"{name}/W": kernel for name, (kernel, _) in arrays.items()}
    np.savez(path, **parts)


# {file name: function that writes {layer: [W, b]} to a path}.
WRITERS = {
    "theano.h5": lambda path, arrays: hdf5_files.write_keras1(path, arrays, suffix=""),
    "tensorflow.h5": hdf5_files.write_keras2,
    "w.caffemodel.h5": hdf5_files.write_caffe,
    "w.npy": save_npy,
    "w.npz": save_npz,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_reader_checks_the_names(tmp_path, name):
    part = np.zeros((2, 2), "f4")
    arrays = {layer: [part, part[0]] for layer in CONVNETS_KERAS_NAMES}
    WRITERS[name](tmp_path / name, arrays)
    with pytest.raises(ValueError, match=f"{name}: it holds the AlexNet of convnets-"):
        read_shapes(tmp_path / name)


def test_networks_are_recognized_before_names_are_rejected(tmp_path):
    """Without the check, running_mean would be "not of the form conv1/kernel"."""
    model = narrow_model("owt")
    before = copy_weights(model)
    names = array_names("features.1.running_mean")
    arrays = {name: np.zeros(2, "f4") for name in names}
    safetensors.numpy.save_file(arrays, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="which none of the presets has"):
        load_weights(model, tmp_path / "w.safetensors")
    assert_weights_equal(model, before)


# ---- Names in messages -----------------------------------------------------

LONG = "\x1b[2J" + "a" * 50_000


def save_safetensors_header(path, header):
    data = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data + bytes(16))


def write_long_names(folder):
    """Writes files with long names in all places that errors mention."""
    array = np.zeros(4, "f4")
    np.savez(folder / "form.npz", **{LONG: array})
    np.savez(folder / "twice.npz", **{f"{LONG}/W": array, f"{LONG}/kernel": array})
    np.savez(folder / "type.npz", **{f"{LONG}/W": np.zeros(4, "i4")})
    save_npy(folder / "parts.npy", {"\x1b[2J": [array] * 3})
    save_npy(folder / "text.npy", {"\x1b[2J": ["a", "b"]})
    save_npy(folder / "key.npy", {5: [array] * 2})
    with zipfile.ZipFile(folder / "method.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr(f"{LONG}.npy", b"")
    tensor = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    save_safetensors_header(folder / "form.safetensors", {LONG: tensor})
    save_safetensors_header(
        folder / "type.safetensors", {"conv1/W": tensor | {"dtype": LONG}}
    )
    save_safetensors_header(
        folder / "offset.safetensors", {LONG: tensor | {"data_offsets": [8, 24]}}
    )
    hdf5_files.write_keras2(folder / "long.h5", {"\x1b[2J" + "a" * 500: [array] * 2})
    hdf5_files.write_caffe(folder / "long.caffemodel.h5", {LONG: [array] * 2})


def test_names_of_files_are_short_and_printable_in_messages(tmp_path):
    write_long_names(tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 12
    for path in paths:
        with pytest.raises(ValueError, match="cannot be read") as error:
            read_shapes(path)
        message = str(error.value)
        assert "\x1b" not in message and len(message) - len(str(path)) < 600
