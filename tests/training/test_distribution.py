"""Several worker processes on this machine, and what they do without each other."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.training import checkpoints
from alexnet_tf.training import distribution
from alexnet_tf.workdir import read_metrics
from helpers.commands import command
from helpers.runs import metrics
from helpers.runs import weights

FOLDER = pathlib.Path(__file__).parents[2]
FLAGS = (
    "--eval_split=train[:7]", "--preset=tiny", "--epochs=3", "--batch_size=6",
    "--mean=channel", "--log_steps=2", "--checkpoint_minutes=0",
)  # fmt: skip


@pytest.fixture(autouse=True)
def experiments(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", str(FOLDER))


@pytest.fixture
def flags(image_folder):
    return [f"--dataset=folder:{image_folder}", *FLAGS]


def start(count, flags, tmp_path):
    """Workers that write what they say to said-N, and the files."""
    from experiments.cluster import local

    said = [tmp_path / f"said-{i}" for i in range(count)]
    with_files = [open(path, "wb") for path in said]
    return local.start(count, flags, with_files), said


def finish(processes, said, seconds=240):
    try:
        codes = [process.wait(seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return codes, [path.read_text(errors="replace") for path in said]


def assert_as_one_process(flags, count, tmp_path, **one):
    """The run of several workers, and that of one process."""
    several, alone = tmp_path / "several", tmp_path / "alone"
    codes, texts = finish(*start(count, [*flags, f"--workdir={several}"], tmp_path))
    assert codes == [0] * count, texts
    assert texts[0].count("Validation error") == 1
    assert "Validation error" not in texts[1]
    given = [f"--{name}={value}" for name, value in one.items()]
    code, _, err = command("train", *flags, *given, f"--workdir={alone}")
    assert code == 0, err
    for mine, other in zip(weights(several), weights(alone), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5)
    for mine, other in zip(metrics(several), metrics(alone), strict=True):
        assert mine.pop("split") == other.pop("split")
        assert mine == pytest.approx(other, abs=1e-5)
    # The chief alone writes: no worker has added a file, or one of TensorBoard's.
    assert written(several) == written(alone)


def written(path):
    """Names of all files, of TensorBoard's without what makes each unique."""
    names = (str(file.relative_to(path)) for file in path.rglob("*"))
    return sorted(re.sub(r"tfevents.*", "tfevents", name) for name in names)


@pytest.mark.large
def test_two_workers_end_as_one_process(flags, tmp_path):
    """Without dropout, whose masks each device draws for itself."""
    assert_as_one_process([*flags, "--dropout=0"], 2, tmp_path)


@pytest.mark.large
def test_three_workers_end_as_one_process_of_three_devices(flags, tmp_path):
    assert_as_one_process([*flags, "--dropout=0.5"], 3, tmp_path, num_devices=3)


@pytest.mark.large
def test_a_worker_that_is_killed_stops_all_and_the_run_goes_on(flags, tmp_path):
    flags = [*flags, "--epochs=15", "--dropout=0"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    codes, texts = finish(*start(2, [*flags, f"--workdir={whole}"], tmp_path))
    assert codes == [0, 0], texts
    processes, said = start(2, [*flags, f"--workdir={broken}"], tmp_path)
    wait_for(lambda: len(read_metrics(str(broken))) > 5, processes)
    processes[1].send_signal(signal.SIGKILL)
    codes, texts = finish(processes, said)
    assert codes == [1, -signal.SIGKILL]
    assert "Expected all workers of the run at work. Received: one has gone" in texts[0]
    assert len(read_metrics(str(broken))) < len(metrics(whole))
    codes, texts = finish(*start(2, [*flags, f"--workdir={broken}"], tmp_path))
    assert codes == [0, 0], texts
    for mine, other in zip(weights(broken), weights(whole), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert metrics(broken) == metrics(whole)


@pytest.mark.large
def test_a_worker_that_is_asked_to_stop_stops_all_and_all_is_saved(flags, tmp_path):
    flags = [*flags, "--epochs=100", f"--workdir={tmp_path}/run"]
    processes, said = start(2, flags, tmp_path)
    path = str(tmp_path / "run")
    wait_for(lambda: len(read_metrics(path)) > 5, processes)
    processes[1].send_signal(signal.SIGTERM)
    codes, texts = finish(processes, said)
    assert codes == [128 + signal.SIGTERM] * 2
    steps = [text.rpartition("after step ")[2].split(";")[0] for text in texts]
    assert steps[0] == steps[1]
    assert tf.train.latest_checkpoint(f"{path}/checkpoints").endswith(f"-{steps[0]}")


def wait_for(condition, processes, seconds=90):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        assert all(process.poll() is None for process in processes)
        time.sleep(0.2)


# ---- What the environment says ---------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        "no JSON",
        "[]",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, '
        '"task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_wrong_tf_config_is_refused(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match="Expected TF_CONFIG as"):
        distribution.make_multi_worker_strategy()


def test_who_the_workers_are_must_be_said(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="neither.*experiments/cluster"):
        distribution.make_multi_worker_strategy()


def test_slurm_says_who_the_workers_are(monkeypatch):
    """Two nodes with a process each; this one is on the second."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name, value in {
        "PROCID": "1", "LOCALID": "0", "STEP_NUM_TASKS": "2",
        "STEP_NODELIST": "node[07-08]", "STEP_TASKS_PER_NODE": "1(x2)",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    made = []
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", made.append
    )
    distribution.make_multi_worker_strategy()
    spec = made[0].cluster_spec().as_dict()
    assert spec == {"worker": ["node07:8888", "node08:8888"]}
    assert made[0].task_id == 1


def test_kubernetes_example_says_who_the_workers_are(monkeypatch):
    text = (FOLDER / "experiments" / "cluster" / "kubernetes.yaml").read_text()
    (line,) = [line.strip() for line in text.splitlines() if "export TF_CONFIG" in line]
    said = subprocess.run(
        ["sh", "-c", f'{line}; printf %s "$TF_CONFIG"'],
        env=os.environ | {"JOB_COMPLETION_INDEX": "1"},
        capture_output=True, check=True, text=True,
    ).stdout
    assert json.loads(said)["task"] == {"type": "worker", "index": 1}
    distribution._check_config(said)


@pytest.mark.parametrize("flag", ["--num_devices=2", "--data_service=a:1"])
def test_flags_for_one_process_are_refused(flag, monkeypatch, tmp_path):
    monkeypatch.setattr("alexnet_tf.data.data_service.check_dispatcher", lambda address: None)
    code, _, err = command(
        "train", "--strategy=multi_worker", flag, f"--workdir={tmp_path}"
    )
    assert code == 1 and "Received:" in err


def test_workers_must_see_the_same_checkpoints(tmp_path):
    progress = checkpoints.Progress()
    progress.step = 3
    checkpoints.check_same_position(progress, lambda step: step, tmp_path)
    with pytest.raises(ValueError, match="of step 3, in .*all can read"):
        checkpoints.check_same_position(progress, lambda step: 1.5, tmp_path)


def test_one_process_is_its_own_chief_and_agrees_with_itself():
    strategy = tf.distribute.get_strategy()
    assert distribution.worker_count_and_index(strategy) == (1, 0) and distribution.is_chief(strategy)
    assert distribution.all_reduce_mean(strategy, 7) == 7


def test_errors_of_one_process_stay_what_they_are():
    with pytest.raises(tf.errors.InternalError):
        with distribution.detecting_lost_workers(tf.distribute.get_strategy()):
            raise tf.errors.InternalError(None, None, "a fault of its own")
