"""Runs with several worker processes on this machine, and their configuration."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.training.checkpoints import CheckpointSaver
from alexnet_tf.training import distribution
from alexnet_tf.workdir import read_metrics
from helpers.commands import command
from helpers.runs import run_metrics
from helpers.runs import run_weights

REPOSITORY = pathlib.Path(__file__).parents[2]
RUN_FLAGS = (
    "--eval_split=train[:7]", "--preset=tiny", "--epochs=3", "--batch_size=6",
    "--mean=channel", "--log_steps=2", "--checkpoint_minutes=0",
)  # fmt: skip


@pytest.fixture(autouse=True)
def make_experiments_importable_by_commands(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


@pytest.fixture
def flags(image_folder):
    return [f"--dataset=folder:{image_folder}", *RUN_FLAGS]


def start_workers(count, flags, tmp_path):
    """Starts `count` workers; returns their processes and the paths of their output."""
    from experiments.cluster import local

    outputs = [tmp_path / f"output-{i}" for i in range(count)]
    files = [open(path, "wb") for path in outputs]
    return local.start(count, flags, files), outputs


def wait_for_workers(processes, outputs, seconds=240):
    """Waits for workers; returns their exit statuses and their outputs."""
    try:
        codes = [process.wait(seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return codes, [path.read_text(errors="replace") for path in outputs]


def run_workers(count, flags, tmp_path):
    """Runs workers to their end; returns what `wait_for_workers` returns."""
    return wait_for_workers(*start_workers(count, flags, tmp_path))


def assert_equals_one_process(flags, count, tmp_path, **process_flags):
    """Compares a run of `count` workers with a run of one process.

    `process_flags` are further flags of the single process.
    """
    several, single = tmp_path / "several", tmp_path / "single"
    codes, texts = run_workers(count, [*flags, f"--workdir={several}"], tmp_path)
    assert codes == [0] * count, texts
    assert texts[0].count("Validation error") == 1
    assert "Validation error" not in texts[1]
    more_flags = [f"--{name}={value}" for name, value in process_flags.items()]
    code, _, err = command("train", *flags, *more_flags, f"--workdir={single}")
    assert code == 0, err
    for actual, expected in zip(run_weights(several), run_weights(single), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    for actual, expected in zip(run_metrics(several), run_metrics(single), strict=True):
        assert actual.pop("split") == expected.pop("split")
        assert actual == pytest.approx(expected, abs=1e-5)
    # Only the chief writes: the other workers have not added any file, not even for
    # TensorBoard.
    assert list_files(several) == list_files(single)


def list_files(path):
    """Lists all files, without the unique parts in the names of event files."""
    names = (str(file.relative_to(path)) for file in path.rglob("*"))
    return sorted(re.sub(r"tfevents.*", "tfevents", name) for name in names)


@pytest.mark.large
def test_two_workers_equal_one_process(flags, tmp_path):
    """Dropout is disabled, because each device draws different masks."""
    assert_equals_one_process([*flags, "--dropout=0"], 2, tmp_path)


CALLBACK_SCRIPT = """
import sys
import keras
import tensorflow as tf
from alexnet_tf import training
folder, workdir = sys.argv[1:]
callback = keras.callbacks.LearningRateScheduler(lambda epoch, lr: 0.1 * lr)
results = []
callback.on_train_end = lambda logs=None: results.append(
    (float(tf.convert_to_tensor(callback.model.optimizer.learning_rate)),
     callback.model.get_weights())
)
training.train_dataset(
    f"folder:{folder}", "tiny", workdir, eval_split="train[:7]", epochs=2, batch_size=6,
    mean="channel", strategy="multi_worker", callbacks=callback,
    optimizer=lambda: keras.optimizers.SGD(0.05),
)
learning_rate, weights = results[0]
print("result", learning_rate, *[repr(float(abs(array).sum())) for array in weights])
"""


@pytest.mark.large
def test_callbacks_change_all_workers(image_folder, tmp_path):
    """Each worker calls them, so that the learning rates and weights stay the same."""
    from experiments.cluster import local

    addresses = [f"localhost:{port}" for port in local.free_ports(2)]
    processes = [
        subprocess.Popen(
            [
                sys.executable, "-c", CALLBACK_SCRIPT,
                str(image_folder), str(tmp_path / "run"),
            ],
            env=os.environ | {"TF_CONFIG": local.config(addresses, index)},
            stdout=subprocess.PIPE, text=True,
        )
        for index in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    first, second = (
        [line for line in output.splitlines() if line.startswith("result")]
        for output in outputs
    )
    assert first == second
    assert float(first[0].split()[1]) == pytest.approx(0.05 * 0.1**2)


@pytest.mark.large
def test_three_workers_equal_one_process_with_three_devices(flags, tmp_path):
    assert_equals_one_process([*flags, "--dropout=0.5"], 3, tmp_path, num_devices=3)


@pytest.mark.large
def test_a_killed_worker_stops_all_workers_and_the_run_can_be_resumed(flags, tmp_path):
    flags = [*flags, "--epochs=15", "--dropout=0"]
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    codes, texts = run_workers(2, [*flags, f"--workdir={uninterrupted}"], tmp_path)
    assert codes == [0, 0], texts
    processes, outputs = start_workers(
        2, [*flags, f"--workdir={interrupted}"], tmp_path
    )
    wait_until(lambda: len(read_metrics(str(interrupted))) > 5, processes)
    processes[1].send_signal(signal.SIGKILL)
    codes, texts = wait_for_workers(processes, outputs)
    assert codes == [1, -signal.SIGKILL]
    assert "Another worker of this run has stopped (" in texts[0]
    assert len(read_metrics(str(interrupted))) < len(run_metrics(uninterrupted))
    codes, texts = run_workers(2, [*flags, f"--workdir={interrupted}"], tmp_path)
    assert codes == [0, 0], texts
    for actual, expected in zip(
        run_weights(interrupted), run_weights(uninterrupted), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)
    assert run_metrics(interrupted) == run_metrics(uninterrupted)


@pytest.mark.large
def test_sigterm_to_one_worker_stops_all_workers_after_the_same_step(flags, tmp_path):
    flags = [*flags, "--epochs=100", f"--workdir={tmp_path}/run"]
    processes, outputs = start_workers(2, flags, tmp_path)
    path = str(tmp_path / "run")
    wait_until(lambda: len(read_metrics(path)) > 5, processes)
    processes[1].send_signal(signal.SIGTERM)
    codes, texts = wait_for_workers(processes, outputs)
    assert codes == [128 + signal.SIGTERM] * 2
    steps = [text.rpartition("after step ")[2].split(";")[0] for text in texts]
    assert steps[0] == steps[1]
    assert tf.train.latest_checkpoint(f"{path}/checkpoints").endswith(f"-{steps[0]}")


def wait_until(condition, processes, seconds=90):
    """Waits until `condition()` is true; fails if a process ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.2)


# ---- Configuration by the environment --------------------------------------------


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
def test_rejects_a_malformed_tf_config(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match="Expected TF_CONFIG as"):
        distribution.make_multi_worker_strategy()


@pytest.mark.parametrize("in_batch_script", [False, True])
def test_rejects_an_environment_without_workers(monkeypatch, in_batch_script):
    """Slurm sets SLURM_PROCID in a batch script too, which srun has not started."""
    for name in ("TF_CONFIG", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    if in_batch_script:
        monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(ValueError, match="neither.*experiments/cluster"):
        distribution.make_multi_worker_strategy()


def test_reads_the_workers_from_slurm(monkeypatch):
    """Each of two nodes runs one process, and this process is on the second node."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name, value in {
        "PROCID": "1", "LOCALID": "0", "STEP_NUM_TASKS": "2",
        "STEP_NODELIST": "node[07-08]", "STEP_TASKS_PER_NODE": "1(x2)",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", value)
    resolvers = []
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", resolvers.append
    )
    distribution.make_multi_worker_strategy()
    spec = resolvers[0].cluster_spec().as_dict()
    assert spec == {"worker": ["node07:8888", "node08:8888"]}
    assert resolvers[0].task_id == 1


def test_kubernetes_example_sets_tf_config(monkeypatch):
    text = (REPOSITORY / "experiments" / "cluster" / "kubernetes.yaml").read_text()
    (line,) = [line.strip() for line in text.splitlines() if "export TF_CONFIG" in line]
    config = subprocess.run(
        ["sh", "-c", f'{line}; printf %s "$TF_CONFIG"'],
        env=os.environ | {"JOB_COMPLETION_INDEX": "1"},
        capture_output=True, check=True, text=True,
    ).stdout
    assert json.loads(config)["task"] == {"type": "worker", "index": 1}
    distribution._check_tf_config(config)


@pytest.mark.parametrize("flag", ["--num_devices=2", "--data_service=localhost:{}"])
def test_multi_worker_rejects_flags_of_a_single_process(flag, tmp_path):
    """A server is started, because the address of a data service is checked first."""
    with socket.create_server(("localhost", 0)) as server:
        flag = flag.format(server.getsockname()[1])
        code, _, err = command(
            "train", "--strategy=multi_worker", flag, f"--workdir={tmp_path}"
        )
    assert code == 1
    assert f"multi_worker or {flag.split('=')[0]}. Received: both." in err


def test_rejects_workers_that_restored_different_steps(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    saver = CheckpointSaver(str(tmp_path), model, keras.optimizers.SGD())
    saver.progress.step = 3
    saver.check_same_position(lambda step: step)
    # If another worker has restored step 0, the mean is 1.5.
    with pytest.raises(ValueError, match="of step 3 in .*all workers share"):
        saver.check_same_position(lambda step: 1.5)


def test_a_single_process_is_the_chief_and_returns_its_values():
    strategy = tf.distribute.get_strategy()
    assert distribution.worker_count_and_index(strategy) == (1, 0)
    assert distribution.is_chief(strategy)
    assert distribution.all_reduce_mean(strategy, 7) == 7


def test_a_single_gpu_gets_a_mirrored_strategy(monkeypatch):
    """It copies the next batch to the GPU while the GPU computes."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"a {kind}"])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda *args: args)
    assert distribution.make_strategy() == (["GPU:0"], None)
    with pytest.raises(ValueError, match="at most 1, .* num_devices=2"):
        distribution.make_strategy(2)


def test_errors_of_a_single_process_are_not_converted():
    with pytest.raises(tf.errors.InternalError):
        with distribution.detecting_lost_workers(tf.distribute.get_strategy()):
            raise tf.errors.InternalError(None, None, "not a lost worker")
