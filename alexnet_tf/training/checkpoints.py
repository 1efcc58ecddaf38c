"""Checkpoints of a run: saving, restoring, and what to do with damaged ones."""

import json
import logging
import os
import pathlib
import shutil

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images

_log = logging.getLogger(__name__)


class Progress(tf.train.experimental.PythonState):
    """How far a run has come: what a checkpoint keeps beside the variables.

    Attributes:
        step: steps done, and with it the position in the data.
        errors: the validation errors of the epochs done.
        totals: `metrics.batch_sums` since the last line of metrics.
        bad_images: of the epoch that goes on.
        saved: the `place` that the newest checkpoint holds, None for none.
    """

    def __init__(self):
        self.step = 0
        self.errors = []
        self.totals = [0.0] * 4
        self.bad_images = 0
        self.saved = None

    @property
    def place(self):
        """(steps, epochs) done: at each the state is one and the same."""
        return self.step, len(self.errors)

    def add(self, steps, sums, batch_size):
        self.step += steps
        self.bad_images += steps * batch_size - int(sums[:, 3].sum())
        self.totals = list(self.totals + sums.sum(axis=0, dtype=np.float64))

    def serialize(self):
        return json.dumps([self.step, self.errors, self.totals, self.bad_images])

    def deserialize(self, string_value):
        self.step, self.errors, self.totals, self.bad_images = json.loads(string_value)


def restore(checkpoint, folder):
    """Reads the newest checkpoint that is whole.

    Returns:
        (paths of it and of older ones, paths of damaged ones that are newer).
    """
    indices = pathlib.Path(folder).glob("ckpt-*.index")
    whole = [str(path.with_suffix("")) for path in indices]
    whole.sort(key=lambda path: int(path.rpartition("-")[2]))
    damaged, errors = [], []
    while whole:
        try:
            checkpoint.restore(whole[-1]).assert_existing_objects_matched()
        # Of a file cut short TensorFlow's reader says IndexError.
        except (tf.errors.OpError, IndexError, AssertionError) as error:
            errors.append(error)
            damaged.append(whole.pop())
            _log.warning("Damaged or of another network: %s.", damaged[-1])
        else:
            _log.info("Going on from %s.", whole[-1])
            return whole, damaged
    raise ValueError(
        "Expected a whole checkpoint of this network. Received: "
        f"{damaged[0] if damaged else folder}, which is damaged or of another one, "
        f"and none before it. Remove {os.path.dirname(folder)} to start anew, or "
        "give another."
    ) from (errors[0] if errors else None)


def set_aside_damaged(folder, whole, damaged):
    """Damaged checkpoints get another name, and the rest are those there are."""
    for checkpoint in map(pathlib.Path, damaged):
        for path in checkpoint.parent.glob(f"{checkpoint.name}.*"):
            path.rename(path.with_name(f"damaged-{path.name}"))
    # With times of the day behind those of the list, old ones would stay for ever.
    tf.compat.v1.train.update_checkpoint_state(
        folder, whole[-1], whole,
        all_model_checkpoint_timestamps=[1.0] * len(whole),
        last_preserved_timestamp=0.0,
    )


def save(checkpoints, model, progress):
    """Writes a checkpoint, unless there is one of this very state."""
    if progress.saved == progress.place:
        return
    finite = [
        tf.reduce_all(tf.math.is_finite(variable.value))
        for variable in model.trainable_variables
    ]
    if not tf.reduce_all(finite):
        raise not_finite_error(f"weights after step {progress.step}", checkpoints)
    try:
        checkpoints.save(checkpoint_number=progress.step)
    except tf.errors.OpError as error:
        remove_unfinished(checkpoints.directory)
        raise OSError(
            f"Expected room for a checkpoint in {checkpoints.directory}. "
            f"Received: {bad_images.short_message(error)}. {last_good(checkpoints)} Make "
            "room and run the same command again."
        ) from error
    progress.saved = progress.place


def remove_unfinished(folder):
    """Frees the room of checkpoints that a full disk or a kill cut short."""
    for path in pathlib.Path(folder).glob("*_temp"):
        shutil.rmtree(path, ignore_errors=True)
    for path in pathlib.Path(folder).glob("ckpt-*.data-*"):
        if not path.with_suffix(".index").exists():
            path.unlink()


def last_good(checkpoints):
    if checkpoints.latest_checkpoint is None:
        return "No checkpoint was saved."
    return f"The last good checkpoint is {checkpoints.latest_checkpoint}."


def check_same_position(progress, mean_over_workers, workdir):
    if mean_over_workers(progress.step) != progress.step:
        raise ValueError(
            "Expected all workers to see the same checkpoints. Received: another "
            f"newest one here, of step {progress.step}, in {workdir}. Put the work "
            "directory where all can read it."
        )


def check_finite(sums, steps_before, checkpoints):
    bad = np.flatnonzero(~np.isfinite(sums[:, 0]))
    if bad.size:
        step = steps_before + 1 + bad[0]
        raise not_finite_error(f"loss {sums[bad[0], 0]} at step {step}", checkpoints)


def not_finite_error(what, checkpoints):
    return FloatingPointError(
        f"Expected a finite loss and finite weights. Received: {what}. "
        f"{last_good(checkpoints)} Take a smaller learning_rate."
    )
