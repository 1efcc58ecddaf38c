"""Dropout as in the paper, and inverted dropout as in Keras.

    python -m experiments.reproduce --table

The paper drops units in training and halves the outputs of all units at test time
(section 4.2). Keras has inverted dropout: the units that are not dropped are doubled
in training, and nothing changes at test time. If the kernels of fc7 and fc8 are half as
large, a network with inverted dropout computes the same function as a network with the
paper's dropout, both in training with the same units dropped and at test time. The
table shows this for layers of 128 units in float64.

Training differs, however. The gradient with respect to a halved kernel is twice the
gradient with respect to the paper's kernel. One step with the same learning rate
therefore changes the halved kernel twice as much. The equivalent kernel for the paper's
dropout is twice the halved kernel, and therefore changes four times as much.
"""

import numpy as np

NAME = "dropout_forms"
COLUMNS = ("compared", "largest difference", "largest value")


def rows(log):
    """Returns the rows of the table, see `COLUMNS`."""
    del log
    rng = np.random.default_rng(0)
    fc6 = np.maximum(rng.normal(0, 1, (64, 128)), 0)
    kernels = [rng.normal(0, 0.3, shape) for shape in ((128, 128), (128, 10))]
    masks = [rng.random((64, 128)) < 0.5 for _ in kernels]
    doubled_masks = [2 * mask for mask in masks]
    halved_kernels = [kernel / 2 for kernel in kernels]
    pairs = {
        "outputs in training, with the same units dropped": (
            _outputs(fc6, kernels, masks),
            _outputs(fc6, halved_kernels, doubled_masks),
        ),
        "outputs at test time": (
            _outputs(fc6, kernels, [0.5, 0.5]),
            _outputs(fc6, halved_kernels, [1, 1]),
        ),
        "gradient with respect to the kernel of fc8, half of it for inverted dropout": (
            _gradient(fc6, kernels, masks),
            _gradient(fc6, halved_kernels, doubled_masks) / 2,
        ),
    }
    return [
        (name, f"{np.abs(paper - inverted).max():.1e}", f"{np.abs(paper).max():.1f}")
        for name, (paper, inverted) in pairs.items()
    ]


def _fc8_inputs(fc6, kernels, factors):
    """Returns the inputs of fc8, the scaled outputs of fc7.

    Args:
        fc6: [N, 128], the outputs of fc6.
        kernels: the kernels of fc7 and fc8.
        factors: the factors of the outputs of fc6 and of fc7, each an array [N, 128]
            that is 0 for dropped units, or a number.
    """
    fc7 = np.maximum(fc6 * factors[0] @ kernels[0], 0)
    return fc7 * factors[1]


def _outputs(fc6, kernels, factors):
    """Returns the outputs of fc8. The arguments are those of `_fc8_inputs`."""
    return _fc8_inputs(fc6, kernels, factors) @ kernels[1]


def _gradient(fc6, kernels, factors):
    """Returns the gradient with respect to the kernel of fc8, as an array [128, 10].

    It is the gradient of the sum of the squared outputs. The arguments are those of
    `_fc8_inputs`.
    """
    outputs = _outputs(fc6, kernels, factors)
    return _fc8_inputs(fc6, kernels, factors).T @ (2 * outputs)
