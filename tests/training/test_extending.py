"""More epochs, early stopping, fewer evaluations and the best weights of real runs."""

import csv
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf import presets
from alexnet_tf.training import checkpoints
from alexnet_tf.training import kernel_history
from alexnet_tf.training import loop
from alexnet_tf.training import optimizers
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import validation
from alexnet_tf.workdir import read_metrics
from helpers.runs import CallAtStep
from helpers.runs import final_arrays
from helpers.runs import run_metrics
from helpers.runs import shallow_preset
from helpers.runs import train_briefly

pytestmark = pytest.mark.usefixtures("figures_as_text")


@pytest.fixture
def errors_after_steps(monkeypatch):
    """A list of the top-1 errors that evaluations return: one for each step."""
    errors = []

    def evaluator(model, strategy):
        def evaluate(*args, **kwargs):
            step = int(model.optimizer.iterations.numpy())
            return {"loss": 1.0, "top1_error": errors[step - 1], "top5_error": 0.0}

        return evaluate

    monkeypatch.setattr(validation, "evaluator", evaluator)
    return errors


def evaluated_epochs(path):
    return [m["epoch"] for m in read_metrics(str(path)) if m["split"] == "eval"]


def assert_same_run(expected, actual):
    """Compares the weights and the metrics of two runs."""
    expected_arrays, actual_arrays = final_arrays(expected), final_arrays(actual)
    assert expected_arrays.keys() == actual_arrays.keys()
    for name, array in expected_arrays.items():
        np.testing.assert_array_equal(actual_arrays[name], array, err_msg=name)
    assert run_metrics(expected) == run_metrics(actual)


@pytest.mark.parametrize(
    "schedule, same",
    [
        ("constant", True),
        ("plateau", True),
        ("step", True),
        ("stepped_exponential", False),
    ],
)
def test_learning_rates_do_not_depend_on_the_number_of_epochs(schedule, same):
    """Only those of stepped_exponential do, whose runs therefore cannot be extended."""
    errors = [0.5, 0.6, 0.6, 0.4, 0.5, 0.5, 0.5, 0.5]
    learning_rates = []
    for epochs in (8, 16):
        recipe = presets.Recipe(
            schedule=schedule, epochs=epochs, boundaries=(3, 5), patience=2
        )
        learning_rates.append(
            [optimizers.learning_rate(recipe, e, errors[:e]) for e in range(8)]
        )
    assert (learning_rates[0] == learning_rates[1]) == same
    assert schedule == "constant" or len({*learning_rates[0]}) > 1


@pytest.mark.usefixtures("simulated_runs")
@pytest.mark.parametrize(
    "recipe",
    [
        dict(schedule="step", boundaries=(1, 2)),
        pytest.param(dict(schedule="constant"), marks=pytest.mark.large),
        dict(schedule="plateau", patience=1),
    ],
)
def test_more_epochs_continue_a_finished_run(tmp_path, make_source, capsys, recipe):
    """The run equals one that began with the larger number."""
    source, straight, extended = make_source(24), tmp_path / "a", tmp_path / "b"
    longer = shallow_preset(epochs=3, **recipe)
    expected = train_briefly(straight, source, preset=longer)
    train_briefly(extended, source, preset=shallow_preset(epochs=2, **recipe))
    assert "already finished" not in capsys.readouterr().out
    assert train_briefly(extended, source, preset=longer) == expected
    assert_same_run(straight, extended)
    tables = [(path / "metrics.csv").read_bytes() for path in (straight, extended)]
    assert tables[0] == tables[1] and tables[0].count(b"\n") == 4
    assert train_briefly(extended, source, preset=longer) == expected
    output = capsys.readouterr().out
    assert f"in {extended} has already finished after 3 epochs. With a lar" in output
    with pytest.raises(ValueError, match="trained, 3 epochs. Received: epochs=2"):
        train_briefly(extended, source, preset=shallow_preset(epochs=2, **recipe))


@pytest.mark.usefixtures("simulated_runs")
def test_early_stopping_ends_a_run_and_the_best_weights_are_kept(
    tmp_path, make_source, errors_after_steps, capsys
):
    """There is one step per epoch, and the second epoch has the lowest error."""
    errors_after_steps += [0.5, 0.3, 0.4, 0.35, 0.31]
    source, preset, weights = make_source(12), shallow_preset(epochs=9), []

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights.append(self.model.get_weights())

    def train(patience):
        options = TrainingOptions(early_stopping_patience=patience, keep_best=True)
        return train_briefly(
            tmp_path, source, preset=preset, options=options, callbacks=[Record()]
        )

    train(patience=2)
    assert evaluated_epochs(tmp_path) == [1, 2, 3, 4]
    best = load_classifier(str(tmp_path), checkpoint="best").model.get_weights()
    for array, expected, other in zip(best, weights[1], weights[3], strict=True):
        np.testing.assert_array_equal(array, expected)
        assert not np.array_equal(array, other)
    train(patience=2)
    assert "finished after 4 epochs, by its early_stop" in capsys.readouterr().out
    train(patience=3)
    assert evaluated_epochs(tmp_path) == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("simulated_runs")
def test_epochs_between_two_evaluations_are_not_evaluated(tmp_path, make_source):
    """The last epoch is evaluated, even if a callback ends the run.

    If the run goes on, the metrics keep this evaluation, although a run that did not
    end there would not have had it.
    """

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert ("val_loss" in logs) == (epoch > 0)
            self.model.stop_training = epoch == 0

    def train(epochs, *callbacks):
        return train_briefly(
            tmp_path, make_source(12), preset=shallow_preset(epochs=epochs),
            options=TrainingOptions(eval_every=2), callbacks=callbacks,
        )

    measured = train(3, Stop())
    assert evaluated_epochs(tmp_path) == [1]
    assert measured["loss"] == read_metrics(str(tmp_path))[-1]["loss"]
    train(3)
    assert evaluated_epochs(tmp_path) == [1, 2, 3]
    train(4)
    assert evaluated_epochs(tmp_path) == [1, 2, 3, 4]
    with open(tmp_path / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["val_loss"] == "NA" for row in rows] == [True, False, False, False]
    assert float(rows[3]["val_loss"]) == read_metrics(str(tmp_path))[-1]["loss"]


@pytest.mark.usefixtures("simulated_runs")
def test_the_best_weights_of_a_shorter_run_remain_the_best(
    tmp_path, make_source, errors_after_steps
):
    """The third epoch is evaluated only because the run ends there at first.

    The evaluation does not count for the schedule: with it, the fourth epoch would be
    the first of a lower learning rate.
    """
    errors_after_steps += [0.9, 0.5, 0.6, 0.55, 0.4, 0.45]
    options = TrainingOptions(keep_best=True, eval_every=2)

    def train(epochs):
        train_briefly(
            tmp_path, make_source(12), options=options, log_steps=1,
            preset=shallow_preset(epochs=epochs, schedule="plateau", patience=1),
        )

    def best_kernel():
        model = load_classifier(str(tmp_path), checkpoint="best").model
        return model.get_layer("fc8").kernel.numpy()

    train(3)
    train(4)
    train(5)
    kernel = best_kernel()
    train(6)
    train(6)
    np.testing.assert_array_equal(best_kernel(), kernel)
    lines = read_metrics(str(tmp_path))
    errors = {m["epoch"]: m["top1_error"] for m in lines if m["split"] == "eval"}
    assert errors == {2: 0.5, 3: 0.6, 4: 0.55, 5: 0.4, 6: 0.45}
    learning_rates = [m["learning_rate"] for m in lines if m["split"] == "train"]
    assert learning_rates == pytest.approx(4 * [0.01] + 2 * [0.001])


@pytest.mark.usefixtures("simulated_runs")
def test_a_run_killed_before_it_saves_its_best_weights_saves_them_later(
    tmp_path, make_source, errors_after_steps, monkeypatch
):
    errors_after_steps += [0.5, 0.3, 0.4]
    save_weights = checkpoints.save_weights

    def die(model, path):
        if int(model.optimizer.iterations.numpy()) == 2:
            raise RuntimeError("killed")
        save_weights(model, path)

    def train():
        return train_briefly(
            tmp_path, make_source(12), preset=shallow_preset(epochs=3),
            options=TrainingOptions(keep_best=True),
        )

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(checkpoints, "save_weights", die)
        train()
    arrays = final_arrays(tmp_path)  # Those of the second epoch.
    train()
    best = load_classifier(str(tmp_path), checkpoint="best").model
    kernel = arrays["layers/fc8/_kernel/.ATTRIBUTES/VARIABLE_VALUE"]
    np.testing.assert_array_equal(best.get_layer("fc8").kernel.numpy(), kernel)
    assert evaluated_epochs(tmp_path) == [1, 2, 3]
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2"]
    assert list(kernel_history.recorded_epochs(tmp_path)) == [0, 1, 2, 3]


@pytest.mark.usefixtures("simulated_runs")
def test_weights_that_a_callback_sets_at_the_end_are_saved(
    tmp_path, make_source, errors_after_steps
):
    """A longer run goes on from them, but they are not taken for the best weights."""
    errors_after_steps += [0.4, 0.3, 0.5]

    class HalveWeights(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.last_kernel = self.model.get_layer("fc8").kernel.numpy()
            self.model.set_weights([0.5 * array for array in self.model.get_weights()])

    def train(epochs, *callbacks):
        preset, options = shallow_preset(epochs=epochs), TrainingOptions(keep_best=True)
        train_briefly(
            tmp_path, make_source(12), preset=preset, options=options,
            callbacks=callbacks,
        )

    def saved_kernel(checkpoint):
        classifier = load_classifier(str(tmp_path), checkpoint=checkpoint)
        return classifier.model.get_layer("fc8").kernel.numpy()

    halve_weights = HalveWeights()
    train(2, halve_weights)
    last_kernel = halve_weights.last_kernel
    np.testing.assert_array_equal(saved_kernel("last"), 0.5 * last_kernel)
    np.testing.assert_array_equal(saved_kernel("best"), last_kernel)
    train(3)
    np.testing.assert_array_equal(saved_kernel("best"), last_kernel)


TRACES = []


def add_noise(image, seed):
    """An augmentation that depends on the seed, and records when it is traced."""
    TRACES.append(seed)
    noise = tf.random.stateless_uniform(tf.shape(image), seed, -20, 20, tf.int32)
    return tf.cast(image, tf.int32) + noise


@pytest.mark.usefixtures("simulated_steps")
@pytest.mark.large
def test_a_run_stopped_in_its_warm_up_resumes_bit_for_bit(tmp_path, make_source):
    """The run has scaled learning rates, class weights and an augmentation, too."""
    source, straight, resumed = make_source(36), tmp_path / "a", tmp_path / "b"
    options = TrainingOptions(
        warmup_epochs=2, reference_batch_size=6, class_weights="balanced"
    )
    kwargs = dict(
        preset=shallow_preset(epochs=3), options=options, augment=add_noise, log_steps=1
    )
    TRACES.clear()
    expected = train_briefly(straight, source, **kwargs)
    assert len(TRACES) == 4  # A check, and the pipelines of three epochs.
    stop = CallAtStep(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(loop.TrainingInterrupted):
        train_briefly(resumed, source, callbacks=[stop], **kwargs)
    assert train_briefly(resumed, source, **kwargs) == expected
    assert_same_run(straight, resumed)
    lines = read_metrics(str(straight))
    learning_rates = [m["learning_rate"] for m in lines if m["split"] == "train"]
    # Batches of 12 double the learning rate of .01, which six steps of warm-up reach.
    steps = np.arange(1, 10)
    assert learning_rates == pytest.approx(0.02 * np.minimum(steps / 6, 1))
