"""Draws what a network has learned: figures 3 and 4 of the paper, and others.

    python -m alexnet_tf.visualize --figure=kernels --weights=runs/textures-tiny \\
        --output=kernels.png
    python -m alexnet_tf.visualize --figure=neighbours --weights=... \\
        --dataset=cifar10 --index=fc7.npz --output=neighbours.png
"""

import os
import sys

from absl import app
from absl import flags
from absl import logging as absl_logging

from alexnet_tf import presets

# TensorFlow is imported in main: --help must not wait for it.

_FLAGS = [
    flags.DEFINE_enum(
        "figure",
        None,
        ["kernels", "predictions", "neighbours", "views", "fields"],
        "kernels: of the first layer (Fig. 3). predictions: pictures of a "
        "split with their most probable classes, the true one marked (Fig. 4, "
        "left). neighbours: pictures of a split with those of the training "
        "split that are nearest by their features (Fig. 4, right). views: what "
        "one picture becomes in training. fields: a table of what each layer "
        "sees of a picture.",
        required=True,
    ),
    flags.DEFINE_string(
        "weights",
        None,
        "Directory of a run, or a file of weights (.npy, .npz, .safetensors, "
        ".weights.h5, .keras, .pth).",
        required=True,
    ),
    flags.DEFINE_enum(
        "preset",
        None,
        list(presets.PRESETS),
        "Network that a file of weights is of. Default: the run's.",
    ),
    flags.DEFINE_enum(
        "layout",
        None,
        ["caffe"],
        "Order of axes in a file, if it is Caffe's own: [out, in, ...].",
    ),
    flags.DEFINE_string("dataset", "textures", "As for alexnet_tf.train."),
    flags.DEFINE_string(
        "split", None, "Split to show. Default: validation, else test."
    ),
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of TFDS's data sets. Default: ~/tensorflow_datasets.",
    ),
    flags.DEFINE_integer(
        "count", 8, "Pictures, or views of one, to show.", lower_bound=1
    ),
    flags.DEFINE_integer("seed", 0, "Of the choice of pictures and views."),
    flags.DEFINE_string(
        "layer", "fc7", "Whose outputs are the features; input for the pixels."
    ),
    flags.DEFINE_enum(
        "metric", "l2", ["l2", "cosine"], "Distance between features."
    ),
    flags.DEFINE_string(
        "index",
        None,
        "File of the training split's features (.npz): read if it is there, "
        "else written. Default: written beside the picture.",
    ),
    flags.DEFINE_string("output", None, "PNG to write; fields prints."),
]


def _chosen(source):
    """`--count` examples of a split, drawn by `--seed`, in order."""
    import numpy as np

    random = np.random.default_rng(flags.FLAGS.seed)
    count = min(flags.FLAGS.count, source.num_examples)
    places = set(random.permutation(source.num_examples)[:count].tolist())
    examples = source.examples().enumerate().as_numpy_iterator()
    return [e for place, e in examples if place in places]


def _source():
    from alexnet_tf import datasets

    args = flags.FLAGS
    return datasets.load(args.dataset, args.split, args.data_dir)


def _kernels(network):
    from alexnet_tf import models, plots

    kernels = models.rgb_kernels(network.model, network.preset)
    plots.kernels(kernels, flags.FLAGS.output, "conv1")


def _predictions(network):
    from alexnet_tf import labels, plots

    source = _source()
    rows = []
    for example in _chosen(source):
        probabilities = network.probabilities(example["image"])
        (named,) = labels.decode_predictions(
            probabilities[None], 5, network.classes
        )
        title = labels.readable(source.classes[example["label"]])
        rows.append((title, network.square(example["image"]), named))
    plots.predictions(rows, flags.FLAGS.output)


def _neighbours(network):
    from alexnet_tf import datasets, labels, plots, retrieval

    args = flags.FLAGS
    train = datasets.load(args.dataset, "train", args.data_dir)
    index = args.index or f"{args.output}.npz"
    if not os.path.exists(index):
        blocks = retrieval.features(network, train, args.layer)
        retrieval.write_index(index, blocks, train.num_examples)
    source = _source()
    queries = _chosen(source)
    vectors = retrieval.features_of(
        network, [query["image"] for query in queries], args.layer
    )
    places = retrieval.search(index, vectors, 6, args.metric).places
    wanted = set(places.ravel().tolist())
    found = {
        int(place): example
        for place, example in train.examples().enumerate().as_numpy_iterator()
        if place in wanted
    }

    def shown(example):
        name = labels.readable(source.classes[example["label"]])
        return name, network.square(example["image"])

    plots.neighbours(
        [
            [shown(query), *(shown(found[place]) for place in row)]
            for query, row in zip(queries, places.tolist())
        ],
        args.output,
    )


def _views(network):
    import numpy as np
    import tensorflow as tf

    from alexnet_tf import plots, preprocess

    args, pixels = flags.FLAGS, network.preset.preprocessing
    example = _chosen(_source())[0]
    mean = preprocess.mean_pixels(
        preprocess.centre_offset(pixels), pixels, network.statistics
    )

    def visible(view):
        """What the network gets, with the mean back in its place."""
        if pixels.channel_order == "bgr":
            view = view[..., ::-1]
        if pixels.divide_by_std:
            std = pixels.channel_std or network.statistics.channel_std
            view = view * np.asarray(std)
        return view + mean

    pictures = [("the central square", network.square(example["image"]))]
    for number in range(args.count):
        view = preprocess.training_image(
            example["image"],
            tf.constant([args.seed, number]),
            pixels,
            network.statistics,
        )
        pictures.append((f"view {number + 1}", visible(view)))
    places = pixels.image_size - pixels.crop_size + 1
    count = places**2 * (1 + pixels.flip)
    plots.views(
        pictures,
        args.output,
        f"{args.count} of {count:,} crops and flips, with colour noise "
        f"{pixels.colour_noise:g}",
    )


def _fields(network):
    from alexnet_tf import geometry

    print("| layer | outputs | field, pixels | every | first begins at |")
    print("|---|---|---|---|---|")
    for field in geometry.receptive_fields(network.model):
        print(
            f"| {field.layer} | {field.side} x {field.side} | {field.size} | "
            f"{field.stride} | {field.start} |"
        )


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only. Received: {argv[1:]}.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    absl_logging.set_verbosity(absl_logging.WARNING)
    from alexnet_tf import classifier

    args = flags.FLAGS
    figures = {
        "kernels": _kernels,
        "predictions": _predictions,
        "neighbours": _neighbours,
        "views": _views,
        "fields": _fields,
    }
    try:
        if not args.output and args.figure != "fields":
            raise ValueError("Expected a PNG to write. Received: no output.")
        network = classifier.load(args.weights, args.preset, args.layout)
        figures[args.figure](network)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"alexnet_tf.visualize: {error}")


if __name__ == "__main__":
    app.run(main)
