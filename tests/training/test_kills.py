"""A run that is killed at random times gives the results of an uninterrupted run."""

import multiprocessing
import random

import numpy as np
import pytest

NUM_KILLS = 20
PRELOADED_MODULES = ("alexnet_tf.training.loop", "test_kills")


def train(workdir, images):
    """Trains for 12 epochs of 3 steps; saves after each call of the `tf.function`."""
    from helpers.runs import shallow_preset

    from alexnet_tf.data import datasets
    from alexnet_tf import presets
    from alexnet_tf.training import loop
    from alexnet_tf.training.options import TrainingOptions

    preset = presets.override(shallow_preset(dropout=0.5, batch_size=6), epochs=12)
    source = datasets.load(f"folder:{images}", "train")
    loop.train(
        preset, source, source, str(workdir), log_steps=1, checkpoint_minutes=0,
        options=TrainingOptions(keep_best=True),
    )


@pytest.mark.large
def test_a_run_killed_twenty_times_equals_an_uninterrupted_run(tmp_path, image_folder):
    from alexnet_tf.inference.classifier import load_classifier
    from helpers.runs import run_metrics
    from helpers.runs import run_weights

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED_MODULES))

    def start_training(name):
        (tmp_path / name).mkdir(exist_ok=True)
        process = context.Process(target=train, args=(tmp_path / name, image_folder))
        process.start()
        return process

    process = start_training("uninterrupted")
    process.join(300)
    assert process.exitcode == 0
    rng = random.Random(0)
    for _ in range(NUM_KILLS):
        process = start_training("killed")
        process.join(rng.uniform(0, 12))
        process.kill()
        process.join()
    process = start_training("killed")
    process.join(300)
    assert process.exitcode == 0

    killed, uninterrupted = tmp_path / "killed", tmp_path / "uninterrupted"
    for actual, expected in zip(
        run_weights(killed), run_weights(uninterrupted), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)
    best = [
        load_classifier(str(path), checkpoint="best").model.get_weights()
        for path in (killed, uninterrupted)
    ]
    for actual, expected in zip(*best, strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert len(run_metrics(uninterrupted)) == 12 * 4
    assert run_metrics(killed) == run_metrics(uninterrupted)

    def list_files(name):
        """Lists all files except event files, because each launch adds one of these."""
        return {
            str(path.relative_to(tmp_path / name))
            for path in (tmp_path / name).rglob("*")
            if "events.out" not in path.name
        }

    assert list_files("killed") == list_files("uninterrupted")
