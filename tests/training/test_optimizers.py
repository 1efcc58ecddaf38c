"""The update rule compared with NumPy, and the schedules at their boundaries."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf import preset_changes
from alexnet_tf import presets
from alexnet_tf.training import optimizers

LEARNING_RATES = (0.1, 0.1, 0.01)  # One per step, with a drop before the third.


def reference_steps(w, gradients, *, decay, multiplier=1.0, momentum=0.9):
    """Applies the paper's update rule in float64; returns w after each step."""
    v, values = np.zeros_like(w), []
    for gradient, lr in zip(gradients, LEARNING_RATES):
        lr = lr * multiplier
        v = momentum * v - decay * lr * w - lr * gradient
        w = w + v
        values.append(w)
    return values


def make_variable(name, values):
    return keras.Variable(values, name=name, dtype="float32")


@pytest.mark.parametrize("multiplier", [1.0, 2.0])
def test_three_steps_across_a_drop_equal_the_papers_rule(multiplier):
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 2)), rng.normal(size=2)
    gradients = rng.normal(size=(3, 3, 2)), rng.normal(size=(3, 2))
    variables = [make_variable("kernel", kernel), make_variable("bias", bias)]
    optimizer = optimizers.MomentumSGD(
        weight_decay=0.05, bias_lr_multiplier=multiplier
    )
    optimizer.build(variables)
    expected = zip(
        reference_steps(kernel, gradients[0], decay=0.05),
        reference_steps(bias, gradients[1], decay=0.0, multiplier=multiplier),
    )
    for step, (expected_kernel, expected_bias) in enumerate(expected):
        optimizer.learning_rate = LEARNING_RATES[step]
        optimizer.apply(
            [tf.constant(g[step], tf.float32) for g in gradients], variables
        )
        np.testing.assert_allclose(variables[0].numpy(), expected_kernel, rtol=1e-5)
        np.testing.assert_allclose(variables[1].numpy(), expected_bias, rtol=1e-5)


def test_multipliers_scale_the_learning_rate_and_the_decay_of_their_layer():
    """Caffe's lr_mult does the same (src/caffe/solvers/sgd_solver.cpp:156-240)."""
    inputs = keras.Input((3,))
    outputs = keras.layers.Dense(2, name="fc7")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="fc8")(outputs))
    rng = np.random.default_rng(0)
    initial = [rng.normal(size=v.shape) for v in model.trainable_variables]
    gradients = [rng.normal(size=(3, *array.shape)) for array in initial]
    model.set_weights(initial)
    optimizer = optimizers.MomentumSGD(
        weight_decay=0.05, bias_lr_multiplier=2.0, lr_multipliers={"fc8": 10.0}
    )
    optimizer.build(model.trainable_variables)
    for step, learning_rate in enumerate(LEARNING_RATES):
        optimizer.learning_rate = learning_rate
        optimizer.apply(
            [tf.constant(g[step], tf.float32) for g in gradients],
            model.trainable_variables,
        )
    settings = [(0.05, 1.0), (0.0, 2.0), (0.05, 10.0), (0.0, 20.0)]
    for variable, array, step_gradients, (decay, multiplier) in zip(
        model.trainable_variables, initial, gradients, settings
    ):
        expected = reference_steps(
            array, step_gradients, decay=decay, multiplier=multiplier
        )[-1]
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_excluded_kernels_do_not_decay():
    values = np.ones(2)
    variables = [make_variable("kernel", values) for _ in range(2)]
    optimizer = optimizers.MomentumSGD(weight_decay=0.05, bias_lr_multiplier=2.0)
    optimizer.exclude_from_weight_decay(var_list=variables[:1])
    optimizer.build(variables)
    gradients = np.full((3, 2), 0.3)
    for learning_rate in LEARNING_RATES:
        optimizer.learning_rate = learning_rate
        optimizer.apply([tf.constant(gradients[0], tf.float32)] * 2, variables)
    for variable, decay in zip(variables, (0.0, 0.05)):
        expected = reference_steps(values, gradients, decay=decay)[-1]
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_weight_decay_of_keras_differs_from_the_papers_rule():
    """Keras does not add the decay to v, which is why `MomentumSGD` exists."""
    w, gradients = np.ones(1), np.zeros((3, 1))
    variable = make_variable("kernel", w)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.5)
    optimizer.build([variable])
    for step in range(3):
        optimizer.learning_rate = LEARNING_RATES[step]
        optimizer.apply([tf.constant(gradients[step], tf.float32)], [variable])
    expected = reference_steps(w, gradients, decay=0.5)[-1]
    assert abs(float(variable.numpy()[0]) - expected[0]) > 0.05


def test_deserialized_optimizer_has_the_same_settings():
    optimizer = optimizers.MomentumSGD(0.02, 0.8, 0.003, 2.0, {"fc8": 10.0})
    config = keras.optimizers.serialize(optimizer)
    restored = keras.optimizers.deserialize(config)
    assert isinstance(restored, optimizers.MomentumSGD)
    assert restored.get_config() == optimizer.get_config()
    assert restored.kernel_decay == 0.003
    assert restored.bias_lr_multiplier == 2.0


def learning_rates(schedule, epochs, **recipe):
    """Returns the learning rates of all epochs, and of the epoch after the last."""
    recipe = presets.Recipe(schedule=schedule, epochs=epochs, **recipe)
    return [
        optimizers.learning_rate(recipe, epoch, [])
        for epoch in range(epochs + 1)
    ]


def test_constant_does_not_change_until_training_ends():
    assert learning_rates("constant", 3) == [0.01, 0.01, 0.01, None]


def test_the_latest_multiplier_of_a_layer_counts_in_any_order():
    entries = (("conv1", 72, 0.0), ("conv1", 67, 0.1), ("fc8", 0, 2.0))
    recipe = presets.Recipe(layer_lr_multipliers=entries)
    by_epoch = {
        epoch: optimizers.multipliers(recipe, epoch, 0.01)[1] for epoch in (66, 67, 72)
    }
    assert by_epoch == {
        66: {"fc8": 2.0},
        67: {"conv1": 0.1, "fc8": 2.0},
        72: {"conv1": 0.0, "fc8": 2.0},
    }


def test_step_divides_by_ten_at_the_boundaries():
    np.testing.assert_allclose(
        learning_rates("step", 5, boundaries=(2, 4))[:5],
        [0.01, 0.01, 1e-3, 1e-3, 1e-4],
    )


def test_code2012_has_the_learning_rates_of_the_original_run():
    recipe = presets.get("code2012").recipe
    epochs = (0, 24, 25, 50, 51, 78, 79, 90)
    np.testing.assert_allclose(
        [optimizers.learning_rate(recipe, epoch, []) for epoch in epochs],
        [0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5],
    )
    assert optimizers.learning_rate(recipe, 91, []) is None


def test_stepped_exponential_has_the_four_published_levels():
    """The levels begin after 0, 25, 50 and 75% of the epochs."""
    values = learning_rates("stepped_exponential", 8)
    np.testing.assert_allclose(values[0:8:2], values[1:8:2])
    np.testing.assert_allclose(
        values[0:8:2], [0.01, 0.001587, 0.000252, 0.00004], rtol=2e-3
    )
    assert values[8] is None


def test_a_warm_up_increases_linearly_from_0():
    factors = [optimizers.warmup_factor(step, 4) for step in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1, 1, 1]
    assert optimizers.warmup_factor(0, 0) == 1


def test_the_learning_rate_scales_with_the_batch_size():
    recipe = presets.Recipe(batch_size=512, learning_rate=0.02)
    scaled = optimizers.scale_learning_rate(recipe, 128)
    assert scaled == dataclasses.replace(recipe, learning_rate=0.08)
    assert optimizers.scale_learning_rate(recipe, None) == recipe
    # Biases whose learning rate is constant are scaled, too.
    recipe = presets.Recipe(
        batch_size=64, learning_rate=0.02, bias_lr_follows_schedule=False
    )
    scaled = optimizers.scale_learning_rate(recipe, 128)
    bias_multiplier, _ = optimizers.multipliers(scaled, 5, 0.001)
    assert bias_multiplier * 0.001 == pytest.approx(0.01)


def plateau_learning_rate(errors, patience=2):
    recipe = presets.Recipe(patience=patience)
    return optimizers.learning_rate(recipe, len(errors), errors)


@pytest.mark.parametrize(
    "errors, expected",
    [
        ([], 0.01),
        ([0.5, 0.4, 0.3], 0.01),
        ([0.5, 0.5], 0.01),  # One epoch without a lower error.
        ([0.5, 0.5, 0.5], 0.001),  # Two epochs, because an equal error is not lower.
        ([0.5, 0.6, 0.4, 0.45], 0.01),  # The third epoch has a lower error.
        ([0.5] + 4 * [0.6], 1e-4),
        ([0.5] + 6 * [0.6], 1e-5),
        ([0.5] + 7 * [0.6], 1e-5),
        ([0.5] + 8 * [0.6], None),
        (3 * [0.5] + [0.4] + 2 * [0.45], 1e-4),
        # Epochs without an evaluation do not count.
        ([None, 0.5, None, 0.5, None], 0.01),
        ([None, 0.5, None, 0.5, None, 0.5], 0.001),
    ],
)
def test_plateau_divides_three_times_and_ends_at_the_fourth(errors, expected):
    assert plateau_learning_rate(errors) == (expected and pytest.approx(expected))


def test_plateau_ends_after_the_last_epoch():
    recipe = dataclasses.replace(presets.Recipe(), epochs=3)
    assert optimizers.learning_rate(recipe, 3, [0.3, 0.2, 0.1]) is None


@pytest.mark.parametrize("name", list(presets.PRESETS))
def test_decay_applies_to_the_kernels_of_each_layer(name):
    """The layers have only 8 filters or units, because building them is then fast."""
    preset = presets.get(name)
    layers = preset_changes.replace_fields(preset.layers, presets.Conv, filters=8)
    layers = preset_changes.replace_fields(layers, presets.Dense, units=8)
    preset = dataclasses.replace(preset, layers=(*layers[:-1], preset.layers[-1]))
    model = alexnet.AlexNet(preset, classes=8)
    weighted = [layer for layer in model.layers if layer.weights]
    decayed = [v for v in model.variables if optimizers.is_kernel(v)]
    assert [v.shape for v in decayed] == [layer.kernel.shape for layer in weighted]


def test_code2012_has_the_multipliers_of_the_original_run():
    """conv1 is slowed down at epoch 67 and frozen at epoch 72.

    The learning rate of the biases remains .02.
    """
    recipe = presets.get("code2012").recipe
    for epoch, learning_rate, expected in [
        (0, 0.01, {}),
        (30, 0.001, {}),
        (67, 1e-4, {"conv1": 0.1}),
        (72, 1e-4, {"conv1": 0.0}),
        (90, 1e-5, {"conv1": 0.0}),
    ]:
        scheduled = optimizers.learning_rate(recipe, epoch, [])
        assert scheduled == pytest.approx(learning_rate)
        bias_multiplier, layer_multipliers = optimizers.multipliers(
            recipe, epoch, learning_rate
        )
        assert bias_multiplier * learning_rate == pytest.approx(0.02)
        assert layer_multipliers == expected
    caffe = presets.get("caffe").recipe
    assert optimizers.multipliers(caffe, 50, 1e-4) == (2.0, {})
    # A learning rate of 0 does not cause a division by 0.
    zero_recipe = dataclasses.replace(recipe, learning_rate=0.0)
    bias_multiplier, _ = optimizers.multipliers(zero_recipe, 0, 0.0)
    assert bias_multiplier == recipe.bias_lr_multiplier


def test_a_multiplier_of_0_freezes_a_layer_immediately():
    """The velocity does not change either, and is not applied."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="a")(inputs))
    optimizer = optimizers.MomentumSGD(0.1)
    optimizer.build(model.trainable_variables)
    gradients = [tf.ones(v.shape) for v in model.trainable_variables]
    optimizer.apply(gradients, model.trainable_variables)
    optimizer.lr_multipliers = {"a": 0.0}
    before = [v.numpy() for v in [*model.weights, *optimizer.variables[2:]]]
    assert np.abs(before[-1]).min() > 0  # The last array is a velocity.
    optimizer.apply(gradients, model.trainable_variables)
    after = [*model.weights, *optimizer.variables[2:]]
    for variable, array in zip(after, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), array)
