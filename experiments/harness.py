"""Runs of the experiments: each is trained once, logged, and gone on with.

A run is named by its claim, arm and seed, and trained in
runs/reproduce/CLAIM/ARM-SEED. When it has ended, a line for each of its epochs
and one for its end go to experiments/logs/CLAIM.jsonl, and a run that is in the
log is not done again. Several processes can work on one claim: each takes a
run that no other holds.
"""

import dataclasses
import fcntl
import json
import math
import os
import pathlib
import sys
import time

import keras
import numpy as np
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
from alexnet_tf.workdir import read_metrics
from alexnet_tf.workdir import STATISTICS_FILE

LOGS = pathlib.Path(__file__).parent / "logs"

# 97.5% quantiles of Student's t with 1, 2, ... degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        claim: whose it is; the name of the log.
        arm: which of the things compared.
        seed: of the start, the order and the views; runs of one seed are
            pairs.
        preset: a `presets.Preset`.
        train_split, eval_split: of CIFAR-10.
        target: top-1 error on `eval_split` at which it ends, if it gets there.
        probe_split: pictures whose error is measured after each epoch too,
            central view and without dropout.
        final_split: pictures whose error is measured at the end, by the
            central view and by ten views.
        until_loss: loss at which it ends within an epoch, the mean of 10
            steps; the log gets the losses in place of the epochs.
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


def work(claim, data_dir, runs_dir):
    """Does all runs of a claim that the log has not.

    Args:
        claim: a module with a `NAME` and runs(log), the `Run`s that are to be
            done as far as the log lets it know; called again after each. It
            may have a measure(run, path, data_dir) of its own.
        data_dir: of TFDS.
        runs_dir: for the work directories.
    """
    while True:
        log = read(claim.NAME)
        todo = [run for run in claim.runs(log) if not done(run, log)]
        if not todo:
            return
        for run in todo:
            if _do(claim, run, data_dir, runs_dir, len(todo)):
                break
        else:
            time.sleep(10)  # Other processes hold them all.


def read(name):
    """The lines of a claim's log, dictionaries."""
    path = LOGS / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def append(name, lines):
    """Adds lines to a claim's log, all or none."""
    LOGS.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with open(LOGS / f"{name}.jsonl", "a", encoding="utf-8") as file:
        file.write(text)


def of(log, arm, seed, key):
    """[(epoch, value), ...] of one run."""
    return [
        (line["epoch"], line[key])
        for line in log
        if (line["arm"], line["seed"]) == (arm, seed) and key in line
    ]


def final(log, arm, key):
    """{seed: value at the end} of all runs of an arm."""
    return {
        line["seed"]: line[key]
        for line in log
        if line["arm"] == arm and line.get("final") and key in line
    }


def epochs_to(curve, target):
    """Epochs until an error is reached, by linear interpolation, or infinity.

    Args:
        curve: [(epoch, error), ...]
        target: the error.
    """
    before = 0, 1.0
    for here in curve:
        if here[1] <= target:
            share = (before[1] - target) / (before[1] - here[1])
            return before[0] + share * (here[0] - before[0])
        before = here
    return math.inf


def interval(values):
    """(mean, half of the width of its 95% interval), by Student's t."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return float(values.mean()), math.inf
    half = _T[len(values) - 2] * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(half)


def between(mean, half):
    """The ends of an `interval` of points as text: "+0.4 to +3.0"."""
    if math.isinf(half):
        return "no interval"
    return f"{mean - half:+.1f} to {mean + half:+.1f}"


def times(ratios):
    """(text, verdict) of a claim that ratios are above 1.

    The mean is the geometric one, its interval that of the logarithms: a ratio and
    its inverse are then the same finding.
    """
    mean, half = interval(np.log(ratios))
    ends = "no interval"
    if math.isfinite(half):
        ends = f"{math.exp(mean - half):.2f} to {math.exp(mean + half):.2f}"
    return f"{math.exp(mean):.2f} times ({ends})", verdict(mean, half)


def differences(one, other):
    """[other - one, ...] of the seeds that both {seed: value} have."""
    return [other[seed] - one[seed] for seed in sorted(one.keys() & other.keys())]


def verdict(mean, half):
    """Of a claim that a difference is positive, by its 95% interval."""
    if mean - half > 0:
        return "reproduced"
    return "contradicted" if mean + half < 0 else "undecided"


def done(run, log):
    """Whether a run is in the log."""
    return any((run.arm, run.seed) == (l["arm"], l["seed"]) for l in log)


def _do(claim, run, data_dir, runs_dir, left):
    """Measures and logs, unless another process is at it."""
    path = os.path.join(runs_dir, claim.NAME, f"{run.arm}-{run.seed}")
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if done(run, read(claim.NAME)):  # Since the log was read.
            return True
        now = time.strftime("%H:%M:%S")
        print(f"{now} {claim.NAME}: {run.arm}, seed {run.seed}; {left} left", flush=True)
        lines = getattr(claim, "measure", measure)(run, path, data_dir)
        name = {"arm": run.arm, "seed": run.seed}
        append(claim.NAME, [name | line for line in lines])
    return True


def measure(run, path, data_dir):
    """Trains; the lines for the log: the epochs, and the end."""
    diverged = _train(run, path, data_dir)
    lines = _steps(path) if run.until_loss else _epochs(run, path)
    end = {"final": True, "diverged": diverged, **machine()}
    if run.final_split and not diverged:
        end |= _final_errors(path, load(run.final_split, data_dir))
    return [*lines, end]


def load(split, data_dir):
    """A `Source` of CIFAR-10."""
    return datasets.load("cifar10", split, data_dir)


def _train(run, path, data_dir):
    """Whether the loss was lost."""
    keras.backend.clear_session()
    watchers = [_Stop(run, path)]
    if run.probe_split:
        probe = load(run.probe_split, data_dir)
        watchers.append(_Probe(run.preset, probe, path))
    try:
        loop.train(
            run.preset,
            load(run.train_split, data_dir),
            load(run.eval_split, data_dir),
            path,
            seed=run.seed,
            log_steps=10 if run.until_loss else 100,
            callbacks=watchers,
        )
    except _Reached:
        pass
    except FloatingPointError:
        return True
    except loop.TrainingInterrupted as stopped:
        sys.exit(str(stopped))
    return False


class _Reached(Exception):
    """The target is reached."""


class _Stop(keras.callbacks.Callback):
    """Ends a run that has got where it should."""

    def __init__(self, run, path):
        super().__init__()
        self._run, self._path = run, path

    def on_train_batch_end(self, batch, logs=None):
        lines = read_metrics(self._path) if self._run.until_loss else []
        if lines and lines[-1]["loss"] <= self._run.until_loss:
            raise _Reached

    def on_epoch_end(self, epoch, logs=None):
        target = self._run.target
        if target is not None and logs["val_top1_error"] <= target:
            raise _Reached


class _Probe(keras.callbacks.Callback):
    """Measures the error of a split after each epoch: probe.jsonl."""

    def __init__(self, preset, source, path):
        super().__init__()
        self._preset, self._source, self._path = preset, source, path

    def on_train_begin(self, logs=None):
        strategy = tf.distribute.get_strategy()
        statistics = pixel_statistics.read(
            os.path.join(self._path, STATISTICS_FILE)
        )
        self._evaluate = validation.evaluator(self.model, strategy)
        self._batches = strategy.distribute_datasets_from_function(
            lambda _: input_pipeline.evaluation_batches(
                self._source, self._preset.preprocessing, statistics, batch_size=128
            )
        )

    def on_epoch_end(self, epoch, logs=None):
        found = self._evaluate(self._batches, self._source, 128)
        with open(_probe_file(self._path), "a", encoding="utf-8") as file:
            line = {"epoch": epoch + 1, "top1_error": found["top1_error"]}
            file.write(json.dumps(line) + "\n")


def _probe_file(path):
    return os.path.join(path, "probe.jsonl")


def _steps(path):
    """Losses between the steps at which they were taken."""
    return [
        {key: line[key] for key in ("step", "loss")}
        for line in read_metrics(path)
        if line["split"] == "train"
    ]


def _epochs(run, path):
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
        with open(_probe_file(path), encoding="utf-8") as file:
            probed = [json.loads(line) for line in file]
        # An epoch that was run again has two lines, the last one its own.
        errors = {line["epoch"]: line["top1_error"] for line in probed}
        for line in lines:
            line["probe_top1_error"] = errors[line["epoch"]]
    return lines


def machine():
    """What a log says of the machine and the versions."""
    found = environment.describe()
    return {key: found[key] for key in ("processors", "tensorflow", "keras")}


def _final_errors(path, source):
    network = load_classifier(path)
    errors = {}
    for protocol in evaluation.PROTOCOLS:
        found, truth = evaluation.probabilities(
            network, source, protocol, batch_size=128, verbose=0
        )
        errors[f"{protocol}_top1_error"] = 1 - float(
            evaluation.hits(found, truth, 1).mean()
        )
    return errors
