"""Tests of the harness, of each claim, and of the table generated from the logs."""

import dataclasses
import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from alexnet_tf.data import datasets
from alexnet_tf import presets
from alexnet_tf.workdir import locked
from experiments import ablations
from experiments import blog
from experiments import dropout_forms
from experiments import geometries
from experiments import initialization
from experiments import intervals
from experiments import needs_imagenet
from experiments import relu_tanh
from experiments import run_log
from experiments import table
from helpers.runs import shallow_preset

FOLDER = pathlib.Path(__file__).parents[2] / "experiments"


@pytest.fixture
def harness(tmp_path, monkeypatch, make_source, figures_as_text):
    """The module, with a temporary log and 24 random images for every split."""
    from experiments import harness, run_log

    monkeypatch.setattr(run_log, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(
        datasets,
        "load_as_spelled",
        lambda name, split, data_dir, **keys: make_source(24, split),
    )
    return harness


PRESET = shallow_preset()


def test_confidence_interval_uses_student_s_t_distribution():
    """The values 1, 2, 3, 6 have mean 3 and standard deviation sqrt(14 / 3)."""
    mean, half_width = intervals.confidence_interval([1, 2, 3, 6])
    assert mean == 3
    assert half_width == pytest.approx(3.182 * math.sqrt(14 / 3) / 2, rel=1e-4)
    assert intervals.confidence_interval([5.0]) == (5.0, math.inf)
    assert intervals.format_interval(3, 2.5) == "+0.5 to +5.5"
    assert intervals.format_interval(5.0, math.inf) == "no interval"


def test_ratio_summary_is_computed_from_logarithms():
    """2 and 8 have geometric mean 4; their logarithms differ from log 4 by log 2."""
    half_width = 12.706 * math.log(2)
    low, high = 4 * math.exp(-half_width), 4 * math.exp(half_width)
    text, verdict = intervals.ratio_summary([2, 8])
    assert text == f"4.00 times ({low:.2f} to {high:.2f})"
    assert verdict == "undecided"
    assert intervals.ratio_summary([0.5, 0.5, 0.5]) == (
        "0.50 times (0.50 to 0.50)", "contradicted"
    )
    assert intervals.ratio_summary([3.0]) == ("3.00 times (no interval)", "undecided")


def test_95_percent_of_the_intervals_contain_the_true_mean():
    rng = np.random.default_rng(0)
    num_containing = 0
    for _ in range(2000):
        mean, half_width = intervals.confidence_interval(rng.normal(1, 3, 5))
        num_containing += abs(mean - 1) <= half_width
    assert 0.935 < num_containing / 2000 < 0.965


@pytest.mark.parametrize(
    "mean, half_width, expected",
    [(2, 1, "reproduced"), (-2, 1, "contradicted"), (2, 3, "undecided"),
     (9, math.inf, "undecided")],
)  # fmt: skip
def test_verdict_requires_that_the_interval_excludes_zero(mean, half_width, expected):
    assert intervals.verdict(mean, half_width) == expected


def test_differences_are_paired_by_seed():
    before, after = {0: 0.25, 2: 0.5, 3: 0.75}, {3: 1.0, 0: 1.0, 1: 0.0}
    assert intervals.paired_points(before, after) == [75, 25]


def test_epochs_to_an_error_are_interpolated():
    curve = [(1, 0.6), (2, 0.4), (3, 0.2)]
    assert intervals.epochs_to(curve, 0.25) == pytest.approx(2.75)
    assert intervals.epochs_to(curve, 0.8) == pytest.approx(0.5)
    assert intervals.epochs_to(curve, 0.1) == math.inf


class Claim:
    """A claim with one run of seed 3 for each arm, by default of two epochs.

    Args:
        harness: the module.
        arms: a string with one letter for each arm.
        preset: the preset of all arms.
        **fields: further fields of `harness.Run`.
    """

    NAME = "claim"

    def __init__(self, harness, arms="ab", preset=PRESET, **fields):
        self._runs = [
            harness.Run(self.NAME, arm, 3, preset, **fields) for arm in arms
        ]

    def runs(self, log):
        del log
        return self._runs


def read_log():
    """Returns the lines of the log of `Claim`."""
    return run_log.read_log("claim")


@pytest.mark.large
def test_runs_are_done_once_and_logged(harness, tmp_path):
    claim = Claim(harness, probe_split="train[:9]", final_split="test")
    harness.run_all(claim, None, str(tmp_path / "runs"))
    log = read_log()
    assert [(line["arm"], line["seed"], line.get("epoch")) for line in log] == [
        ("a", 3, 1), ("a", 3, 2), ("a", 3, None),
        ("b", 3, 1), ("b", 3, 2), ("b", 3, None),
    ]  # fmt: skip
    assert log[0]["probe_top1_error"] == pytest.approx(log[0]["top1_error"])
    end = log[2]
    assert end["final"] and not end["diverged"] and end["tensorflow"]
    assert end["center_top1_error"] == pytest.approx(log[1]["top1_error"])
    assert 0 <= end["ten_crop_top1_error"] <= 1
    # Both arms have the same preset and seed. Their results are therefore equal.
    assert [{**line, "arm": "b"} for line in log[:3]] == log[3:]
    harness.run_all(claim, None, str(tmp_path / "runs"))
    assert read_log() == log


@pytest.mark.usefixtures("simulated_runs")
def test_runs_end_at_their_target_error_or_loss(harness, tmp_path):
    harness.run_all(Claim(harness, target=1.0), None, str(tmp_path / "runs"))
    assert [line.get("epoch") for line in read_log()] == [1, None] * 2
    many_steps = presets.override(PRESET, batch_size=2)
    claim = Claim(harness, "cd", many_steps, until_loss=100.0)
    harness.run_all(claim, None, str(tmp_path / "runs"))
    lines = [line for line in read_log() if line["arm"] in "cd" and "loss" in line]
    # The epoch has 12 steps: a whole epoch would end with a line of step 12.
    assert [line["step"] for line in lines] == [10, 10]


def test_error_of_the_final_split_is_measured_at_the_target(harness, tmp_path):
    claim = Claim(harness, "a", target=1.0, final_split="test")
    harness.run_all(claim, None, str(tmp_path / "runs"))
    epoch, end = read_log()
    assert end["center_top1_error"] == pytest.approx(epoch["top1_error"])


@pytest.mark.usefixtures("simulated_runs")
def test_diverged_runs_are_logged(harness, tmp_path):
    diverging = presets.override(PRESET, learning_rate=1e30)
    claim = Claim(harness, "a", diverging, final_split="test")
    harness.run_all(claim, None, str(tmp_path / "runs"))
    (end,) = read_log()
    assert end["diverged"] and "center_top1_error" not in end


@pytest.mark.usefixtures("simulated_runs")
def test_runs_locked_by_another_process_are_skipped(harness, tmp_path, monkeypatch):
    claim = Claim(harness)

    def give_up(seconds):
        raise TimeoutError

    monkeypatch.setattr(harness.time, "sleep", give_up)
    with locked(str(tmp_path / "runs" / "claim" / "a-3" / harness.LOCK_FOLDER)):
        with pytest.raises(TimeoutError):
            harness.run_all(claim, None, str(tmp_path / "runs"))
    assert {line["arm"] for line in read_log()} == {"b"}


def test_reproduce_requires_a_flag_that_says_what_to_do():
    process = subprocess.run(
        [sys.executable, "-m", "experiments.reproduce"],
        cwd=FOLDER.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 1
    assert process.stderr == (
        "experiments.reproduce: Expected --list, --run or --table. Received: none of "
        "them.\n"
    )


# ---- The claims ----------------------------------------------------------------


def curve(arm, seed, errors):
    """Returns the lines of a run in a log, one for each epoch with its error."""
    return [
        {"arm": arm, "seed": seed, "epoch": epoch, "top1_error": error}
        for epoch, error in enumerate(errors, 1)
    ]


def test_relu_tanh_searches_learning_rates_before_it_uses_them():
    log = []
    assert {run.seed for run in relu_tanh.runs(log)} == {0}
    assert {run.preset.recipe.epochs for run in relu_tanh.runs(log)} == {5}
    # Runs that have a lower error only after the search, or that diverged, do not
    # count.
    log += curve("relu-0.002", 0, [0.6, 0.5, 0.5, 0.5, 0.3])
    log += curve("relu-0.004", 0, [0.6, 0.5, 0.4, 0.4, 0.4, 0.1])
    log += curve("relu-0.008", 0, [0.2])
    for rate in ("0.016", "0.032", "0.001", "0.0005"):
        assert not any(run.seed for run in relu_tanh.runs(log))
        log += curve(f"relu-{rate}", 0, [0.5] * 5)
    compared = [
        (run.arm, run.seed, run.target) for run in relu_tanh.runs(log) if run.seed
    ]
    assert compared == [
        *(("relu-0.002", seed, 0.25) for seed in (1, 2, 3, 4)),
        # The next lower and the next higher learning rate.
        ("relu-0.001", 1, 0.25),
        ("relu-0.004", 1, 0.25),
    ]


def test_relu_tanh_compares_runs_with_the_same_seed():
    log = []
    for rate in relu_tanh.LEARNING_RATES:
        log += curve(f"relu-{rate:g}", 0, [0.2 if rate == 0.002 else 0.5] * 5)
        log += curve(f"tanh-{rate:g}", 0, [0.3 if rate == 0.001 else 0.5] * 5)
    for seed, (relu, tanh) in enumerate([(1, 4), (2, 10), (1, 6), (2, 14)], 1):
        for arm, epochs in (("relu-0.002", relu), ("tanh-0.001", tanh)):
            # The last error is the target.
            errors = [0.25 + 0.1 * left for left in reversed(range(epochs))]
            log += curve(arm, seed, errors)
    (_, _, measured, seeds, verdict), _, search = relu_tanh.rows(log)
    assert measured == (
        intervals.ratio_summary([4, 5, 6, 7])[0]
        + "; ReLU 1.5 epochs at learning rate 0.002, tanh 8.5 epochs at learning rate "
        "0.001"
    )
    assert seeds == 4
    assert verdict == "reproduced"
    # A seed whose second run is missing does not count in the means.
    incomplete = [
        line for line in log if (line["arm"], line["seed"]) != ("tanh-0.001", 4)
    ]
    _, _, measured, seeds, _ = relu_tanh.rows(incomplete)[0]
    assert seeds == 3
    assert "ReLU 1.3 epochs" in measured and "tanh 6.7 epochs" in measured
    # A run that does not reach the target counts.
    without_target = [line for line in log if line["epoch"] != 14]
    _, _, measured, seeds, verdict = relu_tanh.rows(without_target)[0]
    assert measured == "1 of 8 runs do not reach 25%"
    assert (seeds, verdict) == (4, "undecided")
    assert search[2] == (
        "0.0005: 50.0%, 0.001: 30.0%, 0.002: 50.0%, 0.004: 50.0%, 0.008: 50.0%, "
        "0.016: 50.0%, 0.032: 50.0%"
    )


def test_relu_tanh_compares_the_fastest_learning_rates_of_one_seed():
    log = []
    for rate in relu_tanh.LEARNING_RATES:
        log += curve(f"relu-{rate:g}", 0, [0.2 if rate == 0.002 else 0.5] * 5)
        log += curve(f"tanh-{rate:g}", 0, [0.3 if rate == 0.032 else 0.5] * 5)
    log += curve("relu-0.002", 1, [0.45, 0.35, 0.25])
    log += curve("tanh-0.032", 1, [0.45, 0.25])
    log += curve("relu-0.001", 1, [0.5, 0.3, 0.2])
    log += curve("relu-0.004", 1, [0.5, 0.4])
    # The row is missing until all runs are done. No learning rate is above .032.
    assert len(relu_tanh.rows(log)) == 3
    log += curve("tanh-0.016", 1, [0.45, 0.4, 0.35, 0.3, 0.25])
    _, (_, _, measured, seeds, verdict), *_ = relu_tanh.rows(log)
    # tanh needs 2 epochs, and ReLU 2.5: halfway from .3 to .2.
    assert measured == (
        "0.80 times; epochs to 25% by learning rate: ReLU 0.001: 2.5, 0.002: 3.0, "
        "0.004: over 20; tanh 0.016: 5.0, 0.032: 2.0"
    )
    assert (seeds, verdict) == (1, "-")


def test_ablations_change_only_the_component_in_the_name_of_the_arm():
    base = ablations.BASE
    changed = {}
    for arm, preset in ablations.ARMS.items():
        names = []
        for part in ("recipe", "preprocessing"):
            before, after = getattr(base, part), getattr(preset, part)
            names += [
                field.name
                for field in dataclasses.fields(before)
                if getattr(before, field.name) != getattr(after, field.name)
            ]
        layers = {layer.name: layer for layer in preset.layers}
        names += [
            layer.name for layer in base.layers if layers.get(layer.name) != layer
        ]
        changed[arm] = names
    assert changed == {
        "no_norm": ["norm1", "norm2"],
        "spatial_norm": ["norm1", "norm2"],
        "no_overlap": ["pool1", "pool2", "pool3"],
        "no_pca_color": ["pca_color_std"],
        "no_crops_and_flips": ["random_crop", "flip"],
        "no_dropout": ["drop4"],
        "no_weight_decay": ["weight_decay"],
    }
    runs = ablations.runs([])
    assert len(runs) == len({(run.arm, run.seed) for run in runs}) == 8 * 5
    assert {(run.train_split, run.final_split) for run in runs} == {
        ("train[:10000]", "test")
    }


def test_ablations_report_the_mean_of_paired_differences():
    log = []
    errors = [(0.30, 0.33), (0.32, 0.34), (0.31, 0.35)]
    for seed, (base, ablated) in enumerate(errors):
        for arm, error in (("base", base), ("no_norm", ablated)):
            log.append(
                {"arm": arm, "seed": seed, "final": True,
                 "center_top1_error": error, "ten_crop_top1_error": base - 0.02}
            )  # fmt: skip
    # A run without a pair does not count.
    log.append({**log[0], "seed": 9, "center_top1_error": 0.9})
    rows = {row[0]: row for row in ablations.rows(log)}
    _, _, measured, seeds, verdict = rows[
        "Response normalization lowers the test error (section 3.3)"
    ]
    half_width = 4.303 / math.sqrt(3)
    assert measured == (
        f"+3.0 points ({3 - half_width:+.1f} to {3 + half_width:+.1f}): 31.0% with, "
        "34.0% without; ten-crop +0.0 points (+0.0 to +0.0)"
    )
    assert seeds == 3 and verdict == "reproduced"
    _, _, _, seeds, _ = rows[
        "Ten-crop evaluation has a lower error than the center crop (section 4.1)"
    ]
    assert seeds == 4


def dropout_log(with_dropout, without):
    """Returns the log of two seeds with these errors after 10, 20, ... epochs."""
    return [
        {"arm": arm, "seed": seed, "epoch": epoch, "probe_top1_error": error}
        for arm, errors in (("base", with_dropout), ("no_dropout", without))
        for seed in (0, 1)
        for epoch, error in zip((10, 20, 30, 40, 50), errors)
    ]


def not_reached(target, num_without):
    return (
        f"{target}% is reached in 40 epochs by 0 runs with dropout and {num_without} "
        "without"
    )


@pytest.mark.parametrize(
    "with_dropout, without, expected, verdict",
    [
        # 25% is reached after 40 epochs with dropout, and after 15 without.
        ((0.6, 0.5, 0.4, 0.25), (0.3, 0.2, 0.1, 0), ["2.67 times (2.67 to 2.67) to 25% "
         "training error"], "reproduced"),
        # 40% is the first target that all reach, after 30 and 40 epochs.
        ((0.6, 0.5, 0.4, 0.36), (0.7, 0.6, 0.5, 0.4),
         ["0.75 times (0.75 to 0.75) to 40% training error", not_reached(25, 0),
          not_reached(30, 0), not_reached(35, 0)], "contradicted"),
        # With dropout, 25% to 35% are reached after the learning rate is divided.
        ((0.6, 0.5, 0.4, 0.36, 0.2), (0.3, 0.2, 0.1, 0, 0),
         ["3.50 times (3.50 to 3.50) to 40% training error", not_reached(25, 2),
          not_reached(30, 2), not_reached(35, 2)], "reproduced"),
        ((0.6, 0.5, 0.42, 0.41), (0.3, 0.2, 0.1, 0),
         [not_reached(target, 2) for target in (25, 30, 35, 40)], "undecided"),
    ],
)  # fmt: skip
def test_ablations_compare_iterations_at_an_error_that_all_runs_reach(
    with_dropout, without, expected, verdict
):
    claim, _, *result = ablations.rows(dropout_log(with_dropout, without))[-1]
    assert claim == "Dropout requires more iterations (section 4.2)"
    assert result == ["; ".join(expected), 2, verdict]


def test_ablations_report_the_gap_between_test_and_training_error():
    log = []
    for seed, (training, test) in enumerate([(0.20, 0.30), (0.22, 0.31)]):
        for arm, shift in (("base", 0), ("no_dropout", 0.05)):
            log += [
                {"arm": arm, "seed": seed, "epoch": 49, "probe_top1_error": 0.9},
                {"arm": arm, "seed": seed, "epoch": 50,
                 "probe_top1_error": training - shift},
                {"arm": arm, "seed": seed, "final": True,
                 "center_top1_error": test, "ten_crop_top1_error": test + shift},
            ]  # fmt: skip
    test_error, gap, *_ = (
        row for row in ablations.rows(log) if row[0].startswith("Dropout")
    )
    assert test_error[2] == (
        "+0.0 points (+0.0 to +0.0): 30.5% with, 30.5% without; ten-crop +5.0 points "
        "(+5.0 to +5.0)"
    )
    assert gap[2] == "+5.0 points (+5.0 to +5.0): 9.5% with, 14.5% without"


def test_geometries_have_the_known_sizes(zero_kernels):
    rows = geometries.rows([])
    assert [(row[1:7], row[7]) for row in rows] == [
        ((55, 27, 27, 13, 13, 6), "9,216"),
        ((55, 27, 27, 13, 13, 6), "9,216"),
        ((54, 26, 26, 12, 12, 5), "6,400"),
        ((56, 27, 27, 13, 13, 6), "9,216"),
        ((56, 28, 28, 14, 14, 7), "12,544"),
    ]
    parameters = [row[8] for row in rows]
    assert parameters[0] == parameters[1] == parameters[3] == "60,965,224"
    first_pixels = [row[9] for row in rows]
    assert first_pixels == [0, 0, 0, -3, -3]


def test_both_kinds_of_dropout_compute_the_same_function():
    rows = dropout_forms.rows([])
    assert len(rows) == 3
    for _, largest_difference, largest_value in rows:
        assert float(largest_difference) < 1e-13 and float(largest_value) > 1


def test_claims_that_need_imagenet_name_their_target_errors():
    rows = needs_imagenet.rows([])
    assert len(rows) == 15 and {row[3] for row in rows} == {"needs ImageNet"}
    assert (
        "The paper's network and recipe on ILSVRC-2012 (sections 3 to 5).",
        '40.7% top-1 and 18.2% top-5 error, ten-crop on the validation images (Table '
        '2, "1 CNN"; CHM layer-params-145.cfg:182).',
        "[paper](imagenet/paper.flags)",
        "needs ImageNet",
    ) in rows
    for claim, target, *_ in rows:
        # Runs of the authors have names such as "#145".
        assert "python" not in claim + target and "#" not in claim.replace("#14", "")
        assert any(character.isdigit() for character in target)


def test_initializations_are_those_of_the_presets():
    for name in ("caffe", "code2012"):
        expected = {layer.name: layer for layer in presets.get(name).layers}
        for layer in initialization.ARMS[name].layers:
            if isinstance(layer, presets.Conv | presets.Dense):
                reference = expected[layer.name]
                assert (layer.init, layer.bias) == (reference.init, reference.bias)
    assert initialization.ARMS["paper"].layers == presets.get("paper").layers


def test_initialization_reports_the_steps_on_the_plateau_by_seed():
    log = [
        {"arm": "paper", "seed": 0, "step": 10, "loss": 2.30},
        {"arm": "paper", "seed": 0, "step": 20, "loss": 2.18},
        {"arm": "paper", "seed": 0, "final": True, "diverged": False},
        {"arm": "paper", "seed": 1, "step": 10, "loss": 2.30},
        {"arm": "paper", "seed": 1, "final": True, "diverged": False},
        {"arm": "paper", "seed": 2, "final": True, "diverged": True},
    ]
    assert initialization.rows(log) == [
        (
            "the paper: standard deviation .01, biases 1",
            "20, over 1,000, diverged",
        )
    ]


def test_blog_turns_labels_into_constant_images():
    labels = np.eye(10)[[3, 0]]
    images = blog._as_images(labels, (2, 4, 4, 3))
    assert images.shape == (2, 4, 4, 3)
    assert (images[0] == 3).all() and (images[1] == 0).all()


def test_readme_of_the_experiments_is_generated_from_the_logs(tmp_path, zero_kernels):
    table.write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert text == (FOLDER / "README.md").read_text()
    assert "## Input sizes of 224 and 227 pixels" in text and "6,400" in text


def test_logs_are_small_and_not_truncated():
    for path in (FOLDER / "logs").glob("*.jsonl"):
        assert path.stat().st_size < 500_000, path
        assert all(json.loads(line) for line in path.read_text().splitlines())
