"""Runs the package's commands as a user types them, again and again.

Importing TensorFlow takes seconds, and the flags of two commands can't be in
one process: each command gets a process that is asked for one run after
another.
"""

import atexit
import collections
import contextlib
import importlib
import io
import json
import subprocess
import sys
import traceback

_MOST = 2  # Processes at a time; each takes half a gigabyte.
_processes = collections.OrderedDict()


def command(name, *args):
    """(exit status, output, errors) of `python -m alexnet_tf.NAME ARGS`."""
    if name not in _processes:
        while len(_processes) >= _MOST:
            _end(next(iter(_processes)))
        _processes[name] = subprocess.Popen(
            [sys.executable, __file__, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )
    _processes.move_to_end(name)
    process = _processes[name]
    process.stdin.write(json.dumps([str(arg) for arg in args]) + "\n")
    process.stdin.flush()
    code, out, err = json.loads(process.stdout.readline())
    assert "Traceback" not in err, err
    return code, out, err


def _end(name):
    process = _processes.pop(name)
    process.stdin.close()
    process.wait()


@atexit.register
def _end_all():
    for name in [*_processes]:
        _end(name)


def _run(module, args):
    """As absl's app.run, but for what it prints on a wrong flag."""
    from absl import app, flags
    from absl.testing import flagsaver

    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        try:
            module.main(flags.FLAGS([module.__name__, *args]))
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


def _serve(name):
    answers = sys.stdout
    module = importlib.import_module(f"alexnet_tf.{name}")
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _run(module, json.loads(line))
        answers.write(json.dumps([code, out.getvalue(), err.getvalue()]) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
