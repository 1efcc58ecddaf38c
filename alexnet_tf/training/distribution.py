"""The worker processes of a run, of which this one may be the only one."""

import contextlib
import json
import logging
import os

import tensorflow as tf

from alexnet_tf.data import bad_images

_log = logging.getLogger(__name__)


def make_strategy(num_devices=None):
    """The `tf.distribute.Strategy` for this machine.

    All GPUs, or `num_devices` of them; without GPUs one CPU, or `num_devices`
    virtual ones. TensorFlow must not have touched its devices yet if virtual
    ones are wanted.

    Raises:
        ValueError: if there are fewer GPUs.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and num_devices and num_devices > len(gpus):
        raise ValueError(
            f"Expected at most {len(gpus)} devices, the GPUs of this machine. "
            f"Received: num_devices={num_devices}."
        )
    kind, count = ("GPU", num_devices or len(gpus)) if gpus else (
        "CPU", num_devices or 1
    )
    if count == 1:
        return tf.distribute.get_strategy()
    if kind == "CPU":
        _make_virtual_cpus(count)
    return tf.distribute.MirroredStrategy(
        [f"{kind}:{i}" for i in range(count)],
        # TensorFlow's collectives on CPUs refuse a second strategy of another
        # size in one process.
        tf.distribute.ReductionToOneDevice() if kind == "CPU" else None,
    )


def _make_virtual_cpus(count):
    try:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * count,
        )
    except RuntimeError as error:
        have = len(tf.config.list_logical_devices("CPU"))
        if have < count:
            raise ValueError(
                f"Expected at most {have} devices, since TensorFlow has set "
                f"up as many. Received: num_devices={count}. Ask for them "
                "before anything else."
            ) from error


_log = logging.getLogger(__name__)
_MAX_PROCESSES = 1024  # On a node.

# What TensorFlow says when another process does not answer.
_LOST_WORKER_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


def make_multi_worker_strategy():
    """A `tf.distribute.MultiWorkerMirroredStrategy` of the processes that the
    environment names.

    Waits until all of them are there. To be called before TensorFlow has touched
    its devices.

    Environment: TF_CONFIG, or what Slurm sets for the processes of srun.

    Raises:
        ValueError: if neither says which they are.
    """
    resolver = _resolver()
    _log.info("Waiting for the workers %s.", resolver.cluster_spec().as_dict())
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)


def _resolver():
    if "TF_CONFIG" in os.environ:
        _check_config(os.environ["TF_CONFIG"])
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "SLURM_PROCID" in os.environ:
        # Slurm itself shares out the GPUs; TensorFlow only has to believe that
        # there is one for each process, and not to ask nvidia-smi.
        return tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=_MAX_PROCESSES, gpus_per_task=1, auto_set_gpu=False
        )
    raise ValueError(
        "Expected the workers in the environment variable TF_CONFIG, or a process of "
        "Slurm's srun. Received: neither. See experiments/cluster/README.md."
    )


def _check_config(text):
    try:
        config = json.loads(text)
        workers = config["cluster"]["worker"]
        kind, index = config["task"]["type"], int(config["task"]["index"])
        fits = kind == "worker" and 0 <= index < len(workers)
        fits = fits and list(config["cluster"]) == ["worker"]
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(
            'Expected TF_CONFIG as {"cluster": {"worker": ["HOST:PORT", ...]}, '
            '"task": {"type": "worker", "index": 0}}, with an index of the list. '
            f"Received: {text}."
        )


def worker_count_and_index(strategy):
    """(how many there are, which of them this one is)."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return 1, 0
    return len(resolver.cluster_spec().as_dict()["worker"]), resolver.task_id


def is_chief(strategy):
    """Whether this process is the one that writes."""
    return worker_count_and_index(strategy)[1] == 0


def all_reduce_mean(strategy, value):
    """The mean of a number over all workers, each of which must ask for it.

    None of them goes on before all have.

    Raises:
        WorkerLost: if one has gone.
    """
    if worker_count_and_index(strategy)[0] == 1:
        return value
    with detecting_lost_workers(strategy):
        own = tf.constant(value, tf.float32)
        per_replica = strategy.run(tf.identity, args=(own,))
        return float(strategy.reduce("MEAN", per_replica, axis=None))


@contextlib.contextmanager
def chief_first(strategy):
    """What is inside the chief does first, and the other workers when it has."""
    chief = is_chief(strategy)
    if not chief:
        all_reduce_mean(strategy, 0)
    yield
    if chief:
        all_reduce_mean(strategy, 0)


@contextlib.contextmanager
def detecting_lost_workers(strategy):
    """Errors inside that come of another worker's end say so.

    Raises:
        WorkerLost: in their place.
    """
    try:
        yield
    except _LOST_WORKER_ERRORS as error:
        if worker_count_and_index(strategy)[0] == 1:
            raise
        raise WorkerLost(
            "Expected all workers of the run at work. Received: one has gone ("
            f"{bad_images.short_message(error)}). Its own output says why. Start all of them "
            "again: they go on from the last checkpoint."
        ) from error


class WorkerLost(OSError):
    """Another process of the run has ended before its time."""
