"""Formats the results of `compare` as the table of docs/performance.md."""

import json
import pathlib

from experiments import table

MACHINES = pathlib.Path(__file__).parent / "machines"


def markdown_table(folder=MACHINES):
    """Returns a table in Markdown with a column for each machine.

    A cell has the images per second of a program and, in parentheses, how many times as
    fast alexnet_tf was. It is "-" if the program was not measured on that machine.

    Args:
        folder: the `pathlib.Path` of a folder of JSON files written by `compare`.
    """
    paths = sorted(folder.glob("*.json"))
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    rows = {}
    for column, result in enumerate(results):
        for label, programs in _tasks(result):
            own_rate = programs["alexnet_tf"]["rate"]
            for name, measured in programs.items():
                cells = rows.setdefault(f"{label}: {name}", ["-"] * len(results))
                cells[column] = _cell(name, measured["rate"], own_rate)
    titles = [_title(result) for result in results]
    return table.markdown(
        ["images per second", *titles], [(name, *cells) for name, cells in rows.items()]
    )


def _tasks(result):
    """Yields (name of the task, {program: {"rate": images per second}})."""
    for precision, tasks in result["networks"].items():
        for task, programs in tasks.items():
            yield f"{task}, {precision.removeprefix('mixed_')}", programs
    if "loaders" in result:
        yield "crops of photographs", result["loaders"]


def _cell(name, rate, own_rate):
    digits = 0 if rate >= 100 else 1
    if name == "alexnet_tf":
        return f"**{rate:,.{digits}f}**"
    return f"{rate:,.{digits}f} ({own_rate / rate:.2f})"


def _title(result):
    machine, rounds = result["machine"], result["rounds"]
    return (
        f"{machine['title']}; {rounds} round{'s' * (rounds > 1)}, PyTorch "
        f"{machine['torch']}, commit `{machine['commit']}`"
    )
