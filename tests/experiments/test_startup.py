"""The seconds from the command to the first training step."""

import time

import pytest

from experiments import startup


def test_the_stages_add_up_to_the_time_to_the_first_step(textures_data_dir):
    started = time.time() - 100
    seconds = startup.measure("textures", str(textures_data_dir), started)
    assert set(seconds) == set(startup.STAGES)
    assert all(value >= 0 for value in seconds.values())
    assert 100 < sum(seconds.values()) <= time.time() - started
    # The last stage includes the time before the function was called.
    assert seconds[startup.STAGES[-1]] > 100


@pytest.mark.large
def test_prints_a_table(capfd, textures_data_dir):
    startup.main(["startup", "--repeats=1", f"--data_dir={textures_data_dir}"])
    lines = capfd.readouterr().out.splitlines()
    names = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert names == ["textures, preset of the data set", *startup.STAGES, "**in all**"]
