"""The questions that five seeds did not settle, with more seeds and a second size.

    python -m experiments.reproduce --run=confirmations

The plan below was fixed before the first of these runs. The runs of `ablations` are its
pilot and do not count.

Questions: does the test error increase without response normalization, without
overlapping pooling, without PCA color augmentation, and without dropout? A pair of runs
has the same seed, hence the same order of images and the same initial weights (in the
pairs for dropout, those of fc5 and fc10 differ). The arms of overlapping pooling have
maps of the same sizes and the same number of parameters. The test errors are those of
center crops of the 5,000 test images at hand, after the last epoch.

Sizes: the first three questions are asked with the network of `ablations` trained on
10,000 images for 50 epochs (20 pairs), and on all 50,000 for 20 epochs (8 pairs), which
are twice as many steps. Dropout is asked with two hidden layers of 1,024 units, trained
on 5,000 images for 200 epochs (8 pairs). That network is meant to overfit as the
paper's did. It was chosen after the network of `ablations` had contradicted the claim
on dropout. It is trained for twice as many steps, because dropout needs more
iterations.

Power: the differences of the pilot had standard deviations of 1.1, 1.1 and 0.5 points.
20 pairs find a difference of 1 point with a probability of 82% at the strictest level
below, and the paper's 2 points of response normalization practically always. If the
standard deviation is .6 points in the other runs, 8 pairs find 1 point with a
probability of 78%.

Verdicts: two-sided paired t tests, corrected for the seven comparisons by Holm's method
at a level of 5%. The paper's claim holds ("reproduced") if the corrected p is below .05
and the error increases, and is "contradicted" if it decreases. There is no verdict
before all pairs of all comparisons are done, no run is left out, and no pairs are
added.

Before the first network of 1,024 units was trained, a measurement was added that no
verdict depends on, see `dropout_average`.

The following was not in the plan. In the repetition in PyTorch, the standard deviations
are 1.0 points for PCA color augmentation and 1.7 points for dropout. With 1.7 points, 8
pairs find a difference of 1.5 points with a probability of only 21% at the strictest
level. With the 1.1 points of the pilot, 20 pairs find the paper's .4 points of
overlapping pooling with a probability of only 11%. With 50,000 images, the order of the
images is not entirely random: the next image is drawn from a buffer of 16,384.
"""

import dataclasses

from matplotlib import figure
import numpy as np

from alexnet_tf import presets
from experiments import ablations
from experiments import dropout_average
from experiments import harness
from experiments import increase_plot
from experiments import intervals
from experiments import run_log

NAME = "confirmations"
_FIRST_SEED = 100  # The seeds of the pilot are below.
_ERROR = "center_top1_error"
_LEVEL = 0.05

# fc4, relu4, drop4 and fc10 are the last layers of the network of `ablations`.
_WIDE_LAYERS = (
    *ablations.BASE.layers[:-4],
    presets.Dense("fc4", 1024, init="he"),
    presets.ReLU("relu4"),
    presets.Dropout("drop4"),
    presets.Dense("fc5", 1024, init="he"),
    presets.ReLU("relu5"),
    presets.Dropout("drop5"),
    ablations.BASE.layers[-1],
)
_LONG = presets.override(ablations.BASE, epochs=20, boundaries=(15, 18))
_WIDE = dataclasses.replace(
    presets.override(ablations.BASE, epochs=200, boundaries=(160, 184)),
    name="cifar10_wide",
    layers=_WIDE_LAYERS,
)


@dataclasses.dataclass(frozen=True)
class Study:
    """Runs of one network on one number of images.

    Attributes:
        title: what distinguishes the study, for the table.
        train_split: the split of CIFAR-10 to train on.
        pairs: the number of seeds.
        arms: {name: `presets.Preset`}, "base" first, from which each other arm lacks
            one component.
    """

    title: str
    train_split: str
    pairs: int
    arms: dict

    @property
    def seeds(self):
        """The random seeds of the runs."""
        return range(_FIRST_SEED, _FIRST_SEED + self.pairs)


def _arms(base):
    return {
        "base": base,
        "no_norm": presets.ablate(base, "norm"),
        "no_overlap": presets.ablate(base, "overlap"),
        "no_pca_color": presets.override(base, pca_color_std=0.0),
    }


STUDIES = {
    "small": Study("10,000 images", "train[:10000]", 20, _arms(ablations.BASE)),
    "all": Study("50,000 images", "train", 8, _arms(_LONG)),
    "wide": Study(
        "5,000 images, 1,024 units twice", "train[:5000]", 8,
        {"base": _WIDE, "no_dropout": presets.override(_WIDE, dropout=0.0)},
    ),
}  # fmt: skip

# {arm: (claim, the paper's number in words, the paper's number in points or None)}.
CLAIMS = {
    "no_norm": (
        "Response normalization lowers the test error (section 3.3)",
        "2 points, CIFAR-10", 2.0,
    ),
    "no_overlap": (
        "Overlapping pooling lowers the test error (section 3.4)",
        "0.4 points, ImageNet", 0.4,
    ),
    "no_pca_color": (
        "PCA color augmentation lowers the test error (section 4.1)",
        "over 1 point, ImageNet", 1.0,
    ),
    "no_dropout": ("Dropout lowers the test error (section 4.2)", "no number", None),
}  # fmt: skip
COMPARISONS = tuple(
    (study, arm) for study in STUDIES for arm in STUDIES[study].arms if arm != "base"
)


def runs(log):
    """Returns the runs of all studies, the pairs of a seed one after the other."""
    del log
    return [
        harness.Run(
            NAME, f"{study_name}_{arm}", seed, preset,
            train_split=study.train_split,
            eval_split="test[:1000]",
            final_split="test",
        )
        for study_name, study in STUDIES.items()
        for seed in study.seeds
        for arm, preset in study.arms.items()
    ]


def measure(run, path, data_dir):
    """Trains a run and returns its last line for the log, see `harness.measure`.

    The lines of all epochs of so many runs would make the log large. They are in the
    work directories. The line of a run of `dropout_average.ARM` comes after those of
    `dropout_average.measure`.
    """
    end = harness.measure(run, path, data_dir)[-1]
    if run.arm != dropout_average.ARM or end["diverged"]:
        return [end]
    lines = dropout_average.measure(path, run.seed, run.final_split, data_dir)
    return [*lines, end]


def increases(log, study, arm, key=_ERROR):
    """Returns the increases of the error without a component, in percentage points.

    Args:
        log: the lines of the log.
        study: a key of `STUDIES`.
        arm: an arm of the study.
        key: the name of the error in the log.

    Returns:
        A list with a number for each seed of which both runs are done.
    """
    return intervals.paired_points(
        run_log.final_values(log, f"{study}_base", key),
        run_log.final_values(log, f"{study}_{arm}", key),
    )


def complete_increases(log, study, arm):
    """Returns `increases`, or an empty list if some pairs are not done."""
    points = increases(log, study, arm)
    return points if len(points) == STUDIES[study].pairs else []


def rows(log):
    """Returns the rows (claim, paper's number, measured, seeds, verdict)."""
    complete = {pair: complete_increases(log, *pair) for pair in COMPARISONS}
    verdicts = dict.fromkeys(complete, "not finished")
    if all(complete.values()):
        verdicts = holm_verdicts(complete)
    return [
        row(
            (study, arm),
            points,
            f"{len(increases(log, study, arm))} of {STUDIES[study].pairs}",
            verdicts[study, arm],
        )
        for (study, arm), points in complete.items()
    ]


def row(comparison, points, seeds, verdict):
    """Returns a row of the table.

    Args:
        comparison: (study, arm).
        points: the increases of the error, in percentage points. If there are none, the
            table has "-".
        seeds: what the table has as the number of seeds.
        verdict: the verdict.
    """
    study, arm = comparison
    claim, paper, _ = CLAIMS[arm]
    measured = intervals.points_summary(points) if points else "-"
    return f"{claim}; {STUDIES[study].title}", paper, measured, seeds, verdict


def holm_verdicts(measured):
    """Returns {comparison: verdict}, from t tests with Holm's correction.

    Args:
        measured: {comparison: increases of the error}.
    """
    p_values = intervals.holm([intervals.p_value(each) for each in measured.values()])
    verdicts = {}
    for (comparison, points), p_value in zip(measured.items(), p_values):
        direction = "reproduced" if np.mean(points) > 0 else "contradicted"
        verdict = direction if p_value < _LEVEL else "undecided"
        p_text = f"= {p_value:.3f}" if p_value >= 0.001 else "< 0.001"
        verdicts[comparison] = f"{verdict} (corrected p {p_text})"
    return verdicts


def draw(log, path):
    """Plots the increase of the error for each comparison, with intervals.

    Args:
        log: the lines of the log.
        path: the path of the file.
    """
    pytorch_log = run_log.read_log("pytorch_confirmations")
    fig = figure.Figure(figsize=(6, 4.6), layout="constrained")
    ax = fig.subplots()
    for number, comparison in enumerate(COMPARISONS):
        increase_plot.interval(
            ax,
            number - 0.14,
            complete_increases(log, *comparison),
            label="this package",
        )
        increase_plot.interval(
            ax,
            number + 0.14,
            increases(pytorch_log, *comparison, key="error"),
            color="#009E73",
            fmt="s",
            label="repetition in PyTorch",
        )
    of_paper = [(CLAIMS[arm][2], number) for number, (_, arm) in enumerate(COMPARISONS)]
    known = [(points, number) for points, number in of_paper if points is not None]
    ax.plot(
        *zip(*known), "D", color="#D55E00",
        label="the paper (ImageNet, except for normalization)",
    )  # fmt: skip
    names = [
        f"{ablations.LABELS[arm]},\n{STUDIES[study].title}"
        for study, arm in COMPARISONS
    ]
    title = "Error on CIFAR-10 without one component"
    increase_plot.save(fig, ax, names, title, path, fontsize=8)
