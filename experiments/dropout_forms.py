"""Dropout as in the paper and as in Keras: one function, two paths.

    python -m experiments.reproduce --table

The paper drops units in training and halves all of them in the test (4.2); Keras
doubles those that are left in training, and does nothing in the test. With
kernels of fc7 and fc8 half as large the second is the first, in training with
the same units dropped and in the test; computed here for layers of 128 units, in
float64. The paths of learning differ: the halved kernels have gradients twice as
large, so that with one learning rate the kernels that they stand for move four
times as far.
"""

import numpy as np

NAME = "dropout_forms"
HEAD = ("compared", "largest difference", "largest value")


def rows(log):
    """The table's, see `HEAD`."""
    del log
    random = np.random.default_rng(0)
    fc6 = np.maximum(random.normal(0, 1, (64, 128)), 0)
    kernels = [random.normal(0, 0.3, shape) for shape in ((128, 128), (128, 10))]
    masks = [random.random((64, 128)) < 0.5 for _ in kernels]
    halved = [kernel / 2 for kernel in kernels]
    pairs = {
        "outputs in training, the same units dropped": (
            _outputs(fc6, kernels, masks), _outputs(fc6, halved, masks, 2)
        ),
        "outputs in the test": (
            _outputs(fc6, kernels, [0.5, 0.5]), _outputs(fc6, halved, [1, 1])
        ),
        "gradients of fc8's kernel, the second halved": (
            _gradient(fc6, kernels, masks), _gradient(fc6, halved, masks, 2) / 2
        ),
    }  # fmt: skip
    return [
        (name, f"{np.abs(one - other).max():.1e}", f"{np.abs(one).max():.1f}")
        for name, (one, other) in pairs.items()
    ]


def _hidden(fc6, kernels, masks, scale):
    """What fc8 takes: fc7's units, some dropped and the others scaled."""
    fc7 = np.maximum(fc6 * masks[0] * scale @ kernels[0], 0)
    return fc7 * masks[1] * scale


def _outputs(fc6, kernels, masks, scale=1):
    return _hidden(fc6, kernels, masks, scale) @ kernels[1]


def _gradient(fc6, kernels, masks, scale=1):
    """Of the sum of the outputs' squares by the kernel of fc8."""
    outputs = _outputs(fc6, kernels, masks, scale)
    return _hidden(fc6, kernels, masks, scale).T @ (2 * outputs)
