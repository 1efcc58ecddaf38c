"""Generates experiments/README.md and its plots from the logs."""

import importlib

from experiments import claims
from experiments import run_log

_INTRODUCTION = """# The paper's claims, measured

This page is generated from the logs in `experiments/logs/` by
`python -m experiments.reproduce --table`. Instead of editing the page, run this
command, which takes a minute.

`python -m experiments.reproduce --run=CLAIM` trains the runs that are missing in the
log of a claim. To repeat a claim, remove its log first. `--list` counts the runs. A run
on CIFAR-10 takes 5 to 15 minutes on one core, and one of the full network takes longer.
One claim needs no training and takes two minutes: `python -m alexnet_tf.evaluate
--weights=cifar10_full --dataset=cifar10` with `--protocol=center` and with
`--protocol=ten_crop`.

The images of CIFAR-10 at hand were JPEGs of quality 75 with colors at half resolution,
not the original PNGs, and only 5,000 of the 10,000 test images. With the original
images, errors are probably lower.

Sections and figures are those of the paper. CHM, CC2 and CAFFE are repositories of
source code, which `alexnet_tf/presets.py` lists; CC2wiki is the wiki of CC2.

A verdict is about the direction of a claim; the size of the effect may differ from
the paper's. "Reproduced" means that the whole 95% interval lies on the claim's side
of zero, "contradicted" that it lies on the other side, and "undecided" that it
includes zero; for a ratio this applies to its logarithm. Where a corrected p is given,
the verdict is based on it and not on the interval. An arm is one variant of a network
or of a recipe, trained with several random seeds. The intervals are Student's t
intervals of the mean difference between two arms, or two protocols, paired by seed.
They are not corrected for multiple comparisons. Runs with different seeds differ in
initialization, order of the images and augmentation, but not in the images themselves:
an interval is about new seeds on these test images and would be wider for new images.
With 4 to 8 seeds, its width is only a rough estimate.
"""

DEFAULT_COLUMNS = ("claim", "the paper", "measured", "seeds", "verdict")


def write(folder):
    """Writes README.md and the plots of all claims that are logged or computed.

    Args:
        folder: the `pathlib.Path` of an existing folder.
    """
    sections = [_INTRODUCTION]
    for name in claims.ALL:
        claim = importlib.import_module(f"experiments.{name}")
        log = run_log.read_log(name)
        if log or name in claims.COMPUTED:
            sections.append(section(claim, log, folder))
    (folder / "README.md").write_text("\n".join(sections), encoding="utf-8")


def section(claim, log, folder):
    """Returns one claim's section: its text, table, plot and machines.

    Args:
        claim: the module of a claim, see `claims`.
        log: the lines of its log.
        folder: the `pathlib.Path` of the folder that the plot is written to.
    """
    title, *paragraphs = claim.__doc__.strip().split("\n\n")
    title = title.rstrip(".")
    blocks = [f"## {title}", *paragraphs]
    rows = claim.rows(log)
    if claim.NAME not in claims.COMPUTED:
        runs = claim.runs(log)
        done = run_log.count_done(runs, log)
        if done < len(runs):
            blocks.append(f"**Not finished: {done} of {len(runs)} runs are done.**")
    if rows:
        blocks.append(markdown(getattr(claim, "COLUMNS", DEFAULT_COLUMNS), rows))
    if rows and hasattr(claim, "draw"):
        claim.draw(log, folder / f"{claim.NAME}.png")
        blocks.append(f"![{title}]({claim.NAME}.png)")
    machines = {_describe_machine(line) for line in log if line.get("final")}
    if machines:
        blocks.append("Machine: " + "; ".join(sorted(machines)) + ".")
    return "\n\n".join(blocks) + "\n"


def markdown(columns, rows):
    """Returns a table in Markdown.

    Args:
        columns: the headers.
        rows: [(cell, ...), ...], each as long as `columns`.
    """
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def _describe_machine(line):
    versions = [
        f"{name} {line[name.lower()]}"
        for name in ("TensorFlow", "Keras", "PyTorch")
        if name.lower() in line
    ]
    return ", ".join([line["processors"], *versions])
