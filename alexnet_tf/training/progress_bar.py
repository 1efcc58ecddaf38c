"""The progress bar of a training run, with the time that is left of the run."""

import contextlib
import datetime
import sys
import time

import keras

from alexnet_tf.training import stopping


def verbosity(verbose="auto"):
    """Returns the `verbose` of Keras' progress bars for that of `loop.train`.

    For "auto", the result is 1 for a bar in a terminal or a notebook. Elsewhere a bar
    cannot be redrawn, and with 2, Keras prints one line per epoch.
    """
    if verbose != "auto":
        return verbose
    # The output of a notebook is not a terminal, but its IPython kernel redraws a line.
    return 1 if sys.stdout.isatty() or "ipykernel" in sys.modules else 2


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, to which the time left of the whole run is added.

    Args:
        clock: the `RunClock`.
        progress: the `checkpoints.Progress` of the run.
    """

    def __init__(self, clock, progress):
        super().__init__()
        self._clock, self._progress = clock, progress

    def on_train_batch_end(self, batch, logs=None):
        self._update_unit()
        super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._update_unit()
        super().on_epoch_end(epoch, logs)

    def _update_unit(self):
        # A progress bar of Keras ends its times with the name of the unit.
        text = self._clock.describe_time_left(
            self._progress.step, len(self._progress.errors)
        )
        self.progbar.unit_name = f"step, {text}" if text else "step"


class RunClock:
    """Estimates how long a run will take until its last epoch, with its evaluations.

    Args:
        recipe: a `presets.Recipe`.
        options: a `TrainingOptions`.
        steps_per_epoch: the number of steps in an epoch.
        eval_source: the `Source` that is evaluated.
    """

    def __init__(self, recipe, options, steps_per_epoch, eval_source):
        self._recipe, self._options = recipe, options
        self._steps_per_epoch = steps_per_epoch
        self._steps_per_evaluation = -(-eval_source.num_examples // recipe.batch_size)
        self._start, self._first_step = None, None
        self._evaluation_times = []

    @contextlib.contextmanager
    def measure_evaluation(self):
        """Returns a context manager that measures an evaluation."""
        start = time.perf_counter()
        yield
        self._evaluation_times.append(time.perf_counter() - start)

    def seconds_left(self, step, completed):
        """Returns the estimated time in seconds.

        The clock starts in the first call, because the first steps compile functions.
        The result is None until a step has been completed after that call.

        A step is expected to take the mean time of the steps since then, which includes
        everything between them except evaluations. An evaluation is expected to take as
        long as the last one. Before the first evaluation, a batch of it is expected to
        take as long as a step.

        Args:
            step: the number of completed steps.
            completed: the number of completed epochs, with their evaluations.
        """
        now = time.perf_counter()
        if self._start is None:
            self._start, self._first_step = now - sum(self._evaluation_times), step
        if step == self._first_step:
            return None
        elapsed = now - self._start - sum(self._evaluation_times)
        seconds_per_step = elapsed / (step - self._first_step)
        if self._evaluation_times:
            seconds_per_evaluation = self._evaluation_times[-1]
        else:
            seconds_per_evaluation = self._steps_per_evaluation * seconds_per_step
        epochs = self._recipe.epochs
        evaluations = sum(
            stopping.is_evaluated(epoch, epochs, self._options.eval_every)
            for epoch in range(completed + 1, epochs + 1)
        )
        steps = epochs * self._steps_per_epoch - step
        return steps * seconds_per_step + evaluations * seconds_per_evaluation

    def describe_time_left(self, step, completed):
        """Returns a text such as "0:01:20 left of the run", empty if it is not known.

        It says "at most" if the validation errors may end the run early.

        Args:
            step, completed: as for `seconds_left`.
        """
        seconds = self.seconds_left(step, completed)
        if not seconds:
            return ""
        may_end_early = (
            self._recipe.schedule == "plateau" or self._options.early_stopping_patience
        )
        time_left = datetime.timedelta(seconds=round(seconds))
        return f"{'at most ' if may_end_early else ''}{time_left} left of the run"
