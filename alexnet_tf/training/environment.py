"""Description of the machine and of the software versions of a run."""

import os
import platform
import shlex
import sys

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import alexnet_tf
from alexnet_tf import onednn


def describe():
    """Describes the command, the software versions, the machine and its devices.

    Returns:
        {name: text}: "command"; the versions of "python", "alexnet_tf",
        "tensorflow", "keras", "tensorflow-datasets" and "numpy"; "system",
        "processors", "onednn" and "gpus".
    """
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "command": command(),
        "alexnet_tf": alexnet_tf.__version__,
        # Versions are read from the modules, because the installed package may
        # have a different name, such as tensorflow-cpu.
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tensorflow-datasets": tfds.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": _processors(),
        "onednn": onednn.setting(),
        "gpus": ", ".join(gpus) or "none",
    }


def command(*further_arguments):
    """Returns the command as it was typed, in the syntax of a shell.

    With `python -m MODULE`, the module's name is read from its specification,
    because `sys.argv[0]` is the path of the module's file.

    Args:
        *further_arguments: arguments to append.
    """
    spec = sys.modules["__main__"].__spec__
    program = ["python", "-m", spec.name] if spec else sys.argv[:1]
    return shlex.join([*program, *sys.argv[1:], *further_arguments])


def _processors():
    """Returns the CPUs that this process may use, as "COUNT x MODEL NAME"."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count()
    return f"{count} x {_processor_name()}"


def _processor_name():
    name = onednn.processor_field("model name")
    return name or platform.processor() or platform.machine()
