"""What the parts of AlexNet are worth on CIFAR-10, each taken away by itself.

    python -m experiments.reproduce --run=ablations

The network is small: three convolutions of 32, 32 and 64 maps with response
normalisation across 9 of them and overlapping pooling, a hidden layer of 256
with dropout .5; 24 x 24 crops of 32 x 32 pictures, flips, colour noise, weight
decay. Constants of its layers are those of the authors' CIFAR-10 files
(CHM example-layers/layers-18pct.cfg; CC2 layers/layers-cifar10-11pct.cfg for
the normalisation and the crops). It learns from 10,000 pictures alone, so that
what acts against overfitting has something to act against.

Arms of one seed begin with the same numbers (but for the last layer of
`no_dropout`, whose seed is another one) and see the pictures in the same order.
Batch and rate are the best of four tried on training pictures which no arm sees,
for the whole network alone; those trials were not logged. Test errors are of all
5,000 test pictures at hand, training errors of the first 2,000 of training, by the
central view and with no unit dropped, after the last epoch. Verdicts are by the
central view; what ten views say stands beside.

For the number of iterations the error to reach is the first of 25, 30, 35 and 40%
that all runs reach. That, and the rows on overfitting, were settled when three
seeds were known.
"""

import dataclasses

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
    "cifar10_full",
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
    "no_norm": presets.ablate(BASE, "norm"),
    "spatial_norm": _spatial(BASE),
    "no_overlap": presets.ablate(BASE, "overlap"),
    "no_colour_noise": presets.override(BASE, pca_color_std=0.0),
    # The central view alone.
    "no_crops_and_flips": presets.override(BASE, random_crop=False, flip=False),
    "no_dropout": presets.override(BASE, dropout=0.0),
    "no_weight_decay": presets.override(BASE, weight_decay=0.0),
}

_CENTRE, _TEN = "center_top1_error", "ten_crop_top1_error"
_TRAINING, _GAP = "training error", "gap"
# What taking a part away is said to add to an error, in points of percentage:
# (arm, error, claim, the paper's figure).
_ERRORS = (
    ("no_norm", _CENTRE,
     "Response normalisation lowers the test error (3.3)", "2 points, CIFAR-10"),
    ("spatial_norm", _CENTRE,
     "... across maps (alpha .001 / 9) more than the authors' one within them "
     "(5e-5 / 9)", "-"),
    ("no_overlap", _CENTRE,
     "Overlapping pooling lowers the test error (3.4)", "0.4 points, ImageNet"),
    ("no_colour_noise", _CENTRE,
     "Colour noise lowers the test error (4.1)", "over 1 point, ImageNet"),
    ("no_crops_and_flips", _CENTRE,
     "Crops and flips lower the test error (4.1)", "no figure"),
    ("no_crops_and_flips", _GAP,
     "... and what it is above the training error",
     '"substantial overfitting" without'),
    ("no_dropout", _CENTRE,
     "Dropout lowers the test error (4.2)", "no figure"),
    ("no_dropout", _GAP,
     "... and what it is above the training error",
     '"substantial overfitting" without'),
    ("no_weight_decay", _TRAINING,
     "Weight decay lowers the training error (5)", "no figure"),
)  # fmt: skip
_TARGETS = (0.25, 0.30, 0.35, 0.40)


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
    found = [_row(log, *error) for error in _ERRORS]
    ten, centre = (at_end(log, "base", key) for key in (_TEN, _CENTRE))
    if ten:
        claim = "Ten views have a lower error than the central one (4.1)"
        found.append((claim, "1.5 points, ILSVRC-2010", *_points(ten, centre)))
    found.append(_iterations(log))
    return [row for row in found if row]


def at_end(log, arm, key):
    """{seed: error after the last epoch}."""
    if key in (_CENTRE, _TEN):
        return harness.final(log, arm, key)
    probed = {
        line["seed"]: line["probe_top1_error"]
        for line in log
        if line["arm"] == arm and line.get("epoch") == EPOCHS
    }
    if key == _TRAINING:
        return probed
    test = harness.final(log, arm, _CENTRE)
    return {seed: test[seed] - probed[seed] for seed in test.keys() & probed.keys()}


def _row(log, arm, key, claim, paper):
    base, other = at_end(log, "base", key), at_end(log, arm, key)
    if not base.keys() & other.keys():
        return None
    names = ("across", "within") if arm == "spatial_norm" else ("with", "ablate")
    ours, seeds, verdict = _points(base, other, names)
    if key == _CENTRE:
        ten = harness.differences(at_end(log, "base", _TEN), at_end(log, arm, _TEN))
        ours += f"; by ten views {_interval(ten)}"
    return claim, paper, ours, seeds, verdict if paper != "-" else "-"


def _points(base, other, names=("with", "ablate")):
    """(ours, seeds, verdict) of {seed: error} with a part and without it."""
    pairs = sorted(base.keys() & other.keys())
    gains = harness.differences(base, other)
    errors = ", ".join(
        f"{100 * np.mean([each[seed] for seed in pairs]):.1f}% {name}"
        for name, each in zip(names, (base, other))
    )
    verdict = harness.verdict(*harness.interval(gains))
    return f"{_interval(gains)}: {errors}", len(gains), verdict


def _interval(gains):
    mean, half = harness.interval([100 * gain for gain in gains])
    return f"{mean:+.1f} points ({harness.between(mean, half)})"


def _iterations(log):
    """Epochs with dropout over those without it, to an error that all reach.

    The error is the probe's, for which no unit is dropped.
    """
    pairs = [
        [
            harness.of(log, arm, seed, "probe_top1_error")
            for arm in ("base", "no_dropout")
        ]
        for seed in SEEDS
    ]
    pairs = [curves for curves in pairs if all(curves)]
    if not pairs:
        return None
    claim, paper = "Dropout makes more iterations necessary (4.2)", "about 2 times"
    texts = []
    for target in _TARGETS:
        epochs = [[harness.epochs_to(c, target) for c in pair] for pair in pairs]
        with_it, without = np.isfinite(epochs).sum(axis=0)
        if with_it == without == len(pairs):
            ours, verdict = harness.times([one / other for one, other in epochs])
            texts.insert(0, f"{ours} to {target:.0%} training error")
            return claim, paper, "; ".join(texts), len(pairs), verdict
        texts.append(
            f"{target:.0%} is reached by {with_it} with it and {without} without"
        )
    return claim, paper, "; ".join(texts), len(pairs), "undecided"


def draw(log, path):
    """What each part is worth, with its interval."""
    # A gap is of another size: the other intervals would be points.
    shown = [(arm, key) for arm, key, _, _ in _ERRORS if key != _GAP]
    fig = figure.Figure(figsize=(8, 3.8), layout="constrained")
    ax = fig.subplots()
    for place, (arm, key) in enumerate(shown):
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
        range(len(shown)),
        [arm + ("" if key == _CENTRE else f" ({key})") for arm, key in shown],
    )
    ax.invert_yaxis()
    ax.set(xlabel="points of error that taking it away adds")
    ax.grid(alpha=0.3)
    fig.savefig(path, dpi=100)
