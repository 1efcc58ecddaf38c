"""Writes a run as one HTML page, which contains all of its figures.

    python -m alexnet_tf.report runs/textures-tiny

The page has the errors, the curves, the kernels, the most confident correct and wrong
predictions, the confusions, nearest neighbors, how the run differs from the paper, its
flags and its environment.
"""

from absl import app
from absl import flags

from alexnet_tf import cli

# TensorFlow is imported in the functions that need it: --help must not wait for it.

_FLAGS = [
    *cli.define_data(
        "Data set, as for alexnet_tf.train. Default: that of the run.",
        "Split to show. Default: the run's eval_split.",
    ),
    flags.DEFINE_string(
        "layer",
        None,
        "Layer whose features define the nearest neighbors. Default: the layer before "
        "the last.",
    ),
    cli.define_path(
        "index",
        None,
        "File of features of that layer for the training split, which visualize "
        "--index_output has written. Default: the features of at most 10,000 images "
        "are computed.",
    ),
    cli.define_path(
        "output", None, "HTML file to write. Default: report.html in the run."
    ),
]


def _report(workdir):
    from alexnet_tf.figures import html_report

    args = flags.FLAGS
    path = html_report.write_report(
        workdir,
        dataset=args.dataset,
        split=args.split,
        data_dir=args.data_dir,
        layer=args.layer,
        index=args.index,
        output=args.output,
        verbose=cli.progress(),
    )
    print(path)


def main(argv):
    if len(argv) != 2:
        raise app.UsageError(
            f"Expected the work directory of one run. Received: {argv[1:]}."
        )
    cli.silence_libraries(flags.FLAGS["verbosity"].present)
    with cli.one_line_errors("alexnet_tf.report"):
        _report(argv[1])


if __name__ == "__main__":
    app.run(main)
