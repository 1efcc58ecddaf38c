"""The update rule against NumPy, and each schedule at its edges."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf import presets
from alexnet_tf.training import optimizers

RATES = (0.1, 0.1, 0.01)  # a drop before the third step


def steps_by_hand(w, gradients, *, decay, multiplier=1.0, momentum=0.9):
    """The paper's rule in float64, one value after each step."""
    v, values = np.zeros_like(w), []
    for gradient, lr in zip(gradients, RATES):
        lr = lr * multiplier
        v = momentum * v - decay * lr * w - lr * gradient
        w = w + v
        values.append(w)
    return values


def make_variable(name, values):
    return keras.Variable(values, name=name, dtype="float32")


@pytest.mark.parametrize("multiplier", [1.0, 2.0])
def test_three_steps_equal_the_papers_rule_across_a_drop(multiplier):
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(3, 2)), random.normal(size=2)
    gradients = random.normal(size=(3, 3, 2)), random.normal(size=(3, 2))
    variables = [make_variable("kernel", kernel), make_variable("bias", bias)]
    optimizer = optimizers.MomentumSGD(
        weight_decay=0.05, bias_lr_multiplier=multiplier
    )
    optimizer.build(variables)
    expected = zip(
        steps_by_hand(kernel, gradients[0], decay=0.05),
        steps_by_hand(bias, gradients[1], decay=0.0, multiplier=multiplier),
    )
    for step, (want_kernel, want_bias) in enumerate(expected):
        optimizer.learning_rate = RATES[step]
        optimizer.apply(
            [tf.constant(g[step], tf.float32) for g in gradients], variables
        )
        np.testing.assert_allclose(variables[0].numpy(), want_kernel, rtol=1e-5)
        np.testing.assert_allclose(variables[1].numpy(), want_bias, rtol=1e-5)


def test_multipliers_scale_rate_and_decay_of_their_layer():
    """As Caffe's lr_mult does (src/caffe/solvers/sgd_solver.cpp:156-240)."""
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(2, name="fc7")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="fc8")(outputs))
    random = np.random.default_rng(0)
    start = [random.normal(size=v.shape) for v in model.trainable_variables]
    gradients = [random.normal(size=(3, *array.shape)) for array in start]
    model.set_weights(start)
    optimizer = optimizers.MomentumSGD(
        weight_decay=0.05, bias_lr_multiplier=2.0, lr_multipliers={"fc8": 10.0}
    )
    optimizer.build(model.trainable_variables)
    for step, rate in enumerate(RATES):
        optimizer.learning_rate = rate
        optimizer.apply(
            [tf.constant(g[step], tf.float32) for g in gradients],
            model.trainable_variables,
        )
    settings = [(0.05, 1.0), (0.0, 2.0), (0.05, 10.0), (0.0, 20.0)]
    for variable, w, g, (decay, multiplier) in zip(
        model.trainable_variables, start, gradients, settings
    ):
        wanted = steps_by_hand(w, g, decay=decay, multiplier=multiplier)[-1]
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-5)


def test_keras_own_weight_decay_is_another_rule():
    """The reason for a class of our own: Keras leaves the decay out of v."""
    w, gradients = np.ones(1), np.zeros((3, 1))
    variable = make_variable("kernel", w)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.5)
    optimizer.build([variable])
    for step in range(3):
        optimizer.learning_rate = RATES[step]
        optimizer.apply([tf.constant(gradients[step], tf.float32)], [variable])
    by_hand = steps_by_hand(w, gradients, decay=0.5)[-1]
    assert abs(float(variable.numpy()[0]) - by_hand[0]) > 0.05


def test_settings_survive_serialization():
    optimizer = optimizers.MomentumSGD(0.02, 0.8, 0.003, 2.0, {"fc8": 10.0})
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(config)
    assert isinstance(again, optimizers.MomentumSGD)
    assert again.get_config() == optimizer.get_config()
    assert again.kernel_decay == 0.003
    assert again.bias_lr_multiplier == 2.0


def rates(schedule, epochs, **recipe):
    recipe = presets.Recipe(schedule=schedule, epochs=epochs, **recipe)
    return [
        optimizers.learning_rate(recipe, epoch, [])
        for epoch in range(epochs + 1)
    ]


def test_constant_lasts_for_the_epochs():
    assert rates("constant", 3) == [0.01, 0.01, 0.01, None]


def test_step_divides_by_ten_before_the_epochs_named():
    np.testing.assert_allclose(
        rates("step", 5, boundaries=(2, 4))[:5], [0.01, 0.01, 1e-3, 1e-3, 1e-4]
    )


def test_step_of_code2012_is_the_original_runs():
    recipe = presets.get("code2012").recipe
    edges = (0, 24, 25, 50, 51, 78, 79, 90)
    np.testing.assert_allclose(
        [optimizers.learning_rate(recipe, epoch, []) for epoch in edges],
        [0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5],
    )
    assert optimizers.learning_rate(recipe, 91, []) is None


def test_dexp_has_the_four_published_levels():
    """.01, .001587, .000252, .00004 at 0, 25, 50 and 75 per cent."""
    values = rates("stepped_exponential", 8)
    np.testing.assert_allclose(values[0:8:2], values[1:8:2])
    np.testing.assert_allclose(
        values[0:8:2], [0.01, 0.001587, 0.000252, 0.00004], rtol=2e-3
    )
    assert values[8] is None


def plateau(errors, patience=2):
    recipe = presets.Recipe(patience=patience)
    return optimizers.learning_rate(recipe, len(errors), errors)


@pytest.mark.parametrize(
    "errors, rate",
    [
        ([], 0.01),
        ([0.5, 0.4, 0.3], 0.01),
        ([0.5, 0.5], 0.01),  # one epoch without a better one
        ([0.5, 0.5, 0.5], 0.001),  # two: equal is not better
        ([0.5, 0.6, 0.4, 0.45], 0.01),  # bettered in between
        ([0.5] + 4 * [0.6], 1e-4),
        ([0.5] + 6 * [0.6], 1e-5),
        ([0.5] + 7 * [0.6], 1e-5),
        ([0.5] + 8 * [0.6], None),
        (3 * [0.5] + [0.4] + 2 * [0.45], 1e-4),
    ],
)
def test_plateau_drops_three_times_and_ends(errors, rate):
    assert plateau(errors) == (rate and pytest.approx(rate))


def test_plateau_ends_with_the_epochs_too():
    recipe = dataclasses.replace(presets.Recipe(), epochs=3)
    assert optimizers.learning_rate(recipe, 3, [0.3, 0.2, 0.1]) is None


@pytest.mark.parametrize("name", list(presets.PRESETS))
def test_decay_is_for_the_kernels_of_each_layer(name):
    """Of a small copy with the preset's layers."""
    from alexnet_tf.models import alexnet
    from alexnet_tf import presets
    from alexnet_tf.training import optimizers

    preset = presets.get(name)
    layers = presets._replace(preset.layers, presets.Conv, filters=8)
    layers = presets._replace(layers, presets.Dense, units=8)
    preset = dataclasses.replace(preset, layers=layers)
    model = alexnet.AlexNet(preset, classes=8)
    weighted = [layer for layer in model.layers if layer.weights]
    decayed = [v for v in model.variables if optimizers.is_kernel(v)]
    assert [v.shape for v in decayed] == [l.kernel.shape for l in weighted]


def test_the_multipliers_of_the_authors_run():
    """conv1 a drop ahead at 67 and still from 72; biases at .02 to the end."""
    recipe = presets.get("code2012").recipe
    for epoch, rate, layers in [
        (0, 0.01, {}),
        (30, 0.001, {}),
        (67, 1e-4, {"conv1": 0.1}),
        (72, 1e-4, {"conv1": 0.0}),
        (90, 1e-5, {"conv1": 0.0}),
    ]:
        assert optimizers.learning_rate(recipe, epoch, []) == pytest.approx(rate)
        biases, found = optimizers.multipliers(recipe, epoch, rate)
        assert biases * rate == pytest.approx(0.02) and found == layers
    caffe = presets.get("caffe").recipe
    assert optimizers.multipliers(caffe, 50, 1e-4) == (2.0, {})
    still = dataclasses.replace(recipe, learning_rate=0.0)
    assert optimizers.multipliers(still, 0, 0.0)[0] == recipe.bias_lr_multiplier


def test_a_layer_at_0_does_not_drift():
    """What is left of its velocity stays with it."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="a")(inputs))
    optimizer = optimizers.MomentumSGD(0.1)
    optimizer.build(model.trainable_variables)
    gradients = [tf.ones(v.shape) for v in model.trainable_variables]
    optimizer.apply(gradients, model.trainable_variables)
    optimizer.lr_multipliers = {"a": 0.0}
    before = [v.numpy() for v in [*model.weights, *optimizer.variables[2:]]]
    assert np.abs(before[-1]).min() > 0  # A velocity.
    optimizer.apply(gradients, model.trainable_variables)
    after = [*model.weights, *optimizer.variables[2:]]
    for variable, array in zip(after, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), array)
