"""Tests of the notebook docs/tour.ipynb."""

import re

import pytest

from experiments import notebook
from helpers.documents import ROOT

PATH = ROOT / "docs" / "tour.ipynb"


def test_the_notebook_is_small_and_has_outputs_and_working_links():
    assert PATH.stat().st_size < 1_000_000
    cells = notebook.read(PATH)["cells"]
    markdown = [
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
    ]
    for section in ("3.1", "3.3", "3.4", "3.5", "4.1", "4.2", "6.1", "Fig. 4"):
        assert any(section in text.splitlines()[0] for text in markdown), section
    for link in re.findall(r"\]\(([^)]+)\)", " ".join(markdown)):
        assert (PATH.parent / link).exists(), link
    code_cells = [cell for cell in cells if cell["cell_type"] == "code"]
    numbers = [cell["execution_count"] for cell in code_cells]
    assert numbers == [*range(1, len(code_cells) + 1)]
    assert sum(map(_count_figures, code_cells)) == 8


@pytest.mark.large
def test_the_notebook_runs(textures_by_default):
    """The stored outputs are of the same kinds; numbers depend on the machine."""
    stored, repeated = notebook.read(PATH), notebook.read(PATH)
    notebook.run(repeated)
    for cell, new_cell in zip(stored["cells"], repeated["cells"], strict=True):
        if cell["cell_type"] == "code":
            assert _count_figures(new_cell) == _count_figures(cell)
            assert len(_printed_lines(new_cell)) == len(_printed_lines(cell))
    lines = [line for cell in repeated["cells"] for line in _printed_lines(cell)]
    printed = "".join(lines)
    assert "60,965,224 parameters" in printed and "659,272 neurons" in printed


def test_outputs_of_cells_are_what_they_print_and_their_figures():
    sources = ["x = 2\n", "print(x)\nfrom matplotlib import pyplot\npyplot.figure();"]
    cells = [{"cell_type": "code", "source": [source]} for source in sources]
    notebook.run({"cells": cells})
    assert cells[0]["outputs"] == []
    assert _printed_lines(cells[1]) == ["2\n"]
    assert _count_figures(cells[1]) == 1
    assert cells[1]["execution_count"] == 2


def _count_figures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell["outputs"])


def _printed_lines(cell):
    outputs = cell.get("outputs", ())
    return [line for output in outputs for line in output.get("text", ())]
