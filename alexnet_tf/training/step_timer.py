"""Timing of steps, and how many of them to run in one call of a `tf.function`."""

import contextlib
import statistics
import time


class StepTimer:
    """Chooses how many steps to run per call, so that a call takes about a second.

    Many steps per call keep Python out of the loop; with few, signals, the
    progress bar and checkpoints are handled in time. The count never changes
    what is computed.

    Attributes:
        count: the number of steps to run in the next call.

    Args:
        seconds: the time that a call should take.
        limit: the largest number of steps per call.
        mean_over_workers: a function that averages a number over all workers,
            so that they agree on one count; see `distribution.all_reduce_mean`.
    """

    def __init__(self, seconds=1.0, limit=100, mean_over_workers=float):
        self.count = 1
        self._mean_over_workers = mean_over_workers
        self._seconds = seconds
        self._limit = limit
        self._steps = 0
        self._elapsed = 0.0
        self._compiled = False

    @contextlib.contextmanager
    def measure(self, count):
        """Measures a call that runs `count` steps, as a context manager."""
        start = time.perf_counter()
        yield
        elapsed = time.perf_counter() - start
        if self._compiled:
            self._steps += count
            self._elapsed += elapsed
            fitting = int(self._seconds * count / elapsed)
            fitting = max(1, min(fitting, 2 * self.count, self._limit))
            self.count = int(self._mean_over_workers(fitting))
        self._compiled = True

    def lap(self):
        """Returns the steps per second since the last lap.

        The first call, which compiles the function, is not counted; the result
        is None if there was no other call.
        """
        steps_per_second = self._steps / self._elapsed if self._elapsed else None
        self._steps, self._elapsed = 0, 0.0
        return steps_per_second


def median_seconds(run, repeats=5):
    """Returns the median time of `repeats` calls of `run`, after two warm-up calls."""
    run()
    run()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)
