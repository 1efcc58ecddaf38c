"""`find_run_data`: the data of a run, and the arguments that replace it."""

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import RunData


@pytest.fixture
def workdir(tmp_path):
    """The work directory of a run, which contains flags.txt only."""
    (tmp_path / "flags.txt").write_text(
        "--dataset=cifar10\n--train_split=train[:90%]\n--eval_split=train[90%:]\n"
        "--data_dir=~/data\n"
    )
    return str(tmp_path)


def test_data_of_the_run_is_the_default(workdir):
    expected = RunData("cifar10", "train[:90%]", "train[90%:]", "~/data")
    assert find_run_data(workdir) == expected
    assert find_run_data(workdir, dataset="cifar10") == expected


def test_arguments_replace_single_values(workdir):
    data = find_run_data(workdir, split="test", data_dir="/x")
    assert data == RunData("cifar10", "train[:90%]", "test", "/x")


def test_splits_are_not_used_for_a_different_data_set(workdir):
    data = find_run_data(workdir, dataset="textures")
    assert data == RunData("textures", "train", None, None)


def test_features_of_the_run_are_the_default(tmp_path):
    lines = "--dataset=cifar100\n--image_key=image\n--label_key=coarse_label\n"
    (tmp_path / "flags.txt").write_text(lines)
    data = find_run_data(str(tmp_path))
    assert (data.image_key, data.label_key) == ("image", "coarse_label")
    data = find_run_data(str(tmp_path), label_key="label")
    assert (data.image_key, data.label_key) == ("image", "label")
    data = find_run_data(str(tmp_path), "cifar10", image_key="photo")
    assert (data.image_key, data.label_key) == ("photo", None)


def test_another_spelling_of_the_path_is_the_data_set_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = "--dataset=folder:a\n--eval_split=train[90%:]\n"
    (tmp_path / "flags.txt").write_text(flags)
    expected = RunData("folder:a", "train", "train[90%:]", None)
    assert find_run_data(str(tmp_path), dataset=f"folder:{tmp_path}/a/") == expected
    other = find_run_data(str(tmp_path), dataset="folder:b/")
    assert other == RunData("folder:b", "train", None, None)


def test_bad_images_that_the_run_skipped_are_skipped(tmp_path):
    folder = tmp_path / "images"
    for name in ("class0", "class1"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            (folder / name / f"{index}.png").write_bytes(
                tf.io.encode_png(np.full((4, 4, 3), 40 * index, np.uint8)).numpy()
            )
    (folder / "class0" / "1.png").write_bytes(b"no image")
    workdir = tmp_path / "run"
    workdir.mkdir()
    lines = f"--dataset=folder:{folder}/\n--eval_split=train[:4]\n"
    for on_bad_image, count in (("skip", 5), ("error", 6)):
        (workdir / "flags.txt").write_text(f"{lines}--on_bad_image={on_bad_image}\n")
        data = find_run_data(str(workdir), split="train")
        for source in (data.source(), data.train_source()):
            assert source.num_examples == count
    # on_bad_image, too, applies to the data set of the run only.
    (workdir / "flags.txt").write_text(f"{lines}--on_bad_image=skip\n")
    assert not find_run_data(str(workdir), dataset="textures").skip_bad_images


def test_a_weights_file_records_no_data(tmp_path):
    for weights in (str(tmp_path / "a.npy"), str(tmp_path)):
        assert find_run_data(weights) == RunData(None, "train", None, None)
    data = find_run_data(str(tmp_path / "a.npy"), default_dataset="textures")
    assert data.dataset == "textures"
