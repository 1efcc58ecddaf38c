"""The experiments' files say what the package does."""

import json
import pathlib
import re
import subprocess
import sys

from absl import flags
from absl.testing import flagsaver
import pytest

from alexnet_tf import train

FOLDER = pathlib.Path(__file__).parents[1] / "experiments"
README = FOLDER.parent / "README.md"


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*.flags")), ids=lambda path: path.stem
)
def test_flagfiles_parse_and_say_how_they_are_run(path):
    text = path.read_text()
    assert f"--flagfile=experiments/{path.name}" in text
    assert "Measured:" in text
    assert path.name in README.read_text()
    with flagsaver.flagsaver():
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["train", f"--flagfile={path}"])
        assert train._preset().name in text
        assert flags.FLAGS.workdir == f"runs/{path.stem}"


@pytest.fixture
def experiments(monkeypatch):
    """The folder is no part of the package: it is found from its own."""
    monkeypatch.syspath_prepend(str(FOLDER.parent))


def test_neurons_differ_from_the_caption_in_conv1_alone(experiments):
    from experiments import neurons

    rows = neurons.rows()
    wrong = [name for name, caption, counted in rows[:-1] if caption != counted]
    assert wrong == ["conv1"]
    assert rows[1] == ("conv1", 253_440, 290_400)
    assert rows[-1] == ("total", 622_312, 659_272)


def test_the_table_of_fine_tuning_is_that_of_its_log(experiments):
    from experiments import finetune_cifar10

    lines = [
        json.loads(line)
        for line in (FOLDER / "logs" / "finetune_cifar10.jsonl").open()
    ]
    last = max(line["epoch"] for line in lines)
    for size in finetune_cifar10.SIZES:
        cells = []
        for start in finetune_cifar10.STARTS:
            errors = [
                100 * line["top1_error"]
                for line in lines
                if (line["start"], line["per_class"], line["epoch"])
                == (start, size, last)
            ]
            assert len(errors) == len(finetune_cifar10.SEEDS) == 3
            each = ", ".join(f"{error:.1f}" for error in errors)
            cells.append(f"{sum(errors) / 3:.1f}% ({each})")
        assert f"| {size:,} | {cells[0]} | {cells[1]} |" in README.read_text()


def test_parts_of_cifar10_are_balanced_and_repeated(experiments, make_source):
    from experiments import finetune_cifar10

    whole = make_source(60)
    part = finetune_cifar10.part(whole, 5, seed=1, per_class=2)
    assert part.num_examples == finetune_cifar10.EPOCH
    assert part.classes == tuple("56789")
    examples = [*part.examples().as_numpy_iterator()]
    names = {e["name"] for e in examples}
    assert len(examples) == 5000 and len(names) == 10
    for example in examples[:10]:
        number = int(example["name"].split()[1])
        assert number % 10 == example["label"] + 5
    other = finetune_cifar10.part(whole, 5, seed=2, per_class=2)
    assert {e["name"] for e in other.examples().as_numpy_iterator()} != names
    rest = finetune_cifar10.part(whole, 0)
    assert rest.num_examples == 30 and rest.classes == tuple("01234")


def test_every_flag_in_the_readme_exists():
    """In the command that it is given to, or in prose in one of them."""
    helps = {
        name: subprocess.run(
            [sys.executable, "-m", f"alexnet_tf.{name}", "--help"],
            capture_output=True, text=True,
        ).stdout.replace("[no]", "")
        for name in (
            "train", "predict", "export", "evaluate", "visualize", "report"
        )
    }  # fmt: skip
    text = README.read_text()
    commands = re.findall(r"^python -m alexnet_tf\.(\w+) (.*)$", text, re.M)
    assert {name for name, _ in commands} == {*helps}
    for name, line in commands:
        for flag in re.findall(r"--([a-z_0-9]+)", line):
            assert f"--{flag}:" in helps[name] or flag == "flagfile", (name, flag)
    named = set(re.findall(r"--(?:no)?([a-z_]{4,})", text))
    for flag in named - {"help", "large", "logdir", "flagfile"}:
        assert f"--{flag}:" in "".join(helps.values()), flag
