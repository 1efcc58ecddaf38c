"""The default work directory."""

import os

import pytest

from alexnet_tf.training.run_names import default_workdir
from alexnet_tf.workdir import check_writable


@pytest.mark.parametrize(
    "dataset, name",
    [
        ("folder:/data/images [1]", "images -1--tiny"),
        ("folder:/data/what?*", "what---tiny"),
        ("list:/data/a\\b.txt", "a-b.txt-tiny"),
    ],
)
def test_a_run_in_the_default_directory_can_be_resumed(
    tmp_path, monkeypatch, dataset, name
):
    """A directory of an earlier version could be trained in, but not be resumed."""
    monkeypatch.chdir(tmp_path)
    assert default_workdir(dataset, "tiny") == os.path.join("runs", name)
    check_writable(default_workdir(dataset, "tiny"))
    os.makedirs(os.path.join("runs", f"{dataset.rpartition('/')[2]}-tiny"))
    assert default_workdir(dataset, "tiny") == os.path.join("runs", name)
