"""Signals that stop a training run: SIGINT and SIGTERM."""

import signal
import sys
import threading


class TrainingInterrupted(Exception):
    """A signal has stopped training, and the state is saved.

    Attributes:
        signum: the number of the signal, such as `signal.SIGTERM`.
    """

    def __init__(self, signum, step):
        super().__init__(
            f"Stopped by {signal.Signals(signum).name} after step {step}; the same "
            "command resumes from there."
        )
        self.signum = signum


class SignalRecorder:
    """Records the first SIGINT or SIGTERM; the second one ends the process.

    Outside the main thread, where Python allows no signal handlers, it records nothing.
    """

    def __enter__(self):
        self.received = None
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._record)
        return self

    def _record(self, signum, frame):
        del frame
        self.received = signum
        print(
            "\nSaving a checkpoint. Press Ctrl-C again to quit immediately.",
            file=sys.stderr,
        )
        self._restore_handlers()

    def _restore_handlers(self):
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def __exit__(self, *unused):
        self._restore_handlers()
