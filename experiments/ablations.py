"""What the parts of AlexNet are worth on CIFAR-10, each taken away by itself.

    python -m experiments.reproduce --run=ablations

The network is small: three convolutions of 32, 32 and 64 maps with response
normalisation across 9 of them and overlapping pooling, a hidden layer of 256
with dropout .5; 24 x 24 crops of 32 x 32 pictures, flips, colour noise, weight
decay. Constants of its layers are those of the authors' CIFAR-10 files
(CHM example-layers/layers-18pct.cfg; CC2 layers/layers-cifar10-11pct.cfg for
the normalisation and the crops). It learns from 10,000 pictures alone, so that
what acts against overfitting has something to act against.

Arms of one seed begin with the same numbers and see the pictures in the same
order. Batch and rate are the best of four that were tried on training pictures
which no arm sees, for the whole network alone. All errors are of all 5,000 test
pictures at hand after the last epoch; nothing was chosen by them. Intervals are
95%, of the mean of the paired differences, each by itself: that all nine hold what
they measure is less sure than that.
"""

import dataclasses
import math

from matplotlib import figure
import numpy as np

from alexnet_tf import presets
from experiments import harness

NAME = "ablations"
SEEDS = (0, 1, 2, 3, 4)
EPOCHS = 50
DROPS = (40, 46)
_NORM = dict(bias=1.0, alpha=0.001 / 9, depth_radius=4)

_LAYERS = (
    presets.Conv("conv1", 32, 5, init=0.0001),
    presets.Pool("pool1", padding="same"),
    presets.ReLU("relu1"),
    presets.ResponseNorm("norm1", **_NORM),
    presets.Conv("conv2", 32, 5, init=0.01),
    presets.ReLU("relu2"),
    presets.ResponseNorm("norm2", **_NORM),
    presets.Pool("pool2", kind="average", padding="same"),
    presets.Conv("conv3", 64, 5, init=0.01),
    presets.ReLU("relu3"),
    presets.Pool("pool3", kind="average", padding="same"),
    presets.Dense("fc4", 256, init="he"),
    presets.ReLU("relu4"),
    presets.Dropout("drop4"),
    presets.Dense("fc10", None, init=0.01),
)
BASE = presets.Preset(
    "cifar10_quick",
    _LAYERS,
    presets.Preprocessing(image_size=32, crop_size=24),
    presets.Recipe(
        batch_size=64,
        learning_rate=0.004,
        weight_decay=0.004,
        bias_lr_multiplier=2.0,
        schedule="step",
        drops=DROPS,
        epochs=EPOCHS,
    ),
)


def _spatial(preset):
    """Normalisation within maps, as in layers-18pct.cfg, in its place."""
    layers = tuple(
        presets.SpatialNorm(layer.name, size=3, alpha=5e-5 / 9)
        if isinstance(layer, presets.ResponseNorm)
        else layer
        for layer in preset.layers
    )
    return dataclasses.replace(preset, layers=layers)


ARMS = {
    "no_norm": presets.without(BASE, "norm"),
    "spatial_norm": _spatial(BASE),
    "no_overlap": presets.without(BASE, "overlap"),
    "no_colour_noise": presets.override(BASE, colour_noise=0.0),
    # The central view alone.
    "no_crops_and_flips": presets.override(BASE, random_crop=False, flip=False),
    "no_dropout": presets.override(BASE, dropout=0.0),
    "no_weight_decay": presets.override(BASE, weight_decay=0.0),
}

# What taking a part away is said to add to an error, in points of percentage:
# (arm, error, claim, the paper's figure).
_ERRORS = (
    ("no_norm", "centre_top1_error",
     "Response normalisation lowers the test error (3.3)", "2 points, CIFAR-10"),
    ("spatial_norm", "centre_top1_error",
     "... across maps more than within them (the 2012 code has both)", "-"),
    ("no_overlap", "centre_top1_error",
     "Overlapping pooling lowers the test error (3.4)", "0.4 points, ImageNet"),
    ("no_colour_noise", "centre_top1_error",
     "Colour noise lowers the test error (4.1)", "over 1 point, ImageNet"),
    ("no_crops_and_flips", "centre_top1_error",
     "Crops and flips lower the test error (4.1)", '"substantial overfitting"'),
    ("no_dropout", "centre_top1_error",
     "Dropout lowers the test error (4.2)", '"substantial overfitting"'),
    ("no_weight_decay", "probe_top1_error",
     "Weight decay lowers the training error (5)", "said, not measured"),
)  # fmt: skip
_QUARTER = 0.25


def runs(log):
    del log
    return [
        harness.Run(
            NAME, arm, seed, preset,
            train_split="train[:10000]",
            eval_split="test[:1000]",
            probe_split="train[:2000]",
            final_split="test",
        )
        for seed in SEEDS
        for arm, preset in {"base": BASE, **ARMS}.items()
    ]


def rows(log):
    """(claim, paper's figure, ours, seeds, verdict): the table's."""
    found = [
        _points(says, paper, at_end(log, "base", key), at_end(log, arm, key))
        for arm, key, says, paper in _ERRORS
    ]
    found.append(
        _points(
            "Ten views have a lower error than the central one (4.1)",
            "1.5 points, ImageNet",
            at_end(log, "base", "ten_crop_top1_error"),
            at_end(log, "base", "centre_top1_error"),
        )
    )
    return [row for row in [*found, _iterations(log)] if row]


def at_end(log, arm, key):
    """{seed: error}; of the probe, after the last epoch."""
    if key != "probe_top1_error":
        return harness.final(log, arm, key)
    return {
        line["seed"]: line[key]
        for line in log
        if line["arm"] == arm and line.get("epoch") == EPOCHS
    }


def _points(says, paper, base, other):
    gains = [100 * gain for gain in harness.differences(base, other)]
    if not gains:
        return None
    mean, half = harness.interval(gains)
    pairs = base.keys() & other.keys()
    errors = [
        100 * np.mean([each[seed] for seed in pairs]) for each in (base, other)
    ]
    ours = (
        f"{mean:+.1f} points ({harness.between(mean, half, '+.1f')}): "
        f"{errors[0]:.1f}% with, {errors[1]:.1f}% without"
    )
    return says, paper, ours, len(gains), harness.verdict(mean, half)


def _iterations(log):
    """Epochs to 25% training error with dropout over those without it.

    The error is the probe's, for which no unit is dropped. A run with dropout
    that never gets there counts as if its last epoch had been enough, so that
    the mean and the lower end of its interval are bounds from below.
    """
    ratios, beyond = [], 0
    for seed in SEEDS:
        curves = [
            harness.of(log, arm, seed, "probe_top1_error")
            for arm in ("base", "no_dropout")
        ]
        with_it, without = (harness.epochs_to(curve, _QUARTER) for curve in curves)
        if all(curves) and math.isfinite(without):
            ratios.append(min(with_it, EPOCHS) / without)
            beyond += math.isinf(with_it)
    if not ratios:
        return None
    mean, half = harness.interval(ratios)
    between = harness.between(mean, half, ".2f", open_end=beyond > 0)
    ours = f"{mean:.2f} times ({between}) to 25% training error"
    verdict = harness.verdict(mean - 1, half)
    if beyond:
        ours = (
            f"over {ours}: {beyond} of {len(ratios)} with it are not there after "
            f"{EPOCHS} epochs"
        )
        verdict = "undecided" if verdict == "contradicted" else verdict
    claim = "Dropout makes more iterations necessary (4.2)"
    return claim, "about 2 times", ours, len(ratios), verdict


def draw(log, path):
    """What each part is worth, with its interval."""
    fig = figure.Figure(figsize=(8, 3.8), layout="constrained")
    ax = fig.subplots()
    for place, (arm, key, says, _) in enumerate(_ERRORS):
        gains = [
            100 * gain
            for gain in harness.differences(
                at_end(log, "base", key), at_end(log, arm, key)
            )
        ]
        if len(gains) > 1:
            mean, half = harness.interval(gains)
            ax.errorbar(
                mean, place, xerr=half, fmt="o", color="#0072B2", capsize=3
            )
        ax.plot(gains, [place + 0.2] * len(gains), ".", color="#999999")
    ax.axvline(0, color="#999999", linewidth=1)
    ax.set_yticks(
        range(len(_ERRORS)),
        [
            arm + (" (training error)" if key.startswith("probe") else "")
            for arm, key, _, _ in _ERRORS
        ],
    )
    ax.invert_yaxis()
    ax.set(xlabel="points of error that taking it away adds")
    ax.grid(alpha=0.3)
    fig.savefig(path, dpi=100)
