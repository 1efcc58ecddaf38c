"""Checkpoints of runs that were moved, are incomplete, or cannot be read."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.training.checkpoints import read_progress
from helpers.runs import run_weights
from helpers.runs import shallow_preset
from helpers.runs import train_briefly

pytestmark = pytest.mark.usefixtures("figures_as_text", "simulated_runs")


@pytest.fixture
def train_steps(make_source):
    """A function that trains for a number of epochs, each of one step.

    train_steps(path, num_steps=1, **kwargs): returns the folder of the checkpoints.
    """

    def train(path, num_steps=1, **kwargs):
        preset = shallow_preset(epochs=num_steps)
        train_briefly(path, make_source(12), preset=preset, **kwargs)
        return path / "checkpoints"

    return train


def assert_same_weights(run, expected):
    for actual, array in zip(run_weights(run), expected, strict=True):
        np.testing.assert_array_equal(actual, array)


def names(folder):
    """Returns the names of the checkpoints in a folder."""
    return {path.stem for path in folder.glob("*.index")}


@pytest.mark.parametrize("run", ["run", "{tmp_path}/run"])
def test_a_finished_run_that_is_launched_again_can_be_moved(
    tmp_path, train_steps, monkeypatch, run
):
    """Another run in the directory where it was before does not matter."""
    monkeypatch.chdir(tmp_path)
    run = pathlib.Path(run.format(tmp_path=tmp_path))
    for _ in range(2):
        folder = train_steps(run)
    text = (folder / "checkpoint").read_text()
    assert 'model_checkpoint_path: "ckpt-1"' in text and "/" not in text
    expected = run_weights(run)
    run.rename("moved")
    train_steps(run, seed=1)
    assert_same_weights(tmp_path / "moved", expected)


def test_a_moved_run_of_an_earlier_version_is_read_where_it_is(tmp_path, train_steps):
    """The list of its checkpoints has absolute paths."""
    run, moved = tmp_path / "run", tmp_path / "moved"
    path = str(train_steps(run, 2) / "ckpt-2")
    expected = run_weights(run)
    tf.compat.v1.train.update_checkpoint_state(os.path.dirname(path), path, [path])
    run.rename(moved)
    assert read_progress(str(moved)).step == 2
    train_steps(run, 1, seed=1)
    assert read_progress(str(moved)).step == 2
    assert_same_weights(moved, expected)


@pytest.mark.parametrize("text", ["no list", 'model_checkpoint_path: "ckpt-9"'])
def test_the_newest_checkpoint_that_exists_is_read(tmp_path, train_steps, text):
    """The list of checkpoints is damaged, or names one that is missing."""
    folder = train_steps(tmp_path)
    expected = run_weights(tmp_path)
    (folder / "checkpoint").write_text(text)
    assert read_progress(str(tmp_path)).step == 1
    assert_same_weights(tmp_path, expected)
    (folder / "ckpt-1.index").unlink()
    assert read_progress(str(tmp_path)) is None


def test_the_reason_why_a_checkpoint_is_damaged_is_shown(tmp_path, train_steps, caplog):
    path = train_steps(tmp_path) / "ckpt-1.index"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"\(file is too short to be an sstable\). R"):
        train_steps(tmp_path)
    assert "ckpt-1 (file is too short to be an sstable)." in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        # The reader of checkpoints raises errors of this class.
        tf.errors.OpError(None, None, "a/ckpt-1.index; Permission denied", 2),
        tf.errors.OpError(None, None, "a/ckpt-1.index; Too many open files", 2),
        tf.errors.PermissionDeniedError(None, None, "Access is denied"),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"),
    ],
)
def test_a_checkpoint_that_may_not_be_read_is_not_taken_for_damaged(
    tmp_path, train_steps, monkeypatch, error
):
    folder = train_steps(tmp_path)
    content = set(os.listdir(folder))

    def restore(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.Checkpoint, "restore", restore)
        with pytest.raises(OSError, match="ckpt-1 could not be read: ") as raised:
            train_steps(tmp_path)
    assert error.message in str(raised.value) and "Remove" not in str(raised.value)
    assert set(os.listdir(folder)) == content
    train_steps(tmp_path)


def test_a_run_without_its_list_of_checkpoints_is_resumed(tmp_path, train_steps):
    """It is not taken for a new run, which may have other settings."""
    folder = train_steps(tmp_path / "run", 2)
    (folder / "checkpoint").unlink()
    with pytest.raises(ValueError, match="seed"):
        train_steps(tmp_path / "run", 3, seed=1)
    train_steps(tmp_path / "run", 3)
    train_steps(tmp_path / "straight", 3)
    assert_same_weights(tmp_path / "run", run_weights(tmp_path / "straight"))
