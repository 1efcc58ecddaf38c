"""Response normalization in the CIFAR-10 networks of cuda-convnet.

    python -m experiments.pytorch_confirmations --output=cifar10.npz
    python -m experiments.pytorch_response_norm cifar10.npz RESULTS.jsonl short 2000 6
    python -m experiments.pytorch_response_norm cifar10.npz RESULTS.jsonl long 2000 6

The paper says that a four-layer network has a test error of 13% on CIFAR-10, and of 11%
with response normalization (section 3.3). It does not name the network, but refers to
cuda-convnet, which has files for these two errors in its folder example-layers:
layers-conv-local-13pct.cfg and layers-conv-local-11pct.cfg. Whether the paper means
these networks is not certain. They have four hidden layers: two convolutions and two
locally connected layers, which have different kernels at each position.

In an early version of the second file (commit 3878e8f of the fork dnouri/cuda-convnet),
the two networks differ in the response normalization alone, which extends over 5 maps
and comes between ReLU and pooling, as in the paper. But they differ in their training,
too: 160 epochs for 13% and 470 for 11%, according to cuda-convnet's page Methodology
and to layer-params-conv-local-11pct.cfg. Here, both networks are trained for 160 and
for 470 epochs. In the later version, which was not tried, the network for 11% also has
more maps and normalizes over 9 of them, after the first pooling.

The package has no locally connected layers. The networks are therefore trained in
PyTorch, on a GPU, with the constants of the files. The errors are those of ten crops,
whose probabilities are averaged, on the 5,000 test images at hand, because the errors
of cuda-convnet are averages, too (of ten crops in later versions, and of nine without
flips in earlier ones). The error of the center crop was a planned second measure
without a verdict. The comparison of the two trainings with normalization and the last
two rows were added when the results were known.

The plan was fixed before the first of these runs, and after those of `confirmations`
had begun: 6 pairs of runs for either number of epochs; paired t tests, corrected for
the two comparisons by Holm's method at a level of 5%. If the differences have a
standard deviation of half a point, 6 pairs find a difference of .8 points with a
probability of 75% at the strictest level (the plan said 80%), and the paper's 2 points
practically always.
"""

from matplotlib import figure

from experiments import confirmations
from experiments import increase_plot
from experiments import intervals
from experiments import run_log

NAME = "response_norm"
_ERROR, _CENTER = "ten_crop_error", "center_error"
_EPOCHS = {"short": 160, "long": 470}
_CLAIM = "Response normalization lowers the test error (section 3.3); {} epochs"
_EPOCH_NAMES = ("after 470 epochs", "after 160")
_OTHER_COMPARISONS = (
    ("470 instead of 160 epochs lower the test error; without response normalization",
     "-", ("long_no_norm", "short_no_norm"), _EPOCH_NAMES),
    ("470 instead of 160 epochs lower the test error; with response normalization",
     "-", ("long_norm", "short_norm"), _EPOCH_NAMES),
    ("Response normalization and 470 epochs lower the test error together",
     "13% to 11%", ("long_norm", "short_no_norm"), ("with both", "with neither")),
)  # fmt: skip
_PLOTTED = (
    ("160 epochs", "short_norm", "short_no_norm"),
    ("470 epochs", "long_norm", "long_no_norm"),
    ("160 epochs without, 470 with", "long_norm", "short_no_norm"),
)


def rows(log):
    """Returns the rows (claim, paper's number, measured, seeds, verdict)."""
    claims = {
        _CLAIM.format(epochs): (f"{training}_norm", f"{training}_no_norm")
        for training, epochs in _EPOCHS.items()
    }
    increases = {claim: _increases(log, *arms) for claim, arms in claims.items()}
    verdicts = confirmations.holm_verdicts(increases)
    table = [
        _row(log, claim, "13% to 11%", arms, verdicts[claim])
        for claim, arms in claims.items()
    ]
    table += [
        _row(log, claim, paper, arms, "-", names)
        for claim, paper, arms, names in _OTHER_COMPARISONS
    ]
    return [*table, *(_crops_row(log, training) for training in _EPOCHS)]


def _crops_row(log, training):
    """Returns the row on how much more the network without normalization gains."""
    with_norm = _gains(log, f"{training}_norm")
    without = _gains(log, f"{training}_no_norm")
    text, seeds, _ = intervals.compare(with_norm, without, ("with", "without"))
    claim = "Ten crops lower the error more without response normalization; {} epochs"
    measured = text.replace("%", " points")
    return claim.format(_EPOCHS[training]), "-", measured, seeds, "-"


def _gains(log, arm):
    """Returns {seed: by how much the error of ten crops is lower than of one}."""
    ten_crop = run_log.final_values(log, arm, _ERROR)
    center = run_log.final_values(log, arm, _CENTER)
    return {seed: center[seed] - ten_crop[seed] for seed in center}


def _increases(log, arm, other_arm, key=_ERROR):
    """Returns by how many points the error of another arm is higher, for each seed."""
    return intervals.paired_points(
        run_log.final_values(log, arm, key), run_log.final_values(log, other_arm, key)
    )


def _row(log, claim, paper, arms, verdict, names=("with", "without")):
    errors = [run_log.final_values(log, arm, _ERROR) for arm in arms]
    measured, seeds, _ = intervals.compare(*errors, names)
    center = intervals.points_summary(_increases(log, *arms, key=_CENTER))
    return claim, paper, f"{measured}; center crop {center}", seeds, verdict


def draw(log, path):
    """Plots the increase of the errors without normalization, with intervals.

    The paper's 2 points belong to the last comparison, in which the network without
    normalization is trained for 160 epochs and the other one for 470.

    Args:
        log: the lines of the log.
        path: the path of the file.
    """
    fig = figure.Figure(figsize=(6, 3.8), layout="constrained")
    ax = fig.subplots()
    names, protocols = [], ((_ERROR, "ten crops"), (_CENTER, "center crop"))
    for name, norm, no_norm in _PLOTTED:
        for key, protocol in protocols:
            points = _increases(log, norm, no_norm, key)
            increase_plot.interval(
                ax, len(names), points, color="#009E73", fmt="s",
                label="mean and 95% interval, PyTorch",
            )  # fmt: skip
            names.append(f"{name}, {protocol}")
    paper_row = names.index("160 epochs without, 470 with, ten crops")
    ax.plot(2, paper_row, "D", color="#D55E00", label="the paper")
    title = "Error of cuda-convnet's networks without response normalization"
    increase_plot.save(fig, ax, names, title, path)
