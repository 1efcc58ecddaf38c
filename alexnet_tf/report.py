"""Writes an HTML page about a run, with its figures embedded.

    python -m alexnet_tf.report runs/textures-tiny

The page shows the errors, curves and kernels of the run, its most confident correct and
wrong predictions, confusions, nearest neighbors, differences from the paper, flags and
environment.
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
        "Layer whose features define the nearest neighbors, or input for the pixels. "
        "Default: the penultimate layer.",
    ),
    cli.define_path(
        "index",
        None,
        "Retrieval index of the training split for --layer, a file that was written "
        "with alexnet_tf.visualize --index_output. Default: an index of at most 10,000 "
        "images is computed.",
    ),
    cli.define_path(
        "output",
        None,
        "HTML file to write. Default: report.html in the work directory.",
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
