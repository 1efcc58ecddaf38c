"""Tests layers, their units, and the pixels that a unit sees."""

import numpy as np
import pytest

from alexnet_tf.figures import units
from helpers.networks import untrained_classifier


def test_maxima_are_the_first_largest_outputs():
    outputs = np.zeros((2, 2, 3, 2))
    outputs[0, 1, 2, 0] = 5
    outputs[0, 0, 1, 1] = outputs[0, 1, 0, 1] = 3
    outputs[1, 1, 1, 1] = 2
    values, positions = units.maxima(outputs)
    assert values.tolist() == [[5, 3], [0, 2]]
    assert positions.tolist() == [[[1, 2], [0, 1]], [[0, 0], [1, 1]]]
    values, positions = units.maxima(np.array([[4.0, -1.0]]))
    assert values.tolist() == [[4, -1]] and positions.tolist() == [[[0, 0], [0, 0]]]


def test_windows_are_receptive_fields_without_padding():
    """conv2 of `tiny` sees 51 pixels; its outputs are 8 pixels apart, from -16 on."""
    model = untrained_classifier().model
    layer = units.find_layer(model, "conv2")
    assert (layer.output_name, layer.num_units) == ("relu2", 32)
    assert layer.window((0, 3)) == (slice(0, 35), slice(8, 59))
    assert layer.window(np.array([6, 2])) == (slice(32, 64), slice(0, 51))
    dense = units.find_layer(model, "fc6")
    assert (dense.output_name, dense.num_units) == ("relu6", 128)
    assert dense.window((0, 0)) == (slice(0, 64), slice(0, 64))
    assert units.find_layer(model).output_name == "relu5"


@pytest.mark.parametrize("name", ["conv9", "prob", "input"])
def test_rejects_other_layers(name):
    with pytest.raises(ValueError, match=f"one of the layers .*conv1.*layer=.?{name}"):
        units.find_layer(untrained_classifier().model, name)


def test_rejects_units_that_a_layer_does_not_have():
    layer = units.find_layer(untrained_classifier().model, "conv2")
    units.check_unit(layer, 31)
    for unit in (-1, 32):
        with pytest.raises(ValueError, match=f"from 0 to 31 .*conv2.*unit={unit}"):
            units.check_unit(layer, unit)
