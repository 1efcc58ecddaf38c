"""What is not asked for is the run's."""

import pytest

from alexnet_tf import run_data


@pytest.fixture
def run(tmp_path):
    (tmp_path / "flags.txt").write_text(
        "--dataset=cifar10\n--train_split=train[:90%]\n--eval_split=train[90%:]\n"
        "--data_dir=~/data\n"
    )
    return str(tmp_path)


def test_the_run_s_own_by_default(run):
    wanted = run_data.RunData("cifar10", "train[:90%]", "train[90%:]", "~/data")
    assert run_data.find(run) == wanted
    assert run_data.find(run, dataset="cifar10") == wanted


def test_single_things_are_replaced(run):
    found = run_data.find(run, split="test", data_dir="/x")
    assert found == run_data.RunData("cifar10", "train[:90%]", "test", "/x")


def test_another_data_set_has_other_splits(run):
    found = run_data.find(run, dataset="textures")
    assert found == run_data.RunData("textures", "train", None, None)


def test_a_file_of_weights_says_nothing(tmp_path):
    for weights in (str(tmp_path / "a.npy"), str(tmp_path)):
        wanted = run_data.RunData(None, "train", None, None)
        assert run_data.find(weights) == wanted
    found = run_data.find(str(tmp_path / "a.npy"), otherwise="textures")
    assert found.dataset == "textures"
