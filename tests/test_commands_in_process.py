"""Commands that are run from Python, as in a notebook, in one process with others."""

import importlib
import os
import runpy
import subprocess
import sys

from absl import app
from absl import flags
from absl import logging
import pytest

from alexnet_tf import cli
from alexnet_tf import onednn
from alexnet_tf import predict
from alexnet_tf import train

COMMANDS = (
    "benchmark", "evaluate", "export", "extract", "predict", "prepare", "report",
    "serve_data", "train", "visualize",
)  # fmt: skip

FLAGS = [
    cli.integer_flag("epochs", 3, "Number of epochs."),
    cli.list_flag("layers", None, "Names."),
    cli.path_flag("workdir", None, "A directory.", required=True),
    cli.check_flag("layers", lambda layers: layers != ["fc9"], "must not be fc9"),
]


def run(*argv, **options):
    """Runs a command with `FLAGS` and returns the values that its function receives."""
    received = []
    cli.run("test", lambda *args: received.extend(args), FLAGS, ["x", *argv], **options)
    return received


def test_importing_commands_defines_no_flags():
    """A program with a flag --weights of its own can import all of them."""
    modules = ", ".join(f"alexnet_tf.{name}" for name in COMMANDS)
    code = (
        "from absl import app, flags\n"
        "flags.DEFINE_string('weights', 'mine', '')\n"
        "before = set(flags.FLAGS)\n"
        f"import {modules}\n"
        "assert set(flags.FLAGS) == before, set(flags.FLAGS) - before\n"
        "assert flags.FLAGS['weights'].default == 'mine'\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_its_help(command, capsys):
    module = importlib.import_module(f"alexnet_tf.{command}")
    module.main([command, "--help"])
    output = capsys.readouterr().out
    assert module.__doc__ in output
    assert "--data_dir:" in output or "--dispatcher:" in output or "--layout:" in output


def test_the_package_lists_its_commands(capsys):
    """Each has its own first line, such as "Trains AlexNet."."""
    runpy.run_module("alexnet_tf", run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[2] for line in lines if "python -m" in line]
    assert sorted(listed) == [f"alexnet_tf.{command}" for command in COMMANDS]
    assert "  python -m alexnet_tf.train        Trains AlexNet." in lines


def test_each_run_has_its_own_flags():
    (first,) = run("--workdir=a", "--epochs=5")
    (second,) = run("--workdir=b", "--layers=fc7,fc8")
    assert vars(first) == {"workdir": "a", "epochs": 5, "layers": None}
    assert vars(second) == {"workdir": "b", "epochs": 3, "layers": ["fc7", "fc8"]}
    assert "workdir" not in flags.FLAGS


def test_flags_of_the_process_are_removed_after_the_run(monkeypatch):
    """The module of a command can be run as `__main__` twice in a process."""
    monkeypatch.setattr(sys, "argv", ["x", "--workdir=a"])
    monkeypatch.setattr(app, "run", lambda main: main(flags.FLAGS(sys.argv)))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    for _ in range(2):
        received = []
        cli.run("test", received.append, FLAGS)
        assert received[0].workdir == "a"
        assert not {"workdir", "epochs", "layers"} & set(flags.FLAGS)
    assert os.environ["KERAS_BACKEND"] == "tensorflow"


def test_onednn_is_chosen_only_in_a_process_of_the_command(monkeypatch):
    calls = []
    monkeypatch.setattr(onednn, "enable_if_faster", lambda: calls.append("called"))
    run("--workdir=a")
    assert calls == []
    monkeypatch.setattr(sys, "argv", ["x", "--workdir=a"])
    monkeypatch.setattr(app, "run", lambda main: main(flags.FLAGS(sys.argv)))
    cli.run("test", [].append, FLAGS)
    assert calls == ["called"]


def test_flagfiles_are_read(tmp_path):
    (tmp_path / "flags.txt").write_text("# A comment.\n--workdir=a\n--epochs=7\n")
    (args,) = run(f"--flagfile={tmp_path / 'flags.txt'}", "--workdir=b")
    assert (args.workdir, args.epochs) == ("b", 7)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--workdir=a", "--epoch=2"], "'epoch'. Did you mean: epochs"),
        (["--workdir=a", "--layers=fc9"], "must not be fc9"),
        (["--epochs=2"], "workdir"),
    ],
)
def test_wrong_flags_raise_an_error(argv, message):
    with pytest.raises(flags.Error, match=message):
        run(*argv)


def test_arguments_that_are_not_flags_are_passed_on_or_refused():
    args, arguments = run("b.jpg", "--workdir=a", "c.jpg", takes_arguments=True)
    assert args.workdir == "a" and arguments == ["b.jpg", "c.jpg"]
    with pytest.raises(app.UsageError, match=r"flags only. Received: \['b.jpg'\]"):
        run("b.jpg", "--workdir=a")
    with pytest.raises(app.UsageError, match="image files"):
        predict.main(["predict", "--weights=tiny_textures"])


def test_verbosity_applies_to_libraries():
    previous = logging.get_verbosity()
    try:
        run("--workdir=a", "--verbosity=1")
        assert logging.get_verbosity() == 1
        run("--workdir=a")
        assert logging.get_verbosity() == logging.WARNING
    finally:
        logging.set_verbosity(previous)


def test_only_a_failure_exits():
    cli.run("test", lambda args: True, [], ["x"])
    with pytest.raises(SystemExit) as error:
        cli.run("test", lambda args: False, [], ["x"])
    assert error.value.code == 1


def test_errors_of_the_library_end_in_one_line():
    with pytest.raises(SystemExit, match="^alexnet_tf.train: Expected one of the pre"):
        train.main(["train", "--weights=a.npy", "--preset=vgg"])
