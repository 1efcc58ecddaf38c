"""Pickled dicts of arrays are read, and everything else is rejected."""

import collections
import os
import pickle

from hypothesis import HealthCheck, given, settings, strategies as st
import numpy as np
import pytest

from alexnet_tf.models import weight_formats
from alexnet_tf.models.weights import load_weights
from helpers.weight_arrays import check_loads_or_rejects
from helpers.weight_arrays import damaged
from helpers.weight_files import check_loaded
from helpers.weight_files import check_rejected
from helpers.weight_files import torch_state
from helpers.weight_files import two_layer_model


def caffe2_blobs():
    """Returns the arrays of `two_layer_model` under Caffe2's names."""
    return {
        name.replace(".weight", "_w").replace(".bias", "_b"): array
        for name, array in torch_state().items()
    }


def save(path, value, protocol=2):
    path.write_bytes(pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_files_of_caffe2(tmp_path, protocol):
    """Kernels are [out, in], and the momenta of the optimizer are ignored."""
    blobs = caffe2_blobs() | {"fc7_w_momentum": np.ones((3, 4), "f4")}
    save(tmp_path / "a.pkl", {"blobs": blobs, "cfg": "text"}, protocol)
    check_loaded(tmp_path / "a.pkl")


def test_the_layout_of_a_dict_of_arrays_is_not_known(tmp_path):
    save(tmp_path / "a.pkl", torch_state())
    file = weight_formats.open_weights(tmp_path / "a.pkl")
    assert file.layout is None
    with pytest.raises(ValueError, match=r"a.pkl', layout='caffe'\)"):
        load_weights(two_layer_model(), tmp_path / "a.pkl")
    keras_state = {name: array.T for name, array in torch_state().items()}
    save(tmp_path / "b.pkl", keras_state)
    check_loaded(tmp_path / "b.pkl")


@pytest.mark.parametrize(
    "value, message",
    [
        ([1], "it holds an object of type list instead of a dict"),
        ({"fc7_w": [1]}, "its fc7_w is not an array of numbers"),
        ({"fc7_w": np.array({}, object)}, "its fc7_w is not an array of numbers"),
        ({"fc7_w": np.ones(3, "i4")}, "it holds numbers of type 'i4'"),
        ({"scale": np.ones(3, "f4")}, "its array name 'scale' is not of the form"),
        (collections.OrderedDict(), "it holds the function 'collections'"),
        (torch_state() | {"StructuredToParameterName@@": {}}, "it is a file of Paddle"),
        # Newer versions of Paddle represent an array by a call of `tuple`.
        ({"a": os.system, "StructuredToParameterName@@": {}}, "it is a file of Paddle"),
        ({"a": os.system}, "it holds the function 'posix'.'system'"),
    ],
)
def test_rejects_other_objects(tmp_path, value, message):
    save(tmp_path / "a.pkl", value)
    check_rejected(tmp_path / "a.pkl", message)


@pytest.mark.parametrize("kept", [2, 0.1, 0.5, 0.999])
def test_rejects_truncated_files(tmp_path, kept):
    path = tmp_path / "a.pkl"
    save(path, {"blobs": caffe2_blobs()})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    check_rejected(path, "it holds .* Only NumPy arrays")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files(tmp_path, data):
    """A damaged file is loaded completely, or it is rejected and changes nothing."""
    path = tmp_path / "a.pkl"
    save(path, {"blobs": caffe2_blobs()})
    path.write_bytes(damaged(path.read_bytes(), data))
    check_loads_or_rejects(two_layer_model(), path)
