"""How the commands speak, and how they end."""

import contextlib
import logging
import os
import signal
import sys

from absl import logging as absl_logging


def quieten(verbosity_given):
    """Leaves out what TensorFlow and TFDS have to say, but for errors.

    To be called before TensorFlow is imported.

    Args:
        verbosity_given: whether --verbosity is on the command line; TFDS's
            messages then follow it.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not verbosity_given:
        absl_logging.set_verbosity(absl_logging.WARNING)
    # TFDS's own calls are deprecated ones.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextlib.contextmanager
def one_line_errors(command, when_interrupted="interrupted."):
    """What a user can mend ends the command with a line, not a traceback.

    Exit status: 1, or as shells have it for Ctrl-C and for a reader of the
    output that has gone.

    Args:
        command: its name, with which the line begins.
        when_interrupted: what to say after Ctrl-C.
    """
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{command}: {when_interrupted}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (
        ValueError, OSError, FloatingPointError, ModuleNotFoundError
    ) as error:
        absl_logging.debug("", exc_info=True)
        sys.exit(f"{command}: {error}")
