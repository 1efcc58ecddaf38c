"""Errors, output and path flags of the commands."""

import subprocess
import sys

from absl import flags
import pytest

from alexnet_tf import cli


@pytest.mark.parametrize(
    "error", [ValueError, OSError, FloatingPointError, ModuleNotFoundError]
)
def test_errors_that_a_user_can_correct_are_one_line(error):
    with pytest.raises(SystemExit, match="^a.b: no room$"):
        with cli.one_line_errors("a.b"):
            raise error("no room")


def test_other_errors_have_a_traceback():
    with pytest.raises(RuntimeError):
        with cli.one_line_errors("a.b"):
            raise RuntimeError


def test_reports_an_interrupt(capsys):
    with pytest.raises(SystemExit) as end:
        with cli.one_line_errors("a.b", "stopped."):
            raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr().err == "a.b: stopped.\n"


def test_a_closed_pipe_is_not_an_error():
    """`| head -1` closes it while much is still to be printed."""
    code = (
        "from alexnet_tf import cli\n"
        "with cli.one_line_errors('a.b'):\n"
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


def test_prints_file_names_that_are_not_utf_8():
    code = (
        "from alexnet_tf import cli\n"
        "cli.silence_libraries(False)\n"
        "print('caf\\udce9.jpg')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.stdout, done.returncode) == (b"caf\xe9.jpg\n", 0), done.stderr


def test_path_flags_expand_the_home_directory(monkeypatch):
    """The value is the same when it is read back from a flagfile."""
    monkeypatch.setenv("HOME", "/home/ada")
    values = flags.FlagValues()
    cli.define_path("output", None, "One.", flag_values=values)
    cli.define_paths("weights", None, "Some.", flag_values=values)
    values(["test"])
    assert values.output is values.weights is None
    values(["test", "--output=~/a b.png", "--weights=~/a.npy,~/b,~c,/d/~"])
    assert values.output == "/home/ada/a b.png"
    assert values.weights == ["/home/ada/a.npy", "/home/ada/b", "~c", "/d/~"]
    again = values["weights"].serialize()
    values(["test", again])
    assert values["weights"].serialize() == again
