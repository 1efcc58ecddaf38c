"""The machine and the versions that something was measured with."""

import importlib.metadata
import os
import platform
import shlex
import sys

import tensorflow as tf

import alexnet_tf

_LIBRARIES = ("tensorflow", "keras", "tensorflow-datasets", "numpy")


def describe():
    """{what: text} of the versions, the machine, its devices and the command."""
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "command": shlex.join(sys.argv),
        "alexnet_tf": alexnet_tf.__version__,
        **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": _processors(),
        "gpus": ", ".join(gpus) or "none",
    }


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
