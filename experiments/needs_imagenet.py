"""What only all of ImageNet can show.

    python -m alexnet_tf.train --flagfile=experiments/imagenet/NAME.flags

Each claim is a file of flags; its header has the commands that train and
evaluate it. The tests build each network and take a step; none has been run on
all of ImageNet, which was not at hand.
"""

import pathlib

NAME = "needs_imagenet"
FOLDER = pathlib.Path(__file__).parent / "imagenet"
HEAD = ("claim", "errors to meet, and their source", "flags", "verdict")


def rows(log):
    """The table's, see `HEAD`, from the headers of the files."""
    del log
    return [_row(path) for path in sorted(FOLDER.glob("*.flags"))]


def _row(path):
    said = [
        line[2:]
        for line in path.read_text(encoding="utf-8").splitlines()
        # Commands are indented.
        if line.startswith("# ") and not line.startswith("#  ")
    ]
    claim, target = " ".join(said).split(" Target: ")
    target, _ = target.split(" Here: ")
    return claim, target, f"[{path.stem}](imagenet/{path.name})", "needs ImageNet"
