"""How long the start keeps the full network from learning anything.

    python -m experiments.reproduce --run=initialisation

The paper's start (standard deviation .01, biases 1) sits at a loss of
ln(classes) before it learns; Caffe's authors saw it not move at all and took
biases of .1, the authors' own code has .03 in conv3 to conv5. Here: the 61
million parameters of `paper` on CIFAR-10 enlarged to 256 pixels (ln 10 = 2.303),
batches of 32, rate .01 (four times the authors' for each picture); steps until the
mean loss of 10 is 5% below ln 10, 1,000 at most. Only the starts are those of
Caffe and of the authors' code: the network is `paper`'s in all arms. The last one,
the start of He et al., has its pixels divided by their standard deviation and a
rate of .002; a trial at .01, which was not logged, fell apart.
"""

import dataclasses
import math

from alexnet_tf import presets
from experiments import harness

NAME = "initialization"
SEEDS = (0, 1, 2)
PLATEAU = math.log(10)
HEAD = ("start", "steps to leave the plateau, each seed")
_MOST = 1000
_BATCH = 32

_PAPER = presets.override(
    presets.get("paper"), batch_size=_BATCH, schedule="constant", epochs=1
)


def _replaced(**values):
    """`paper` with other values where a layer has them as {name: value}."""
    layers = tuple(
        dataclasses.replace(
            layer,
            **{
                key: by_layer[layer.name]
                for key, by_layer in values.items()
                if layer.name in by_layer
            },
        )
        for layer in _PAPER.layers
    )
    return dataclasses.replace(_PAPER, layers=layers)


_HIDDEN = ("conv2", "conv4", "conv5", "fc6", "fc7")
ARMS = {
    "paper": _PAPER,
    "caffe": _replaced(
        bias=dict.fromkeys(_HIDDEN, 0.1), init={"fc6": 0.005, "fc7": 0.005}
    ),
    "code2012": _replaced(init=dict.fromkeys(("conv3", "conv4", "conv5"), 0.03)),
    "he": presets.override(
        _PAPER, init="he", learning_rate=0.002, mean="channel", divide_by_std=True
    ),
}
_NAMES = {
    "paper": "the paper's: .01, biases 1",
    "caffe": "Caffe's: .01 (fc6, fc7 .005), biases .1",
    "code2012": "the 2012 code's: .03 in conv3 to conv5, biases 1",
    "he": "He et al., biases 0; pixels over their deviation, rate .002",
}


def runs(log):
    del log
    return [
        harness.Run(
            NAME, arm, seed, preset,
            train_split=f"train[:{_MOST * _BATCH}]",
            eval_split="test[:100]",
            until_loss=0.95 * PLATEAU,
        )
        for seed in SEEDS
        for arm, preset in ARMS.items()
    ]


def steps(log, arm, seed):
    """Steps until the plateau was left; infinite if it was not."""
    for line in log:
        if (line["arm"], line["seed"]) == (arm, seed) and "loss" in line:
            if line["loss"] <= 0.95 * PLATEAU:
                return line["step"]
    return math.inf


def rows(log):
    """The table's, see `HEAD`."""
    found = []
    for arm, name in _NAMES.items():
        seeds = sorted({line["seed"] for line in log if line["arm"] == arm})
        each = [_said(log, arm, seed) for seed in seeds]
        if each:
            found.append((name, ", ".join(each)))
    return found


def _said(log, arm, seed):
    taken = steps(log, arm, seed)
    if math.isfinite(taken):
        return f"{taken:,}"
    ends = [l for l in log if l["arm"] == arm and l["seed"] == seed and l.get("final")]
    return "loss lost" if ends[-1]["diverged"] else f"over {_MOST:,}"
