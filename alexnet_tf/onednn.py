"""Chooses whether TensorFlow computes with oneDNN, before TensorFlow is imported."""

import os
import platform

_VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
_PROCESSOR_FILE = "/proc/cpuinfo"


def enable_if_faster():
    """Makes TensorFlow use oneDNN on x86 processors with AVX2 under Linux.

    By default, TensorFlow uses it only on processors with instructions for neural
    networks, such as AVX-512 VNNI, which most laptops lack. With oneDNN limited to
    AVX2, `paper` trained 1.8 times and classified 1.4 times as fast as without it
    (docs/performance.md has the commands).

    The environment variable TF_ENABLE_ONEDNN_OPTS takes precedence if it is set. The
    function has no effect after TensorFlow has been imported.
    """
    flags = processor_field("flags").split()
    if platform.machine() in ("x86_64", "AMD64") and "avx2" in flags:
        os.environ.setdefault(_VARIABLE, "1")


def setting():
    """Returns "on", "off" or, if it was not chosen, "TensorFlow's default"."""
    value = os.environ.get(_VARIABLE)
    if value is None:
        return "TensorFlow's default"
    return "on" if value.lower() in ("1", "true") else "off"


def processor_field(name):
    """Returns a field that Linux reports for the first processor, or "".

    The result is "" if there is no such field, and on other systems.

    Args:
        name: the name of a field in /proc/cpuinfo, such as "model name" or "flags".
    """
    try:
        with open(_PROCESSOR_FILE, encoding="utf-8") as file:
            for line in file:
                if line.startswith(name):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""
