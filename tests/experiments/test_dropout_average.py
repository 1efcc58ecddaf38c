"""The averages of networks that dropout samples, their table and their plot."""

import numpy as np
import pytest

from alexnet_tf.figures import internals
from experiments import confirmations
from experiments import dropout_average
from experiments import harness
from experiments import run_log
from helpers.networks import untrained_classifier


def test_averages_are_compared_with_all_units(make_source, monkeypatch):
    classifier = untrained_classifier()
    source = make_source(20)
    monkeypatch.setattr(dropout_average, "load_classifier", lambda path: classifier)
    monkeypatch.setattr(harness, "load_cifar10", lambda split, data_dir: source)
    monkeypatch.setattr(dropout_average, "_COUNTS", (1, 4))

    lines = dropout_average.measure("run", 3, "test", None)

    encoded = [example["image"] for example in source.take_indices(range(20))]
    labels = np.arange(20) % 10
    full = np.stack([classifier.probabilities(image) for image in encoded])
    passes = internals.dropout_passes(classifier, encoded, 4, 3).astype(np.float64)
    product = passes.prod(axis=0) ** 0.25
    expected = {
        ("all units", 1): full,
        ("arithmetic mean", 1): passes[0],
        ("arithmetic mean", 4): passes.mean(axis=0),
        ("geometric mean", 1): passes[0],
        ("geometric mean", 4): product / product.sum(axis=1, keepdims=True),
    }
    assert [(line["prediction"], line["networks"]) for line in lines] == [*expected]
    for line, probabilities in zip(lines, expected.values()):
        predicted = probabilities.argmax(axis=1)
        assert line["error"] == pytest.approx((predicted != labels).mean())
        assert line["cross_entropy"] == pytest.approx(
            -np.log(probabilities[range(20), labels]).mean(), rel=1e-4
        )
        same_class = (predicted == full.argmax(axis=1)).mean()
        assert line["same_class"] == pytest.approx(same_class)
    assert lines[0]["same_class"] == 1 > lines[1]["same_class"]


def log_of(errors):
    """Returns the lines of two seeds.

    Args:
        errors: {name of the prediction: error}. The second seed has .02 more, and a
            single network .1 more than the average of several.
    """
    return [
        {
            "arm": "wide_base", "seed": seed, "prediction": name, "networks": count,
            "error": error + 0.02 * seed + 0.1 * (name != "all units" and count == 1),
            "cross_entropy": 1.5, "same_class": 0.75,
        }
        for seed in (0, 1)
        for name, error in errors.items()
        for count in ((1,) if name == "all units" else dropout_average._COUNTS)
    ]  # fmt: skip


LOG = log_of({"all units": 0.3, "arithmetic mean": 0.31, "geometric mean": 0.305})


def test_rows_have_the_differences_from_all_units(monkeypatch):
    monkeypatch.setattr(run_log, "read_log", lambda name: LOG)
    assert [row[:3] for row in dropout_average.rows([])] == [
        ("all units", "31.0%", "-"),
        ("one network", "42.0%", "+11.0 points (+11.0 to +11.0)"),
        ("arithmetic mean of 256 networks", "32.0%", "+1.0 points (+1.0 to +1.0)"),
        ("geometric mean of 256 networks", "31.5%", "+0.5 points (+0.5 to +0.5)"),
    ]
    assert {row[3:] for row in dropout_average.rows([])} == {("1.500", "75.0%", 2)}
    monkeypatch.setattr(run_log, "read_log", lambda name: [])
    assert dropout_average.rows([]) == []


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_draws_the_averages(tmp_path, monkeypatch, num_seeds):
    log = [line for line in LOG if line["seed"] < num_seeds]
    monkeypatch.setattr(run_log, "read_log", lambda name: log)
    dropout_average.draw([], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes()[1:4] == b"PNG"


def test_the_networks_with_dropout_of_confirmations_are_averaged(monkeypatch):
    end = {"final": True, "diverged": False}
    monkeypatch.setattr(harness, "measure", lambda run, path, data_dir: [end])
    monkeypatch.setattr(
        dropout_average, "measure", lambda *arguments: [{"arguments": arguments}]
    )
    lines = {
        (run.arm, run.seed): confirmations.measure(run, "run", "data")
        for run in confirmations.runs([])
    }
    for (arm, seed), measured in lines.items():
        if arm == "wide_base":
            assert measured == [{"arguments": ("run", seed, "test", "data")}, end]
        else:
            assert measured == [end]
    end["diverged"] = True
    assert confirmations.measure(confirmations.runs([])[-2], "run", "data") == [end]
