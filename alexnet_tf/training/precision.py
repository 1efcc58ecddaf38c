"""Warns of data types that are slower than float32 on this machine."""

import logging

import tensorflow as tf

from alexnet_tf.training.throughput import matrix_rate

_log = logging.getLogger(__name__)

# On two cores, products of this size take about 20 ms in float32.
_MATRIX_SIZE = 1024


def warn_if_slower(precision):
    """Logs a warning if matrix products are slower than in float32.

    Processors without instructions for a data type convert each number to float32 and
    back. The products are measured, because not every processor reports which
    instructions it has. On a machine with a GPU, nothing is measured or logged.

    Args:
        precision: a Keras dtype policy, as in `loop.train`.
    """
    if precision == "float32" or tf.config.list_physical_devices("GPU"):
        return
    rates = [
        matrix_rate(policy, repeats=3, size=_MATRIX_SIZE)
        for policy in ("float32", precision)
    ]
    slowdown = rates[0] / rates[1]
    if slowdown > 1:
        _log.warning(
            "On this processor, matrix products take %.1f times as long in %s as in "
            "float32. Training in float32 is faster: --precision=float32.",
            slowdown, precision.removeprefix("mixed_"),
        )  # fmt: skip
