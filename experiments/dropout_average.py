"""Averages of the networks that dropout samples, and the network with all units.

    python -m experiments.reproduce --run=confirmations

At test time the paper uses all units and halves their outputs, "a reasonable
approximation to taking the geometric mean of the predictive distributions produced by
the exponentially-many dropout networks" (section 4.2). If dropout comes only before the
last layer, the mean of the logits over all masks is the logits with halved units, and
both are equal (a test in `tests/figures/test_internals.py` averages over all masks).
With ReLUs between two layers with dropout, both differ, and a measurement has to show
by how much.

It is made on the networks with dropout of `confirmations`, which have two hidden layers
of 1,024 units, when their training has ended. The geometric and the arithmetic mean are
taken over the predictions of up to 256 sampled networks for each of the 5,000 test
images (center crops; each image has networks of its own). The table has the differences
from the network with all units, paired by seed.
"""

from matplotlib import figure
import numpy as np

from alexnet_tf.figures import internals
from alexnet_tf.inference import evaluation
from alexnet_tf.inference.classifier import load_classifier
from experiments import harness
from experiments import intervals
from experiments import run_log

NAME = "dropout_average"
COLUMNS = (
    "prediction", "test error", "more than with all units", "cross-entropy",
    "same class as with all units", "seeds",
)  # fmt: skip
ARM = "wide_base"  # The arm of `confirmations` whose networks are averaged.
_FULL = "all units"
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_COLORS = ("#009E73", "#0072B2")


def measure(path, seed, split, data_dir):
    """Returns the lines for the log: one for all units, and one for each average.

    Args:
        path: the work directory of a run that has ended.
        seed: the random seed of dropout.
        split: the split of CIFAR-10 on which the errors are measured.
        data_dir: the folder of TFDS's data sets.
    """
    classifier = load_classifier(path)
    source = harness.load_cifar10(split, data_dir)
    full, labels = evaluation.probabilities(classifier, source, "center", verbose=0)
    examples = source.take_indices(range(source.num_examples))
    encoded = [example["image"] for example in examples]
    passes = internals.dropout_passes(classifier, encoded, _COUNTS[-1], seed)
    lines = [{"prediction": _FULL, "networks": 1, **_compare(full, full, labels)}]
    for name, average in internals.AVERAGES.items():
        for count in _COUNTS:
            metrics = _compare(average(passes[:count]), full, labels)
            lines.append({"prediction": name, "networks": count, **metrics})
    return lines


def _compare(probabilities, full, labels):
    """Returns the metrics of some predictions in comparison with those of all units.

    Args:
        probabilities, full: float [N, classes], the predictions and those of all units.
        labels: int32 [N].
    """
    true_probabilities = probabilities[np.arange(len(labels)), labels]
    # The logarithm of a probability that is 0 in float32 is finite.
    true_probabilities = np.maximum(true_probabilities, np.finfo(np.float32).tiny)
    same_class = probabilities.argmax(axis=1) == full.argmax(axis=1)
    return {
        "error": evaluation.mean_error(evaluation.hits(probabilities, labels, 1)),
        "cross_entropy": float(-np.log(true_probabilities).mean()),
        "same_class": float(same_class.mean()),
    }


def rows(log):
    """Returns the rows of the table, see `COLUMNS`; [] if no network was measured."""
    del log
    log = run_log.read_log("confirmations")
    if not _values(log, _FULL, 1, "error"):
        return []
    most = _COUNTS[-1]
    return [
        _row(log, _FULL, _FULL, 1),
        _row(log, "one network", "arithmetic mean", 1),
        _row(log, f"arithmetic mean of {most} networks", "arithmetic mean", most),
        _row(log, f"geometric mean of {most} networks", "geometric mean", most),
    ]


def _row(log, name, prediction, count):
    errors, cross_entropies, same_class = (
        [*_values(log, prediction, count, key).values()]
        for key in ("error", "cross_entropy", "same_class")
    )
    increase = "-"
    if prediction != _FULL:
        increase = intervals.points_summary(_increases(log, prediction, count))
    return (
        name,
        f"{np.mean(errors):.1%}",
        increase,
        f"{np.mean(cross_entropies):.3f}",
        f"{np.mean(same_class):.1%}",
        len(errors),
    )


def _increases(log, prediction, count):
    """Returns how much higher the errors are than with all units, in points."""
    full = _values(log, _FULL, 1, "error")
    errors = _values(log, prediction, count, "error")
    return intervals.paired_points(full, errors)


def _values(log, prediction, count, key):
    """Returns {seed: value of `key`} of the averages of `count` networks."""
    return {
        line["seed"]: line[key]
        for line in log
        if (line.get("prediction"), line.get("networks")) == (prediction, count)
    }


def draw(log, path):
    """Plots the error of the averages over the number of networks."""
    del log
    log = run_log.read_log("confirmations")
    fig = figure.Figure(figsize=(6, 4), layout="constrained")
    ax = fig.subplots()
    num_seeds = len(_values(log, _FULL, 1, "error"))
    for name, color, shift in zip(internals.AVERAGES, _COLORS, (1.04, 1.0)):
        increases = [_increases(log, name, count) for count in _COUNTS]
        means, half_widths = zip(*map(intervals.confidence_interval, increases))
        ax.errorbar(
            # The shift keeps the bars apart.
            shift * np.array(_COUNTS), means, half_widths if num_seeds > 1 else None,
            color=color, marker="o", capsize=3, label=name,
        )  # fmt: skip
    ax.axhline(0, color="#D55E00", linestyle="--", label=_FULL)
    ax.set_xscale("log", base=2)
    ax.set_xticks(_COUNTS, _COUNTS)
    ax.set(
        xlabel="networks in the average",
        ylabel="test error minus that of all units\n(percentage points)",
    )
    ax.grid(alpha=0.3)
    ax.legend()
    fig.suptitle(
        f"Networks that dropout samples, {num_seeds} seeds, 95% intervals", fontsize=11
    )
    fig.savefig(path, dpi=160)
