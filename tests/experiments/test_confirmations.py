"""The plan for the undecided questions, and its verdicts."""

import numpy as np
import pytest

from alexnet_tf.models import alexnet
from experiments import confirmations
from experiments import harness
from experiments import intervals


def log_of(increase, spread, studies=("small", "all", "wide")):
    """Returns a log in which each component lowers the error by `increase` points."""
    lines = []
    for study in studies:
        rng = np.random.default_rng(0)
        for seed in confirmations.STUDIES[study].seeds:
            errors = {"base": 0.3}
            for arm in list(confirmations.STUDIES[study].arms)[1:]:
                errors[arm] = 0.3 + (increase + rng.normal(0, spread)) / 100
            lines += [
                {"arm": f"{study}_{arm}", "seed": seed, "final": True,
                 "center_top1_error": error}
                for arm, error in errors.items()
            ]  # fmt: skip
    return lines


def test_runs_are_those_of_the_plan():
    runs = confirmations.runs([])
    assert len(runs) == 4 * 20 + 4 * 8 + 2 * 8
    assert min(run.seed for run in runs) == 100
    assert len({(run.arm, run.seed) for run in runs}) == len(runs)
    assert [run.arm for run in runs[:5]] == [
        "small_base", "small_no_norm", "small_no_overlap", "small_no_pca_color",
        "small_base",
    ]  # fmt: skip
    steps = {
        run.arm: run.preset.recipe.epochs
        * {"train": 50_000, "train[:10000]": 10_000, "train[:5000]": 5_000}[
            run.train_split
        ]
        for run in runs
    }
    assert steps["all_base"] == 2 * steps["small_base"] == steps["wide_base"]


def test_the_log_has_the_last_line_of_each_run(monkeypatch):
    lines = [{"epoch": 1}, {"final": True}]
    monkeypatch.setattr(harness, "measure", lambda run, path, data_dir: lines)
    assert confirmations.measure(confirmations.runs([])[0], "run", None) == lines[1:]


def test_overlapping_pooling_is_all_that_its_arms_differ_in():
    for study in ("small", "all"):
        arms = confirmations.STUDIES[study].arms
        models = [alexnet.AlexNet(arms[arm], 10) for arm in ("base", "no_overlap")]
        shapes = [
            {layer.name: layer.output.shape for layer in model.layers}
            for model in models
        ]
        assert shapes[0] == shapes[1]
        assert models[0].count_params() == models[1].count_params()
        pools = [
            {layer.name: layer for layer in arms[arm].layers if "pool" in layer.name}
            for arm in ("base", "no_overlap")
        ]
        assert [pool.size for pool in pools[0].values()] == [3, 3, 3]
        assert [pool.size for pool in pools[1].values()] == [2, 2, 2]
        assert arms["base"].recipe == arms["no_overlap"].recipe


def test_the_wide_network_has_two_hidden_layers_with_dropout():
    arms = confirmations.STUDIES["wide"].arms
    for arm, rate in (("base", 0.5), ("no_dropout", 0.0)):
        model = alexnet.AlexNet(arms[arm], 10)
        assert [model.get_layer(name).units for name in ("fc4", "fc5")] == [1024] * 2
        rates = [layer.rate for layer in model.layers if "drop" in layer.name]
        assert rates == [rate] * 2


@pytest.mark.parametrize(
    "increase, verdict", [(1.5, "reproduced"), (-1.5, "contradicted")]
)
def test_verdicts_follow_the_direction_of_the_effect(increase, verdict):
    rows = confirmations.rows(log_of(increase, 0.3))
    assert len(rows) == 7
    for row in rows:
        assert row[-1] == f"{verdict} (corrected p < 0.001)"
    assert rows[0][3] == "20 of 20" and rows[-1][3] == "8 of 8"


def test_there_is_no_verdict_before_all_runs_are_done():
    rows = confirmations.rows(log_of(1.5, 0.3, studies=("small",)))
    assert {row[-1] for row in rows} == {"not finished"}
    assert rows[0][2].startswith("+1.") and rows[-1][2] == "-"


def test_the_table_has_a_comparison_when_all_its_pairs_are_done():
    log = [
        line
        for line in log_of(1.5, 0.3)
        if (line["arm"], line["seed"]) != ("all_no_norm", 100)
    ]
    measured = [(row[2][:3], row[3]) for row in confirmations.rows(log)]
    assert measured[3] == ("-", "7 of 8") and measured[4] == ("+1.", "8 of 8")


def test_row_describes_a_comparison():
    row = confirmations.row(("all", "no_norm"), [1.0, 2.0, 3.0], 3, "undecided")
    assert row == (
        "Response normalization lowers the test error (section 3.3); 50,000 images",
        "2 points, CIFAR-10",
        # 4.303 standard errors of sqrt(1 / 3) points.
        "+2.0 points (-0.5 to +4.5)",
        3,
        "undecided",
    )


def test_a_difference_that_its_spread_explains_is_undecided():
    rows = confirmations.rows(log_of(0.0, 1.0))
    assert all(row[-1].startswith("undecided") for row in rows)


def test_draws_the_comparisons_that_have_pairs(tmp_path):
    path = tmp_path / "plot.png"
    confirmations.draw(log_of(1.5, 0.3, studies=("small",)), path)
    assert path.read_bytes()[1:4] == b"PNG"


@pytest.mark.parametrize(
    "differences, expected",
    [
        # From tables of Student's t: t = 2.776 at 4 degrees of freedom has p = .05.
        (2.776 * np.sqrt(1 / 5) + np.array([-1.0, -1, 0, 1, 1]), 0.05),
        # At 1 degree of freedom, p = 1 - 2 atan(t) / pi; here t = 3.
        ([1.0, 2.0], 1 - 2 * np.arctan(3) / np.pi),
    ],
)
def test_p_values_are_those_of_the_t_distribution(differences, expected):
    assert intervals.p_value(differences) == pytest.approx(expected, abs=2e-4)


def test_p_values_agree_with_the_intervals():
    """A 95% interval that ends at 0 has p = .05, for each number of seeds."""
    for count in range(2, 21):
        values = np.random.default_rng(count).normal(size=count)
        mean, half_width = intervals.confidence_interval(values)
        assert intervals.p_value(values - mean + half_width) == pytest.approx(
            0.05, abs=2e-4
        )


def test_holm_multiplies_the_smallest_p_value_most():
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert intervals.holm([0.5, 0.9]) == [1.0, 1.0]
