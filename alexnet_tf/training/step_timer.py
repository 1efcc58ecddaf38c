"""Times training steps, and chooses how many to run per call of a `tf.function`."""

import contextlib
import statistics
import time


class StepTimer:
    """Chooses how many steps to run per call, so that a call takes about a second.

    Between two calls, Python handles signals, the progress bar and checkpoints.
    More steps per call save time, and fewer steps let Python react sooner. The
    number of steps per call does not affect the computed weights and metrics.

    Attributes:
        count: the number of steps to run in the next call.

    Args:
        seconds: the time that a call should take.
        limit: the largest number of steps per call.
        mean_over_workers: a function that returns the mean of a number over all
            workers (see `distribution.all_reduce_mean`), so that all workers
            choose the same count. The default is for a single worker.
    """

    def __init__(self, seconds=1.0, limit=100, mean_over_workers=float):
        self.count = 1
        self._mean_over_workers = mean_over_workers
        self._seconds = seconds
        self._limit = limit
        self._steps = 0
        self._elapsed = 0.0
        self._is_compiled = False

    @contextlib.contextmanager
    def measure(self, count):
        """Returns a context manager that measures a call of `count` steps.

        After each call except the first, the attribute `count` is updated. It at
        most doubles.
        """
        start = time.perf_counter()
        yield
        elapsed = time.perf_counter() - start
        if self._is_compiled:
            self._steps += count
            self._elapsed += elapsed
            next_count = int(self._seconds * count / elapsed)
            next_count = max(1, min(next_count, 2 * self.count, self._limit))
            self.count = int(self._mean_over_workers(next_count))
        self._is_compiled = True

    def lap(self, images_per_step=1):
        """Returns the images per second since `lap` was last called.

        The first measured call is ignored, because it compiles the function.
        The result is None if no other call was measured.

        Args:
            images_per_step: the number of images in a step; 1 to count steps.
        """
        steps_per_second = self._steps / self._elapsed if self._elapsed else None
        self._steps, self._elapsed = 0, 0.0
        return steps_per_second and steps_per_second * images_per_step


def median_seconds(run, repeats=5):
    """Returns the median time of a call in seconds, after two warm-up calls.

    Args:
        run: a function without arguments.
        repeats: the number of timed calls.
    """
    run()
    run()
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)
