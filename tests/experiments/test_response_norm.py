"""The table of `response_norm` is that of its log."""

import numpy as np

from experiments import intervals
from experiments import response_norm
from experiments import run_log


def line(arm, seed, ten_crop_error, center_error=0.5):
    return {
        "arm": arm, "seed": seed, "final": True,
        "ten_crop_error": ten_crop_error, "center_error": center_error,
    }  # fmt: skip


def test_rows_of_a_small_log():
    errors = {
        "short_norm": (0.10, 0.12), "short_no_norm": (0.13, 0.15001),
        "long_norm": (0.10, 0.11), "long_no_norm": (0.08, 0.12),
    }  # fmt: skip
    log = [
        line(arm, seed, error)
        for arm, both in errors.items()
        for seed, error in zip((2000, 2001), both)
    ]
    log += [line("long_norm", 2002, 0.9)]  # The other run of this pair is missing.
    rows = response_norm.rows(log)
    short, long, longer, longer_with_norm, both, short_crops, long_crops = rows
    assert short[2].startswith("+3.0 points (+3.0 to +3.0): 11.0% with, 14.0% without")
    assert short[3:] == (2, "reproduced (corrected p < 0.001)")
    assert long[2].startswith("-0.5 points (-19.6 to +18.6): 10.5% with, 10.0% without")
    assert long[4].startswith("undecided")
    assert longer[2].startswith("+4.0 points (") and longer[4] == "-"
    assert longer_with_norm[2].startswith("+0.5 points (")
    assert both[2].startswith("+3.5 points (") and both[4] == "-"
    # Center crops have an error of 50%: 39 points more than ten crops, and 36.
    assert short_crops[2].startswith("-3.0 points (")
    assert short_crops[2].endswith("39.0 points with, 36.0 points without")
    assert long_crops[2].startswith("+0.5 points (")
    assert long_crops[2].endswith("39.5 points with, 40.0 points without")


def test_the_log_has_six_pairs_of_each_training():
    log = run_log.read_log("response_norm")
    arms = {"short_norm", "short_no_norm", "long_norm", "long_no_norm"}
    runs = [(entry["arm"], entry["seed"]) for entry in log]
    assert len(runs) == 24
    assert {*runs} == {(arm, seed) for arm in arms for seed in range(2000, 2006)}


def test_verdicts_are_corrected_for_two_comparisons():
    log = run_log.read_log("response_norm")
    p_values = []
    for training in ("short", "long"):
        with_norm, without = (
            run_log.final_values(log, f"{training}_{name}", "ten_crop_error")
            for name in ("norm", "no_norm")
        )
        increases = [without[seed] - with_norm[seed] for seed in range(2000, 2006)]
        p_values.append(intervals.p_value(increases))
        assert np.mean(increases) < 0
    rows = response_norm.rows(log)
    assert p_values[0] < 0.05 / 2 and p_values[1] > 0.05
    assert rows[0][4] == f"contradicted (corrected p = {2 * p_values[0]:.3f})"
    assert rows[1][4] == f"undecided (corrected p = {p_values[1]:.3f})"


def test_figure_has_the_intervals_of_the_table(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        response_norm.increase_plot, "interval",
        lambda ax, row, points, **style: drawn.append(intervals.points_summary(points)),
    )  # fmt: skip
    log = run_log.read_log("response_norm")
    response_norm.draw(log, tmp_path / "plot.png")
    rows = response_norm.rows(log)
    assert "together" in rows[4][0]
    expected = []
    for measured in (rows[0][2], rows[1][2], rows[4][2]):
        ten_crops, _, rest = measured.partition(": ")
        expected += [ten_crops, rest.partition("center crop ")[2]]
    assert drawn == expected
