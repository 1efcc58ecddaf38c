"""How commands end."""

import subprocess
import sys

import pytest

from alexnet_tf import console


@pytest.mark.parametrize(
    "error", [ValueError, OSError, FloatingPointError, ModuleNotFoundError]
)
def test_what_a_user_can_mend_is_one_line(error):
    with pytest.raises(SystemExit, match="^a.b: no room$"):
        with console.one_line_errors("a.b"):
            raise error("no room")


def test_what_is_our_fault_has_a_traceback():
    with pytest.raises(RuntimeError):
        with console.one_line_errors("a.b"):
            raise RuntimeError


def test_an_interrupt_is_said(capsys):
    with pytest.raises(SystemExit) as end:
        with console.one_line_errors("a.b", "stopped."):
            raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr().err == "a.b: stopped.\n"


def test_a_reader_that_has_gone_is_no_error():
    """As with `| head -1`, while much is still to be printed."""
    code = (
        "from alexnet_tf import console\n"
        "with console.one_line_errors('a.b'):\n"
        "    for _ in range(100_000): print('a line')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
