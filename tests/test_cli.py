"""The parts that all commands share: one-line errors, output, and flags for paths."""

import subprocess
import sys

from absl import flags
import pytest

from alexnet_tf import cli


@pytest.mark.parametrize(
    "error", [ValueError, OSError, FloatingPointError, ModuleNotFoundError]
)
def test_reports_correctable_errors_in_one_line(error):
    with pytest.raises(SystemExit, match="^a.b: no room$"):
        with cli.one_line_errors("a.b"):
            raise error("no room")


def test_raises_other_errors_unchanged():
    with pytest.raises(RuntimeError):
        with cli.one_line_errors("a.b"):
            raise RuntimeError


def test_reports_an_interrupt_in_one_line(capsys):
    with pytest.raises(SystemExit) as error:
        with cli.one_line_errors("a.b", "stopped."):
            raise KeyboardInterrupt
    assert error.value.code == 130
    assert capsys.readouterr().err == "a.b: stopped.\n"


def test_a_closed_pipe_is_not_an_error():
    """`| head -1` closes the pipe while the command is still printing."""
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
    process = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout == b"caf\xe9.jpg\n"


def test_path_flags_expand_the_home_directory(monkeypatch):
    """Expanded paths are not changed when they are read back from a flagfile."""
    monkeypatch.setenv("HOME", "/home/ada")
    values = flags.FlagValues()
    cli.path_flag("output", None, "A path.")(flag_values=values)
    cli.paths_flag("weights", None, "Several paths.")(flag_values=values)
    values(["test"])
    assert values.output is values.weights is None
    values(["test", "--output=~/a b.png", "--weights=~/a.npy,~/b,~c,/d/~"])
    assert values.output == "/home/ada/a b.png"
    assert values.weights == ["/home/ada/a.npy", "/home/ada/b", "~c", "/d/~"]
    argument = values["weights"].serialize()
    values(["test", argument])
    assert values["weights"].serialize() == argument


def test_a_command_without_weights_says_what_to_give():
    message = "--weights=None: Give the work directory of a run, a weights file, or"
    with pytest.raises(flags.IllegalFlagValueError, match=message):
        cli.parse(cli.weights_flags(required=True), ["predict", "--preset=owt"])
    args = cli.parse(cli.weights_flags(), ["visualize"])
    assert args.weights is None
