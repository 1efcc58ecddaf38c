"""Optimizers that a user gives: copies, descriptions, refusals and resuming."""

import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf import presets
from alexnet_tf import training
from alexnet_tf.training import distribution
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training import loop
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import own_optimizer
from alexnet_tf.training import steps
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_metrics
from helpers.images import write_image_folder
from helpers.runs import CallAtStep
from helpers.runs import final_arrays
from helpers.runs import shallow_preset
from helpers.runs import train_briefly

pytestmark = pytest.mark.usefixtures("figures_as_text")


def make_adam():
    schedule = keras.optimizers.schedules.CosineDecay(0.001, 100)
    return keras.optimizers.Adam(schedule, clipnorm=1.0)


def test_an_instance_is_copied_and_a_function_is_called():
    original = make_adam()
    original.build([keras.Variable([1.0])])
    made = own_optimizer.make(original)
    assert made is not original and not made.built
    assert made.get_config() == original.get_config()
    from_function = own_optimizer.make(keras.optimizers.Nadam)
    assert isinstance(from_function, keras.optimizers.Nadam)
    assert isinstance(own_optimizer.make("adamw"), keras.optimizers.AdamW)


@pytest.mark.parametrize(
    "optimizer, message",
    [
        (0.1, "function that returns one. Received: 0.1"),
        ("adams", "adams"),
        (lambda: 3, "Received: 3"),
        (keras.optimizers.SGD(use_ema=True), "average.*SGD\\(use_ema=True\\)"),
    ],
)
def test_rejects_objects_that_are_not_usable_optimizers(optimizer, message):
    with pytest.raises(ValueError, match=message):
        own_optimizer.make(optimizer)


def test_gradients_are_accumulated_only_with_the_default_strategy():
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=3)
    own_optimizer.check_accumulation(optimizer, tf.distribute.get_strategy())
    message = "several devices.*gradient_accumulation_steps=3\\).*larger batch_size"
    with pytest.raises(ValueError, match=message):
        own_optimizer.check_accumulation(optimizer, distribution.make_strategy(2))


@pytest.mark.usefixtures("simulated_runs", "figures_as_text")
def test_a_function_is_called_once_in_the_scope_of_the_strategy(tmp_path, make_source):
    strategies = []

    def make_sgd():
        strategies.append(tf.distribute.get_strategy())
        return keras.optimizers.SGD()

    train_briefly(tmp_path, make_source(12), devices=2, optimizer=make_sgd)
    assert [strategy.num_replicas_in_sync for strategy in strategies] == [2]


def test_rejects_settings_inside_a_loss_scale_optimizer():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(use_ema=True))
    with pytest.raises(ValueError, match="Received: SGD.use_ema=True"):
        own_optimizer.make(optimizer)


def test_rejects_a_function_that_returns_a_used_optimizer():
    used = keras.optimizers.SGD()
    used.build([keras.Variable([1.0])])
    with pytest.raises(ValueError, match="returns a new Keras optimizer in each call"):
        own_optimizer.make(lambda: used)


def test_descriptions_differ_if_settings_do():
    descriptions = [
        own_optimizer.describe(optimizer)
        for optimizer in (
            keras.optimizers.SGD(0.5), keras.optimizers.SGD(0.25), make_adam()
        )
    ]
    assert descriptions[0]["optimizer"] == "SGD"
    assert descriptions[0]["optimizer.learning_rate"] == 0.5
    assert descriptions[1]["optimizer.learning_rate"] == 0.25
    schedule = descriptions[2]["optimizer.learning_rate"]
    assert schedule["config"]["decay_steps"] == 100
    assert descriptions[2]["optimizer.clipnorm"] == 1.0


@pytest.mark.usefixtures("simulated_runs")
def test_a_run_with_another_optimizer_resumes_bit_for_bit(tmp_path, make_source):
    """The learning rate follows the optimizer's own schedule, not the preset's."""
    source = make_source(24)
    kwargs = dict(
        preset=shallow_preset(schedule="stepped_exponential", epochs=2),
        optimizer=make_adam, log_steps=1,
    )
    stop = CallAtStep(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(loop.TrainingInterrupted):
        train_briefly(tmp_path / "resumed", source, callbacks=[stop], **kwargs)
    for other, difference in (
        (None, "optimizer=Adam"),
        (keras.optimizers.Adam(0.001, clipnorm=1.0), "learning_rate=0.001"),
    ):
        with pytest.raises(ValueError, match=difference):
            train_briefly(tmp_path / "resumed", source, **kwargs | {"optimizer": other})
    # More epochs are allowed, because the schedule of the preset is not used.
    kwargs["preset"] = shallow_preset(schedule="stepped_exponential", epochs=3)
    train_briefly(tmp_path / "resumed", source, **kwargs)
    train_briefly(tmp_path / "straight", source, **kwargs)
    straight, resumed = (final_arrays(tmp_path / n) for n in ("straight", "resumed"))
    assert straight.keys() == resumed.keys()
    for name in straight:
        np.testing.assert_array_equal(resumed[name], straight[name], err_msg=name)
    lines = read_metrics(str(tmp_path / "resumed"))
    learning_rates = [m["learning_rate"] for m in lines if m["split"] == "train"]
    # After the last step it is the learning rate of the step that would follow.
    expected = 0.0005 * (1 + np.cos(np.pi * np.arange(1, 7) / 100))
    assert learning_rates == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_scaled_for_float16():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    recipe = presets.Recipe()
    for precision, wrapped in (("mixed_float16", True), ("float32", False)):
        made = steps.make_optimizer(model, recipe, precision, make_adam())
        assert isinstance(made, keras.optimizers.LossScaleOptimizer) == wrapped
        inner = made.inner_optimizer if wrapped else made
        assert isinstance(inner, keras.optimizers.Adam)
        assert model.optimizer is made


@pytest.mark.large
def test_an_optimizer_and_loss_scaling_work_on_two_devices(tmp_path, make_source):
    preset = shallow_preset(epochs=1, dropout=0.0)
    measured = train_briefly(
        tmp_path, make_source(24), preset=preset, devices=2,
        optimizer=keras.optimizers.AdamW(0.001), precision="mixed_float16",
    )
    assert np.isfinite(measured["loss"])
    moments = [
        array
        for name, array in final_arrays(tmp_path).items()
        if name.startswith("optimizer/inner_optimizer/") and array.ndim
    ]
    assert len(moments) == 12 and all(np.any(array) for array in moments)


@pytest.mark.parametrize(
    "kwargs, received",
    [
        ({"options": TrainingOptions(warmup_epochs=2)}, "warmup_epochs=2"),
        (
            {"options": TrainingOptions(reference_batch_size=6)},
            "reference_batch_size=6",
        ),
        ({"fine_tuning": FineTuning(lr_mult={"fc8": 2.0})}, "lr_mult={'fc8': 2.0}"),
    ],
)
def test_rejects_settings_that_the_optimizer_replaces(
    tmp_path, make_source, kwargs, received
):
    with pytest.raises(ValueError, match=f"of your own. Received: {received}"):
        train_briefly(tmp_path, make_source(12), optimizer=make_adam, **kwargs)


@pytest.mark.usefixtures("simulated_runs")
def test_train_dataset_takes_an_optimizer(tmp_path):
    """flags.txt has no values of the update rule that the optimizer replaces."""
    arguments = dict(
        dataset=write_image_folder(tmp_path / "data"), preset="tiny", batch_size=6,
        workdir=tmp_path / "run", eval_split="train", epochs=1,
        ablate=("norm", "conv2", "conv3", "conv4", "conv5"), optimizer=make_adam(),
    )
    with pytest.raises(ValueError, match="Received: learning_rate=0.1, patience=3"):
        training.train_dataset(**arguments, learning_rate=0.1, patience=3)
    measured = training.train_dataset(**arguments)
    assert np.isfinite(measured["loss"])
    flags = read_flags(str(tmp_path / "run"))
    assert flags["batch_size"] == "6" and flags["epochs"] == "1"
    assert not {*own_optimizer.REPLACED} & flags.keys()
    # The same call finds a finished run.
    assert training.train_dataset(**arguments) == measured
