"""Runs the cells of a Jupyter notebook and stores their outputs, without Jupyter.

    python -m experiments.notebook docs/tour.ipynb

All cells run in one process, in order. The outputs are what they print and the figures
of pyplot that they leave open. Results of expressions are not stored.
"""

import base64
import contextlib
import io
import json
import sys

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt


def read(path):
    """Returns a notebook as a dictionary."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def run(notebook):
    """Runs the code cells of a notebook, and replaces their outputs.

    Errors of the code are not caught.

    Args:
        notebook: a dictionary, see `read`.
    """
    variables = {"__name__": "notebook"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        cell["execution_count"] = number
        cell["outputs"] = _run_cell("".join(cell["source"]), number, variables)


def _run_cell(code, number, variables):
    """Runs the code of a cell, and returns its outputs in the format of notebooks."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, f"cell {number}", "exec"), variables)
    outputs = [_figure_output(plt.figure(figure)) for figure in plt.get_fignums()]
    plt.close("all")
    if printed.getvalue():
        lines = printed.getvalue().splitlines(keepends=True)
        outputs.insert(0, {"output_type": "stream", "name": "stdout", "text": lines})
    return outputs


def _figure_output(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", metadata={"Software": None})
    image = base64.b64encode(file.getvalue()).decode()
    return {
        "output_type": "display_data",
        "data": {"image/png": image, "text/plain": ["<Figure>"]},
        "metadata": {},
    }


def write(notebook, path):
    """Writes a notebook to a file."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(notebook, file, indent=1, ensure_ascii=False)
        file.write("\n")


def main(argv):
    _, path = argv
    notebook = read(path)
    run(notebook)
    write(notebook, path)


if __name__ == "__main__":
    main(sys.argv)
