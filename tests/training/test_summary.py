"""The last lines of a run, and the advice for one that does not learn."""

import logging
import math
import os
import shlex

import pytest

from alexnet_tf.data import datasets
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import summary
from alexnet_tf.training.summary import print_summary
from helpers.runs import shallow_preset
from helpers.runs import train_briefly

METRICS = {"loss": 1.0, "top1_error": 0.125, "top5_error": 0.0}


def test_names_the_results_and_commands_with_paths_that_exist(
    tmp_path, image_folder, capsys
):
    """Paths with spaces are quoted, and an image that is a file is not copied."""
    workdir = tmp_path / "a run"
    workdir.mkdir()
    for name in ("curves.png", "conv1.png"):
        (workdir / name).touch()
    source = datasets.load(f"folder:{image_folder}", "train")
    print_summary(METRICS, source, str(workdir))
    image = source.examples().as_numpy_iterator().next()["name"].decode()
    assert image.startswith(str(image_folder)) and len([*workdir.iterdir()]) == 2
    assert capsys.readouterr().out.splitlines() == [
        "Validation error: top-1 12.50%, top-5 0.00% (center crop, 20 images).",
        *(
            f"{workdir}/{name}"
            for name in ("curves.png", "conv1.png", "metrics.jsonl", "checkpoints")
        ),
        "Look at curves.png and conv1.png first. Commands to try next:",
        f"  python -m alexnet_tf.report '{workdir}'",
        f"  python -m alexnet_tf.predict '--weights={workdir}' {shlex.quote(image)}",
        "  python -m alexnet_tf.visualize --figure=predictions "
        f"'--weights={workdir}' '--output={workdir}/predictions.png'",
    ]


def test_names_only_figures_that_were_drawn(tmp_path, make_source, capsys):
    (tmp_path / "curves.png").touch()
    print_summary(METRICS, make_source(3), str(tmp_path))
    output = capsys.readouterr().out
    assert f"{tmp_path}/curves.png\n" in output and "conv1.png" not in output
    assert "\nLook at curves.png first. Commands to try next:\n" in output


def test_images_that_are_left_out_are_not_counted(make_source, tmp_path, capsys):
    print_summary(METRICS | {"bad_images": 1}, make_source(3), str(tmp_path))
    line, *_ = capsys.readouterr().out.splitlines()
    assert line.endswith("(center crop, 2 images, 1 unreadable left out).")


def test_the_example_is_an_image_that_can_be_read(tmp_path, image_folder, capsys):
    source = datasets.load(f"folder:{image_folder}", "train")
    first, second, *_ = source.examples().as_numpy_iterator()
    first_path, second_path = (os.fsdecode(e["name"]) for e in (first, second))
    with open(first_path, "wb") as file:
        file.write(b"no image")
    print_summary(METRICS, source.allow_bad_images(), str(tmp_path))
    assert f" {shlex.quote(second_path)}\n" in capsys.readouterr().out
    assert not (tmp_path / "example.png").exists()


def test_copies_an_image_that_is_not_a_file_of_its_own(make_source, tmp_path, capsys):
    source = make_source(3)
    print_summary(METRICS, source, str(tmp_path))
    example = source.examples().as_numpy_iterator().next()
    assert (tmp_path / "example.jpg").read_bytes() == example["image"]
    assert f" {tmp_path}/example.jpg\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "loss, step, is_warned",
    [(2.29, 500, True), (2.29, 519, True), (2.29, 499, False), (2.29, 520, False),
     (2.27, 500, False), (9.0, 500, True)],
)  # fmt: skip
def test_warns_once_of_a_loss_that_is_that_of_guessing(
    loss, step, is_warned, caplog
):
    """An epoch has 20 steps, and ln(10) is 2.303."""
    assert math.log(10) == pytest.approx(2.303, abs=1e-3)
    summary.warn_of_plateau(loss, 10, step, steps_per_epoch=20)
    assert bool(caplog.records) == is_warned
    if is_warned:
        assert f"after {step} steps, the network has not begun" in caplog.text
        assert "--init=he" in caplog.text


@pytest.mark.usefixtures("simulated_steps")
@pytest.mark.parametrize("options", [None, TrainingOptions(class_weights="balanced")])
def test_a_run_from_random_weights_is_judged_by_its_loss(
    tmp_path, make_source, monkeypatch, caplog, options
):
    """A weighted loss is not compared with that of guessing."""
    monkeypatch.setattr(summary, "PLATEAU_STEPS", 2)
    monkeypatch.setattr(summary, "_PLATEAU_SHARE", 0.0)
    with caplog.at_level(logging.WARNING):
        train_briefly(
            tmp_path / "run", make_source(12), preset=shallow_preset(epochs=3),
            options=options,
        )
    warnings = [record for record in caplog.records if "begun" in record.message]
    assert len(warnings) == (0 if options else 1)
