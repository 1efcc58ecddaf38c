"""Tests of the training loop: devices, resuming, precision and errors."""

import dataclasses
import itertools
import json
import math
import os
import resource
import signal
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import input_pipeline
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models import alexnet
from alexnet_tf.training import callbacks
from alexnet_tf.training.checkpoints import CheckpointSaver
from alexnet_tf.training.checkpoints import Progress
from alexnet_tf.training import distribution
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training import loop
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import steps
from alexnet_tf.training import validation
from alexnet_tf.workdir import read_metrics
from alexnet_tf.workdir import WorkDirectoryInUse
from helpers.runs import CallAtStep
from helpers.runs import events
from helpers.runs import final_arrays
from helpers.runs import run_metrics
from helpers.runs import run_weights
from helpers.runs import shallow_preset
from helpers.runs import train_briefly
from helpers.simulation import simulated_runs

pytestmark = pytest.mark.usefixtures("figures_as_text")


def assert_same(expected, actual, atol=0.0):
    """Compares two dictionaries of arrays."""
    assert expected.keys() == actual.keys() and len(expected) >= 12
    for name in expected:
        np.testing.assert_allclose(
            actual[name], expected[name], rtol=0, atol=atol, err_msg=name
        )


def compute_statistics(folder, source):
    """Makes a run compute the statistics of a source, which later runs read."""
    with simulated_runs():
        train_briefly(folder / "statistics", source, preset=shallow_preset(epochs=1))


def final_model(path, preset):
    """Loads the model of the newest checkpoint in float32."""
    model = alexnet.AlexNet(preset, 10)
    latest = tf.train.latest_checkpoint(str(path / "checkpoints"))
    layers = {layer.name: layer for layer in model.layers}
    status = tf.train.Checkpoint(layers=layers).restore(latest)
    status.assert_existing_objects_matched().expect_partial()
    return model


def test_a_run_writes_all_its_files(tmp_path, make_source):
    measured = train_briefly(tmp_path, make_source(30), log_steps=1)
    names = {"checkpoints", "conv1.png", "curves.png", "kernels", "metrics.csv"}
    assert names | {"metrics.jsonl", "tensorboard"} <= set(os.listdir(tmp_path))
    lines = read_metrics(str(tmp_path))
    # 30 images are 2 full batches per epoch.
    assert [(m["split"], m["step"], m["epoch"]) for m in lines] == [
        ("train", 1, 0.5),
        ("train", 2, 1.0),
        ("eval", 2, 1),
        ("train", 3, 1.5),
        ("train", 4, 2.0),
        ("eval", 4, 2),
    ]
    assert lines[-1]["top1_error"] == measured["top1_error"]
    assert all(np.isfinite(m["loss"]) for m in lines)
    csv_lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert csv_lines[0].startswith("epoch,") and len(csv_lines) == 3
    assert list((tmp_path / "tensorboard").rglob("events*"))


@pytest.mark.parametrize(
    "devices", [3, pytest.param(2, marks=pytest.mark.large)]
)
def test_devices_share_the_global_batch(tmp_path, make_source, devices):
    """Dropout is disabled, because each device draws different masks."""
    source = make_source(36)
    preset = shallow_preset(dropout=0.0, epochs=1)
    expected = train_briefly(tmp_path / "one", source, preset=preset)
    measured = train_briefly(
        tmp_path / "several", source, preset=preset, devices=devices
    )
    assert measured == pytest.approx(expected, abs=1e-4)
    arrays = (final_arrays(tmp_path / name) for name in ("one", "several"))
    assert_same(*arrays, atol=1e-5)


@pytest.mark.parametrize("batch_size, multiple", [(16, 15), (2, 3)])
def test_rejects_a_batch_that_devices_cannot_share(
    tmp_path, make_source, batch_size, multiple
):
    """A batch of 16 is not a multiple of 3 devices; a batch of 2 is smaller than 3."""
    preset = shallow_preset(batch_size=batch_size)
    message = f"3 devices.*batch_size={batch_size}. Use batch_size={multiple} or.*es=1"
    with pytest.raises(ValueError, match=message):
        train_briefly(tmp_path, make_source(36), preset=preset, devices=3)


def test_rejects_fewer_images_than_a_batch(tmp_path, make_source):
    with pytest.raises(ValueError, match="30 images, batch_size=31"):
        train_briefly(tmp_path, make_source(30), preset=shallow_preset(batch_size=31))


def test_rejects_a_source_with_one_class(tmp_path, make_source):
    source = make_source(30, classes=1)
    with pytest.raises(ValueError, match="at least two classes in .*Received: "):
        train_briefly(tmp_path, source)


def test_rejects_sources_with_different_classes(tmp_path, make_source):
    with pytest.raises(ValueError, match="same classes.*10 and 5"):
        loop.train(
            shallow_preset(), make_source(30), make_source(30, classes=5), str(tmp_path)
        )


@pytest.mark.usefixtures("simulated_runs")
def test_ctrl_c_during_the_last_save_does_not_damage_it(
    tmp_path, make_source, monkeypatch
):
    save = CheckpointSaver.save

    def interrupt_and_save(*args):
        os.kill(os.getpid(), signal.SIGINT)
        save(*args)

    monkeypatch.setattr(CheckpointSaver, "save", interrupt_and_save)
    train_briefly(tmp_path, make_source(12), preset=shallow_preset(epochs=1))
    assert len(final_arrays(tmp_path)) >= 12
    assert (tmp_path / "conv1.png").exists()


@pytest.mark.large
def test_the_same_seed_gives_identical_weights(tmp_path, make_source):
    source = make_source(36)
    for name, seed in (("first", 3), ("second", 3), ("other seed", 4)):
        train_briefly(tmp_path / name, source, seed=seed)
    arrays = final_arrays(tmp_path / "first")
    assert_same(arrays, final_arrays(tmp_path / "second"))
    with pytest.raises(AssertionError):
        assert_same(arrays, final_arrays(tmp_path / "other seed"), atol=1e-3)


@pytest.fixture(scope="module")
def train_straight(tmp_path_factory):
    """A function that returns the directory and the metrics of an uninterrupted run.

    train_straight(source, log_steps): simulates a run once per module and value of
        `log_steps`, because all tests call it with the same images.
    """
    runs = {}

    def train_once(source, log_steps):
        if log_steps not in runs:
            path = tmp_path_factory.mktemp("straight")
            with simulated_runs():
                metrics = train_briefly(path, source, log_steps=log_steps)
            runs[log_steps] = path, metrics
        return runs[log_steps]

    return train_once


@pytest.mark.parametrize(
    "step, simulation",
    [
        (3, "simulated_runs"),
        (4, "simulated_runs"),
        (1, None),
        pytest.param(2, "simulated_steps", marks=pytest.mark.large),
        pytest.param(3, None, marks=pytest.mark.large),
        pytest.param(4, None, marks=pytest.mark.large),
    ],
)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_run(
    tmp_path, make_source, request, step, simulation
):
    """The run is stopped within an epoch, or after an epoch before its evaluation."""
    if simulation:
        request.getfixturevalue(simulation)
    source, straight, resumed = make_source(36), tmp_path / "a", tmp_path / "b"
    expected = train_briefly(straight, source, log_steps=2)
    signum = signal.SIGINT if step == 3 else signal.SIGTERM
    stop = CallAtStep(step, lambda: os.kill(os.getpid(), signum))
    with pytest.raises(loop.TrainingInterrupted, match=signal.Signals(signum).name):
        train_briefly(resumed, source, log_steps=2, callbacks=[stop])
    assert train_briefly(resumed, source, log_steps=2) == expected
    assert_same(final_arrays(straight), final_arrays(resumed))
    assert_same_metrics(straight, resumed)


@pytest.mark.usefixtures("simulated_runs")
def test_loss_scaling_works_with_schedules_and_resuming(tmp_path, make_source):
    """The run is stopped and resumed, and its learning rate drops after an epoch.

    For float16, Keras' `LossScaleOptimizer` wraps the optimizer that has the learning
    rate.
    """
    source = make_source(36)
    preset = shallow_preset(schedule="step", boundaries=(1,))
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    kwargs = dict(preset=preset, precision="mixed_float16", log_steps=1)
    train_briefly(straight, source, **kwargs)
    stop = CallAtStep(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(loop.TrainingInterrupted):
        train_briefly(resumed, source, callbacks=[stop], **kwargs)
    train_briefly(resumed, source, **kwargs)
    assert_same(final_arrays(straight), final_arrays(resumed))
    lines = read_metrics(str(resumed))
    learning_rates = [m["learning_rate"] for m in lines if m["split"] == "train"]
    assert learning_rates == pytest.approx(3 * [0.01] + 3 * [0.001])
    arrays = final_arrays(resumed)
    (name,) = [key for key in arrays if "inner_optimizer/_learning_rate" in key]
    assert arrays[name] == pytest.approx(0.001)


def test_an_overflow_on_any_device_skips_the_step(make_source):
    """Only the second of two devices has a gradient that is not finite."""
    strategy = distribution.make_strategy(2)
    preset = shallow_preset(dropout=0.0, batch_size=2)
    with strategy.scope(), steps.dtype_policy("mixed_float16"):
        model = alexnet.AlexNet(preset, 10, classifier_activation=None)
        optimizer = steps.make_optimizer(model, preset.recipe, "mixed_float16")
    images = np.ones((2, 64, 64, 3), np.float32)
    images[1] = np.inf
    batches = strategy.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.from_tensor_slices(
            (images, np.array([1, 2], np.int32))
        ).batch(1)
    )
    before = [w.numpy() for w in model.weights]
    run_steps = steps.make_run_steps(model, optimizer, strategy, preset.recipe, 0)
    run_steps(iter(batches), 0, 1)
    for weight, array in zip(model.weights, before):
        np.testing.assert_array_equal(weight.numpy(), array)


def assert_same_metrics(expected, actual):
    """Compares the metrics that two runs have written to their work directories."""
    assert run_metrics(expected) == run_metrics(actual)
    tables = [(path / "metrics.csv").read_bytes() for path in (expected, actual)]
    assert tables[0] == tables[1]


@pytest.mark.usefixtures("simulated_runs")
@pytest.mark.parametrize("step", [4, 5])
def test_a_killed_and_resumed_run_equals_an_uninterrupted_run(
    tmp_path, make_source, train_straight, step
):
    """An exception simulates a kill, because the loop does not save after it."""
    source, resumed = make_source(36), tmp_path / "resumed"
    straight, _ = train_straight(source, log_steps=1)

    def die():
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        # A checkpoint is saved after each call. Before step 4, the last checkpoint is
        # that of step 3, the last step of an epoch.
        train_briefly(
            resumed, source, log_steps=1, checkpoint_minutes=0,
            callbacks=[CallAtStep(step, die)],
        )
    train_briefly(resumed, source, log_steps=1)
    assert_same(final_arrays(straight), final_arrays(resumed))
    assert_same_metrics(straight, resumed)


def test_each_iterator_over_the_data_is_closed(tmp_path, make_source, monkeypatch):
    closed = []
    close = input_pipeline.ReleasableIterator.close

    def close_and_record(self):
        if self.iterator is not None:
            closed.append(self.iterator)
        close(self)

    monkeypatch.setattr(input_pipeline.ReleasableIterator, "close", close_and_record)
    train_briefly(tmp_path, make_source(12), preset=shallow_preset(epochs=1))
    assert len(closed) == 2  # Training and validation.


@pytest.mark.usefixtures("simulated_runs")
def test_a_run_that_a_callback_stopped_can_be_resumed(
    tmp_path, make_source, train_straight
):
    """The callback ends training after an epoch, as `EarlyStopping` of Keras does."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    source, resumed = make_source(36), tmp_path / "resumed"
    straight, expected = train_straight(source, log_steps=2)
    measured = train_briefly(resumed, source, log_steps=2, callbacks=[Stop()])
    lines = read_metrics(str(resumed))
    assert [m["epoch"] for m in lines if m["split"] == "eval"] == [1]
    assert measured["loss"] == lines[-1]["loss"]
    assert train_briefly(resumed, source, log_steps=2) == expected
    assert_same(final_arrays(straight), final_arrays(resumed))
    assert_same_metrics(straight, resumed)


class RecordLogs(keras.callbacks.Callback):
    """Records the calls of its methods: (name, number of an epoch or step, logs)."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("batch_begin", batch, logs))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("epoch_end", epoch, logs))

    def on_train_end(self, logs=None):
        self.calls.append(("train_end", None, logs))

    def of(self, name):
        """Returns the (number, logs) of all calls of one method."""
        return [call[1:] for call in self.calls if call[0] == name]


@pytest.mark.usefixtures("simulated_runs")
def test_logs_of_an_epoch_are_means_over_its_steps(tmp_path, make_source):
    """The first epochs are not evaluated. The run is stopped in one of them."""
    source, record, preset = make_source(36), RecordLogs(), shallow_preset(epochs=3)
    arguments = dict(
        preset=preset, log_steps=1,
        options=TrainingOptions(eval_every=3), callbacks=record,
    )  # fmt: skip
    stop = CallAtStep(5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(loop.TrainingInterrupted):
        train_briefly(tmp_path, source, **arguments | {"callbacks": [record, stop]})
    measured = train_briefly(tmp_path, source, **arguments)
    assert [step for step, _ in record.of("batch_begin")] == [0, 1, 2, 0, 1, 2, 0, 1, 2]
    epochs = record.of("epoch_end")
    assert [epoch for epoch, _ in epochs] == [0, 1, 2]
    lines = [m for m in read_metrics(str(tmp_path)) if m["split"] == "train"]
    for epoch, logs in epochs:
        of_steps = lines[3 * epoch : 3 * epoch + 3]
        for name in ("loss", "top1_error", "top5_error"):
            mean = np.mean([line[name] for line in of_steps])
            assert logs[name] == pytest.approx(mean)
        assert logs["learning_rate"] == preset.recipe.learning_rate
        assert ("val_loss" in logs) == (epoch == 2)
    assert epochs[2][1]["val_loss"] == measured["loss"]
    assert record.of("train_end") == [(None, epochs[2][1])]


@pytest.mark.usefixtures("simulated_runs")
def test_the_best_weights_are_those_that_were_evaluated(tmp_path, make_source):
    """The callback sets all weights to 0 when the first and best epoch ends."""

    class SetToZero(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.evaluated = self.model.get_weights()
            self.model.set_weights([0 * array for array in self.evaluated])

    callback = SetToZero()
    arguments = dict(
        preset=shallow_preset(epochs=1), options=TrainingOptions(keep_best=True)
    )
    train_briefly(tmp_path, make_source(24), callbacks=[callback], **arguments)
    assert not any(map(np.any, run_weights(tmp_path)))
    # A run that is resumed from the changed weights does not take them for the best.
    train_briefly(tmp_path, make_source(24), **arguments)
    best = load_classifier(str(tmp_path), checkpoint="best").model.get_weights()
    for array, evaluated in zip(best, callback.evaluated, strict=True):
        np.testing.assert_array_equal(array, evaluated)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seed": -1}, "seed to be an integer of at least 0.*seed=-1"),
        ({"log_steps": 0}, "log_steps.*at least 1.*log_steps=0"),
        ({"shuffle_buffer": 2.5}, "shuffle_buffer to be an integer.*=2.5"),
        ({"max_bad_images": -1}, "max_bad_images to be an integer.*=-1"),
        ({"max_bad_images": True}, "max_bad_images to be an integer.*=True"),
        ({"checkpoint_minutes": -1}, "checkpoint_minutes to be a number.*=-1"),
        ({"precision": "float16"}, '"mixed_float16". Received: precision=.float16'),
        ({"callbacks": ["x"]}, "keras.callbacks.Callback objects. Received: 'x'"),
        (
            {"fine_tuning": FineTuning(lr_mult={"fc88": 2.0})},
            "lr_mult to name some of the layers conv1, .*lr_mult=fc88",
        ),
        ({"fine_tuning": FineTuning(layout="caffe")}, "weights. .*layout=caffe alone"),
        ({"fine_tuning": FineTuning(reinit="fc8")}, "weights. .*reinit=fc8 alone"),
        ({"optimizer": 3}, "Keras optimizer, or a function.*Received: 3"),
        ({"verbose": 3}, '"auto", 0, 1 or 2. Received: verbose=3'),
    ],
)
def test_rejects_wrong_arguments_before_anything_is_written(
    tmp_path, make_source, changes, message
):
    with pytest.raises(ValueError, match=message):
        loop.train(
            shallow_preset(), make_source(36), make_source(36), str(tmp_path / "run"),
            **changes,
        )
    assert not (tmp_path / "run").exists()


def test_rejects_a_work_directory_that_could_not_be_resumed(tmp_path, make_source):
    path = tmp_path / "run [1]"
    with pytest.raises(ValueError, match=r"without \[ and \] in its path. .*run \[1\]"):
        loop.train(shallow_preset(), make_source(36), make_source(36), str(path))
    assert not path.exists()


def test_rejects_a_preset_that_is_not_valid(tmp_path, make_source):
    recipe = dataclasses.replace(shallow_preset().recipe, schedule="cosine")
    preset = dataclasses.replace(shallow_preset(), recipe=recipe)
    with pytest.raises(ValueError, match="schedule of Recipe to be .*'cosine'"):
        train_briefly(tmp_path, make_source(36), preset=preset)


@pytest.mark.usefixtures("simulated_runs")
def test_two_runs_cannot_use_one_work_directory(tmp_path, make_source):
    """A run is already in the directory when another one begins there."""
    source, preset, errors = make_source(24), shallow_preset(epochs=1), []

    def train_in_thread():
        with pytest.raises(WorkDirectoryInUse) as raised:
            train_briefly(tmp_path, source, preset=preset)
        errors.append(str(raised.value))

    def begin_second_run():
        thread = threading.Thread(target=train_in_thread)
        thread.start()
        thread.join()

    call = CallAtStep(1, begin_second_run)
    expected = train_briefly(tmp_path, source, preset=preset, callbacks=[call])
    assert len(errors) == 1 and f"workdir={tmp_path}, in which a run is" in errors[0]
    assert train_briefly(tmp_path, source, preset=preset) == expected


@pytest.mark.usefixtures("simulated_runs")
def test_a_finished_run_only_returns_its_metrics(tmp_path, make_source):
    source = make_source(24)
    measured = train_briefly(tmp_path, source)
    arrays, times = final_arrays(tmp_path), modification_times(tmp_path)
    assert train_briefly(tmp_path, source) == measured
    assert_same(arrays, final_arrays(tmp_path))
    assert modification_times(tmp_path) == times


@pytest.mark.usefixtures("simulated_runs")
def test_names_the_missing_metrics_of_a_finished_run(tmp_path, make_source):
    source, preset = make_source(12), shallow_preset(epochs=1)
    train_briefly(tmp_path, source, preset=preset)
    (tmp_path / "metrics.jsonl").unlink()
    message = f"{tmp_path}/metrics.jsonl has no .*evaluate --weights={tmp_path}"
    with pytest.raises(ValueError, match=message):
        train_briefly(tmp_path, source, preset=preset)


@pytest.mark.usefixtures("simulated_runs")
def test_a_run_with_other_classes_is_not_resumed(tmp_path, make_source):
    """The network keeps the names of the classes that it has learned."""
    source = make_source(12)
    train_briefly(tmp_path, source)
    before = (tmp_path / "network.json").read_bytes()
    permuted = dataclasses.replace(source, classes=source.classes[::-1])
    with pytest.raises(ValueError, match="10 classes of the run .* the order 9, 8, 7"):
        train_briefly(tmp_path, permuted)
    assert (tmp_path / "network.json").read_bytes() == before


def test_integers_of_numpy_are_accepted(tmp_path, make_source):
    """From the second line on, log_steps determines how many steps run at once."""
    train_briefly(
        tmp_path, make_source(12), preset=shallow_preset(epochs=1, batch_size=2),
        seed=np.int64(1), log_steps=np.int64(2),
    )  # fmt: skip
    lines = run_metrics(tmp_path)
    expected = [("train", 2), ("train", 4), ("train", 6), ("eval", 6)]
    assert [(m["split"], m["step"]) for m in lines] == expected


def modification_times(path):
    """Returns {path: time in ns} of the checkpoints and of TensorBoard's files."""
    folders = path / "checkpoints", path / "tensorboard"
    files = [file for folder in folders for file in folder.rglob("*.*")]
    assert len(files) >= 4
    return {file: file.stat().st_mtime_ns for file in files}


@pytest.mark.usefixtures("simulated_runs")
def test_the_same_state_is_saved_only_once(tmp_path, make_source, monkeypatch):
    """The run is stopped after a step for which a checkpoint has just been saved."""
    saved = []
    save = tf.train.CheckpointManager.save

    def save_and_record(self, checkpoint_number):
        saved.append(checkpoint_number)
        return save(self, checkpoint_number=checkpoint_number)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", save_and_record)
    stop = CallAtStep(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(loop.TrainingInterrupted):
        train_briefly(tmp_path, make_source(36), checkpoint_minutes=0, callbacks=[stop])
    assert saved == [1, 2]


def test_a_loss_that_is_not_finite_names_the_step(tmp_path, make_source):
    source = make_source(36)
    preset = shallow_preset(learning_rate=1e20, epochs=9)
    with pytest.raises(FloatingPointError, match="at step|after step") as error:
        train_briefly(tmp_path, source, preset=preset, checkpoint_minutes=1e9)
    step = int(str(error.value).split("step ")[1].split(".")[0])
    assert 2 <= step <= 9
    assert "No checkpoint was saved." in str(error.value)


@pytest.mark.usefixtures("simulated_runs")
@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_an_evaluation_that_is_not_finite_is_not_logged(
    tmp_path, make_source, monkeypatch, loss
):
    def evaluate(*args, **kwargs):
        return {"loss": loss, "top1_error": 0.5, "top5_error": 0.1}

    monkeypatch.setattr(validation, "evaluator", lambda *_: evaluate)
    message = f"{loss} in the evaluation after step 2. No check"
    with pytest.raises(FloatingPointError, match=message):
        train_briefly(tmp_path, make_source(24))
    lines = read_metrics(str(tmp_path))
    assert [line["split"] for line in lines] == ["train"]


@pytest.mark.usefixtures("simulated_runs")
def test_bad_weights_never_replace_a_good_checkpoint(tmp_path, make_source):
    """A step with a finite loss may set weights to NaN, which a callback does here."""
    source = make_source(36)

    class Poison(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations.numpy()) == 3:
                kernel = self.model.get_layer("fc8").kernel
                kernel.assign(kernel.value * np.nan)

    with pytest.raises(FloatingPointError, match="after step 3.*ckpt-2"):
        train_briefly(
            tmp_path, source, log_steps=1, checkpoint_minutes=0,
            callbacks=[Poison()],
        )
    assert all(np.isfinite(a).all() for a in final_arrays(tmp_path).values())


@pytest.mark.usefixtures("simulated_runs")
def test_reports_a_full_disk_and_keeps_the_last_checkpoint(
    tmp_path, make_source
):
    """A limit on the file size, smaller than a checkpoint, simulates a full disk."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard_limit))

    try:
        message = "No checkpoint could be saved.*ckpt-2"
        with pytest.raises(OSError, match=message) as error:
            train_briefly(
                tmp_path,
                make_source(36),
                log_steps=1,
                checkpoint_minutes=0,
                callbacks=[CallAtStep(3, fill_the_disk)],
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard_limit, hard_limit))
    assert "File too large. The last good" in str(error.value)
    assert "{{" not in str(error.value) and "[Op" not in str(error.value)
    assert not list((tmp_path / "checkpoints").glob("*_temp"))
    assert len(final_arrays(tmp_path)) >= 12


@pytest.mark.usefixtures("simulated_runs")
def test_removes_unfinished_checkpoints_of_a_killed_run(tmp_path, make_source):
    unfinished = tmp_path / "checkpoints" / "ckpt-1_temp"
    unfinished.mkdir(parents=True)
    (unfinished / "part-00000-of-00001").write_text("half")
    # A checkpoint without an index is unfinished, because TensorFlow writes the index
    # last.
    data = tmp_path / "checkpoints" / "ckpt-7.data-00000-of-00001"
    data.write_text("half")
    train_briefly(tmp_path, make_source(12), preset=shallow_preset(epochs=1))
    assert not unfinished.exists() and not data.exists()
    assert len(final_arrays(tmp_path)) >= 12


@pytest.mark.parametrize(
    "precision",
    ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.large)],
)
def test_low_precision_trains_float32_weights(
    tmp_path, make_source, precision
):
    source = make_source(12)
    preset = shallow_preset(dropout=0.0, epochs=1)
    train_briefly(tmp_path / "full", source, preset=preset)
    train_briefly(tmp_path / "low", source, preset=preset, precision=precision)
    assert keras.config.dtype_policy().name == "float32"
    full, low = (final_model(tmp_path / name, preset) for name in ("full", "low"))
    initial = alexnet.AlexNet(preset, 10)
    for full_weight, low_weight, initial_weight in zip(
        full.weights, low.weights, initial.weights
    ):
        assert low_weight.dtype == "float32"
        difference = np.abs(full_weight.numpy() - low_weight.numpy()).max()
        change = np.abs(full_weight.numpy() - initial_weight.numpy()).max()
        assert difference < 0.1 * change + 1e-3


def test_dropout_masks_differ_by_step_and_layer():
    """On one device, the seeds of the masks also differ by the seed of the run."""
    states = [keras.Variable([0, 0], dtype="int64") for _ in range(2)]

    def seeds(seed, step):
        pairs = steps._dropout_seeds(states, seed, step)
        return [tuple(value.numpy()) for _, value in pairs]

    distinct = {value for args in [(0, 0), (0, 1), (1, 0)] for value in seeds(*args)}
    assert len(distinct) == 6
    assert seeds(0, 1) == seeds(0, 1)


@pytest.mark.usefixtures("simulated_runs")
@pytest.mark.parametrize("keep", [0, 1000])
def test_rejects_a_damaged_checkpoint(tmp_path, make_source, keep):
    source = make_source(24)
    train_briefly(tmp_path, source)
    (data,) = (tmp_path / "checkpoints").glob("*.data-*")
    data.write_bytes(data.read_bytes()[:keep])
    with pytest.raises(ValueError, match="No checkpoint of .*ckpt-4 .*damaged"):
        train_briefly(tmp_path, source)


def flip_bit(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)


def truncate(path, size):
    path.write_bytes(path.read_bytes()[:size])


def kill_after_step_3(path, source):
    """Kills a run after step 3; returns the folder of its checkpoints 2 and 3."""

    def die():
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train_briefly(
            path, source, log_steps=1, checkpoint_minutes=0,
            callbacks=[CallAtStep(4, die)],
        )
    folder = path / "checkpoints"
    assert {p.stem for p in folder.glob("*.index")} == {"ckpt-2", "ckpt-3"}
    return folder


@pytest.mark.usefixtures("simulated_runs")
@pytest.mark.parametrize(
    "damage, part, position",
    [
        (flip_bit, "data", 3000),
        (flip_bit, "index", 50),
        (truncate, "index", 50),
        (truncate, "data", 0),
    ],
)
def test_a_damaged_checkpoint_falls_back_on_the_one_before(
    tmp_path, make_source, train_straight, caplog, damage, part, position
):
    source, resumed = make_source(36), tmp_path / "resumed"
    straight, _ = train_straight(source, log_steps=1)
    folder = kill_after_step_3(resumed, source)
    (path,) = folder.glob(f"ckpt-3.{part}*")
    damage(path, position)
    with caplog.at_level("INFO"):
        train_briefly(resumed, source, log_steps=1)
    warning = "This checkpoint is damaged or belongs to another network"
    assert f"{warning}: {folder}/ckpt-3" in caplog.text
    assert f"Resuming from {folder}/ckpt-2" in caplog.text
    assert_same(final_arrays(straight), final_arrays(resumed))
    assert_same_metrics(straight, resumed)
    assert {p.name for p in folder.glob("damaged-*")} == {
        f"damaged-ckpt-3.{ending}" for ending in ("index", "data-00000-of-00001")
    }


@pytest.mark.usefixtures("simulated_runs")
def test_checkpoints_are_found_if_the_checkpoint_file_is_damaged(
    tmp_path, make_source, train_straight
):
    source, resumed = make_source(36), tmp_path / "resumed"
    straight, _ = train_straight(source, log_steps=1)
    (kill_after_step_3(resumed, source) / "checkpoint").write_text("no list")
    train_briefly(resumed, source, log_steps=1)
    assert_same(final_arrays(straight), final_arrays(resumed))


@pytest.mark.usefixtures("simulated_runs")
def test_a_clock_that_is_set_back_does_not_change_a_run(
    tmp_path, make_source, train_straight, monkeypatch
):
    """The system clock is set back by an hour before each reading."""
    source, resumed = make_source(36), tmp_path / "resumed"
    straight, _ = train_straight(source, log_steps=1)
    hours = itertools.count()
    real_time = time.time
    monkeypatch.setattr(time, "time", lambda: real_time() - 3600 * next(hours))
    train_briefly(resumed, source, log_steps=1, checkpoint_minutes=0)
    assert next(hours) > 0
    assert_same(final_arrays(straight), final_arrays(resumed))
    assert_same_metrics(straight, resumed)


@pytest.mark.usefixtures("simulated_runs")
def test_rejects_a_checkpoint_of_another_network(tmp_path, make_source):
    source = make_source(24)
    train_briefly(tmp_path, source)
    other_network = tf.train.Checkpoint(x=tf.Variable(1.0))
    tf.train.CheckpointManager(
        other_network, str(tmp_path / "checkpoints"), max_to_keep=1
    ).save(checkpoint_number=9)
    with pytest.raises(ValueError, match="checkpoint of this network.*ckpt-9"):
        train_briefly(tmp_path, source)


@pytest.mark.usefixtures("simulated_runs")
def test_figures_are_drawn_during_a_run(tmp_path, make_source, monkeypatch):
    """Without its limits, `FigureWriter` draws after each epoch."""
    monkeypatch.setattr(callbacks, "DRAW_SECONDS", 0)
    monkeypatch.setattr(callbacks, "DRAW_SHARE", math.inf)
    curves = []

    class ReadCurves(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            curves.append((tmp_path / "curves.png").read_bytes())

    train_briefly(tmp_path, make_source(24), callbacks=[ReadCurves()])
    assert len(curves) == 2 and curves[0] != curves[1]
    steps_of_tags, throughputs = {}, []
    for step, value in events(tmp_path / "tensorboard" / "images"):
        steps_of_tags.setdefault(value.tag, []).append(step)
        if value.tag == "images_per_second":
            throughputs.append(float(tf.make_ndarray(value.tensor)))
        if value.tag == "conv1":
            image = tf.make_ndarray(value.tensor)
            assert tf.io.decode_png(image[2]).shape == (24, 96, 3)
    assert steps_of_tags.pop("conv1") == [0, 1]
    assert steps_of_tags.pop("images_per_second") == [0, 1]
    lines = read_metrics(str(tmp_path))
    expected = [
        train["images_per_second"] or 0
        for train, line in zip(lines, lines[1:])
        if line["split"] == "eval"
    ]
    assert throughputs == pytest.approx(expected)
    assert len(steps_of_tags) == 12
    assert steps_of_tags["fc8/kernel"] == [0, 1]
    assert steps_of_tags["gradients/fc8/kernel"] == [0, 1]


def test_progress_survives_a_checkpoint(tmp_path):
    progress = Progress()
    progress.add(3, np.array([[0.1, 1, 2, 4]] * 3, np.float32), batch_size=5)
    progress.errors.append(0.3)
    path = tf.train.Checkpoint(progress=progress).save(str(tmp_path / "c"))
    restored = Progress()
    tf.train.Checkpoint(progress=restored).restore(path)
    assert restored.step == 3
    assert restored.errors == [0.3]
    assert restored.totals == pytest.approx([0.3, 3, 6, 12])
    assert restored.bad_images == 3  # Each batch of 5 has only 4 readable images.
    assert json.loads(restored.serialize()) == json.loads(progress.serialize())


def test_the_sums_of_an_epoch_are_restored_for_an_earlier_version():
    """Its checkpoints have five values. An epoch has 4 steps.

    The run was stopped after step 7. Steps 5 and 6 have a line of metrics; step 7 is in
    the totals.
    """
    progress = Progress()
    progress.deserialize(json.dumps([7, [0.5], [1.5, 4, 5, 6], 0, False]))
    lines = [
        {"split": "train", "step": 4, "loss": 9.0, "top1_error": 1.0, "top5_error": 1},
        {"split": "eval", "step": 4, "loss": 9.0, "top1_error": 1.0, "top5_error": 1},
        {"split": "train", "step": 6, "loss": 2.0, "top1_error": 0.75, "top5_error": 0},
        {"split": "train", "step": 8, "loss": 9.0, "top1_error": 1.0, "top5_error": 1},
    ]
    progress.restore_epoch_totals(lines, steps_per_epoch=4, batch_size=6)
    # 12 images with a loss of 2 and 3 hits, and 6 images with a loss of .25.
    assert progress.epoch_totals == pytest.approx([25.5, 7, 17, 18])


@pytest.mark.parametrize(
    "devices, num_images, received",
    [
        (2, 20, "only 20"),
        (1, 30, r"at least \d+"),
        pytest.param(1, 20, "only 20", marks=pytest.mark.large),
        pytest.param(2, 30, r"at least \d+", marks=pytest.mark.large),
    ],
)
def test_rejects_a_source_with_a_wrong_number_of_images(
    tmp_path, make_source, num_images, received, devices
):
    source = make_source(24)
    # The statistics are computed first, so that training meets the wrong source.
    compute_statistics(tmp_path, source)
    wrong_source = dataclasses.replace(source, read=make_source(num_images).read)
    with pytest.raises(ValueError, match=f"24 im.*Received: {received}. P"):
        train_briefly(
            tmp_path / "run", wrong_source, devices=devices,
            preset=shallow_preset(epochs=1),
        )


def make_image_unreadable(source, name):
    """Returns a copy of `source` in which the image `name` cannot be decoded."""

    def spoil(example):
        image = tf.where(example["name"] == name, b"no", example["image"])
        return {**example, "image": image}

    return dataclasses.replace(
        source, read=lambda seed: source.read(seed).map(spoil)
    )


@pytest.mark.usefixtures("simulated_steps")
def test_names_an_unreadable_image(tmp_path, make_source):
    source = make_source(24)
    # The statistics are computed first, so that training meets the bad image.
    compute_statistics(tmp_path, source)
    with pytest.raises(ValueError, match=r"images 17 .*\(2 bytes\): Unknown"):
        train_briefly(tmp_path / "run", make_image_unreadable(source, "images 17"))


@pytest.mark.usefixtures("simulated_steps")
def test_searches_for_an_unreadable_image_in_its_steps_only(
    tmp_path, make_source, monkeypatch
):
    """It would take hours to read a large data set completely."""
    source = make_source(60)
    compute_statistics(tmp_path, source)
    order = input_pipeline.shuffled(source, 0, 0, 16384)
    names = [example["name"].numpy() for example in order]
    read_names = []

    def diagnose(error, source, examples):
        read_names.extend(example["name"].numpy() for example in examples)
        return ValueError("diagnosed")

    monkeypatch.setattr(bad_images, "diagnose", diagnose)
    with pytest.raises(ValueError, match="diagnosed"):
        train_briefly(
            tmp_path / "run",
            make_image_unreadable(source, names[14]),
            log_steps=1,
        )
    # The unreadable image is in the second batch of 12 images.
    assert read_names == names[12:24]


@pytest.mark.usefixtures("simulated_runs")
def test_layers_and_biases_follow_the_multipliers_of_the_recipe(tmp_path, make_source):
    """conv1 is frozen after one epoch, also in a run that is stopped and resumed."""
    preset = shallow_preset(
        epochs=3, schedule="step", boundaries=(1,), bias_lr_multiplier=2.0
    )
    recipe = dataclasses.replace(
        preset.recipe,
        bias_lr_follows_schedule=False,
        layer_lr_multipliers=(("conv1", 1, 0.0),),
    )
    preset = dataclasses.replace(preset, recipe=recipe)
    conv1_weights, bias_learning_rates = [], []

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            conv1_weights.append(self.model.get_layer("conv1").get_weights())
            optimizer = self.model.optimizer
            bias_learning_rates.append(
                optimizer.bias_lr_multiplier * float(optimizer.learning_rate)
            )

    source = make_source(24)
    train_briefly(tmp_path / "straight", source, preset=preset, callbacks=[Record()])
    assert bias_learning_rates == pytest.approx([0.02] * 3)
    for epoch in (1, 2):
        for actual, expected in zip(conv1_weights[epoch], conv1_weights[0]):
            np.testing.assert_array_equal(actual, expected)
    stop = CallAtStep(3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(loop.TrainingInterrupted):
        train_briefly(
            tmp_path / "resumed", source, preset=preset, callbacks=[stop], log_steps=1
        )
    train_briefly(tmp_path / "resumed", source, preset=preset, log_steps=1)
    assert_same(final_arrays(tmp_path / "straight"), final_arrays(tmp_path / "resumed"))


@pytest.mark.usefixtures("simulated_runs")
def test_trains_outside_the_main_thread(tmp_path, make_source):
    """Python allows no signal handlers there, and `train` must not need them."""
    source, results = make_source(12), []

    def train_in_thread():
        preset = shallow_preset(epochs=1)
        results.append(train_briefly(tmp_path / "thread", source, preset=preset))

    thread = threading.Thread(target=train_in_thread)
    thread.start()
    thread.join()
    expected = train_briefly(
        tmp_path / "main", source, preset=shallow_preset(epochs=1)
    )
    assert results == [expected]
