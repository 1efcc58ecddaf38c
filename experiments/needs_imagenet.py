"""Claims that can be measured only on all of ImageNet.

    python -m alexnet_tf.train --flagfile=experiments/imagenet/NAME.flags

Each claim has a flagfile, whose comments give the commands that train and evaluate the
network or the ensemble. The tests build each network and take one training step. No
network has been trained on all of ImageNet, which was not available.
"""

import pathlib

NAME = "needs_imagenet"
FOLDER = pathlib.Path(__file__).parent / "imagenet"
COLUMNS = ("claim", "target errors and their source", "flags", "verdict")


def rows(log):
    """Returns the rows of the table, see `COLUMNS`, from the flagfiles' comments.

    Args:
        log: not used; other experiments read their measurements from it.
    """
    del log
    return [_row(path) for path in sorted(FOLDER.glob("*.flags"))]


def _row(path):
    text_lines = [
        line[2:]
        for line in path.read_text(encoding="utf-8").splitlines()
        # Commands are indented, and are not part of the table.
        if line.startswith("# ") and not line.startswith("#  ")
    ]
    claim, target = " ".join(text_lines).split(" Target: ")
    target, _ = target.split(" Status: ")
    return claim, target, f"[{path.stem}](imagenet/{path.name})", "needs ImageNet"
