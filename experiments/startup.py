"""Measures the seconds from the command to the first training step, by stage.

    python -m experiments.startup --dataset=textures
    python -m experiments.startup --dataset=imagenet2012 \\
        --data_dir=~/tensorflow_datasets

Trains for one step in a new process, with an empty work directory, and prints how long
each stage took: the median of several processes. The data set must have been prepared;
if the mean image was computed before, it is read.
"""

import concurrent.futures
import contextlib
import multiprocessing
import statistics
import tempfile
import time
from unittest import mock

from alexnet_tf import cli
from alexnet_tf import onednn

# The stages in the order of a run. The first step includes the wait for its images.
STAGES = _LIBRARIES, _PACKAGE, _DATA_SET, _MEAN, _NETWORK, _STEP, _REST = (
    "import TensorFlow and Keras",
    "import this package",
    "load the data set",
    "read or compute the mean image",
    "build the network",
    "trace and run the first step",
    "everything else",
)
FLAGS = [
    cli.string_flag("dataset", "textures", "Data set to train on."),
    cli.path_flag("data_dir", None, "Directory of TFDS's data sets."),
    cli.integer_flag("repeats", 3, "Number of processes.", lower_bound=1),
]


class _FirstStepDone(Exception):
    """Ends training after its first step. The argument is the time of its end."""


def measure(dataset, data_dir, started):
    """Trains for one step and returns {stage: seconds}.

    Args:
        dataset, data_dir: arguments of `training.train_dataset`.
        started: `time.time()` when the process was started.
    """
    seconds = {}

    def timed(stage, function):
        def call(*args, **kwargs):
            start = time.time()
            result = function(*args, **kwargs)
            seconds[stage] = seconds.get(stage, 0) + time.time() - start
            return result

        return call

    def import_libraries():
        import keras
        import tensorflow as tf

        return keras, tf

    def import_package():
        from alexnet_tf.training import run

        return run

    onednn.enable_if_faster()
    timed(_LIBRARIES, import_libraries)()
    run = timed(_PACKAGE, import_package)()
    ended = _train_one_step(run, timed, dataset, data_dir)
    seconds[_REST] = ended - started - sum(seconds.values())
    return seconds


def _train_one_step(run, timed, dataset, data_dir):
    """Trains for one step, and returns when it has ended, in seconds.

    `timed` is applied to the functions of the stages.
    """
    from alexnet_tf.data import datasets
    from alexnet_tf.data import pixel_statistics
    from alexnet_tf.models import alexnet
    from alexnet_tf.training import steps

    def run_first_step(*args):
        run_steps(*args)
        raise _FirstStepDone(time.time())

    run_steps = timed(_STEP, steps.TrainingSteps.run)
    replacements = [
        (datasets, "load_as_spelled", timed(_DATA_SET, datasets.load_as_spelled)),
        (
            pixel_statistics, "load_or_compute",
            timed(_MEAN, pixel_statistics.load_or_compute),
        ),
        (alexnet, "AlexNet", timed(_NETWORK, alexnet.AlexNet)),
        (steps.TrainingSteps, "run", run_first_step),
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        for replacement in replacements:
            stack.enter_context(mock.patch.object(*replacement))
        workdir = stack.enter_context(tempfile.TemporaryDirectory())
        try:
            run.train_dataset(dataset, data_dir=data_dir, workdir=workdir)
        except _FirstStepDone as done:
            (ended,) = done.args
    return ended


def _measure_startup(args):
    processes, context = [], multiprocessing.get_context("spawn")
    for _ in range(args.repeats):
        arguments = args.dataset, args.data_dir, time.time()
        with concurrent.futures.ProcessPoolExecutor(1, context) as executor:
            processes.append(executor.submit(measure, *arguments).result())
    print(f"| {args.dataset}, preset of the data set | seconds |\n|---|---|")
    for stage in STAGES:
        seconds = statistics.median(process[stage] for process in processes)
        print(f"| {stage} | {seconds:.1f} |")
    total = statistics.median(sum(process.values()) for process in processes)
    print(f"| **in all** | **{total:.1f}** |")


def main(argv=None):
    cli.run("experiments.startup", _measure_startup, FLAGS, argv)


if __name__ == "__main__":
    main()
