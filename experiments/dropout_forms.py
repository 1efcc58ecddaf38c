"""Dropout as in the paper and as in Keras: the same function, different learning.

    python -m experiments.reproduce --table

The paper drops units in training and halves the outputs of all units at test time
(4.2). Keras doubles the units that are not dropped in training, and changes nothing
at test time. If its kernels of fc7 and fc8 are half as large, the second form computes
the same function as the first, in training with the same units dropped and at test
time; this is computed here for layers of 128 units in float64. The two forms learn
differently: gradients of the halved kernels are twice as large, so that at the same
learning rate the kernels of the paper's form that they represent change four times as
much.
"""

import numpy as np

NAME = "dropout_forms"
HEAD = ("compared", "largest difference", "largest value")


def rows(log):
    """Returns the rows of the table, see `HEAD`."""
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
        "outputs at test time": (
            _outputs(fc6, kernels, [0.5, 0.5]), _outputs(fc6, halved, [1, 1])
        ),
        "gradients of the kernel of fc8, that of Keras divided by 2": (
            _gradient(fc6, kernels, masks), _gradient(fc6, halved, masks, 2) / 2
        ),
    }  # fmt: skip
    return [
        (name, f"{np.abs(paper - inverted).max():.1e}", f"{np.abs(paper).max():.1f}")
        for name, (paper, inverted) in pairs.items()
    ]


def _hidden(fc6, kernels, masks, scale):
    """Returns the input of fc8: fc7 with some units dropped and the others scaled."""
    fc7 = np.maximum(fc6 * masks[0] * scale @ kernels[0], 0)
    return fc7 * masks[1] * scale


def _outputs(fc6, kernels, masks, scale=1):
    return _hidden(fc6, kernels, masks, scale) @ kernels[1]


def _gradient(fc6, kernels, masks, scale=1):
    """Returns the gradient of the sum of squared outputs by the kernel of fc8."""
    outputs = _outputs(fc6, kernels, masks, scale)
    return _hidden(fc6, kernels, masks, scale).T @ (2 * outputs)
