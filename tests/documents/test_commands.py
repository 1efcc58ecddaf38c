"""Tests the commands of README.md and docs/: all are parsed, and most are run.

Running them takes minutes, and only `pytest --large` does it. It replaces weights that
would be downloaded by weights of the package, and other data sets by textures.
"""

import importlib
import re
import shlex

import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf import cli
from helpers.documents import page_name
from helpers.documents import PAGES
from helpers.documents import read_commands
from helpers.documents import ROOT
from helpers.documents import write_photograph

# {part of a command: why no test runs the command}. `.ci/run` runs the second one.
NOT_RUN = {
    "pip install . &&": "installs the package; the tests train the demonstration",
    'pip install ".[test]" &&': "installs the package and runs the tests",
    "pytest --gpu": "runs other tests, which need a GPU",
    "imagenet2012": "ImageNet cannot be downloaded without an account",
    "imagenette.flags": "the images are downloaded by TFDS",
    "memorize.flags": "needs ImageNet",
    "cifar10_enlarged.flags": "needs CIFAR-10 and 14 minutes",
    "cifar100": "the images are downloaded by TFDS",
    "alexnet_tf.benchmark": "measures full-size networks for minutes",
    "alexnet_tf.serve_data": "a server that does not end; test_data_service.py runs it",
    "experiments.own_network": "needs CIFAR-10",
    "experiments.cluster": "test_distribution.py runs several processes",
    "tensorflow_model_server": "another program; test_snippets.py tests its requests",
    "curl": "needs tensorflow_model_server",
    "mkdir": "prepares files for tensorflow_model_server",
    "--format=onnx": "needs the extra onnx, with which test_export_formats.py runs it",
}

# Replacements in commands before they are run: (pattern, text).
SUBSTITUTES = (
    (r"=(torchvision|bvlc_alexnet|imagenet)\b(?!\.)", "=tiny_textures"),
    (r"--preset=(caffe|paper)\b", "--preset=tiny"),
    (r"--dataset=cifar10\b", "--dataset=textures"),
    (r"runs/cifar10-", "runs/textures-"),
)
MODULE = re.compile(r"python -m alexnet_tf\.(\w+)")
COMMAND_LINES = [(path, line) for path in PAGES for line in read_commands(path)]


def reason_not_to_run(line):
    return next((reason for part, reason in NOT_RUN.items() if part in line), None)


def test_every_command_is_run_or_has_a_reason():
    for path, line in COMMAND_LINES:
        assert MODULE.match(line) or reason_not_to_run(line), (page_name(path), line)
    for part in NOT_RUN:
        assert any(part in line for _, line in COMMAND_LINES), part


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_commands_have_valid_flags(path, monkeypatch):
    monkeypatch.chdir(ROOT)  # Paths of flagfiles are relative to it.
    for line in read_commands(path):
        match = MODULE.match(line)
        if match:
            module = importlib.import_module(f"alexnet_tf.{match[1]}")
            _, *arguments = shlex.split(line.replace(match[0], match[1]))
            cli.parse(module.FLAGS, [match[1], *arguments])


@pytest.fixture
def working_folder(tmp_path, monkeypatch, textures_data_dir):
    """A folder with the files that the commands name, as the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "cat.jpg", "photos/1.jpg", "more/2.jpg", "stimuli/3.png"):
        write_photograph(tmp_path / name)
    for label in "xy":
        for index in range(20):
            write_photograph(tmp_path / "images" / label / f"{index}.jpg")
    (tmp_path / "paths.txt").write_text("a.jpg\ncat.jpg\n")
    (tmp_path / "my_preset.py").write_text(
        "import dataclasses\nfrom alexnet_tf import presets\n"
        'WIDE = dataclasses.replace(presets.get("tiny"), name="wide")\n'
    )
    tiny = alexnet_tf.AlexNet(weights="tiny_textures")
    alexnet_tf.save_weights(tiny, "bvlc_alexnet.npy")
    return tmp_path


def prepared_arguments(line, data_dir):
    """Returns the arguments of a command, with one epoch and the data of the tests."""
    for pattern, text in SUBSTITUTES:
        line = re.sub(pattern, text, line)
    name, *arguments = shlex.split(line.replace("python -m alexnet_tf.", ""))
    if name == "train":
        arguments.append("--epochs=1")
    # Other commands have no --data_dir, or refuse it if they load no data set.
    if (
        name in ("train", "evaluate", "report", "visualize")
        or (name == "extract" and "--dataset" in line)
        or (name == "export" and "int8" in line)
    ):
        arguments.append(f"--data_dir={data_dir}")
    return name, arguments


@pytest.mark.large
@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_commands_run(path, working_folder, textures_data_dir):
    lines = [line for line in read_commands(path) if not reason_not_to_run(line)]
    if any("runs/textures-tiny" in line for line in lines):
        lines.insert(0, "python -m alexnet_tf.train")
    for line in dict.fromkeys(lines):
        name, arguments = prepared_arguments(line, textures_data_dir)
        tf.keras.backend.clear_session()
        importlib.import_module(f"alexnet_tf.{name}").main([name, *arguments])
        output = [a for a in arguments if a.startswith("--output=")]
        for argument in output:
            assert (working_folder / argument.removeprefix("--output=")).exists()
