"""Weights are found in files of PyTorch of all three formats."""

import collections
import functools

import numpy as np
import pytest

from alexnet_tf.models.weights import load_weights
from helpers import networks
from helpers import torch_files
from helpers.torch_files import Style
from helpers.weight_arrays import assert_weights_equal
from helpers.weight_arrays import flat_arrays
from helpers.weight_arrays import narrow_model
from helpers.weight_arrays import reference_arrays
from helpers.weight_arrays import to_caffe_layout
from helpers.weight_arrays import TORCHVISION_NAMES
from helpers.weight_files import read_arrays


def save_legacy(path, value, style=Style()):
    torch_files.save_legacy(
        path,
        value,
        Style(style.python2, style.parameters, style.module, with_view_metadata=True),
    )


SAVE_FUNCTIONS = {
    "zip": torch_files.save_zip,
    "legacy": save_legacy,
    "tar": torch_files.save_tar,
}
each_format = pytest.mark.parametrize(
    "save", SAVE_FUNCTIONS.values(), ids=SAVE_FUNCTIONS
)


@functools.cache
def owt_model():
    return narrow_model("owt")


def state_dict(dtype="f4"):
    """Returns {name in torchvision: array} of random weights of `owt`."""
    arrays, _, _ = reference_arrays("owt")
    state = flat_arrays(to_caffe_layout(arrays), "weight", names=TORCHVISION_NAMES)
    return collections.OrderedDict(
        (name, array.astype(dtype)) for name, array in state.items()
    )


def expected_weights(dtype="f4"):
    """Returns the weights of a model into which `state_dict` is loaded."""
    return [
        part.astype(dtype).astype("f4")
        for parts in reference_arrays("owt")[0].values()
        for part in parts
    ]


def check_weights(path, expected=None):
    """Checks that the weights that are loaded from a file are `expected`."""
    model = owt_model()
    model.set_weights([np.zeros_like(array) for array in model.get_weights()])
    report = load_weights(model, path)
    assert report.arrays == 16 and not report.skipped
    assert_weights_equal(model, expected or expected_weights())


@each_format
@pytest.mark.parametrize(
    "style",
    [
        Style(),
        Style(parameters=True),
        Style(module="torch.cuda"),
        Style(python2=True),
    ],
    ids=["tensors", "parameters", "cuda", "python2"],
)
def test_loads_state_dicts(tmp_path, save, style):
    save(tmp_path / "a.pth", state_dict(), style)
    check_weights(tmp_path / "a.pth")


def test_outputs_of_loaded_weights_equal_the_reference(tmp_path):
    _, images, logits = reference_arrays("owt")
    torch_files.save_zip(tmp_path / "a.pth", state_dict())
    load_weights(owt_model(), tmp_path / "a.pth")
    assert networks.relative_error(owt_model()(images), logits) < 1e-4


@each_format
@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_converts_other_floating_dtypes(tmp_path, save, dtype):
    save(tmp_path / "a.pth", state_dict(dtype))
    check_weights(tmp_path / "a.pth", expected_weights(dtype))


@each_format
def test_reads_bfloat16(tmp_path, save):
    # The bits of 1, 1 + 2^-7, -2, the least number above 0, and 0.
    bits = np.array([0x3F80, 0x3F81, 0xC000, 0x0001, 0], "u2")
    save(tmp_path / "a.pth", {"conv1.weight": bits})
    array = read_arrays(tmp_path / "a.pth")["conv1"]["kernel"]
    assert array.dtype == np.float32
    assert array.tolist() == [1, 1 + 2**-7, -2, 2.0**-133, 0]


@each_format
def test_reads_arrays_with_any_order_of_axes_in_memory(tmp_path, save):
    """The first array is in channels-last order, as torch.channels_last produces."""
    kernel = np.arange(120, dtype="f4").reshape(2, 4, 5, 3).transpose(0, 3, 1, 2)
    dense_kernel = np.asfortranarray(np.arange(12, dtype="f4").reshape(3, 4))
    save(tmp_path / "a.pth", {"conv1.weight": kernel, "fc6.weight": dense_kernel})
    arrays = read_arrays(tmp_path / "a.pth")
    np.testing.assert_array_equal(arrays["conv1"]["kernel"], kernel)
    np.testing.assert_array_equal(arrays["fc6"]["kernel"], dense_kernel)


@pytest.mark.parametrize("save", [torch_files.save_zip, save_legacy])
def test_reads_tensors_that_share_a_storage(tmp_path, save):
    """The bias consists of the elements 5, 7 and 9 of the kernel."""
    kernel = np.arange(12, dtype="f4").reshape(3, 4)
    encoder = torch_files.Encoder(Style())
    float_storage = torch_files.Global("torch", "FloatStorage")
    identifier = "storage", float_storage, "0", "cpu", 12
    storage = torch_files.Raw(encoder.encode(identifier) + b"Q")
    arguments = storage, 5, (3,), (2,)
    bias = encoder.call("torch._utils", "_rebuild_tensor", *arguments)
    save(tmp_path / "a.pth", {"fc7.weight": kernel, "fc7.bias": torch_files.Raw(bias)})
    arrays = read_arrays(tmp_path / "a.pth")
    np.testing.assert_array_equal(arrays["fc7"]["kernel"], kernel)
    assert arrays["fc7"]["bias"].tolist() == [5, 7, 9]


def replace_in_names(state, old, new):
    """Returns a state dict with the first `old` in each name replaced by `new`."""
    return collections.OrderedDict(
        (name.replace(old, new, 1), array) for name, array in state.items()
    )


def make_checkpoints():
    """Returns {name: value that is saved as a training checkpoint}."""
    state = state_dict()
    momenta = {number: {"momentum_buffer": np.ones(3, "f4")} for number in (0, 2**40)}
    optimizer = {
        "state": momenta,
        "param_groups": [{"lr": 0.1, "nesterov": False, "params": [0, 2**40]}],
    }
    # examples/imagenet of PyTorch wraps the features only.
    in_features = replace_in_names(state, "features.", "features.module.")
    return {
        "examples/imagenet": {
            "epoch": 90,
            "arch": "alexnet",
            "state_dict": in_features,
            "best_acc1": np.array(56.5, "f4"),
            "optimizer": optimizer,
        },
        "everything wrapped": {
            "model": replace_in_names(state, "", "module."),
            "optimizer": optimizer,
            "loss": [1.5, None, True, (1, -2)],
        },
        "lightning": {
            "state_dict": replace_in_names(state, "", "model."),
            "global_step": 10,
            "loops": {"fit_loop": {"state_dict": {}}},
        },
        "model_state_dict": {"model_state_dict": state, "net": 1},
        "net": {"net": state, "acc": 99.5, "epoch": 7},
        "other values beside": state
        | {
            "features.1.num_batches_tracked": np.array(3),
            "indices": np.arange(4),
            "best_acc1": np.array(56.5, "f4"),
            "version": "1.0",
            7: np.ones(3, "f4"),
        },
    }


CHECKPOINTS = make_checkpoints()


@each_format
@pytest.mark.parametrize("python2", [False, True])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_finds_the_weights_in_checkpoints(tmp_path, save, python2, name):
    save(tmp_path / "a.pth.tar", CHECKPOINTS[name], Style(python2))
    check_weights(tmp_path / "a.pth.tar")


def test_ignores_flags_and_numpy_numbers_in_checkpoints(tmp_path):
    encoder = torch_files.Encoder(Style())
    flags = encoder.encode(torch_files.Global("argparse", "Namespace"))
    flags += b")\x81}(" + encoder.encode("lr") + encoder.encode(0.1) + b"ub"
    number_type = encoder.call("numpy", "dtype", "f8", False, True)
    number_type += encoder.encode((3, "<", None, None, None, -1, -1, 0)) + b"b"
    number = encoder.call(
        "numpy.core.multiarray",
        "scalar",
        torch_files.Raw(number_type),
        torch_files.Raw(encoder.call("_codecs", "encode", "\0" * 8, "latin1")),
    )
    checkpoint = {
        "args": torch_files.Raw(flags),
        "best": torch_files.Raw(number),
        "milestones": torch_files.Raw(encoder.call("collections", "Counter", {3: 1})),
        "state_dict": state_dict(),
    }
    torch_files.save_zip(tmp_path / "a.pth", checkpoint)
    check_weights(tmp_path / "a.pth")


def unknown(*arguments):
    """Returns the instructions that call a class of a user."""
    call = torch_files.Encoder(Style()).call("project.tools", "Thing", *arguments)
    return torch_files.Raw(call)


@each_format
def test_ignores_objects_of_other_classes_beside_the_weights(tmp_path, save):
    extras = {
        "best": unknown(1.5),
        "paths": [unknown("a", "b")],
        "milestones": {0.5: 1, (1, 2): unknown(), None: 3},
    }
    save(tmp_path / "a.pth", {"state_dict": state_dict(), **extras})
    check_weights(tmp_path / "a.pth")
    save(tmp_path / "b.pth", state_dict() | extras)
    check_weights(tmp_path / "b.pth")
    save(tmp_path / "c.pth", {"model": unknown(), "weights": state_dict()})
    check_weights(tmp_path / "c.pth")


@pytest.mark.parametrize(
    "value",
    [
        unknown(),
        {"model": unknown(), "optimizer": {"m": np.ones(3, "f4")}},
        {"state_dict": {"fc8.bias": np.ones(3, "f4"), "fc8.weight": unknown()}},
        {"fc8.bias": np.ones(3, "f4"), "fc8.weight": unknown()},
    ],
)
def test_rejects_objects_of_other_classes_in_the_place_of_weights(tmp_path, value):
    torch_files.save_zip(tmp_path / "a.pth", value)
    message = "a.pth: it refers to the class or function project.tools.Thing, whose"
    with pytest.raises(ValueError, match=message):
        load_weights(owt_model(), tmp_path / "a.pth")


@pytest.mark.parametrize(
    "value, message",
    [
        ([1, 2], "an object of type list instead of a dict"),
        (np.ones(3, "f4"), "an object of type Tensor instead of a dict"),
        ({}, "it has no tensors"),
        ({"epoch": 1, "state_dict": {"a": 1}}, "it has no tensors"),
        ({"optimizer": {"m": np.ones(3, "f4")}}, "it has no tensors"),
        ({"fc8.weight": np.ones((2, 3), "u1")}, "fc8.weight is of type uint8"),
        ({"fc8.scale": np.ones(3, "f4")}, "'fc8.scale' is not of the form"),
        ({"a.weight": np.ones(3, "f4"), "a.W": np.ones(3, "f4")}, "two arrays for"),
        ({"features.1.running_mean": np.ones(3, "f4")}, "batch normalization"),
    ],
)
def test_errors_state_what_is_wrong_with_the_saved_object(tmp_path, value, message):
    torch_files.save_zip(tmp_path / "a.pth", value)
    with pytest.raises(ValueError, match=f"cannot be read: .*a.pth: .*{message}"):
        load_weights(owt_model(), tmp_path / "a.pth")
