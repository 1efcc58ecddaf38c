"""How fast steps go, and how many to run in one call of a `tf.function`."""

import contextlib
import statistics
import time


class StepTimer:
    """Counts of steps that take about a second a call.

    Many steps a call keep Python out of the loop; few let signals, the
    progress bar and checkpoints have their turn. The count never changes what
    is computed.

    Attributes:
        count: steps to run in the next call.

    Args:
        seconds, limit: that a call should take, and steps that it may have.
        agree: makes one count of those of several workers, see `distribution.all_reduce_mean`.
    """

    def __init__(self, seconds=1.0, limit=100, mean_over_workers=float):
        self.count = 1
        self._agree = agree
        self._seconds = seconds
        self._limit = limit
        self._steps = 0
        self._elapsed = 0.0
        self._compiled = False

    @contextlib.contextmanager
    def measure(self, count):
        """Around a call that runs `count` steps."""
        start = time.perf_counter()
        yield
        elapsed = time.perf_counter() - start
        if self._compiled:
            self._steps += count
            self._elapsed += elapsed
            fitting = int(self._seconds * count / elapsed)
            fitting = max(1, min(fitting, 2 * self.count, self._limit))
            self.count = int(self._agree(fitting))
        self._compiled = True

    def lap(self):
        """Steps a second since the last lap; the first call, which compiles,
        is left out. None if there was no other."""
        rate = self._steps / self._elapsed if self._elapsed else None
        self._steps, self._elapsed = 0, 0.0
        return rate


def median_seconds(run, repeats=5):
    """The median of `repeats` runs, after two that do not count."""
    run()
    run()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
