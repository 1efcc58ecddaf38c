"""Trains the runs of a claim: each once, resumable, and logged when it has ended.

A run is identified by its claim, arm and seed, and is trained in
runs/reproduce/CLAIM/ARM-SEED. When it has ended, a line for each epoch and one for
the end are appended to experiments/logs/CLAIM.jsonl, and runs in the log are not
repeated. Several processes can work on one claim: each takes a run whose work
directory is not locked by another one.
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
from alexnet_tf.inference.classifier import load_classifier
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

_EVAL_BATCH = 128
_RETRY_SECONDS = 10


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        claim: the name of the claim that it belongs to, and of the log.
        arm: the name of the variant that is compared with others.
        seed: the random seed of initialization, shuffling and augmentation. Runs
            of different arms with the same seed are compared as pairs.
        preset: the `presets.Preset` to train.
        train_split, eval_split: splits of CIFAR-10.
        target: the top-1 error on `eval_split` at which the run ends early.
        probe_split: a split whose error is measured after each epoch too, on
            center crops and without dropout.
        final_split: a split whose error is measured after training, on center
            crops and with ten-crop.
        until_loss: the loss, a mean over 10 steps, at which the run ends within an
            epoch. The log then has losses in place of epochs.
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
        claim: a module of `claims.ALL`. runs(log) is called again after each run,
            since later runs may depend on the results of earlier ones.
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
            time.sleep(_RETRY_SECONDS)  # Other processes hold all of them.


def _measure_unless_locked(claim, run, data_dir, runs_dir, num_missing):
    """Measures and logs a run; returns False if another process is at work on it."""
    path = os.path.join(runs_dir, claim.NAME, f"{run.arm}-{run.seed}")
    try:
        with locked(path):
            # Another process may have ended it since the log was read.
            if not run_log.is_done(run, run_log.read_log(claim.NAME)):
                now = time.strftime("%H:%M:%S")
                print(
                    f"{now} {claim.NAME}: {run.arm}, seed {run.seed}; "
                    f"{num_missing} left",
                    flush=True,
                )
                lines = getattr(claim, "measure", measure)(run, path, data_dir)
                key = {"arm": run.arm, "seed": run.seed}
                run_log.append_to_log(claim.NAME, [key | line for line in lines])
    except WorkDirectoryInUse:
        return False
    return True


def measure(run, path, data_dir):
    """Trains a run and returns its lines for the log.

    Args:
        run: a `Run`.
        path: the work directory, in which a run that was interrupted resumes.
        data_dir: the folder of TFDS's data sets.

    Returns:
        A list of dictionaries: one per epoch (or per 10 steps, with
        `Run.until_loss`), and one for the end.
    """
    diverged = _train(run, path, data_dir)
    lines = _step_lines(path) if run.until_loss else _epoch_lines(run, path)
    end = {"final": True, "diverged": diverged, **describe_machine()}
    if run.final_split and not diverged:
        end |= _final_errors(path, load_cifar10(run.final_split, data_dir))
    return [*lines, end]


def load_cifar10(split, data_dir):
    """Loads a split of CIFAR-10 as a `Source`."""
    return datasets.load("cifar10", split, data_dir)


def describe_machine():
    """Returns what the log records about the processors and the versions."""
    description = environment.describe()
    return {key: description[key] for key in ("processors", "tensorflow", "keras")}


def _train(run, path, data_dir):
    """Trains until the run's end or target; returns whether the loss diverged."""
    keras.backend.clear_session()
    callbacks = [_StopAtTarget(run, path)]
    if run.probe_split:
        probe = load_cifar10(run.probe_split, data_dir)
        callbacks.append(_Probe(run.preset, probe, path))
    try:
        loop.train(
            run.preset,
            load_cifar10(run.train_split, data_dir),
            load_cifar10(run.eval_split, data_dir),
            path,
            seed=run.seed,
            log_steps=10 if run.until_loss else 100,
            callbacks=callbacks,
        )
    except _TargetReached:
        pass
    except FloatingPointError:
        return True
    except loop.TrainingInterrupted as interrupted:
        sys.exit(str(interrupted))
    return False


class _TargetReached(Exception):
    """Ends the training loop of a run that has reached its target."""


class _StopAtTarget(keras.callbacks.Callback):
    """Raises `_TargetReached` at the target error or loss of a run."""

    def __init__(self, run, path):
        super().__init__()
        self._run, self._path = run, path

    def on_train_batch_end(self, batch, logs=None):
        lines = read_metrics(self._path) if self._run.until_loss else []
        if lines and lines[-1]["loss"] <= self._run.until_loss:
            raise _TargetReached

    def on_epoch_end(self, epoch, logs=None):
        target = self._run.target
        if target is not None and logs["val_top1_error"] <= target:
            raise _TargetReached


class _Probe(keras.callbacks.Callback):
    """Appends the error on a further split to probe.jsonl after each epoch."""

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
                batch_size=_EVAL_BATCH,
            )
        )

    def on_epoch_end(self, epoch, logs=None):
        metrics = self._evaluate(self._batches, self._source, _EVAL_BATCH)
        line = {"epoch": epoch + 1, "top1_error": metrics["top1_error"]}
        with open(_probe_file(self._path), "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _probe_file(path):
    return os.path.join(path, "probe.jsonl")


def _step_lines(path):
    """Returns the logged training losses with their steps."""
    return [
        {key: line[key] for key in ("step", "loss")}
        for line in read_metrics(path)
        if line["split"] == "train"
    ]


def _epoch_lines(run, path):
    """Returns the metrics of each epoch: evaluation, training and probe."""
    metrics = read_metrics(path)
    in_training = {m["step"]: m for m in metrics if m["split"] == "train"}
    lines = []
    for m in metrics:
        if m["split"] == "eval":
            line = {key: m[key] for key in ("epoch", "step", "loss", "top1_error")}
            line["train_loss"] = in_training[m["step"]]["loss"]
            line["train_top1_error"] = in_training[m["step"]]["top1_error"]
            lines.append(line)
    if run.probe_split:
        errors = _probe_errors(path)
        for line in lines:
            line["probe_top1_error"] = errors[line["epoch"]]
    return lines


def _probe_errors(path):
    """Returns {epoch: error} of probe.jsonl."""
    with open(_probe_file(path), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    # An epoch that was repeated after an interruption has two lines, of which the
    # last one counts.
    return {line["epoch"]: line["top1_error"] for line in lines}


def _final_errors(path, source):
    """Returns the top-1 error of a trained run by each evaluation protocol."""
    classifier = load_classifier(path)
    errors = {}
    for protocol in evaluation.PROTOCOLS:
        probabilities, labels = evaluation.probabilities(
            classifier, source, protocol, batch_size=_EVAL_BATCH, verbose=0
        )
        hits = evaluation.hits(probabilities, labels, 1)
        errors[f"{protocol}_top1_error"] = 1 - float(hits.mean())
    return errors
