"""The table of the comparisons in PyTorch is that of its log."""

import numpy as np

from experiments import ablations
from experiments import confirmations
from experiments import pytorch_confirmations
from experiments import run_log


def test_rows_are_the_differences_in_the_log():
    log = run_log.read_log("pytorch_confirmations")
    errors = {(line["arm"], line["seed"]): line["error"] for line in log}
    assert len(log) == len(errors) == 4 * 40 + 4 * 8 + 2 * 16
    rows = pytorch_confirmations.rows(log)
    for (study, arm), (claim, _, measured, seeds, _) in zip(
        confirmations.COMPARISONS, rows, strict=True
    ):
        increases = [
            error - errors[f"{study}_base", seed]
            for (name, seed), error in errors.items()
            if name == f"{study}_{arm}"
        ]
        assert claim.endswith(confirmations.STUDIES[study].title)
        assert len(increases) == seeds
        assert measured.startswith(f"{100 * np.mean(increases):+.1f} points (")


def small_errors(arm):
    """Returns the errors of the package and of PyTorch with 10,000 images, in percent.

    Returns:
        Two dicts {seed: error}.
    """
    ours, theirs = map(run_log.read_log, ("confirmations", "pytorch_confirmations"))
    both = (
        run_log.final_values(ours, f"small_{arm}", "center_top1_error"),
        run_log.final_values(theirs, f"small_{arm}", "error"),
    )
    return [{seed: 100 * error for seed, error in each.items()} for each in both]


ARMS = ("base", "no_norm", "no_overlap", "no_pca_color")


def test_texts_have_the_mean_errors_of_both_implementations():
    means = {}
    for arm in ARMS:
        ours, theirs = small_errors(arm)
        assert len(ours) == 20 and len(theirs) == 40
        means[arm] = [np.mean([*errors.values()]) for errors in (ours, theirs)]
    text = " ".join(pytorch_confirmations.__doc__.split())
    mean, their_mean = means["base"]
    assert f"{their_mean:.1f}% in PyTorch (40 seeds)" in text
    assert f"{mean:.1f}% in the package (20 seeds)" in text
    assert f"has {mean:.1f}% with the 20 seeds" in " ".join(ablations.__doc__.split())
    *others, last = [f"{mean - their_mean:+.1f}" for mean, their_mean in means.values()]
    assert f"differ by {', '.join(others)} and {last} points" in text


def hotelling_p(samples, others):
    """Returns the p of Hotelling's test that two means of vectors are equal.

    Args:
        samples, others: arrays [N, K] and [M, K].
    """
    (n, size), m = samples.shape, len(others)
    pooled = (n - 1) * np.cov(samples.T) + (m - 1) * np.cov(others.T)
    pooled = np.atleast_2d(pooled) / (n + m - 2)
    difference = samples.mean(axis=0) - others.mean(axis=0)
    t_squared = n * m / (n + m) * difference @ np.linalg.solve(pooled, difference)
    degrees = n + m - size - 1
    # F = odds * degrees / size, where odds / (1 + odds) has a beta distribution.
    odds = t_squared / (n + m - 2)
    x = (np.arange(1_000_000) + 0.5) / 1_000_000
    density = x ** (size / 2 - 1) * (1 - x) ** (degrees / 2 - 1)
    return density[x >= odds / (1 + odds)].sum() / density.sum()


def test_hotelling_p_is_that_of_textbook_quantiles():
    """For one dimension it is the t test, and for two there is a formula."""
    values = np.arange(10.0)[:, np.newaxis]
    shift = 2.101 * np.sqrt(2 * np.var(values, ddof=1) / 10)  # The 97.5% quantile.
    assert abs(hotelling_p(values, values + shift) - 0.05) < 1e-3
    pairs = np.array([[0, 0], [2, 0], [1, 3]])  # The variances are 1 and 3.
    t_squared = 3 * 3 / 6 * 3**2 / 1
    expected = (1 + t_squared / 4) ** -1.5  # F has 2 and 3 degrees of freedom.
    assert abs(hotelling_p(pairs, pairs + [3, 0]) - expected) < 1e-3


def test_texts_have_the_differences_of_the_increases():
    increases = []
    for base, *others in zip(*map(small_errors, ARMS)):
        points = [[errors[s] - base[s] for errors in others] for s in sorted(base)]
        increases.append(np.array(points))
    norm, overlap, pca_color = increases[0].mean(axis=0) - increases[1].mean(axis=0)
    text = " ".join(pytorch_confirmations.__doc__.split())
    assert f"normalization is higher by {norm:.1f} points" in text
    assert f"augmentation by {pca_color:.1f} points" in text
    assert abs(overlap) < 0.05
    p = hotelling_p(*increases)
    assert f"p = {p:.4f};".replace("0.", ".", 1) in text
