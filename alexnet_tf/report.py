"""Writes a run as one HTML page that needs nothing beside itself.

    python -m alexnet_tf.report runs/textures-tiny

The page has the errors, the curves, the kernels, images that the network was
surest of, rightly and wrongly, what it confuses, nearest neighbors, how the
run departs from the paper, its flags and its environment.
"""

import os
import tempfile

from absl import app
from absl import flags

from alexnet_tf import cli

# TensorFlow is imported when it is needed: --help must not wait for it.

_FLAGS = [
    flags.DEFINE_string(
        "dataset", None, "As for alexnet_tf.train. Default: the run's."
    ),
    flags.DEFINE_string(
        "split", None, "Split to show. Default: the run's eval_split."
    ),
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of TFDS's data sets. Default: the run's; else "
        "~/tensorflow_datasets.",
    ),
    flags.DEFINE_string(
        "layer",
        None,
        "By whose outputs images are near. Default: the layer before the "
        "last.",
    ),
    cli.define_path(
        "index",
        None,
        "Features of that layer of the training split, which visualize "
        "--index_output has written. Default: computed, of at most 10,000 "
        "images.",
    ),
    cli.define_path(
        "output", None, "Page to write. Default: report.html in the run."
    ),
]
_MOST = 10_000  # Images whose features are computed here.


def _report(path):
    from alexnet_tf import cli
    from alexnet_tf.figures import html_report
    from alexnet_tf.files import write_text
    from alexnet_tf.inference.classifier import find_run_data
    from alexnet_tf.inference.classifier import load_classifier
    from alexnet_tf.inference import retrieval
    from alexnet_tf.models import alexnet

    args = flags.FLAGS
    output = args.output or os.path.join(path, "report.html")
    network = load_classifier(path)
    cli.check_output("output", output)
    data = find_run_data(path, args.dataset, args.split, args.data_dir)
    if data.dataset is None:
        raise ValueError(
            f"Expected the data set of the run in {path}/flags.txt, which is "
            "not there. Received: no --dataset either."
        )
    source, train = data.source(), data.train_source()
    layer = args.layer or alexnet.penultimate_layer(network.model)
    with tempfile.TemporaryDirectory() as folder:
        index = args.index or os.path.join(folder, "index.npz")
        if not args.index:
            train = train.subsample(_MOST)
            retrieval.build_index(
                index, network, train, layer, cli.progress()
            )
        text = html_report.page(
            path, network, source, train, index, layer, cli.progress()
        )
    write_text(output, text)
    print(output)


def main(argv):
    if len(argv) != 2:
        raise app.UsageError(
            f"Expected the directory of one run. Received: {argv[1:]}."
        )
    cli.silence_libraries(flags.FLAGS["verbosity"].present)
    with cli.one_line_errors("alexnet_tf.report"):
        _report(argv[1])


if __name__ == "__main__":
    app.run(main)
