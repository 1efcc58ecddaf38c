"""Hints about unknown data sets of TFDS, and about a data_dir inside a data set."""

import os

import pytest

from alexnet_tf.data import datasets
from helpers.folders import write_files


@pytest.mark.parametrize(
    "name, reason",
    [
        ("mnist:9.9.9", "its version is not 9.9.9, but 3.0.1)."),
        ("cifar_10", "TFDS has no 'cifar_10', but cifar10"),
        ("imagenet2012_subset/1pcd", "no configuration '1pcd'; 2 others, such as "
         "imagenet2012_subset/1pct"),
    ],
)  # fmt: skip
def test_suggests_existing_names_versions_and_configurations(tmp_path, name, reason):
    with pytest.raises(ValueError) as error:
        datasets.load(name, "train", str(tmp_path))
    assert reason in str(error.value) and "\n" not in str(error.value)
    assert not os.listdir(tmp_path)


def test_names_the_versions_of_a_data_set_without_a_builder(tmp_path):
    write_files(
        tmp_path, "alexnet_tf_own/1.0.0/dataset_info.json",
        "alexnet_tf_own/small/2.0.0/dataset_info.json",
    )  # fmt: skip
    with pytest.raises(ValueError) as error:
        datasets.load("alexnet_tf_own:3.0.0", "train", str(tmp_path))
    assert (
        f"{tmp_path} contains alexnet_tf_own/1.0.0, alexnet_tf_own/small/2.0.0"
        in str(error.value)
    )


@pytest.mark.parametrize("name", ["mnist", "mnist:3.0.1", "alexnet_tf_own"])
@pytest.mark.parametrize("below", ["", "3.0.1", "small/3.0.1"])
def test_suggests_the_parent_of_a_data_set_and_leaves_no_folders(
    tmp_path, name, below
):
    """Otherwise TFDS would download the data set into its own folder."""
    data_set = tmp_path / name.split(":")[0]
    config = "small/" if below.startswith("small") else ""
    write_files(data_set, f"{config}3.0.1/dataset_info.json")
    before = [*os.walk(tmp_path)]
    with pytest.raises(FileNotFoundError) as error:
        datasets.load(name, "train", str(data_set / below))
    assert f"Did you mean the parent, --data_dir={tmp_path}?" in str(error.value)
    assert [*os.walk(tmp_path)] == before
