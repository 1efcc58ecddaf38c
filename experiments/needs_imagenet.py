"""Claims that only the whole of ImageNet can show.

    python -m alexnet_tf.train --flagfile=experiments/imagenet/NAME.flags

Each claim is a flagfile whose header has the commands that train and evaluate it.
The tests build each network and take one training step. None has been trained on
the whole of ImageNet, which was not available.
"""

import pathlib

NAME = "needs_imagenet"
FOLDER = pathlib.Path(__file__).parent / "imagenet"
HEAD = ("claim", "target errors and their source", "flags", "verdict")


def rows(log):
    """Returns the rows of the table, see `HEAD`, from the flagfiles' headers."""
    del log
    return [_row(path) for path in sorted(FOLDER.glob("*.flags"))]


def _row(path):
    prose = [
        line[2:]
        for line in path.read_text(encoding="utf-8").splitlines()
        # Commands are indented.
        if line.startswith("# ") and not line.startswith("#  ")
    ]
    claim, target = " ".join(prose).split(" Target: ")
    target, _ = target.split(" Status: ")
    return claim, target, f"[{path.stem}](imagenet/{path.name})", "needs ImageNet"
