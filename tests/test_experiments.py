"""The experiments' files say what the package does."""

import pathlib
import re

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


def test_neurons_differ_from_the_caption_in_conv1_alone(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    from experiments import neurons

    rows = neurons.rows()
    wrong = [name for name, caption, counted in rows[:-1] if caption != counted]
    assert wrong == ["conv1"]
    assert rows[1] == ("conv1", 253_440, 290_400)
    assert rows[-1] == ("total", 622_312, 659_272)


def test_every_flag_in_the_readme_exists():
    named = set(re.findall(r"--(?:no)?([a-z_]{4,})", README.read_text()))
    named -= {"help", "large", "logdir", "flagfile"}
    known = set(flags.FLAGS)
    assert named and not {
        name for name in named if name not in known
        and name.removeprefix("no") not in known
    }
