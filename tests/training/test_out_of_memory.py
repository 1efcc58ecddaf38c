"""Errors about a lack of memory, in training and in the commands with batches."""

import errno
import os

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf import cli
from alexnet_tf.inference import evaluation
from alexnet_tf.inference import extraction
from alexnet_tf.training import out_of_memory
from alexnet_tf.training import steps
from helpers.networks import untrained_classifier
from helpers.runs import run_metrics
from helpers.runs import run_weights
from helpers.runs import train_briefly

OOM = tf.errors.ResourceExhaustedError(
    None, None,
    "Graph execution error:\n\nDetected at node conv1 defined at (most recent call):\n"
    "OOM when allocating tensor with shape[12,96,55,55] and type float on GPU:0\n"
    "\t [[{{node conv1}}]]\nHint: If you want to see a list of tensors [...]\n",
)  # fmt: skip
CUDNN = tf.errors.InternalError(None, None, "cuDNN launch failure: CUDNN_ALLOC_FAILED")


@pytest.mark.parametrize("error", [OOM, CUDNN, MemoryError()])
@pytest.mark.parametrize(
    "batch_size, num_replicas, advice",
    [
        (256, 1, r"batches of 256 images.*\. Try --batch_size=128\.$"),
        (9, 1, r"batches of 9 images.*\. Try --batch_size=4\.$"),
        (24, 8, r"Try --batch_size=8\.$"),
        (1, 1, r"batches of 1 image[ .].*Close other programs"),
        (8, 8, "Close other programs"),
    ],
)
def test_suggests_half_of_the_batch(error, batch_size, num_replicas, advice):
    with pytest.raises(MemoryError, match=advice) as raised:
        with out_of_memory.suggesting_smaller_batch(batch_size, num_replicas):
            raise error
    assert ("a tensor of [12,96,55,55]" in str(raised.value)) == (error is OOM)


def test_other_errors_pass_unchanged():
    for error in (ValueError(), tf.errors.InternalError(None, None, "no kernel")):
        with pytest.raises(type(error)) as raised:
            with out_of_memory.suggesting_smaller_batch(2):
                raise error
        assert raised.value is error


@pytest.mark.parametrize(
    "number, advice",
    [
        (errno.ENOSPC, "Free some disk space and run"),
        (errno.EDQUOT, "Free some disk space and run"),
        (errno.EMFILE, r"Raise the limit of open files \(ulimit -n\) and run"),
    ],
)
def test_a_full_disk_is_no_lack_of_memory(number, advice):
    """TensorFlow has the same error for both."""
    reason = f"runs/a/events.v2; {os.strerror(number)}"
    error = tf.errors.ResourceExhaustedError(None, None, f"{reason} [Op:WriteFile]")
    message = f"could not be opened or written: {reason}. {advice}"
    with pytest.raises(OSError, match=message) as raised:
        with out_of_memory.suggesting_smaller_batch(256):
            raise error
    assert raised.value.__cause__ is error


def fail_after(monkeypatch, num_calls):
    """Makes training steps fail for lack of memory after some calls."""
    run = steps.TrainingSteps.run
    calls = []

    def run_or_fail(self, *args):
        calls.append(args)
        if len(calls) > num_calls:
            raise OOM
        return run(self, *args)

    monkeypatch.setattr(steps.TrainingSteps, "run", run_or_fail)


@pytest.mark.usefixtures("figures_as_text", "simulated_runs")
def test_a_run_without_memory_keeps_its_checkpoint(make_source, tmp_path, monkeypatch):
    """It fails in the first step, and then in the second of four."""
    source = make_source(24)
    with monkeypatch.context() as patch:
        fail_after(patch, 0)
        with pytest.raises(MemoryError, match=r"of 12 images.*Try --batch_size=6\.$"):
            train_briefly(tmp_path / "run", source)
    with monkeypatch.context() as patch:
        fail_after(patch, 1)
        message = rf"command resumes.*--weights={tmp_path}/run --batch_size=6 and"
        with pytest.raises(MemoryError, match=message):
            train_briefly(tmp_path / "run", source, log_steps=1, checkpoint_minutes=0)
    train_briefly(tmp_path / "run", source, log_steps=1)
    train_briefly(tmp_path / "straight", source, log_steps=1)
    assert run_metrics(tmp_path / "run") == run_metrics(tmp_path / "straight")
    for resumed, expected in zip(
        run_weights(tmp_path / "run"), run_weights(tmp_path / "straight"), strict=True
    ):
        np.testing.assert_array_equal(resumed, expected)


def test_evaluation_and_extraction_suggest_smaller_batches(make_source, monkeypatch):
    classifier, source = untrained_classifier(), make_source(6)

    def fail(*_, **__):
        raise OOM

    monkeypatch.setattr(type(classifier.model), "call", fail)
    with pytest.raises(MemoryError, match="of 4 images.*Try --batch_size=2"):
        evaluation.probabilities(classifier, source, "center", 4, verbose=0)
    blocks = extraction.feature_blocks(
        classifier, source, ["fc7"], batch_size=4, verbose=0
    )
    with pytest.raises(MemoryError, match="of 4 images.*Try --batch_size=2"):
        next(blocks)


@pytest.mark.parametrize("error", [MemoryError("No."), MemoryError(), OOM])
def test_commands_report_a_lack_of_memory_in_one_line(error):
    with pytest.raises(SystemExit, match="^alexnet_tf.x: [^\n]+$"):
        with cli.one_line_errors("alexnet_tf.x"):
            raise error
