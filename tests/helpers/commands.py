"""Runs the commands of the package as a user would, many times in one process.

Importing TensorFlow takes seconds, and a command changes its process, for example the
levels of loggers. Therefore one server process imports the libraries and forks for each
run of a command. It can fork because the imports set up no device and so start no
threads, as `test_importing_the_modules_initializes_no_device` checks.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import io
import json
import os
import subprocess
import sys
import traceback

# Importing these modules imports TensorFlow, Keras, TFDS and Matplotlib.
_PRELOADED = (
    "training.loop",
    "training.throughput",
    "inference.export_formats",
    "figures.html_report",
)


def command(name, *args):
    """Returns (exit status, stdout, stderr) of `python -m alexnet_tf.NAME ARGS`.

    A traceback in stderr fails the test.
    """
    server = _server()
    server.stdin.write(json.dumps([name, *map(str, args)]) + "\n")
    server.stdin.flush()
    code, out, err = json.loads(server.stdout.readline())
    assert "Traceback" not in err, err
    return code, out, err


@functools.cache
def _server():
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip

    @atexit.register
    def stop():
        process.stdin.close()
        process.wait()

    return process


def _run(module, args):
    """Runs `module.main` as `app.run` does, but prints no usage text for wrong flags.

    Returns:
        The exit status.
    """
    from absl import app, flags

    # The environment of a run records the command.
    sys.argv = [module.__file__, *args]
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


def _run_and_reply(name, args):
    """Runs a command and prints its exit status and output as a line of JSON."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        module = importlib.import_module(f"alexnet_tf.{name}")
        code = _run(module, args)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)


def _serve():
    """Runs the commands that stdin names, one a line, each in a child process."""
    for name in _PRELOADED:
        importlib.import_module(f"alexnet_tf.{name}")
    preprocess = importlib.import_module("alexnet_tf.data.preprocess")
    # Compiling with XLA would take .2 seconds in each child. conftest replaces the
    # function for the tests too.
    preprocess._compiled = preprocess._uncompiled
    gc.freeze()  # Spares the children from traversing the imported modules.
    while request := sys.stdin.readline():
        child = os.fork()
        if not child:
            name, *args = json.loads(request)
            _run_and_reply(name, args)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    _serve()
