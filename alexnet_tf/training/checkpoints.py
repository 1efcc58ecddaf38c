"""Checkpoints of a run.

Weights that are not finite are never saved. A damaged checkpoint is renamed, and the
run resumes from the one before it.
"""

import json
import logging
import os
import pathlib
import shutil
import textwrap

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.models.readers.run_directory import checkpoint_paths
from alexnet_tf.models.weights import save_weights
from alexnet_tf.training import stopping
from alexnet_tf.training import system_errors
from alexnet_tf.workdir import BEST_WEIGHTS_FILE

_log = logging.getLogger(__name__)

# The attributes of `Progress` that a checkpoint contains, in this order.
_SAVED = (
    "step", "errors", "totals", "bad_images", "has_changed_weights", "epoch_totals"
)  # fmt: skip
# The errors for a damaged checkpoint or one of another network. TensorFlow's reader
# raises IndexError for a truncated file.
_RESTORE_ERRORS = (tf.errors.OpError, IndexError, AssertionError)


class Progress(tf.train.experimental.PythonState):
    """The progress of a run, which a checkpoint contains besides the variables.

    Attributes:
        step: the number of completed steps, which also determines the position in the
            data.
        errors: the validation errors of the completed epochs; None for an epoch
            without an evaluation.
        totals: the sum of `metrics.batch_sums` since the last logged line.
        bad_images: the number of unreadable images in the current epoch.
        has_changed_weights: whether callbacks may have changed the weights since the
            last step.
        epoch_totals: the sum of `metrics.batch_sums` in the current epoch; None for a
            checkpoint of an earlier version, until `restore_epoch_totals` is called.
        saved: the `position` at the newest checkpoint; None if there is none. It is not
            saved itself.
    """

    def __init__(self):
        self.step = 0
        self.errors = []
        self.totals = [0.0] * 4
        self.bad_images = 0
        self.has_changed_weights = False
        self.epoch_totals = [0.0] * 4
        self.saved = None

    @property
    def position(self):
        """(steps, epochs) completed, which determines the whole state."""
        return self.step, len(self.errors)

    def is_best(self, steps_per_epoch):
        """Returns whether an epoch has just ended with the lowest error of all.

        The error must be that of the present weights.

        Args:
            steps_per_epoch: the number of steps in an epoch.
        """
        at_end_of_epoch = self.step == len(self.errors) * steps_per_epoch
        is_measured = at_end_of_epoch and not self.has_changed_weights
        return is_measured and stopping.is_best(self.errors)

    def add(self, steps, sums, batch_size):
        """Adds completed steps.

        Args:
            steps: the number of these steps.
            sums: the `metrics.batch_sums` of each step, float32 [steps, 4].
            batch_size: the number of images in a step.
        """
        self.step += steps
        self.has_changed_weights = False
        self.bad_images += steps * batch_size - int(sums[:, 3].sum())
        total = sums.sum(axis=0, dtype=np.float64)
        self.totals = list(self.totals + total)
        self.epoch_totals = list(self.epoch_totals + total)

    def restore_epoch_totals(self, lines, steps_per_epoch, batch_size):
        """Computes `epoch_totals` from the lines of metrics in the current epoch.

        Args:
            lines: the lines of metrics.jsonl, of which those after `step` are ignored.
            steps_per_epoch: the number of steps in an epoch.
            batch_size: the number of images in a step.
        """
        previous = len(self.errors) * steps_per_epoch
        totals = np.array(self.totals)
        for line in lines:
            if line["split"] == "train" and previous < line["step"] <= self.step:
                count = (line["step"] - previous) * batch_size
                hits = (1 - line["top1_error"], 1 - line.get("top5_error", 0))
                totals += count * np.array([line["loss"], *hits, 1])
                previous = line["step"]
        self.epoch_totals = totals.tolist()

    def end_epoch(self):
        """Prepares the counts of the next epoch."""
        self.bad_images, self.epoch_totals = 0, [0.0] * 4

    def mark_changed_weights(self):
        """Records that callbacks may have changed the weights since the last step."""
        self.has_changed_weights, self.saved = True, None

    def serialize(self):
        return json.dumps([getattr(self, name) for name in _SAVED])

    def deserialize(self, string_value):
        # Checkpoints of earlier versions have fewer values.
        self.epoch_totals = None
        for name, value in zip(_SAVED, json.loads(string_value)):
            setattr(self, name, value)


def read_progress(workdir):
    """Reads the `Progress` in the newest checkpoint; None if it cannot be read.

    Args:
        workdir: the work directory of a run.
    """
    paths = checkpoint_paths(workdir)
    if not paths:
        return None
    try:
        reader = tf.train.load_checkpoint(paths[-1])
        state = reader.get_tensor("progress/.ATTRIBUTES/py_state")
    except _RESTORE_ERRORS:
        return None
    progress = Progress()
    progress.deserialize(state)
    return progress


class CheckpointSaver:
    """Saves and restores the model, the optimizer and the `Progress` of a run.

    Attributes:
        progress: the `Progress`.

    Args:
        workdir: the work directory, whose folder checkpoints/ is used.
        model: the network; its layers are saved by their names.
        optimizer: the optimizer, built for the trainable variables of `model`.
    """

    def __init__(self, workdir, model, optimizer):
        self.progress = Progress()
        self._workdir, self._model = workdir, model
        self._folder = os.path.join(workdir, "checkpoints")
        self._checkpoint = tf.train.Checkpoint(
            layers={layer.name: layer for layer in model.layers},
            optimizer=optimizer,
            progress=self.progress,
        )
        self._manager = None

    def restore(self, repair):
        """Restores the newest checkpoint that is not damaged.

        Args:
            repair: whether to rename damaged checkpoints and to remove them from the
                list in the file `checkpoint`, which only one of several workers may do.

        Raises:
            ValueError: if all checkpoints are damaged or of another network.
            OSError: if a checkpoint may not be read, or if the process has too little
                memory or too many open files. This is no damage, and nothing is
                renamed.
        """
        intact, damaged = self._restore_newest()
        self.progress.saved = self.progress.position
        if repair:
            _rename_damaged(damaged)
            # If their creation times were later than the present time, as after the
            # clock was set back, CheckpointManager would never delete old checkpoints.
            # Names instead of paths remain correct when the run is moved. TensorFlow
            # would write names as "../.." if the folder were a relative path.
            names = [os.path.basename(path) for path in intact]
            tf.compat.v1.train.update_checkpoint_state(
                os.path.abspath(self._folder), names[-1], names,
                all_model_checkpoint_timestamps=[1.0] * len(intact),
                last_preserved_timestamp=0.0,
            )

    def _restore_newest(self):
        """Restores the newest intact checkpoint.

        Returns:
            (paths of this and all older checkpoints, paths of newer, damaged ones).
        """
        intact, damaged, errors = checkpoint_paths(self._workdir), [], []
        while intact:
            try:
                status = self._checkpoint.restore(intact[-1])
                status.assert_existing_objects_matched()
            except _RESTORE_ERRORS as error:
                _check_is_damage(error, intact[-1])
                errors.append(error)
                damaged.append(intact.pop())
                _log.warning(
                    "This checkpoint is damaged or belongs to another network: %s "
                    "(%s).",
                    damaged[-1],
                    _describe(error),
                )
            else:
                _log.info("Resuming from %s.", intact[-1])
                return intact, damaged
        cause = errors[0] if errors else None
        raise self._not_restored_error(damaged, cause) from cause

    def _not_restored_error(self, damaged, cause):
        """Returns the error for a run without an intact checkpoint.

        Args:
            damaged: the paths of its checkpoints, from the newest to the oldest.
            cause: the error of the newest checkpoint; None if there are none.
        """
        reason = f"{self._folder} contains none"
        if damaged:
            reason = (
                f"{damaged[0]} and older ones are damaged or of another network "
                f"({_describe(cause)})"
            )
        return ValueError(
            f"No checkpoint of this network can be restored: {reason}. Remove "
            f"{self._workdir} to start from the beginning, or give another --workdir."
        )

    def save(self):
        """Saves a checkpoint, unless the newest checkpoint contains this state.

        Raises:
            FloatingPointError: if a weight is not finite.
            OSError: if the disk is full or cannot be written to.
        """
        if self.progress.saved == self.progress.position:
            return
        are_finite = [
            tf.reduce_all(tf.math.is_finite(variable.value))
            for variable in self._model.trainable_variables
        ]
        if not tf.reduce_all(are_finite):
            raise self.not_finite_error(f"weights after step {self.progress.step}")
        try:
            self.manager.save(checkpoint_number=self.progress.step)
        except tf.errors.OpError as error:
            self.remove_unfinished()
            reason = bad_images.short_message(error)
            raise OSError(
                f"No checkpoint could be saved in {self._folder}: {reason}. "
                f"{self._describe_last_checkpoint()} Free some space and run the "
                "same command again."
            ) from error
        self.progress.saved = self.progress.position

    def save_changed_weights(self, saved_weights):
        """Saves the checkpoint of this position again if the weights have changed.

        Args:
            saved_weights: the result of `get_weights` of the model when it was saved.

        Raises:
            FloatingPointError, OSError: as for `save`.
        """
        if all(map(np.array_equal, saved_weights, self._model.get_weights())):
            return
        self.progress.mark_changed_weights()
        self.save()

    def save_best(self):
        """Saves the weights as the best ones, and a checkpoint.

        The checkpoint comes first. A run that is killed in between then resumes with
        these weights, and saves them as the best ones again.

        Raises:
            FloatingPointError, OSError: as for `save`.
        """
        self.save()
        save_weights(self._model, os.path.join(self._workdir, BEST_WEIGHTS_FILE))

    @property
    def manager(self):
        """The `tf.train.CheckpointManager`.

        It is created on first use, because it reads the list of checkpoints, which
        `restore` may have to repair first.
        """
        if self._manager is None:
            self._manager = tf.train.CheckpointManager(
                self._checkpoint, self._folder, max_to_keep=2
            )
        return self._manager

    def remove_unfinished(self):
        """Deletes the parts of checkpoints that a full disk or a kill cut short."""
        folder = pathlib.Path(self._folder)
        for path in folder.glob("*_temp"):
            shutil.rmtree(path, ignore_errors=True)
        for path in folder.glob("ckpt-*.data-*"):
            if not path.with_suffix(".index").exists():
                path.unlink()

    def check_same_position(self, mean_over_workers):
        """Raises ValueError unless all workers have restored the same step."""
        step = self.progress.step
        if mean_over_workers(step) != step:
            raise ValueError(
                "Expected all workers to see the same checkpoints. Received: a newest "
                f"checkpoint of step {step} in {self._workdir}, unlike other workers. "
                "Put the work directory on a file system that all workers share."
            )

    def check_finite(self, sums, steps_before):
        """Raises FloatingPointError, naming the step, if a loss is not finite.

        Args:
            sums: `metrics.batch_sums`, float32 [steps, 4], of the last steps.
            steps_before: the number of steps completed before the first of these.
        """
        not_finite = np.flatnonzero(~np.isfinite(sums[:, 0]))
        if not_finite.size:
            first = not_finite[0]
            step = steps_before + 1 + first
            raise self.not_finite_error(f"loss {sums[first, 0]} at step {step}")

    def check_evaluation(self, measured):
        """Raises FloatingPointError if the loss of an evaluation is not finite.

        Args:
            measured: {"loss": a number, ...}.
        """
        if not np.isfinite(measured["loss"]):
            raise self.not_finite_error(
                f"loss {measured['loss']} in the evaluation after step "
                f"{self.progress.step}"
            )

    def not_finite_error(self, received):
        """Returns the error for a loss or weights that are not finite.

        Args:
            received: a description of them.
        """
        return FloatingPointError(
            f"Expected a finite loss and finite weights. Received: {received}. "
            f"{self._describe_last_checkpoint()} Use a smaller learning_rate."
        )

    def _describe_last_checkpoint(self):
        latest = self.manager.latest_checkpoint
        if latest is None:
            return "No checkpoint was saved."
        return f"The last good checkpoint is {latest}."


def _check_is_damage(error, checkpoint):
    """Raises an OSError if a checkpoint could not be read for a temporary reason.

    Args:
        error: one of `_RESTORE_ERRORS`.
        checkpoint: the path of the checkpoint.
    """
    temporary = tf.errors.PermissionDeniedError, tf.errors.ResourceExhaustedError
    numbers = (*system_errors.NO_PERMISSION, *system_errors.TOO_MANY_OPEN_FILES)
    if isinstance(error, temporary) or (
        isinstance(error, tf.errors.OpError)
        and system_errors.has_number(error, numbers)
    ):
        raise OSError(
            f"The checkpoint {checkpoint} could not be read: {_describe(error)}. Make "
            "sure that its files are readable and that the memory and the limit of "
            "open files suffice, and run the same command again."
        ) from error


def _describe(error):
    """Returns the reason of one of `_RESTORE_ERRORS` in a short line."""
    is_native = isinstance(error, tf.errors.OpError)
    text = bad_images.short_message(error) if is_native else str(error)
    return textwrap.shorten(text, 200, placeholder="...")


def _rename_damaged(checkpoints):
    for checkpoint in map(pathlib.Path, checkpoints):
        for path in checkpoint.parent.glob(f"{checkpoint.name}.*"):
            # On Windows, `rename` would not replace a file that was renamed earlier.
            path.replace(path.with_name(f"damaged-{path.name}"))
