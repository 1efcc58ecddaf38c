"""The estimate of the time left, and how the progress bar shows it."""

import sys

import keras
import pytest

from alexnet_tf import presets
from alexnet_tf.training.checkpoints import Progress
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import progress_bar
from alexnet_tf.training.progress_bar import ProgressBar
from alexnet_tf.training.progress_bar import RunClock


@pytest.fixture
def clock(monkeypatch):
    """A list with the present time in seconds, which replaces the system's clock."""
    time = [1000.0]
    monkeypatch.setattr(progress_bar.time, "perf_counter", lambda: time[0])
    return time


def make_clock(make_source, schedule="constant", **options):
    """Returns the clock of 5 epochs of 10 steps, with evaluations of 3 batches."""
    recipe = presets.Recipe(batch_size=8, schedule=schedule, epochs=5)
    return RunClock(recipe, TrainingOptions(**options), 10, make_source(20))


def test_estimates_the_rest_of_the_run_with_its_evaluations(clock, make_source):
    run_clock = make_clock(make_source)
    # The first call includes the time to compile, and is not measured.
    assert run_clock.seconds_left(2, 0) is None
    clock[0] += 12
    # A step takes 2 seconds. 42 steps and 5 evaluations of 3 batches are left.
    assert run_clock.seconds_left(8, 0) == pytest.approx(42 * 2 + 5 * 3 * 2)
    clock[0] += 4
    with run_clock.measure_evaluation():
        clock[0] += 7
    # Four epochs are left, with evaluations that take 7 seconds.
    assert run_clock.seconds_left(10, 1) == pytest.approx(40 * 2 + 4 * 7)
    clock[0] += 10 * 2 + 20  # Drawing figures takes 20 seconds.
    with run_clock.measure_evaluation():
        clock[0] += 5
    assert run_clock.seconds_left(20, 2) == pytest.approx(30 * 56 / 18 + 3 * 5)


def test_a_resumed_run_is_measured_from_its_first_step(clock, make_source):
    """The run was interrupted before the evaluation of its first epoch."""
    run_clock = make_clock(make_source, eval_every=2)
    with run_clock.measure_evaluation():
        clock[0] += 100
    assert run_clock.seconds_left(11, 1) is None
    clock[0] += 9 * 3
    # The epochs 2, 4 and 5 are evaluated.
    assert run_clock.seconds_left(20, 1) == pytest.approx(30 * 3 + 3 * 100)


@pytest.mark.parametrize(
    "schedule, options, expected",
    [
        ("constant", {}, "0:01:36 left of the run"),
        ("plateau", {}, "at most 0:01:36 left of the run"),
        (
            "step",
            {"early_stopping_patience": 3},
            "at most 0:01:36 left of the run",
        ),
    ],
)
def test_describes_the_time_in_hours_minutes_and_seconds(
    clock, make_source, schedule, options, expected
):
    run_clock = make_clock(make_source, schedule, **options)
    assert run_clock.describe_time_left(1, 0) == ""
    clock[0] += 1.5
    assert run_clock.describe_time_left(2, 0) == expected.replace("01:36", "01:34")
    with run_clock.measure_evaluation():
        clock[0] += 4
    # An evaluation is expected to take 4 seconds, and not as long as 3 steps any more.
    assert run_clock.seconds_left(2, 0) == pytest.approx(48 * 1.5 + 5 * 4)
    assert run_clock.describe_time_left(50, 5) == ""


def test_the_bar_shows_the_time_left_of_the_run(clock, make_source, capsys):
    progress = Progress()
    bar = ProgressBar(make_clock(make_source), progress)
    callback_list = keras.callbacks.CallbackList(
        [bar], model=keras.Model(), verbose=1, epochs=5, steps=10
    )
    callback_list.on_train_begin()
    callback_list.on_epoch_begin(0)
    bar.progbar.interval = 0  # Otherwise, the second update would come too early.
    for step in (1, 10):
        progress.step = step
        callback_list.on_train_batch_end(step - 1, {"loss": 0.5})
        clock[0] += 9
    progress.errors.append(0.1)
    callback_list.on_epoch_end(0, {"loss": 0.5})
    output = capsys.readouterr().out
    assert "Epoch 1/5" in output
    # Nine steps took 9 seconds. Then 40 steps and 5 evaluations were left.
    assert "/step, 0:00:55 left of the run - loss: 0.5000" in output
    # At the end of the epoch, a step had taken 2 seconds, and 4 evaluations were left.
    assert output.rstrip().endswith("/step, 0:01:44 left of the run - loss: 0.5000")
    assert output.count("left of the run") == 2


def test_a_notebook_gets_a_bar_that_is_redrawn(monkeypatch):
    """The output of an IPython kernel is not a terminal."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert not sys.stdout.isatty()
    assert progress_bar.verbosity() == 2
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert progress_bar.verbosity() == 1
    assert [progress_bar.verbosity(value) for value in (0, 1, 2)] == [0, 1, 2]
