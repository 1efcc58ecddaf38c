"""The learning rate of each training step, compared with NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf import presets
from alexnet_tf.training import distribution
from alexnet_tf.training import steps

IMAGES = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1], np.int32)


def make_steps(warmup_steps=0, **recipe):
    """Returns a linear model, its `TrainingSteps` and an iterator over one batch."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="fc8")(inputs))
    recipe = presets.Recipe(batch_size=5, momentum=0.0, weight_decay=0.0, **recipe)
    training_steps = steps.TrainingSteps(
        model, steps.make_optimizer(model, recipe, "float32"),
        tf.distribute.get_strategy(), recipe, 0,
        lr_mult={}, warmup_steps=warmup_steps, has_own_optimizer=False,
    )
    return model, training_steps, iter(
        tf.data.Dataset.from_tensors((IMAGES, LABELS)).repeat()
    )


def learning_rate_of(model, run):
    """Returns the learning rate with which `run` changes the biases of `model`."""
    bias = model.get_layer("fc8").bias
    residuals = tf.nn.softmax(model(IMAGES)) - tf.one_hot(LABELS, 3)
    before, gradient = bias.numpy(), np.mean(residuals, axis=0)
    run()
    return np.mean((before - bias.numpy()) / gradient)


def test_each_step_of_the_warm_up_has_a_larger_learning_rate():
    model, training_steps, iterator = make_steps(3, schedule="step", boundaries=(1,))
    training_steps.begin_epoch(0, [])
    for step, factor in enumerate((1 / 3, 2 / 3, 1, 1)):
        actual = learning_rate_of(
            model, lambda: training_steps.run(iterator, step, 1)
        )
        assert actual == pytest.approx(0.01 * factor, rel=1e-3)
        assert training_steps.learning_rate(step) == pytest.approx(0.01 * factor)
    training_steps.begin_epoch(1, [0.5])
    actual = learning_rate_of(model, lambda: training_steps.run(iterator, 4, 1))
    assert actual == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize("warmup_steps", [0, 2])
def test_the_schedule_overrides_the_learning_rate_of_a_callback(warmup_steps, caplog):
    model, training_steps, iterator = make_steps(warmup_steps, schedule="constant")
    for epoch in range(2):
        training_steps.begin_epoch(epoch, [0.5] * epoch)
        assert len(caplog.records) == epoch
        model.optimizer.learning_rate = 0.5  # As `LearningRateScheduler` does.
        actual = learning_rate_of(
            model, lambda: training_steps.run(iterator, warmup_steps, 1)
        )
        assert actual == pytest.approx(0.01, rel=1e-3)
    assert training_steps.learning_rate(warmup_steps) == 0.01
    (record,) = caplog.records
    assert "set the learning rate to 0.5, which has no effect" in record.getMessage()


@pytest.mark.parametrize(
    "learning_rate",
    [0.25, keras.optimizers.schedules.PiecewiseConstantDecay([5], [0.25, 0.1]),
     lambda: 0.25],
    ids=["number", "schedule", "function"],
)  # fmt: skip
def test_own_optimizers_keep_their_learning_rate_on_two_devices(learning_rate):
    strategy = distribution.make_strategy(2)
    with strategy.scope():
        optimizer = keras.optimizers.SGD(learning_rate)
    training_steps = steps.TrainingSteps(
        None, optimizer, strategy, presets.Recipe(), 0,
        lr_mult={}, warmup_steps=0, has_own_optimizer=True,
    )  # fmt: skip
    assert training_steps.learning_rate(0) == 0.25


def test_steps_in_one_call_equal_steps_in_several_calls():
    """The warm-up ends within the call."""
    weights, sums = [], []
    for counts in ((5,), (1, 3, 1)):
        model, training_steps, iterator = make_steps(3)
        training_steps.begin_epoch(0, [])
        firsts = np.cumsum((0, *counts))
        results = [
            training_steps.run(iterator, int(first), count)
            for first, count in zip(firsts, counts)
        ]
        weights.append(model.get_weights())
        sums.append(np.concatenate(results))
    assert sums[0].shape == (5, 4)
    np.testing.assert_array_equal(*sums)
    for one_call, several_calls in zip(*weights, strict=True):
        np.testing.assert_array_equal(one_call, several_calls)
