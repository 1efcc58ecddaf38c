"""Tests backward passes against a second implementation in NumPy."""

import numpy as np
import pytest

from alexnet_tf.figures import backward_passes
from alexnet_tf.models import alexnet
from alexnet_tf import presets
from helpers.networks import narrow_preset
from helpers.networks import reference_outputs
from helpers.networks import relative_error
from helpers import reference

NORMALIZATIONS = (reference.map_norm, reference.spatial_norm)
LAST_LAYERS = {"paper": "fc8", "code2012": "fc8", "cifar10_full": "fc10"}


def make_model(family):
    """Returns the narrow model of a family with the weights of the reference."""
    images, _, weights, *_ = reference_outputs(family)
    model = alexnet.AlexNet(narrow_preset(family), 7, input_shape=images.shape[1:])
    for name, arrays in weights.items():
        model.get_layer(name).set_weights(arrays)
    return model


def reference_signal(family, rule, steps, signal):
    """Returns the signal at the pixels, computed by the operations of the reference.

    Args:
        family: a key of `reference.FAMILIES`.
        rule: one of `backward_passes.RULES`.
        steps: the number of steps from the pixels to the signal.
        signal: float64, the signal after these steps.
    """
    images, _, weights, *_ = reference_outputs(family)
    _, tape = reference.forward(family, weights, images)
    operations = [operation for _, operation, _ in reference.FAMILIES[family]]
    for index in reversed(range(steps)):
        _, backward = tape[index]
        if operations[index] is reference.relu and rule == "deconvnet":
            signal = np.maximum(signal, 0)
        elif operations[index] is reference.relu and rule == "guided":
            (signal,) = backward(np.maximum(signal, 0))
        elif operations[index] not in NORMALIZATIONS or rule != "deconvnet":
            signal = backward(signal)[0]
    return signal


@pytest.mark.parametrize("family", LAST_LAYERS)
def test_signals_of_class_scores_equal_the_reference(family):
    """The convolutions of `paper` and `code2012` are grouped."""
    images, labels, *_ = reference_outputs(family)
    model, signal = make_model(family), np.eye(7)[labels]
    results = {}
    for rule in backward_passes.RULES:
        results[rule] = backward_passes.backward(
            model, images, LAST_LAYERS[family], signal, rule
        )
        steps = len(reference.FAMILIES[family])
        expected = reference_signal(family, rule, steps, signal)
        assert relative_error(results[rule], expected) < 1e-4, rule
    # The rules differ, so that each comparison tests its own rule.
    for rule in ("guided", "deconvnet"):
        assert relative_error(results[rule], results["gradient"]) > 0.1
    assert relative_error(results["guided"], results["deconvnet"]) > 0.1


def test_deconvnet_of_a_unit_in_the_middle_equals_the_reference():
    """relu4 is the output of conv4, which has two groups."""
    images, *_ = reference_outputs("paper")
    model = make_model("paper")
    signal = np.zeros((4, *model.get_layer("relu4").output.shape[1:]))
    signal[[0, 1, 2, 3], 2, 1, [3, 0, 15, 8]] = 5
    actual = backward_passes.backward(model, images, "relu4", signal, "deconvnet")
    steps = [name for name, *_ in reference.FAMILIES["paper"]].index("conv4") + 2
    expected = reference_signal("paper", "deconvnet", steps, signal)
    assert relative_error(actual, expected) < 1e-4


def test_gradients_equal_difference_quotients():
    images, labels, weights, *_ = reference_outputs("paper")
    model = make_model("paper")
    gradient = backward_passes.backward(model, images, "fc8", np.eye(7)[labels])
    rng = np.random.default_rng(3)
    for _ in range(4):
        pixel = tuple(rng.integers(0, images.shape))
        step = np.zeros(images.shape)
        step[pixel] = 1e-5
        above, below = (
            reference.forward("paper", weights, images + sign * step)[0]
            for sign in (1, -1)
        )
        index = pixel[0], labels[pixel[0]]
        quotient = (above[index] - below[index]) / 2e-5
        assert gradient[pixel] == pytest.approx(quotient, rel=1e-3, abs=1e-7)


def test_forward_passes_are_those_of_the_model():
    images, *_ = reference_outputs("paper")
    model, inputs = make_model("paper"), images.astype(np.float32)
    expected = model(inputs)
    for rule in backward_passes.RULES:
        outputs = inputs
        for layer in backward_passes.layers_up_to(model, "prob"):
            outputs = backward_passes._apply(layer, outputs, rule)
        np.testing.assert_array_equal(outputs, expected)


def test_rejects_guided_backpropagation_without_relu():
    preset = presets.get("cifar10_full")
    layers = tuple(
        presets.Tanh(layer.name) if isinstance(layer, presets.ReLU) else layer
        for layer in preset.layers
    )
    model = alexnet.AlexNet(presets.Preset("tanh", layers), 3, input_shape=(16, 16, 3))
    inputs, signal = np.ones((1, 16, 16, 3)), np.ones((1, 3))
    with pytest.raises(ValueError, match="ReLUs, whose gradients guided changes"):
        backward_passes.backward(model, inputs, "fc10", signal, "guided")
    backward_passes.backward(model, inputs, "fc10", signal)
