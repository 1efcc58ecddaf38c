"""The list of the paper's claims that are measured here, one module each.

The docstring of a module is the text of its section in experiments/README.md. A
module has these names:

    NAME            its own name, and that of its log
    rows(log)       the rows of its table
    HEAD            the head of the table, where it is not `table._COLUMNS`
    runs(log)       the `harness.Run` objects to train, as far as the log tells
                    which; absent in `COMPUTED`
    draw(log, path) writes the plot; optional
    measure(run, path, data_dir)
                    returns the lines of a run for the log; optional, replaces
                    `harness.measure`
"""

ALL = (
    "relu_tanh", "ablations", "initialization", "blog", "geometries",
    "dropout_forms", "needs_imagenet",
)  # fmt: skip

# These are computed when the table is made: they have no runs and no log.
COMPUTED = ("geometries", "dropout_forms", "needs_imagenet")
