"""The list of the paper's claims that are measured here, one module each.

The docstring of a module is the text of its section in experiments/README.md. A
module defines these names:

    NAME            the name of the module and of its log
    rows(log)       returns the rows of the table
    COLUMNS         the headers of the table; optional, replaces
                    `table.DEFAULT_COLUMNS`
    runs(log)       returns the `harness.Run` objects that are known so far: some runs
                    depend on the logged results of others; absent in the
                    modules of `COMPUTED`
    draw(log, path) writes the plot; optional
    measure(run, path, data_dir)
                    trains a run and returns its lines for the log; optional, replaces
                    `harness.measure`
"""

ALL = (
    "relu_tanh", "ablations", "confirmations", "pytorch_confirmations",
    "response_norm", "dropout_average", "initialization", "blog", "geometries",
    "dropout_forms", "two_gpus", "needs_imagenet",
)  # fmt: skip

# `reproduce` trains no runs of these claims: `table.write` computes their rows, those
# of `dropout_average` from the log of `confirmations`, and those of
# `pytorch_confirmations` and `response_norm` from the logs of other commands.
COMPUTED = (
    "pytorch_confirmations", "response_norm", "dropout_average", "geometries",
    "dropout_forms", "needs_imagenet",
)  # fmt: skip
