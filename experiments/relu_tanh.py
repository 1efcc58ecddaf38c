"""Fig. 1: a four-layer network on CIFAR-10 with ReLUs and with tanh.

The paper (section 3.1): it reaches 25% training error six times faster with
ReLUs; learning rates chosen independently, no regularisation of any kind.
Which four-layer network it was is not said; here `cifar10_quick`, without
weight decay and flips.

Seed 0 searches the rate of each kind: `RATES`, the least number of epochs wins,
and a rate that takes longer than the best one so far is given up. Seeds 1 to 4
then measure with the rates found. Training error is that of all 50,000
pictures after each epoch.
"""

import dataclasses

from experiments import harness
from alexnet_tf import presets

NAME = "relu_tanh"
RATES = (0.002, 0.001, 0.004, 0.0005, 0.008)
SEEDS = (1, 2, 3, 4)
KINDS = ("relu", "tanh")
TARGET = 0.25
_MOST_EPOCHS = {"relu": 20, "tanh": 80}


def preset(kind, rate, epochs):
    spec = presets.override(
        presets.get("cifar10_quick"),
        learning_rate=rate,
        schedule="constant",
        weight_decay=0.0,
        flip=False,
        epochs=epochs,
    )
    layers = tuple(
        presets.Tanh(layer.name)
        if kind == "tanh" and isinstance(layer, presets.ReLU)
        else layer
        for layer in spec.layers
    )
    return dataclasses.replace(spec, layers=layers)


def runs(log):
    return [run for kind in KINDS for run in _runs_of(kind, log)]


def _runs_of(kind, log):
    def run(rate, seed, epochs):
        return harness.Run(
            NAME, f"{kind}-{rate:g}", seed, preset(kind, rate, epochs),
            eval_split="train", target=TARGET,
        )

    least = min(
        [epochs_to_target(log, f"{kind}-{rate:g}", 0) for rate in RATES]
    )
    most = int(min(least + 1, _MOST_EPOCHS[kind]))
    search = [run(rate, 0, most) for rate in RATES]
    if not {r.arm for r in search} <= {
        line["arm"] for line in log if line["seed"] == 0
    }:
        return search
    rate = best_rate(kind, log)
    return search + [run(rate, seed, _MOST_EPOCHS[kind]) for seed in SEEDS]


def best_rate(kind, log):
    """The rate that was fastest with seed 0."""
    return min(
        RATES, key=lambda rate: epochs_to_target(log, f"{kind}-{rate:g}", 0)
    )


def epochs_to_target(log, arm, seed):
    """Epochs, by linear interpolation; infinite if it was not reached."""
    before = 0, 0.9  # Chance.
    for line in log:
        if (line["arm"], line["seed"]) == (arm, seed) and "top1_error" in line:
            here = line["epoch"], line["top1_error"]
            if here[1] <= TARGET:
                share = (before[1] - TARGET) / (before[1] - here[1])
                return before[0] + share * (here[0] - before[0])
            before = here
    return float("inf")
