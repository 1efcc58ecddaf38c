"""Fig. 1: a four-layer network on CIFAR-10 with ReLUs and with tanh.

    python -m experiments.reproduce --run=relu_tanh

According to the paper (section 3.1), the network reaches 25% training error six times
faster with ReLUs than with tanh, with learning rates chosen independently and without
regularization of any kind. The paper does not say which four-layer network this was.
Here it is `cifar10_full`, without weight decay or flips.

The runs with seed 0 search for the learning rate of each nonlinearity: seven are tried,
and the one with the lowest training error after 5 epochs is chosen. The runs with the
other seeds use the chosen learning rates, and only these runs are compared. The
training error is measured on all 50,000 training images after each epoch.

With ReLUs, 5 epochs are almost the whole time to 25% training error, but with tanh they
are only an eighth of this time. After 5 epochs, the errors of the three best learning
rates of tanh differ by less than the errors of two seeds with the same learning rate.
With seed 1, both nonlinearities are therefore also trained to 25% with the next lower
and the next higher learning rate. With this seed the chosen learning rates are the
fastest ones, and a row of its own compares them. With ReLUs, the lower learning rate
takes .3 epochs more than the chosen one, which is less than seeds differ. The search
length of 5 epochs, the two highest learning rates of the search and these additional
runs were decided when the results of earlier runs were known.

Both networks have the response normalization and the initialization of `cifar10_full`,
which were made for ReLUs.
"""

import dataclasses

from matplotlib import figure
import numpy as np

from alexnet_tf import presets
from experiments import harness
from experiments import intervals
from experiments import run_log

NAME = "relu_tanh"
CLAIM = "ReLUs reach 25% training error faster than tanh (section 3.1, Fig. 1)"
PAPER = "6 times"
LEARNING_RATES = (0.004, 0.008, 0.016, 0.032, 0.002, 0.001, 0.0005)
SEEDS = (1, 2, 3, 4)
KINDS = ("relu", "tanh")
TARGET = 0.25
_SEARCH_EPOCHS = 5
_MAX_EPOCHS = {"relu": 20, "tanh": 80}
_COLORS = {"relu": "#0072B2", "tanh": "#D55E00"}
_LABELS = {"relu": "ReLU", "tanh": "tanh"}


def make_preset(kind, learning_rate, epochs):
    """Returns `cifar10_full` with one nonlinearity and no regularization.

    Args:
        kind: "relu" or "tanh".
        learning_rate: the learning rate of all epochs.
        epochs: the number of epochs.
    """
    preset = presets.override(
        presets.get("cifar10_full"),
        learning_rate=learning_rate,
        schedule="constant",
        weight_decay=0.0,
        flip=False,
        epochs=epochs,
    )
    layers = tuple(
        presets.Tanh(layer.name)
        if kind == "tanh" and isinstance(layer, presets.ReLU)
        else layer
        for layer in preset.layers
    )
    return dataclasses.replace(preset, layers=layers)


def runs(log):
    """Returns the runs of the search of each nonlinearity.

    Once these are done, also returns the runs that are compared.
    """
    return [run for kind in KINDS for run in _runs_of_kind(kind, log)]


def _runs_of_kind(kind, log):
    def make_run(learning_rate, seed, epochs, target=None):
        return harness.Run(
            NAME,
            _arm_name(kind, learning_rate),
            seed,
            make_preset(kind, learning_rate, epochs),
            eval_split="train",
            target=target,
        )

    search = [make_run(rate, 0, _SEARCH_EPOCHS) for rate in LEARNING_RATES]
    if not all(run_log.is_done(run, log) for run in search):
        return search
    learning_rate = best_learning_rate(log, kind)
    pairs = [(learning_rate, seed) for seed in SEEDS]
    pairs += [(rate, SEEDS[0]) for rate in adjacent_learning_rates(learning_rate)]
    return search + [
        make_run(rate, seed, _MAX_EPOCHS[kind], TARGET) for rate, seed in pairs
    ]


def _arm_name(kind, learning_rate):
    """Returns the name in the log of the runs with a nonlinearity and a rate."""
    return f"{kind}-{learning_rate:g}"


def search_errors(log, kind):
    """Returns {learning rate: error after the search}, 1 for a diverged run."""
    errors = {}
    for learning_rate in LEARNING_RATES:
        curve = dict(_curve(log, kind, learning_rate, seed=0))
        errors[learning_rate] = curve.get(_SEARCH_EPOCHS, 1.0)
    return errors


def best_learning_rate(log, kind):
    """Returns the learning rate with the lowest error in the search."""
    errors = search_errors(log, kind)
    return min(LEARNING_RATES, key=errors.get)


def adjacent_learning_rates(learning_rate):
    """Returns the next lower and the next higher learning rate, if there are such."""
    rates = sorted(LEARNING_RATES)
    index = rates.index(learning_rate)
    return rates[max(index - 1, 0) : index] + rates[index + 1 : index + 2]


def _curve(log, kind, learning_rate, seed):
    """Returns [(epoch, training error), ...] of one run."""
    arm = _arm_name(kind, learning_rate)
    return run_log.curve_of_run(log, arm, seed, "top1_error")


def rows(log):
    """Returns the rows (claim, paper's number, measured, seeds, verdict)."""
    learning_rates = {kind: best_learning_rate(log, kind) for kind in KINDS}
    curves = [
        [_curve(log, kind, rate, seed) for kind, rate in learning_rates.items()]
        for seed in SEEDS
    ]
    pairs = [
        [intervals.epochs_to(curve, TARGET) for curve in pair]
        for pair in curves
        if all(pair)
    ]
    if not pairs:
        return []
    measured, verdict = _compare(pairs, learning_rates)
    comparison = CLAIM, PAPER, measured, len(pairs), verdict
    return [
        comparison,
        *_fastest_rows(log),
        *(_search_row(log, kind) for kind in KINDS),
    ]


def _compare(pairs, learning_rates):
    """Returns (text, verdict) on how much faster ReLUs reach the target.

    Args:
        pairs: [(epochs with ReLUs, epochs with tanh), ...], one per seed.
        learning_rates: {kind: learning rate}.
    """
    num_missed = np.isinf(pairs).sum()
    if num_missed:
        text = f"{num_missed} of {2 * len(pairs)} runs do not reach {TARGET:.0%}"
        return text, "undecided"
    relu, tanh = np.transpose(pairs)
    text, verdict = intervals.ratio_summary(tanh / relu)
    means = ", ".join(
        f"{_LABELS[kind]} {mean:.1f} epochs at learning rate {rate:g}"
        for (kind, rate), mean in zip(
            learning_rates.items(), (relu.mean(), tanh.mean())
        )
    )
    return f"{text}; {means}", verdict


def _fastest_rows(log):
    """Returns the row on the fastest learning rates, [] if a run is missing."""
    seed = SEEDS[0]
    epochs = {kind: {} for kind in KINDS}
    for kind in KINDS:
        chosen = best_learning_rate(log, kind)
        for rate in sorted([chosen, *adjacent_learning_rates(chosen)]):
            curve = _curve(log, kind, rate, seed)
            if not curve:
                return []
            epochs[kind][rate] = intervals.epochs_to(curve, TARGET)
    ratio = min(epochs["tanh"].values()) / min(epochs["relu"].values())
    claim = f"The same for the fastest of three learning rates each, seed {seed}"
    measured = f"{ratio:.2f} times; epochs to {TARGET:.0%} by learning rate: "
    measured += "; ".join(_format_epochs(kind, epochs[kind]) for kind in KINDS)
    return [(claim, PAPER, measured, 1, "-")]


def _format_epochs(kind, epochs):
    """Returns text such as "ReLU 0.002: 5.3, 0.004: 5.6, 0.008: over 20"."""
    over = f"over {_MAX_EPOCHS[kind]}"
    return f"{_LABELS[kind]} " + ", ".join(
        f"{rate:g}: {over if np.isinf(number) else format(number, '.1f')}"
        for rate, number in epochs.items()
    )


def _search_row(log, kind):
    errors = ", ".join(
        f"{rate:g}: {100 * error:.1f}%"
        for rate, error in sorted(search_errors(log, kind).items())
    )
    claim = (
        f"Search: training error with {_LABELS[kind]} after {_SEARCH_EPOCHS} epochs, "
        "by learning rate"
    )
    return claim, "-", errors, 1, "-"


def draw(log, path):
    """Plots the training error over the epochs, as in the paper's Fig. 1."""
    fig = figure.Figure(figsize=(6, 4.2), layout="constrained")
    ax = fig.subplots()
    for kind in KINDS:
        learning_rate = best_learning_rate(log, kind)
        for seed in SEEDS:
            # Guessing among 10 classes has an error of .9.
            curve = [(0, 0.9), *_curve(log, kind, learning_rate, seed)]
            epochs, errors = zip(*curve)
            ax.plot(
                epochs,
                [100 * error for error in errors],
                color=_COLORS[kind],
                linestyle="-" if kind == "relu" else "--",
                label=_LABELS[kind] if seed == SEEDS[0] else None,
            )
    target = 100 * TARGET
    ax.axhline(target, color="#999999", linewidth=1, label=f"target: {target:.0f}%")
    ax.set(xlabel="epoch", ylabel="training error (%)", ylim=(0, 92), xlim=(0, None))
    ax.grid(alpha=0.3)
    ax.legend()
    fig.suptitle(
        f"Training with ReLUs and with tanh on CIFAR-10, {len(SEEDS)} runs each",
        fontsize=11,
    )
    fig.savefig(path, dpi=160)
