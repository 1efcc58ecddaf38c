"""The table of the comparisons in PyTorch is that of its log."""

import pathlib

import numpy as np

from experiments import ablations
from experiments import confirmations
from experiments import pytorch_confirmations
from experiments import run_log

ROOT = pathlib.Path(__file__).parents[2]


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


def test_texts_have_the_mean_errors_of_both_implementations():
    means = {}
    for arm in ("base", "no_norm", "no_overlap", "no_pca_color"):
        ours, theirs = small_errors(arm)
        assert len(ours) == 20 and len(theirs) == 40
        means[arm] = [np.mean([*errors.values()]) for errors in (ours, theirs)]
    text = " ".join(pytorch_confirmations.__doc__.split())
    mean, their_mean = means.pop("base")
    assert f"{their_mean:.1f}% in PyTorch (40 seeds)" in text
    assert f"{mean:.1f}% in the package (20 seeds)" in text
    assert f"has {mean:.1f}% with the 20 seeds" in " ".join(ablations.__doc__.split())
    differences = sorted(mean - their_mean for mean, their_mean in means.values())
    assert f"higher in the package by {differences[0]:+.1f} to" in text
    assert f"to {differences[-1]:+.1f} points" in text


def welch_p(values, others):
    """Returns the two-sided p of Welch's t test that two means are equal."""
    parts = [np.var(each, ddof=1) / len(each) for each in (values, others)]
    degrees = sum(parts) ** 2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, (values, others))
    )
    t = np.linspace(-1000, 1000, 2_000_001)
    density = (1 + t**2 / degrees) ** (-(degrees + 1) / 2)
    observed = abs(np.mean(values) - np.mean(others)) / np.sqrt(sum(parts))
    return density[abs(t) >= observed].sum() / density.sum()


def test_welch_p_is_that_of_a_textbook_quantile():
    """With equal sizes and variances it is Student's t test, here with 18 degrees."""
    values = np.arange(10.0)
    shift = 2.101 * np.sqrt(2 * np.var(values, ddof=1) / 10)  # The 97.5% quantile.
    assert abs(welch_p(values, values + shift) - 0.05) < 1e-4


def test_text_has_the_differences_of_the_increases():
    text = " ".join(pytorch_confirmations.__doc__.split())
    base = small_errors("base")
    differences, p_values = {}, {}
    for arm in ("no_norm", "no_overlap", "no_pca_color"):
        ours, theirs = (
            [errors[seed] - of_base[seed] for seed in of_base]
            for errors, of_base in zip(small_errors(arm), base)
        )
        differences[arm] = np.mean(ours) - np.mean(theirs)
        p_values[arm] = f"p = {welch_p(ours, theirs):.3f})".replace("0.", ".", 1)
    assert f"higher by {differences['no_norm']:.1f} points (Welch" in text
    assert f"augmentation by {differences['no_pca_color']:.1f} points" in text
    assert abs(differences["no_overlap"]) < 0.05
    page = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    for arm in ("no_norm", "no_pca_color"):
        assert p_values[arm] in text and p_values[arm] in " ".join(page.split())
