"""Generates experiments/README.md and its plots from the logs."""

import importlib

from experiments import claims
from experiments import run_log

_HEAD = """# The paper's claims, measured

This page is generated from the logs in `experiments/logs/` by
`python -m experiments.reproduce --table`. Run this command instead of editing the
page.

A verdict is about the direction of a claim; the size of the effect may differ from
the paper's. "Reproduced" means that the whole 95% interval lies on the claim's side
of zero, "contradicted" that it lies on the other side, and "undecided" that it
includes zero. The intervals are Student's t intervals of the mean over the seeds, or
of the mean paired difference where two arms are compared. Each interval stands
alone: none is corrected for multiple comparisons. Seeds differ in initialization,
order of the images and augmentation, but not in the images themselves, and so few
seeds determine the width of an interval only roughly.
"""

_COLUMNS = ("claim", "the paper", "measured", "seeds", "verdict")


def write(folder):
    """Writes README.md and the plots of all claims that have a log.

    Args:
        folder: the `pathlib.Path` of an existing folder.
    """
    parts = [_HEAD]
    for name in claims.ALL:
        claim = importlib.import_module(f"experiments.{name}")
        log = run_log.read_log(name)
        if log or name in claims.COMPUTED:
            parts.append(section(claim, log, folder))
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def section(claim, log, folder):
    """Returns one claim's section: its text, table, plot and machines."""
    title, *paragraphs = claim.__doc__.strip().split("\n\n")
    title = title.rstrip(".")
    lines = [f"## {title}", *paragraphs]
    rows = claim.rows(log)
    if claim.NAME not in claims.COMPUTED:
        runs = claim.runs(log)
        done = run_log.count_done(runs, log)
        if done < len(runs):
            lines.append(f"**Not finished: {done} of {len(runs)} runs are done.**")
    if rows:
        lines.append(markdown(getattr(claim, "HEAD", _COLUMNS), rows))
    if rows and hasattr(claim, "draw"):
        claim.draw(log, folder / f"{claim.NAME}.png")
        lines.append(f"![{title}]({claim.NAME}.png)")
    machines = {_machine(line) for line in log if line.get("final")}
    if machines:
        lines.append("Machine: " + "; ".join(sorted(machines)) + ".")
    return "\n\n".join(lines) + "\n"


def markdown(head, rows):
    """Returns a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _machine(line):
    return (
        f"{line['processors']}, TensorFlow {line['tensorflow']}, Keras "
        f"{line['keras']}"
    )
