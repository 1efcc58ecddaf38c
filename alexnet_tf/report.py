"""Writes an HTML page about a run, with its figures embedded.

    python -m alexnet_tf.report runs/textures-tiny

The page shows the errors, curves and kernels of the run, its most confident correct and
wrong predictions, its least confident ones, confusions, nearest neighbors, differences
from the paper, flags and environment.
"""

from absl import app

from alexnet_tf import cli

# TensorFlow is imported in the functions that need it: --help must not wait for it.

FLAGS = [
    *cli.data_flags(
        "Data set, as for alexnet_tf.train. Default: that of the run.",
        "Split to show. Default: the run's eval_split.",
    ),
    cli.string_flag(
        "layer",
        None,
        "Layer whose features define the nearest neighbors, or input for the pixels. "
        "Default: the penultimate layer.",
    ),
    cli.path_flag(
        "index",
        None,
        "Retrieval index of the training split for --layer, a file that was written "
        "with alexnet_tf.visualize --index_output. Default: an index of at most 10,000 "
        "images is computed.",
    ),
    cli.path_flag(
        "output",
        None,
        "HTML file to write. Default: report.html in the work directory.",
    ),
]


def _report(args, arguments):
    from alexnet_tf.figures import html_report

    if len(arguments) != 1:
        raise app.UsageError(
            f"Expected the work directory of one run. Received: {arguments}."
        )
    path = html_report.write_report(
        arguments[0],
        dataset=args.dataset,
        split=args.split,
        data_dir=args.data_dir,
        image_key=args.image_key,
        label_key=args.label_key,
        layer=args.layer,
        index=args.index,
        output=args.output,
        verbose=cli.progress(),
    )
    print(path)


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.report", _report, FLAGS, argv, takes_arguments=True)


if __name__ == "__main__":
    main()
