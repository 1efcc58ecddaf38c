"""The last lines of a run."""

import shlex

from alexnet_tf.data import datasets
from alexnet_tf.training.summary import print_summary

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


def test_copies_an_image_that_is_not_a_file_of_its_own(make_source, tmp_path, capsys):
    source = make_source(3)
    print_summary(METRICS, source, str(tmp_path))
    example = source.examples().as_numpy_iterator().next()
    assert (tmp_path / "example.jpg").read_bytes() == example["image"]
    assert f" {tmp_path}/example.jpg\n" in capsys.readouterr().out
