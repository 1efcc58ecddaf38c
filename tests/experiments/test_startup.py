"""The seconds from the command to the first training step."""

import time

import pytest

from alexnet_tf.training import steps
from experiments import startup


@pytest.mark.large
def test_measures_each_stage_until_one_step_is_done(textures_data_dir, monkeypatch):
    started = time.time() - 100
    run_steps, counts = steps.TrainingSteps.run, []

    def spy(self, iterator, first_step, count):
        counts.append((first_step, count))
        return run_steps(self, iterator, first_step, count)

    monkeypatch.setattr(steps.TrainingSteps, "run", spy)
    seconds = startup.measure("textures", str(textures_data_dir), started)
    assert counts == [(0, 1)]
    assert set(seconds) == set(startup.STAGES)
    assert all(value > 0 for value in seconds.values())
    # The last stage includes the time before the function was called.
    assert seconds[startup.STAGES[-1]] > 100


@pytest.mark.large
def test_prints_a_table(capfd, textures_data_dir):
    startup.main(["startup", "--repeats=1", f"--data_dir={textures_data_dir}"])
    lines = capfd.readouterr().out.splitlines()
    names = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert names == ["textures, preset of the data set", *startup.STAGES, "**in all**"]
