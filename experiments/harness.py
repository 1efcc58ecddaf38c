"""Trains the runs that test a claim of the paper, and logs their results.

A run is identified by its claim, arm and seed. Its work directory is CLAIM/ARM-SEED in
a given folder, runs/reproduce by default, and an interrupted run resumes from there.
When a run has ended, one line for each epoch, or for every 10 steps if `Run.until_loss`
is given, and one for the end are appended to experiments/logs/CLAIM.jsonl. Runs in the
log are not repeated. Several processes can work on one claim: each takes runs whose
work directories are not locked by another process.
"""

import dataclasses
import json
import os
import sys
import time

import keras
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.inference import evaluation
from alexnet_tf import presets
from alexnet_tf.training import environment
from alexnet_tf.training import loop
from alexnet_tf.training import validation
from alexnet_tf.workdir import locked
from alexnet_tf.workdir import read_metrics
from alexnet_tf.workdir import STATISTICS_FILE
from alexnet_tf.workdir import WorkDirectoryInUse
from experiments import run_log

_EVAL_BATCH_SIZE = 128
_RETRY_SECONDS = 10
# The folder in a work directory that is locked until the run is in the log.
LOCK_FOLDER = "lock"


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        claim: the name of the claim that the run belongs to, and of the log.
        arm: the name of the variant that the run trains.
        seed: the random seed of initialization, shuffling, augmentation and dropout.
            Runs of different arms with the same seed are compared as pairs.
        preset: the `presets.Preset` to train.
        train_split, eval_split: splits of CIFAR-10.
        target: the top-1 error on `eval_split` at which the run ends early; None to
            train all epochs.
        probe_split: a further split whose error is measured after each epoch, on
            center crops and without dropout. Default: none.
        final_split: a split whose error is measured after the last epoch, on center
            crops and with ten-crop. Default: none.
        until_loss: the training loss, a mean over 10 steps, at which the run ends
            within an epoch. The log then has one line per 10 steps instead of one per
            epoch. The run ends without a checkpoint, and `final_split` and
            `probe_split` must be None.
    """

    claim: str
    arm: str
    seed: int
    preset: presets.Preset
    train_split: str = "train"
    eval_split: str = "test"
    target: float | None = None
    probe_split: str | None = None
    final_split: str | None = None
    until_loss: float | None = None


def run_all(claim, data_dir, runs_dir):
    """Trains and logs all runs of a claim that are not in its log.

    Args:
        claim: the module of a claim, see `claims`. Its function `runs` is called
            again after each run, since later runs may depend on the results of
            earlier ones.
        data_dir: the folder of TFDS's data sets.
        runs_dir: the folder of the work directories.
    """
    while True:
        log = run_log.read_log(claim.NAME)
        missing = [run for run in claim.runs(log) if not run_log.is_done(run, log)]
        if not missing:
            return
        for run in missing:
            if _measure_unless_locked(claim, run, data_dir, runs_dir, len(missing)):
                break
        else:
            time.sleep(_RETRY_SECONDS)  # Other processes train all missing runs.


def _measure_unless_locked(claim, run, data_dir, runs_dir, num_missing):
    """Measures and logs a run; returns False if another process has locked it."""
    path = os.path.join(runs_dir, claim.NAME, f"{run.arm}-{run.seed}")
    try:
        # `loop.train` locks the work directory itself, but only while it trains.
        with locked(os.path.join(path, LOCK_FOLDER)):
            # Another process may have logged the run since the log was read.
            if not run_log.is_done(run, run_log.read_log(claim.NAME)):
                now = time.strftime("%H:%M:%S")
                print(
                    f"{now} {claim.NAME}: {run.arm}, seed {run.seed}; "
                    f"{num_missing} runs left",
                    flush=True,
                )
                lines = getattr(claim, "measure", measure)(run, path, data_dir)
                run_log.append_to_log(
                    claim.NAME,
                    [{"arm": run.arm, "seed": run.seed, **line} for line in lines],
                )
    except WorkDirectoryInUse:
        return False
    return True


def measure(run, path, data_dir):
    """Trains a run and returns its lines for the log.

    Args:
        run: a `Run`.
        path: the work directory. An interrupted run resumes from its checkpoint.
        data_dir: the folder of TFDS's data sets.

    Returns:
        A list of dictionaries: one per epoch, or one per 10 steps if
        `run.until_loss` is given, and one for the end.

    Raises:
        SystemExit: if training is interrupted by SIGINT or SIGTERM.
    """
    diverged = _train(run, path, data_dir)
    if run.until_loss is None:
        lines = _epoch_lines(run, path)
    else:
        lines = _step_lines(path)
    end = {"final": True, "diverged": diverged, **describe_machine()}
    if run.final_split and not diverged:
        end |= _final_errors(path, run.final_split, data_dir)
    return [*lines, end]


def load_cifar10(split, data_dir):
    """Loads a split of CIFAR-10 as a `Source`."""
    return datasets.load("cifar10", split, data_dir)


def describe_machine():
    """Returns the processors and the versions of TensorFlow and Keras, for the log."""
    description = environment.describe()
    return {key: description[key] for key in ("processors", "tensorflow", "keras")}


def _train(run, path, data_dir):
    """Trains to the last epoch or the target; returns whether the loss diverged."""
    keras.backend.clear_session()
    callbacks = []
    if run.target is not None:
        callbacks.append(_StopAtError(run.target))
    if run.until_loss is not None:
        callbacks.append(_StopAtLoss(run.until_loss, path))
    if run.probe_split:
        source = load_cifar10(run.probe_split, data_dir)
        callbacks.append(_Probe(run.preset, source, path))
    try:
        loop.train(
            run.preset,
            load_cifar10(run.train_split, data_dir),
            load_cifar10(run.eval_split, data_dir),
            path,
            seed=run.seed,
            log_steps=100 if run.until_loss is None else 10,
            callbacks=callbacks,
        )
    except _LossReached:
        pass
    except FloatingPointError:
        return True
    except loop.TrainingInterrupted as interrupted:
        sys.exit(str(interrupted))
    return False


class _StopAtError(keras.callbacks.Callback):
    """Ends a run after the first epoch whose top-1 error is at most a target."""

    def __init__(self, target):
        super().__init__()
        self._target = target

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_top1_error"] <= self._target:
            self.model.stop_training = True


class _LossReached(Exception):
    """Ends the training loop within an epoch."""


class _StopAtLoss(keras.callbacks.Callback):
    """Raises `_LossReached` when the last logged loss is at or below a target."""

    def __init__(self, target, path):
        super().__init__()
        self._target, self._path = target, path

    def on_train_batch_end(self, batch, logs=None):
        lines = read_metrics(self._path)
        if lines and lines[-1]["loss"] <= self._target:
            raise _LossReached


class _Probe(keras.callbacks.Callback):
    """Appends the error on the probe split to probe.jsonl after each epoch."""

    def __init__(self, preset, source, path):
        super().__init__()
        self._preset, self._source, self._path = preset, source, path

    def on_train_begin(self, logs=None):
        strategy = tf.distribute.get_strategy()
        statistics = pixel_statistics.read(os.path.join(self._path, STATISTICS_FILE))
        self._evaluate = validation.evaluator(self.model, strategy)
        self._batches = strategy.distribute_datasets_from_function(
            lambda _: input_pipeline.evaluation_batches(
                self._source,
                self._preset.preprocessing,
                statistics,
                batch_size=_EVAL_BATCH_SIZE,
            )
        )

    def on_epoch_end(self, epoch, logs=None):
        metrics = self._evaluate(self._batches, self._source, _EVAL_BATCH_SIZE)
        line = {"epoch": epoch + 1, "top1_error": metrics["top1_error"]}
        with open(_probe_file(self._path), "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _probe_file(path):
    return os.path.join(path, "probe.jsonl")


def _step_lines(path):
    """Returns {"step", "loss"} of each line of training metrics."""
    return [
        {key: line[key] for key in ("step", "loss")}
        for line in read_metrics(path)
        if line["split"] == "train"
    ]


def _epoch_lines(run, path):
    """Returns the metrics of each epoch in training and on the evaluated splits.

    The training metrics are means over the last steps of the epoch, at most 100.
    """
    metrics = read_metrics(path)
    train_metrics = {line["step"]: line for line in metrics if line["split"] == "train"}
    eval_metrics = [line for line in metrics if line["split"] == "eval"]
    probe_errors = _probe_errors(path) if run.probe_split else {}
    lines = []
    for eval_line in eval_metrics:
        train_line = train_metrics[eval_line["step"]]
        line = {key: eval_line[key] for key in ("epoch", "step", "loss", "top1_error")}
        line["train_loss"] = train_line["loss"]
        line["train_top1_error"] = train_line["top1_error"]
        if run.probe_split:
            line["probe_top1_error"] = probe_errors[line["epoch"]]
        lines.append(line)
    return lines


def _probe_errors(path):
    """Returns {epoch: top-1 error} from probe.jsonl."""
    with open(_probe_file(path), encoding="utf-8") as file:
        lines = [json.loads(text) for text in file]
    # An epoch that was repeated after an interruption has several lines, of which the
    # last one counts.
    return {line["epoch"]: line["top1_error"] for line in lines}


def _final_errors(path, split, data_dir):
    """Returns {"PROTOCOL_top1_error": error} of a trained run on a split."""
    return {
        f"{protocol}_top1_error": evaluation.evaluate(
            [path],
            dataset="cifar10",
            split=split,
            data_dir=data_dir,
            protocol=protocol,
            batch_size=_EVAL_BATCH_SIZE,
            verbose=0,
        ).error(1)
        for protocol in evaluation.PROTOCOLS
    }
