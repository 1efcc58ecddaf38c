"""The effect of components of AlexNet on CIFAR-10, of which one at a time is changed.

    python -m experiments.reproduce --run=ablations

The network is small: three convolutions of 32, 32 and 64 maps with overlapping pooling,
the first two with response normalization across 9 maps, and a hidden layer of 256 units
with dropout .5. It is trained on 24 x 24 crops of 32 x 32 images with flips, PCA color
augmentation and weight decay. The constants of the layers are those of the CIFAR-10
files in the authors' repositories (see `presets`): CHM example-layers/layers-18pct.cfg,
and CC2 layers/layers-cifar10-11pct.cfg for the normalization and the crops. Only 10,000
images are used for training, so that the network overfits and regularization can have
an effect.

An arm is the network with one component changed, or the unchanged network ("base").
Arms with the same seed have the same initial weights and the same order of images. (The
last layer of `no_dropout` is an exception: its initial weights differ.) Batch size and
learning rate are the best of four combinations, which were tried with the unmodified
network on training images that no arm uses; these trials were not logged. Test errors
are measured on 5,000 of the 10,000 test images, all that were at hand, and training
errors on center crops of the first 2,000 training images. Both are measured after the
last epoch, without dropout. Verdicts on test errors are based on center crops; the
table also gives the difference with ten-crop evaluation.

The number of iterations is compared at the lowest of 25, 30, 35 and 40% training error
that all runs reach before the learning rate is first divided by 10. The targets and the
rows on the gap between test and training error were decided when the results of three
seeds were known, and the restriction to the time before the division when all were.

The module `confirmations` repeats the undecided comparisons with more seeds and with
more training images, and asks about dropout again with a wider network. The unmodified
network, with an error of 32.7% here, has 33.2% with the 20 seeds of `confirmations` and
33.5% with 40 seeds in PyTorch. All rows share its five runs. Their increases may
therefore be too high by half a point or more: +3.0 would be +2.5, and -1.6 would be
-2.1.
"""

import dataclasses

from matplotlib import figure
import numpy as np

from alexnet_tf import presets
from experiments import harness
from experiments import increase_plot
from experiments import intervals
from experiments import run_log

NAME = "ablations"
SEEDS = (0, 1, 2, 3, 4)
EPOCHS = 50
BOUNDARIES = (40, 46)
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
    "cifar10_ablations",
    _LAYERS,
    presets.Preprocessing(image_size=32, crop_size=24),
    presets.Recipe(
        batch_size=64,
        learning_rate=0.004,
        weight_decay=0.004,
        bias_lr_multiplier=2.0,
        schedule="step",
        boundaries=BOUNDARIES,
        epochs=EPOCHS,
    ),
)


def _with_spatial_norm(preset):
    """Returns a preset that normalizes within maps, as in layers-18pct.cfg."""
    layers = tuple(
        presets.SpatialNorm(layer.name, size=3, alpha=5e-5 / 9)
        if isinstance(layer, presets.ResponseNorm)
        else layer
        for layer in preset.layers
    )
    return dataclasses.replace(preset, layers=layers)


ARMS = {
    "no_norm": presets.ablate(BASE, "norm"),
    "spatial_norm": _with_spatial_norm(BASE),
    "no_overlap": presets.ablate(BASE, "overlap"),
    "no_pca_color": presets.override(BASE, pca_color_std=0.0),
    # This arm is trained on center crops.
    "no_crops_and_flips": presets.override(BASE, random_crop=False, flip=False),
    "no_dropout": presets.override(BASE, dropout=0.0),
    "no_weight_decay": presets.override(BASE, weight_decay=0.0),
}
LABELS = {
    "no_norm": "no response normalization",
    "spatial_norm": "normalization within maps",
    "no_overlap": "no overlapping pooling",
    "no_pca_color": "no PCA color augmentation",
    "no_crops_and_flips": "no crops and flips",
    "no_dropout": "no dropout",
    "no_weight_decay": "no weight decay",
}

_CENTER, _TEN_CROP = "center_top1_error", "ten_crop_top1_error"
_TRAINING, _GAP = "training error", "gap"
# Errors that are claimed to increase when a component is removed:
# (arm, key of the error, claim, the paper's number).
_CLAIMS = (
    ("no_norm", _CENTER,
     "Response normalization lowers the test error (section 3.3)",
     "2 points, CIFAR-10"),
    ("spatial_norm", _CENTER,
     "Normalization across maps (alpha .001 / 9) lowers the test error more than the "
     "authors' normalization within maps (alpha 5e-5 / 9)", "-"),
    ("no_overlap", _CENTER,
     "Overlapping pooling lowers the test error (section 3.4)",
     "0.4 points, ImageNet"),
    ("no_pca_color", _CENTER,
     "PCA color augmentation lowers the test error (section 4.1)",
     "over 1 point, ImageNet"),
    ("no_crops_and_flips", _CENTER,
     "Crops and flips lower the test error (section 4.1)", "no number"),
    ("no_crops_and_flips", _GAP,
     "Crops and flips reduce the gap between test and training error (section 4.1)",
     '"substantial overfitting" without them'),
    ("no_dropout", _CENTER,
     "Dropout lowers the test error (section 4.2); 10,000 images, 256 units",
     "no number"),
    ("no_dropout", _GAP,
     "Dropout reduces the gap between test and training error (section 4.2)",
     '"substantial overfitting" without it'),
    ("no_weight_decay", _TRAINING,
     "Weight decay lowers the training error (section 5)", "no number"),
)  # fmt: skip
_TARGETS = (0.25, 0.30, 0.35, 0.40)


def runs(log):
    """Returns the runs of all arms and seeds."""
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
    """Returns the rows (claim, paper's number, measured, seeds, verdict)."""
    table = [_claim_row(log, *claim) for claim in _CLAIMS]
    table += [_ten_crop_row(log), _iterations_row(log)]
    return [row for row in table if row]


def errors_at_end(log, arm, key):
    """Returns {seed: error in [0, 1] after the last epoch} of an arm.

    Args:
        log: the lines of the log.
        arm: "base" or a key of `ARMS`.
        key: "center_top1_error" or "ten_crop_top1_error" for the test images,
            "training error", or "gap" for the test error of center crops minus the
            training error.
    """
    if key in (_CENTER, _TEN_CROP):
        return run_log.final_values(log, arm, key)
    training = {
        line["seed"]: line["probe_top1_error"]
        for line in log
        if line["arm"] == arm and line.get("epoch") == EPOCHS
    }
    if key == _TRAINING:
        return training
    test = run_log.final_values(log, arm, _CENTER)
    return {seed: test[seed] - training[seed] for seed in test.keys() & training.keys()}


def _claim_row(log, arm, key, claim, paper):
    """Returns the row of an entry of `_CLAIMS`, None if no seed has both runs."""
    base, ablated = errors_at_end(log, "base", key), errors_at_end(log, arm, key)
    if not base.keys() & ablated.keys():
        return None
    names = ("across", "within") if arm == "spatial_norm" else ("with", "without")
    measured, seeds, verdict = intervals.compare(base, ablated, names)
    if key == _CENTER:
        ten_crop = intervals.paired_points(
            errors_at_end(log, "base", _TEN_CROP), errors_at_end(log, arm, _TEN_CROP)
        )
        measured += f"; ten-crop {intervals.points_summary(ten_crop)}"
    # A claim with "-" is not made in the paper, and has no verdict.
    return claim, paper, measured, seeds, verdict if paper != "-" else "-"


def _ten_crop_row(log):
    """Returns the row that compares the protocols, None if `base` is not logged."""
    ten_crop = errors_at_end(log, "base", _TEN_CROP)
    if not ten_crop:
        return None
    center = errors_at_end(log, "base", _CENTER)
    claim = "Ten-crop evaluation has a lower error than the center crop (section 4.1)"
    paper = "1.5 points, ILSVRC-2010 (section 6)"
    names = ("ten-crop", "center crop")
    return claim, paper, *intervals.compare(ten_crop, center, names)


def _iterations_row(log):
    """Returns the row on how many times more epochs are needed with dropout.

    The epochs are counted up to the first training error in `_TARGETS` that all runs
    reach before the learning rate drops. Otherwise, the drop would determine when they
    reach it. Training errors are measured without dropout. Returns None if no seed has
    both runs.
    """
    pairs = [
        [
            run_log.curve_of_run(log, arm, seed, "probe_top1_error")
            for arm in ("base", "no_dropout")
        ]
        for seed in SEEDS
    ]
    pairs = [pair for pair in pairs if all(pair)]
    if not pairs:
        return None
    claim, paper = "Dropout requires more iterations (section 4.2)", "about 2 times"
    results = []
    for target in _TARGETS:
        epochs = [
            [intervals.epochs_to(curve, target) for curve in pair] for pair in pairs
        ]
        num_with, num_without = (np.array(epochs) <= BOUNDARIES[0]).sum(axis=0)
        if num_with == num_without == len(pairs):
            ratios = [with_dropout / without for with_dropout, without in epochs]
            text, verdict = intervals.ratio_summary(ratios)
            results.insert(0, f"{text} to {target:.0%} training error")
            return claim, paper, "; ".join(results), len(pairs), verdict
        results.append(
            f"{target:.0%} is reached in {BOUNDARIES[0]} epochs by {num_with} runs "
            f"with dropout and {num_without} without"
        )
    return claim, paper, "; ".join(results), len(pairs), "undecided"


def draw(log, path):
    """Plots by how much each ablation increases the error, with intervals."""
    # The gap is omitted, because at its scale the other intervals would be points.
    plotted = [(arm, key) for arm, key, _, _ in _CLAIMS if key != _GAP]
    fig = figure.Figure(figsize=(6, 4.4), layout="constrained")
    ax = fig.subplots()
    for row, (arm, key) in enumerate(plotted):
        increases = intervals.paired_points(
            errors_at_end(log, "base", key), errors_at_end(log, arm, key)
        )
        increase_plot.interval(ax, row, increases)
        ax.plot(
            increases, [row + 0.2] * len(increases), ".", color="#999999",
            label="a pair of runs",
        )  # fmt: skip
    names = [
        LABELS[arm] + ("" if key == _CENTER else f" ({key})") for arm, key in plotted
    ]
    title = "Error on CIFAR-10 if one component is changed"
    increase_plot.save(fig, ax, names, title, path)
