"""Runs the commands of the package as a user would, but in this process.

A new process would import TensorFlow, which takes five seconds, and would trace the
decoders of images again.
"""

import contextlib
import importlib
import io
import logging
import sys
import traceback
from unittest import mock


def command(name, *args):
    """Returns (exit status, stdout, stderr) of `python -m alexnet_tf.NAME ARGS`.

    A traceback in stderr fails the test.
    """
    args = [str(arg) for arg in args]
    module = importlib.import_module(f"alexnet_tf.{name}")
    out, err = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(err)
    handler.setLevel(logging.WARNING)
    with (
        # The environment of a run records the command.
        mock.patch.object(sys, "argv", [module.__file__, *args]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _handling_records(handler),
    ):
        code = _run(module, args)
    assert "Traceback" not in err.getvalue(), err.getvalue()
    return code, out.getvalue(), err.getvalue()


def help_text(name):
    """Returns what `python -m alexnet_tf.NAME --help` prints, without "[no]"."""
    return command(name, "--help")[1].replace("[no]", "")


@contextlib.contextmanager
def _handling_records(handler):
    """Adds a handler to the root logger."""
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _run(module, args):
    """Runs `module.main` as `app.run` does, but prints no usage text for wrong flags.

    Returns:
        The exit status.
    """
    from absl import app, flags

    try:
        module.main([module.__name__, *args])
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
            return 1
        return error.code or 0
    except (app.UsageError, flags.Error) as error:
        print(error, file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0
