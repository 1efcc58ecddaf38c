"""How the commands speak, and how they end."""

import contextlib
import io
import logging
import os
import signal
import sys

from absl import app
from absl import flags
from absl import logging as absl_logging

# The flags defined by the functions below are those of their callers.
flags.disclaim_key_flags()


def define_path(name, default, help, **options):
    """A flag with a path, as `flags.DEFINE_string`; ~ is the home directory.

    The shell leaves that to the command in --workdir=~/runs, where a folder
    named ~ would be made else.
    """
    return flags.DEFINE(
        _PathParser(), name, default, help,
        serializer=flags.ArgumentSerializer(), **options,
    )  # fmt: skip


def define_paths(name, default, help, **options):
    """A flag with paths and commas between them, as `flags.DEFINE_list`."""
    return flags.DEFINE(
        _PathsParser(), name, default, help,
        serializer=flags.CsvListSerializer(","), **options,
    )  # fmt: skip


class _PathParser(flags.ArgumentParser):
    def parse(self, argument):
        return os.path.expanduser(argument)


class _PathsParser(flags.ListParser):
    def parse(self, argument):
        return [os.path.expanduser(path) for path in super().parse(argument)]


def run(command, work, argv):
    """Runs a command that takes flags only, to its end or an error's line.

    Args:
        command: its name.
        work: a function without arguments, its job.
        argv: of `absl.app.run`.

    Raises:
        app.UsageError: if there are other arguments.
    """
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only. Received: {argv[1:]}.")
    silence_libraries(flags.FLAGS["verbosity"].present)
    with one_line_errors(command):
        work()


def silence_libraries(verbosity_given):
    """Leaves out what TensorFlow and TFDS have to say, but for errors.

    What its libraries say while they are loaded stays too, as does, without a
    GPU, an error of cuInit (github.com/tensorflow/tensorflow/issues/100442).

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
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files that are not UTF-8 are printed as they are.
        sys.stdout.reconfigure(errors="surrogateescape")


def progress():
    """1 where output goes to a terminal, which may have a progress bar."""
    return int(sys.stdout.isatty())


def check_output(flag, path, suffix=""):
    """Refuses, before the work, a file that can't be written after it.

    Args:
        flag: that `path` was given by.
        path: of the file.
        suffix: that it must have.

    Raises:
        ValueError: if it has another one.
        OSError: if its folder is not there, or it is a folder itself.
    """
    if not path.endswith(suffix):
        raise ValueError(
            f"Expected --{flag} to end in {suffix}. Received: {path}."
        )
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise FileNotFoundError(
            f"Expected --{flag} in a folder that is there. Received: {path}."
        )
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"Expected --{flag} to be a file. Received: {path}, a folder."
        )


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
