"""The machine and the versions that something was measured with."""

import os
import platform
import shlex
import sys

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import alexnet_tf


def describe():
    """{what: text} of the versions, the machine, its devices and the command."""
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "command": _command(),
        "alexnet_tf": alexnet_tf.__version__,
        # Not of their packages' names: tensorflow-cpu is one of TensorFlow's.
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "tensorflow-datasets": tfds.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": _processors(),
        "gpus": ", ".join(gpus) or "none",
    }


def _command():
    """As it was typed: python -m MODULE leaves the path of a file behind."""
    module = sys.modules["__main__"].__spec__
    program = ["python", "-m", module.name] if module else sys.argv[:1]
    return shlex.join([*program, *sys.argv[1:]])


def _processors():
    """How many this process may use, and of what make."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count()
    return f"{count} x {_processor_name()}"


def _processor_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # Not Linux.
    return platform.processor() or platform.machine()
