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


def test_text_has_the_errors_of_the_unchanged_networks():
    text = pytorch_confirmations.__doc__
    log = run_log.read_log("pytorch_confirmations")
    errors = [line["error"] for line in log if line["arm"] == "small_base"]
    assert f"{np.mean(errors):.1%} in PyTorch (40 seeds)" in text


def test_texts_have_the_differences_from_the_package():
    theirs = run_log.read_log("pytorch_confirmations")
    ours = run_log.read_log("confirmations")
    means = {}
    for arm in ("base", "no_norm", "no_overlap", "no_pca_color"):
        errors = run_log.final_values(ours, f"small_{arm}", "center_top1_error")
        their_errors = run_log.final_values(theirs, f"small_{arm}", "error")
        means[arm] = (
            100 * np.mean([errors[seed] for seed in range(100, 105)]),
            100 * np.mean([*their_errors.values()]),
        )
    text = " ".join(pytorch_confirmations.__doc__.split())
    mean, their_mean = means.pop("base")
    assert f"{their_mean:.1f}% in PyTorch" in text
    assert f"{mean:.1f}% in the package (5 seeds)" in text
    assert f"has {mean:.1f}% with the first" in ablations.__doc__
    differences = sorted(mean - their_mean for mean, their_mean in means.values())
    assert f"higher by {differences[0]:+.1f} to {differences[-1]:+.1f} points" in text
