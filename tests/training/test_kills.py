"""A run that is killed at random moments ends like one that never was."""

import multiprocessing
import random

import numpy as np
import pytest

KILLS = 20
PRELOADED = ("alexnet_tf.training.loop", "test_kills")


def train(workdir, images):
    """Trains for 12 epochs of 3 steps; saves after each call of the `tf.function`."""
    from helpers.runs import shallow_preset

    from alexnet_tf.data import datasets
    from alexnet_tf import presets
    from alexnet_tf.training import loop

    preset = presets.override(shallow_preset(dropout=0.5, batch_size=6), epochs=12)
    source = datasets.load(f"folder:{images}", "train")
    loop.train(
        preset, source, source, str(workdir), log_steps=1, checkpoint_minutes=0
    )


@pytest.mark.large
def test_killed_twenty_times(tmp_path, image_folder):
    from helpers.runs import run_metrics
    from helpers.runs import run_weights

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))

    def start(name):
        (tmp_path / name).mkdir(exist_ok=True)
        process = context.Process(target=train, args=(tmp_path / name, image_folder))
        process.start()
        return process

    whole = start("whole")
    whole.join(300)
    assert whole.exitcode == 0
    moments = random.Random(0)
    for _ in range(KILLS):
        process = start("killed")
        process.join(moments.uniform(0, 12))
        process.kill()
        process.join()
    resumed = start("killed")
    resumed.join(300)
    assert resumed.exitcode == 0

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for actual, expected in zip(run_weights(killed), run_weights(whole), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert len(run_metrics(whole)) == 12 * 4
    assert run_metrics(killed) == run_metrics(whole)

    def files(name):
        """Lists all files except TensorBoard's, of which each launch adds one."""
        return {
            str(path.relative_to(tmp_path / name))
            for path in (tmp_path / name).rglob("*")
            if "events.out" not in path.name
        }

    assert files("killed") == files("whole")
