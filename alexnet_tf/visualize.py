"""Draws what a network has learned: figures 3 and 4 of the paper, and others.

    python -m alexnet_tf.visualize --figure=kernels --weights=runs/textures-tiny \\
        --output=kernels.png
    python -m alexnet_tf.visualize --figure=neighbours --weights=... \\
        --dataset=cifar10 --index_out=fc7.npz --output=neighbours.png
"""

import contextlib
import os
import tempfile

from absl import app
from absl import flags

from alexnet_tf import console
from alexnet_tf import presets

# TensorFlow is imported when it is needed: --help must not wait for it.

_SHOWN = 8  # Pictures, unless --count says otherwise.
_MEASURED = 200  # Pictures that thinned networks are tried on, and
_PASSES = 32  # how many of those there are.

_FLAGS = [
    flags.DEFINE_enum(
        "figure",
        None,
        [
            "kernels", "predictions", "neighbours", "views", "activations",
            "norms", "dropout", "normalisation", "fields",
        ],
        "kernels: of the first layer (Fig. 3). predictions: pictures of a "
        "split with their most probable classes, the true one marked (Fig. 4, "
        "left). neighbours: pictures of a split with those of the training "
        "split that are nearest by their features (Fig. 4, right). views: what "
        "one picture becomes in training. activations: what each layer makes "
        "of one picture. norms: how large the weights of each layer are. "
        "dropout: networks with half of their units against the whole one. "
        "normalisation: 20 values before and after response normalisation. "
        "fields: a table of what each layer sees of a picture.",
        required=True,
    ),
    flags.DEFINE_string(
        "weights",
        None,
        "Directory of a run, or a file of weights (.npy, .npz, .safetensors, "
        ".weights.h5, .keras, .pth). All figures but normalisation need it.",
    ),
    flags.DEFINE_enum(
        "preset",
        None,
        list(presets.PRESETS),
        "Network that a file of weights is of. Default: the run's; paper for "
        "normalisation.",
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
        "count",
        None,
        "Pictures, views of one or maps of a layer to show. Default: 8; for "
        "dropout 200, which are measured.",
        lower_bound=1,
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
        "Features of the training split, a file that --index_out has written. "
        "Default: computed.",
    ),
    flags.DEFINE_string(
        "index_out", None, "File (.npz) in which to keep the features computed."
    ),
    flags.DEFINE_string("output", None, "PNG to write; fields prints."),
]


def _chosen(source, count):
    """`count` examples of a split, drawn by `--seed`, in order."""
    import numpy as np

    random = np.random.default_rng(flags.FLAGS.seed)
    count = min(count, source.num_examples)
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
    for example in _chosen(source, flags.FLAGS.count or _SHOWN):
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
    source = _source()
    train = datasets.load(args.dataset, "train", args.data_dir)
    queries = _chosen(source, args.count or _SHOWN)
    with _index(network, train) as index:
        rows = retrieval.nearest_examples(
            index, network, queries, train, args.layer, args.metric
        )

    def shown(example):
        name = labels.readable(source.classes[example["label"]])
        return name, network.square(example["image"])

    plots.neighbours([[*map(shown, row)] for row in rows], args.output)


@contextlib.contextmanager
def _index(network, train):
    """Path of the index to search, which may be there for now only."""
    from alexnet_tf import retrieval

    args = flags.FLAGS
    if args.index:
        yield args.index
        return
    with tempfile.TemporaryDirectory() as folder:
        path = args.index_out or os.path.join(folder, "index.npz")
        blocks = retrieval.features(network, train, args.layer)
        retrieval.write_index(path, blocks, train.num_examples)
        yield path


def _visible(network, view):
    """What the network gets, with the mean back in its place: RGB, 0 to 255."""
    import numpy as np

    from alexnet_tf import preprocess

    pixels, statistics = network.preset.preprocessing, network.statistics
    if pixels.channel_order == "bgr":
        view = view[..., ::-1]
    if pixels.divide_by_std:
        view = view * np.asarray(pixels.channel_std or statistics.channel_std)
    centre = preprocess.centre_offset(pixels)
    view = view + preprocess.mean_pixels(centre, pixels, statistics)
    return np.rint(np.clip(view, 0, 255)).astype(np.uint8)


def _views(network):
    import tensorflow as tf

    from alexnet_tf import plots, preprocess

    args, pixels = flags.FLAGS, network.preset.preprocessing
    count = args.count or _SHOWN
    (example,) = _chosen(_source(), 1)
    pictures = [("the central square", network.square(example["image"]))]
    for number in range(count):
        view = preprocess.training_image(
            example["image"],
            tf.constant([args.seed, number]),
            pixels,
            network.statistics,
        )
        pictures.append((f"view {number + 1}", _visible(network, view)))
    places = pixels.image_size - pixels.crop_size + 1
    sides = 1 + pixels.flip
    # Section 4.1: 2,048, of 32 places along a side where there are 33.
    paper = f" (the paper counts {2 * 32**2:,})" if places == 33 else ""
    plots.views(
        pictures,
        args.output,
        f"{count} of {places} x {places} x {sides} = {places**2 * sides:,} crops "
        f"and flips{paper}, with colour noise {pixels.colour_noise:g}",
    )


def _activations(network):
    import numpy as np

    from alexnet_tf import geometry, plots, probing

    (example,) = _chosen(_source(), 1)
    found = probing.activations(network, example["image"])
    fields = {f.layer: f for f in geometry.receptive_fields(network.model)}
    rows, lines = [], []
    for layer, values in found.items():
        if values.ndim == 1:
            lines.append((f"{layer}: {len(values):,} units", values))
            continue
        side, field = values.shape[0], fields[layer]
        first = field.start + side // 2 * field.stride
        best = probing.strongest(values, flags.FLAGS.count or _SHOWN)
        rows.append(
            (
                f"{layer}: {values.shape[-1]} maps, {side} x {side}\n"
                f"each output sees {field.size} pixels",
                (first, first + field.size - 1),
                np.moveaxis(values[..., best], -1, 0),
            )
        )
    picture = _visible(network, network.view(example["image"]))
    plots.activations(picture, rows, lines, flags.FLAGS.output)


def _norms(network):
    from alexnet_tf import plots, probing

    found = probing.norms(network.model, network.preset, flags.FLAGS.seed)
    plots.norms(found, flags.FLAGS.output, network.preset.name)


def _dropout(network):
    import numpy as np

    from alexnet_tf import plots, probing, scoring

    args, source = flags.FLAGS, _source()
    examples = _chosen(source, args.count or _MEASURED)
    encoded = [example["image"] for example in examples]
    truth = np.array([example["label"] for example in examples])
    each = probing.thinned(network, encoded, _PASSES, args.seed)
    whole = np.stack([network.probabilities(one) for one in encoded])

    def error(probabilities):
        return 1 - scoring.hits(probabilities, truth, 1).mean()

    counts = [2**power for power in range(_PASSES.bit_length())]
    errors = [(count, error(each[:count].mean(axis=0))) for count in counts]
    places = np.arange(len(truth))
    pairs = np.stack(
        [each.mean(axis=0)[places, truth], whole[places, truth]], axis=1
    )
    plots.dropout(
        errors, error(whole), pairs, args.output,
        f"{len(truth)} pictures of {source}, central view",
    )


def _normalisation(preset):
    import numpy as np

    from alexnet_tf import plots, probing

    norms = [
        layer
        for layer in preset.layers
        if isinstance(layer, presets.ResponseNorm)
    ]
    if not norms:
        raise ValueError(
            "Expected a preset with response normalisation across maps. "
            f"Received: preset={preset.name}."
        )
    norm = norms[0]
    # As large as the first layer's are on pixels, and a third shut by the ReLU.
    random = np.random.default_rng(flags.FLAGS.seed)
    before = np.maximum(random.normal(60, 120, 20), 0)
    constants = norm.bias, norm.alpha, norm.beta
    afters = [
        (f"n = {n}", probing.normalized(before, n, *constants))
        for n in (4, 2 * norm.depth_radius + 1)
    ]
    plots.normalisation(
        before, afters, flags.FLAGS.output,
        f"{preset.name}: k = {norm.bias:g}, alpha = {norm.alpha:g} on the plain "
        f"sum, beta = {norm.beta:g}",
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


def _draw():
    from alexnet_tf import classifier

    args = flags.FLAGS
    if not args.output and args.figure != "fields":
        raise ValueError("Expected a PNG to write. Received: no output.")
    if args.figure == "normalisation":
        _normalisation(presets.get(args.preset or "paper"))
        return
    if not args.weights:
        raise ValueError(
            f"Expected weights to draw the {args.figure} of. Received: no "
            "--weights."
        )
    figures = {
        "kernels": _kernels,
        "predictions": _predictions,
        "neighbours": _neighbours,
        "views": _views,
        "activations": _activations,
        "norms": _norms,
        "dropout": _dropout,
        "fields": _fields,
    }
    network = classifier.load(args.weights, args.preset, args.layout)
    figures[args.figure](network)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only. Received: {argv[1:]}.")
    console.quieten(flags.FLAGS["verbosity"].present)
    with console.one_line_errors("alexnet_tf.visualize"):
        _draw()


if __name__ == "__main__":
    app.run(main)
