"""Runs of the experiments: each is trained once, logged, and gone on with.

A run is named by its claim, arm and seed, and trained in
runs/reproduce/CLAIM/ARM-SEED. When it has ended, a line for each of its epochs
goes to experiments/logs/CLAIM.jsonl, and a run that is in the log is not done
again. Several processes can work on one claim: each takes a run that no other
holds.
"""

import dataclasses
import fcntl
import json
import os
import pathlib
import time

import keras

from alexnet_tf import datasets
from alexnet_tf import presets
from alexnet_tf import training
from alexnet_tf import workdir as workdirs

LOGS = pathlib.Path(__file__).parent / "logs"


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
    """

    claim: str
    arm: str
    seed: int
    preset: presets.Preset
    train_split: str = "train"
    eval_split: str = "test"
    target: float | None = None


def work(claim, data_dir, runs_dir):
    """Does all runs of a claim that the log has not.

    Args:
        claim: a module with a `NAME` and runs(log), the `Run`s that are to be
            done as far as the log lets it know; called again after each.
        data_dir: of TFDS.
        runs_dir: for the work directories.
    """
    while True:
        log = read(claim.NAME)
        todo = [run for run in claim.runs(log) if not _done(run, log)]
        if not todo:
            return
        for run in todo:
            if _do(run, data_dir, os.path.join(runs_dir, claim.NAME)):
                break
        else:
            time.sleep(10)  # Other processes hold them all.


def read(name):
    """The lines of a claim's log, dictionaries."""
    path = LOGS / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _done(run, log):
    return any((run.arm, run.seed) == (l["arm"], l["seed"]) for l in log)


class _Reached(Exception):
    """The target is reached."""


def _do(run, data_dir, folder):
    """Trains and logs, unless another process is at it."""
    path = os.path.join(folder, f"{run.arm}-{run.seed}")
    os.makedirs(path, exist_ok=True)
    with open(os.path.join(path, "lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if _done(run, read(run.claim)):  # Since the log was read.
            return True
        started = time.strftime("%H:%M:%S")
        print(f"{started} {run.claim}: {run.arm}, seed {run.seed}", flush=True)
        diverged = _train(run, path, data_dir)
        _log(run, workdirs.read_metrics(path), diverged)
    return True


def _train(run, path, data_dir):
    """Whether the loss was lost."""
    keras.backend.clear_session()
    source, eval_source = (
        datasets.load("cifar10", split, data_dir)
        for split in (run.train_split, run.eval_split)
    )
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: _raise_if_reached(run, logs)
    )
    try:
        training.train(
            run.preset, source, eval_source, path,
            seed=run.seed, callbacks=[stop],
        )
    except _Reached:
        pass
    except FloatingPointError:
        return True
    return False


def _raise_if_reached(run, logs):
    if run.target is not None and logs["val_top1_error"] <= run.target:
        raise _Reached


def _log(run, metrics, diverged):
    """A line for each epoch, in one piece; one for a run that has none."""
    training_lines = {m["step"]: m for m in metrics if m["split"] == "train"}
    lines = []
    for m in metrics:
        if m["split"] == "eval":
            in_training = training_lines[m["step"]]
            lines.append(
                {
                    **{k: m[k] for k in ("epoch", "step", "loss")},
                    "top1_error": m["top1_error"],
                    "train_loss": in_training["loss"],
                    "train_top1_error": in_training["top1_error"],
                    "learning_rate": in_training["learning_rate"],
                }
            )
    if diverged or not lines:
        lines.append({"epoch": len(lines) + 1, "diverged": True})
    LOGS.mkdir(exist_ok=True)
    with open(LOGS / f"{run.claim}.jsonl", "a", encoding="utf-8") as file:
        file.write(
            "".join(
                json.dumps({"arm": run.arm, "seed": run.seed, **line}) + "\n"
                for line in lines
            )
        )
