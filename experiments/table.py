"""experiments/README.md, made from the logs."""

import importlib

from experiments import claims
from experiments import harness

_HEAD = """# The paper's claims, measured

Made by `python -m experiments.reproduce --table` from the logs in
`experiments/logs/`; not to be edited by hand.

Verdicts are of a claim's direction; the size may be another than the paper's.
"Reproduced" means that the whole 95% interval is on the claim's side,
"contradicted" that it is on the other one, "undecided" that it holds no effect
as well. Intervals are of the mean over the seeds, by Student's t, of pairs where
arms are compared; each stands by itself, none is corrected for their number.
Seeds differ in the start, the order and the views, not in the pictures, and few
of them tell the width of an interval but roughly.
"""

_COLUMNS = ("claim", "the paper", "measured", "seeds", "verdict")


def write(folder):
    """Writes the table and the plots of all claims that have a log."""
    parts = [_HEAD]
    for name in claims.ALL:
        claim = importlib.import_module(f"experiments.{name}")
        log = harness.read(name)
        if log or name in claims.COMPUTED:
            parts.append(section(claim, log, folder))
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def section(claim, log, folder):
    """The part of one claim: what it is, the table, the plot, the machine."""
    what, *rest = claim.__doc__.strip().split("\n\n")
    what = what.rstrip(".")
    lines = [f"## {what}", *rest]
    rows = claim.rows(log)
    if claim.NAME not in claims.COMPUTED:
        todo = claim.runs(log)
        done = sum(harness.done(run, log) for run in todo)
        if done < len(todo):
            lines.append(f"**Not finished: {done} of {len(todo)} runs are done.**")
    if rows:
        lines.append(markdown(getattr(claim, "HEAD", _COLUMNS), rows))
    if rows and hasattr(claim, "draw"):
        claim.draw(log, folder / f"{claim.NAME}.png")
        lines.append(f"![{what}]({claim.NAME}.png)")
    machines = {_machine(line) for line in log if line.get("final")}
    if machines:
        lines.append("Machine: " + "; ".join(sorted(machines)) + ".")
    return "\n\n".join(lines) + "\n"


def markdown(head, rows):
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _machine(line):
    return (
        f"{line['processors']}, TensorFlow {line['tensorflow']}, Keras "
        f"{line['keras']}"
    )
