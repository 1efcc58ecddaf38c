"""Runs the package's commands as a user types them, again and again.

Importing TensorFlow takes seconds, and the flags of two commands can't be in
one process. So one process imports the libraries, which start no threads by
that (test_imports), and forks for each run.
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


def command(name, *args):
    """(exit status, output, errors) of `python -m alexnet_tf.NAME ARGS`."""
    process = _server()
    process.stdin.write(json.dumps([name, *map(str, args)]) + "\n")
    process.stdin.flush()
    code, out, err = json.loads(process.stdout.readline())
    assert "Traceback" not in err, err
    return code, out, err


@functools.cache
def _server():
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )

    @atexit.register
    def end():
        process.stdin.close()
        process.wait()

    return process


def _run(module, args):
    """As absl's app.run, but for what it prints on a wrong flag."""
    from absl import app, flags

    sys.argv = [module.__name__, *args]
    try:
        module.main(flags.FLAGS(sys.argv))
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except (app.UsageError, flags.Error) as error:
        print(error, file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _answer(name, args):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        module = importlib.import_module(f"alexnet_tf.{name}")
        code = _run(module, args)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)


def _serve():
    for library in ("training.loop", "figures.html_report", "inference.export_formats",
                    "training.throughput"):
        importlib.import_module(f"alexnet_tf.{library}")
    gc.freeze()  # No child looks through what was imported.
    while line := sys.stdin.readline():
        child = os.fork()
        if not child:
            name, *args = json.loads(line)
            _answer(name, args)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    _serve()
