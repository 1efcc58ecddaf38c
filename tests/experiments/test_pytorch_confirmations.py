"""The table of the comparisons in PyTorch is that of its log."""

import numpy as np

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
