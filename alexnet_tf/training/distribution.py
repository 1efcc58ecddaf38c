"""Distribution of a run over the devices of this machine and over machines."""

import contextlib
import json
import logging
import os

import tensorflow as tf

from alexnet_tf.data import bad_images

_log = logging.getLogger(__name__)
_MAX_PROCESSES_PER_NODE = 1024

# The errors that TensorFlow raises when another worker does not respond.
_LOST_WORKER_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


def make_strategy(num_devices=None):
    """Makes the `tf.distribute.Strategy` for this machine.

    A single GPU gets a `MirroredStrategy` too, because it copies the next batch to the
    GPU while the GPU computes; TensorFlow's default strategy, which a single CPU gets,
    does not.

    Args:
        num_devices: the number of GPUs to use, by default all. On a machine
            without a GPU, the number of virtual CPU devices, by default 1.
            Virtual devices can be created only before TensorFlow initializes its
            devices.

    Raises:
        ValueError: if the machine has GPUs, but fewer than `num_devices`, or if
            TensorFlow has already initialized fewer virtual CPU devices.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and num_devices and num_devices > len(gpus):
        raise ValueError(
            f"Expected num_devices to be at most {len(gpus)}, the number of GPUs of "
            f"this machine. Received: num_devices={num_devices}. Leave num_devices out "
            "to use all GPUs."
        )
    device_type = "GPU" if gpus else "CPU"
    count = num_devices or len(gpus) or 1
    if count == 1 and not gpus:
        return tf.distribute.get_strategy()
    if not gpus:
        _make_virtual_cpus(count)
    return tf.distribute.MirroredStrategy(
        [f"{device_type}:{i}" for i in range(count)],
        # TensorFlow's collective operations on CPUs fail if a process makes a
        # second strategy with a different number of devices.
        None if gpus else tf.distribute.ReductionToOneDevice(),
    )


def _make_virtual_cpus(count):
    """Makes virtual CPU devices, unless `count` or more have been initialized."""
    try:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * count,
        )
    except RuntimeError as error:
        available = len(tf.config.list_logical_devices("CPU"))
        if available < count:
            raise ValueError(
                f"Expected no more virtual CPU devices than the {available} that "
                f"TensorFlow has already initialized. Received: {count} devices. "
                "Choose the devices before anything else uses TensorFlow."
            ) from error


def tower_devices():
    """Returns the names of the two devices for the towers, see `towers`.

    They are the first two GPUs that TensorFlow sees, or two virtual CPU devices on a
    machine without a GPU. Virtual devices can be created only before TensorFlow
    initializes its devices. One GPU that has been divided into two logical devices
    counts as two.

    Raises:
        ValueError: if there is only one GPU, or if TensorFlow has already initialized
            a single CPU device.
    """
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    if not has_gpu:
        _make_virtual_cpus(2)
    devices = tf.config.list_logical_devices("GPU" if has_gpu else "CPU")
    if len(devices) < 2:
        raise ValueError(
            "Expected two GPUs for parallelism=towers, or none, for two virtual CPU "
            "devices. Received: one GPU. Use parallelism=data, or set the environment "
            "variable CUDA_VISIBLE_DEVICES=-1 to compute on the CPU."
        )
    return tuple(device.name for device in devices[:2])


def make_multi_worker_strategy():
    """Makes a `tf.distribute.MultiWorkerMirroredStrategy` of several processes.

    The worker processes are named by TF_CONFIG, or otherwise by the environment
    variables that Slurm's srun sets. This function returns when all of them have
    started. It must be called before TensorFlow initializes its devices.

    Raises:
        ValueError: if the environment does not name the worker processes, or if
            TF_CONFIG is malformed.
    """
    resolver = _make_resolver()
    _log.info("Waiting for the workers %s.", resolver.cluster_spec().as_dict())
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)


def _make_resolver():
    if "TF_CONFIG" in os.environ:
        _check_tf_config(os.environ["TF_CONFIG"])
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    # A batch script has SLURM_PROCID too, although srun has not started it.
    if {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} <= os.environ.keys():
        # Slurm assigns the GPUs to the processes. With these arguments, TensorFlow
        # neither assigns GPUs nor calls nvidia-smi.
        return tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=_MAX_PROCESSES_PER_NODE, gpus_per_task=1, auto_set_gpu=False
        )
    raise ValueError(
        "Expected the environment variable TF_CONFIG with the workers, or a process "
        "started by Slurm's srun. Received: neither. See "
        "experiments/cluster/README.md."
    )


def _check_tf_config(text):
    try:
        config = json.loads(text)
        workers = config["cluster"]["worker"]
        task_type, index = config["task"]["type"], int(config["task"]["index"])
        valid = task_type == "worker" and 0 <= index < len(workers)
        valid = valid and list(config["cluster"]) == ["worker"]
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        raise ValueError(
            'Expected TF_CONFIG as {"cluster": {"worker": ["HOST:PORT", ...]}, '
            '"task": {"type": "worker", "index": 0}}, with an index into the '
            f"list of workers. Received: TF_CONFIG={text}."
        )


def worker_count_and_index(strategy):
    """Returns (the number of workers, the index of this worker from 0)."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return 1, 0
    return len(resolver.cluster_spec().as_dict()["worker"]), resolver.task_id


def distribute_batches(strategy, batch_size, make_batches, **kwargs):
    """Distributes the batches that `make_batches` returns over all devices.

    Args:
        strategy: a `tf.distribute.Strategy`.
        batch_size: the number of images in a batch, over all devices.
        make_batches: a function of `input_pipeline` that returns batches.
        **kwargs: further arguments of `make_batches`.
    """
    num_workers, worker_index = worker_count_and_index(strategy)
    return strategy.distribute_datasets_from_function(
        lambda _: make_batches(
            batch_size=batch_size,
            num_replicas=strategy.num_replicas_in_sync,
            num_workers=num_workers,
            worker_index=worker_index,
            **kwargs,
        )
    )


def is_chief(strategy):
    """Returns whether this process is the worker that writes the run's files."""
    return worker_count_and_index(strategy)[1] == 0


def all_reduce_mean(strategy, value):
    """Returns the mean of a number over all workers.

    This function is also a barrier: every worker must call it, and it returns
    only after all workers have called it.

    Args:
        strategy: a `tf.distribute.Strategy`.
        value: the number that this worker contributes. It is returned unchanged if
            there is only one worker.

    Raises:
        WorkerLost: if another worker has stopped.
    """
    if worker_count_and_index(strategy)[0] == 1:
        return value
    with detecting_lost_workers(strategy):
        value = tf.constant(value, tf.float32)
        per_replica = strategy.run(tf.identity, args=(value,))
        return float(strategy.reduce("MEAN", per_replica, axis=None))


@contextlib.contextmanager
def chief_first(strategy):
    """Lets the chief run the block first, and the other workers after it."""
    chief = is_chief(strategy)
    if not chief:
        all_reduce_mean(strategy, 0)
    yield
    if chief:
        all_reduce_mean(strategy, 0)


@contextlib.contextmanager
def detecting_lost_workers(strategy):
    """Raises `WorkerLost` for the errors that a lost worker causes inside the block.

    Errors of a run with a single worker are not converted.
    """
    try:
        yield
    except _LOST_WORKER_ERRORS as error:
        if worker_count_and_index(strategy)[0] == 1:
            raise
        raise WorkerLost(
            "Another worker of this run has stopped "
            f"({bad_images.short_message(error)}). Its output contains the reason. "
            "Start all workers again; they resume from the last checkpoint."
        ) from error


class WorkerLost(OSError):
    """Another worker process of the run has stopped unexpectedly."""
