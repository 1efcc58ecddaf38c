"""Draws what a network has learned: figures 3 and 4 of the paper, and others.

    python -m alexnet_tf.visualize --figure=kernels --weights=runs/textures-tiny \\
        --output=kernels.png
    python -m alexnet_tf.visualize --figure=neighbors --weights=... \\
        --index_output=fc7.npz --output=neighbors.png
"""

import os
import tempfile

from absl import app
from absl import flags

from alexnet_tf import cli
from alexnet_tf import presets

# TensorFlow is imported when it is needed: --help must not wait for it.

_SHOWN = 8  # Images, unless --count says otherwise.
_MEASURED = 200  # Images that thinned networks are tried on.
_FLAGS = [
    flags.DEFINE_enum(
        "figure",
        None,
        [
            "kernels", "predictions", "neighbors", "views", "activations",
            "norms", "dropout", "normalization", "fields",
        ],
        "kernels: of the first layer (Fig. 3). predictions: images of a "
        "split with their most probable classes, the true one marked (Fig. 4, "
        "left). neighbors: images of a split with those of the training "
        "split that are nearest by their features (Fig. 4, right). views: what "
        "one image becomes in training. activations: what each layer makes "
        "of one image. norms: how large the weights of each layer are. "
        "dropout: networks with half of their units against the whole one. "
        "normalization: 20 values before and after response normalization. "
        "fields: a table of what each layer sees of an image.",
        required=True,
    ),
    cli.define_path(
        "weights",
        None,
        "Directory of a run, or a file of weights (.npy, .npz, .safetensors, "
        ".weights.h5, .keras, .pth). All figures but normalization need it.",
    ),
    flags.DEFINE_enum(
        "preset",
        None,
        list(presets.PRESETS),
        "Network that a file of weights is of. Default: the run's; paper for "
        "normalization.",
    ),
    flags.DEFINE_enum(
        "layout",
        None,
        ["caffe"],
        "Order of axes in a file, if it is Caffe's own: [out, in, ...].",
    ),
    flags.DEFINE_string(
        "dataset",
        None,
        "As for alexnet_tf.train. Default: the run's; textures for a file.",
    ),
    flags.DEFINE_string(
        "split",
        None,
        "Split to show. Default: the run's eval_split; else validation or test.",
    ),
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of TFDS's data sets. Default: the run's; else "
        "~/tensorflow_datasets.",
    ),
    flags.DEFINE_integer(
        "count",
        None,
        "Images, views of one or maps of a layer to show. Default: 8; for "
        "dropout 200, which are measured.",
        lower_bound=1,
    ),
    flags.DEFINE_integer("seed", 0, "Of the choice of images and views."),
    flags.DEFINE_string(
        "layer",
        None,
        "Whose outputs are the features; input for the pixels. Default: the "
        "layer before the last.",
    ),
    flags.DEFINE_enum(
        "metric", "l2", ["l2", "cosine"], "Distance between features."
    ),
    cli.define_path(
        "index",
        None,
        "Features of the run's training split (else of train), a file that "
        "--index_output has written. Default: computed.",
    ),
    cli.define_path(
        "index_output", None, "File (.npz) in which to keep the features computed."
    ),
    cli.define_path("output", None, "PNG to write; fields prints."),
]
flags.mark_flags_as_mutual_exclusive(["index", "index_output"])


def _data():
    from alexnet_tf.inference.classifier import find_run_data

    args = flags.FLAGS
    return find_run_data(
        args.weights, args.dataset, args.split, args.data_dir, "textures"
    )


def _chosen(source, count):
    """`count` examples of a split, drawn by `--seed`, in order."""
    import numpy as np

    random = np.random.default_rng(flags.FLAGS.seed)
    places = random.permutation(source.num_examples)[:count]
    return source.take_indices(sorted(places.tolist()))


def _kernels(network, output):
    from alexnet_tf.figures import paper_figures

    paper_figures.kernels(network, output)


def _predictions(network, output):
    from alexnet_tf.figures import paper_figures

    source = _data().source()
    examples = _chosen(source, flags.FLAGS.count or _SHOWN)
    paper_figures.predictions(network, source, examples, output)


def _neighbors(network, output):
    from alexnet_tf import cli
    from alexnet_tf.figures import paper_figures
    from alexnet_tf.inference import retrieval
    from alexnet_tf.models import alexnet

    args, data = flags.FLAGS, _data()
    source, train = data.source(), data.train_source()
    layer = args.layer or alexnet.penultimate_layer(network.model)
    with tempfile.TemporaryDirectory() as folder:
        index = args.index or args.index_output or os.path.join(folder, "index.npz")
        if not args.index:
            retrieval.build_index(
                index, network, train, layer, cli.progress()
            )
        rows = retrieval.nearest_examples(
            index, network, _chosen(source, args.count or _SHOWN), train, layer,
            args.metric,
        )
    paper_figures.neighbors(network, source, rows, output)


def _views(network, output):
    from alexnet_tf.figures import paper_figures

    args = flags.FLAGS
    (example,) = _chosen(_data().source(), 1)
    paper_figures.views(network, example, args.count or _SHOWN, args.seed, output)


def _activations(network, output):
    from alexnet_tf.figures import paper_figures

    (example,) = _chosen(_data().source(), 1)
    paper_figures.activations(network, example, flags.FLAGS.count or _SHOWN, output)


def _norms(network, output):
    from alexnet_tf.figures import paper_figures

    paper_figures.norms(network, flags.FLAGS.seed, output)


def _dropout(network, output):
    from alexnet_tf.figures import paper_figures

    source = _data().source()
    examples = _chosen(source, flags.FLAGS.count or _MEASURED)
    paper_figures.dropout(network, source, examples, flags.FLAGS.seed, output)


def _fields(network):
    from alexnet_tf.models import receptive_fields

    print("| layer | outputs | field, pixels | every | first begins at |")
    print("|---|---|---|---|---|")
    for field in receptive_fields.receptive_fields(network.model):
        print(
            f"| {field.layer} | {field.side} x {field.side} | {field.size} | "
            f"{field.stride} | {field.start} |"
        )


def _check_flags():
    args = flags.FLAGS
    if args.figure != "fields" and not args.output:
        raise ValueError("Expected a PNG to write. Received: no output.")
    if args.figure != "normalization" and not args.weights:
        raise ValueError(
            f"Expected weights to draw the {args.figure} of. Received: no "
            "--weights."
        )
    if args.output:
        cli.check_output("output", args.output, ".png")
    if args.index_output:
        cli.check_output("index_output", args.index_output, ".npz")


def _draw():
    from alexnet_tf.figures import paper_figures
    from alexnet_tf.inference.classifier import load_classifier
    from alexnet_tf import presets

    args = flags.FLAGS
    _check_flags()
    if args.figure == "normalization":
        preset = presets.get(args.preset or "paper")
        paper_figures.normalization(preset, args.seed, args.output)
        return
    network = load_classifier(args.weights, args.preset, args.layout)
    if args.figure == "fields":
        _fields(network)
        return
    drawers = {
        "kernels": _kernels,
        "predictions": _predictions,
        "neighbors": _neighbors,
        "views": _views,
        "activations": _activations,
        "norms": _norms,
        "dropout": _dropout,
    }
    drawers[args.figure](network, args.output)


def main(argv):
    cli.run("alexnet_tf.visualize", _draw, argv)


if __name__ == "__main__":
    app.run(main)
