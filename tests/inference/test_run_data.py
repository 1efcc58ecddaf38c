"""What is not asked for is the run's."""

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import RunData


@pytest.fixture
def run(tmp_path):
    (tmp_path / "flags.txt").write_text(
        "--dataset=cifar10\n--train_split=train[:90%]\n--eval_split=train[90%:]\n"
        "--data_dir=~/data\n"
    )
    return str(tmp_path)


def test_the_run_s_own_by_default(run):
    wanted = RunData("cifar10", "train[:90%]", "train[90%:]", "~/data")
    assert find_run_data(run) == wanted
    assert find_run_data(run, dataset="cifar10") == wanted


def test_single_things_are_replaced(run):
    found = find_run_data(run, split="test", data_dir="/x")
    assert found == RunData("cifar10", "train[:90%]", "test", "/x")


def test_another_data_set_has_other_splits(run):
    found = find_run_data(run, dataset="textures")
    assert found == RunData("textures", "train", None, None)


def test_a_run_that_skipped_bad_images_is_shown_without_them(tmp_path):
    for label, name in enumerate(("class0", "class1")):
        (tmp_path / name).mkdir()
        for index in range(3):
            (tmp_path / name / f"{index}.png").write_bytes(
                tf.io.encode_png(np.full((4, 4, 3), 40 * index, np.uint8)).numpy()
            )
    (tmp_path / "class0" / "1.png").write_bytes(b"no image")
    run = tmp_path / "run"
    run.mkdir()
    lines = f"--dataset=folder:{tmp_path}/\n--eval_split=train[:4]\n"
    for skips, counts in (("skip", 5), ("error", 6)):
        (run / "flags.txt").write_text(f"{lines}--on_bad_image={skips}\n")
        data = find_run_data(str(run), split="train")
        for source in (data.source(), data.train_source()):
            assert source.num_examples == counts
    # A data set of another name than the run's may have no bad ones.
    assert not find_run_data(str(run), dataset="textures").skips


def test_a_file_of_weights_says_nothing(tmp_path):
    for weights in (str(tmp_path / "a.npy"), str(tmp_path)):
        wanted = RunData(None, "train", None, None)
        assert find_run_data(weights) == wanted
    found = find_run_data(str(tmp_path / "a.npy"), otherwise="textures")
    assert found.dataset == "textures"
