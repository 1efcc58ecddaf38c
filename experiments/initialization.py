"""The number of steps until the full network starts to learn, by initialization.

    python -m experiments.reproduce --run=initialization

The paper (section 5) initializes weights with a standard deviation of .01, and some
biases with 1: "This initialization accelerates the early stages of learning by
providing the ReLUs with positive inputs." With it, the loss stayed on a plateau at
ln(classes) here for all 1,000 steps. The authors of Caffe observed such a plateau too,
and used biases of .1. The code of the paper's authors uses a standard deviation of .03
in conv3 to conv5.

Here the network `paper`, with 57 million parameters for ten classes, is trained on
CIFAR-10 enlarged to 256 pixels in batches of 32 with a learning rate of .01. (Per
image, this learning rate is four times that of the authors.) The table gives the number
of steps until the mean loss of 10 steps is 5% below ln 10 = 2.303, up to 1,000 steps.
The rows for Caffe and for the 2012 code differ from the first row only in the
initialization. The last row has the initialization of He et al. and three further
changes: the mean of each channel is subtracted instead of that of each pixel, pixels
are divided by the standard deviation of their channel, and the learning rate is .002. A
trial with a learning rate of .01, which was not logged, diverged.
"""

import dataclasses
import math

from alexnet_tf import presets
from experiments import harness
from experiments import run_log

NAME = "initialization"
SEEDS = (0, 1, 2)
PLATEAU = math.log(10)
COLUMNS = ("initialization", "steps to leave the plateau, by seed")
_TARGET_LOSS = 0.95 * PLATEAU
_MAX_STEPS = 1000
_BATCH_SIZE = 32

_PAPER = presets.override(
    presets.get("paper"), batch_size=_BATCH_SIZE, schedule="constant", epochs=1
)


def _with_fields(**fields):
    """Returns `paper` with fields of some layers replaced.

    Args:
        **fields: {layer name: value} of each field, such as init={"conv3": 0.03}.
    """
    layers = tuple(
        dataclasses.replace(
            layer,
            **{
                field: by_layer[layer.name]
                for field, by_layer in fields.items()
                if layer.name in by_layer
            },
        )
        for layer in _PAPER.layers
    )
    return dataclasses.replace(_PAPER, layers=layers)


# The paper initializes the biases of these layers to 1, and all other biases to 0.
_POSITIVE_BIAS = ("conv2", "conv4", "conv5", "fc6", "fc7")
ARMS = {
    "paper": _PAPER,
    "caffe": _with_fields(
        bias=dict.fromkeys(_POSITIVE_BIAS, 0.1), init={"fc6": 0.005, "fc7": 0.005}
    ),
    "code2012": _with_fields(init=dict.fromkeys(("conv3", "conv4", "conv5"), 0.03)),
    "he": presets.override(
        _PAPER, init="he", learning_rate=0.002, mean="channel", divide_by_std=True
    ),
}
_DESCRIPTIONS = {
    "paper": "the paper: standard deviation .01, biases 1",
    "caffe": "Caffe: standard deviation .01 (fc6 and fc7: .005), biases .1",
    "code2012": "the 2012 code: standard deviation .01 (conv3 to conv5: .03), biases 1",
    "he": "He et al., biases 0; pixels divided by their standard deviation, learning "
    "rate .002",
}


def runs(log):
    """Returns the runs of all arms and seeds."""
    del log
    return [
        harness.Run(
            NAME, arm, seed, preset,
            train_split=f"train[:{_MAX_STEPS * _BATCH_SIZE}]",
            eval_split="test[:100]",
            until_loss=_TARGET_LOSS,
        )
        for seed in SEEDS
        for arm, preset in ARMS.items()
    ]


def steps_on_plateau(log, arm, seed):
    """Returns the step at which a run leaves the plateau, or infinity."""
    for line in log:
        if (line["arm"], line["seed"]) == (arm, seed) and "loss" in line:
            if line["loss"] <= _TARGET_LOSS:
                return line["step"]
    return math.inf


def rows(log):
    """Returns the rows of the table, see `COLUMNS`."""
    table = []
    for arm, description in _DESCRIPTIONS.items():
        seeds = sorted({line["seed"] for line in log if line["arm"] == arm})
        steps = [_format_steps(log, arm, seed) for seed in seeds]
        if steps:
            table.append((description, ", ".join(steps)))
    return table


def _format_steps(log, arm, seed):
    steps = steps_on_plateau(log, arm, seed)
    if math.isfinite(steps):
        return f"{steps:,}"
    diverged = run_log.final_values(log, arm, "diverged")[seed]
    return "diverged" if diverged else f"over {_MAX_STEPS:,}"
