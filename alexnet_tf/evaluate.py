"""Measures the error of a network, or of several together, on a split.

    python -m alexnet_tf.evaluate --weights=runs/textures-tiny
    python -m alexnet_tf.evaluate --weights=bvlc_alexnet.npy --preset=caffe \\
        --dataset=imagenet2012

Prints a row like those of the paper's Table 2. Several weights, with commas
between them, are an ensemble: each sees the pictures as its preset wants them,
and their probabilities are averaged.
"""

import csv
import dataclasses

from absl import app
from absl import flags

from alexnet_tf import cli
from alexnet_tf import presets

# TensorFlow is imported when it is needed: --help must not wait for it.

_FLAGS = [
    cli.define_paths(
        "weights",
        None,
        "Directories of runs, or files of weights (.npy, .npz, .safetensors, "
        ".weights.h5, .keras, .pth).",
        required=True,
    ),
    flags.DEFINE_list(
        "preset",
        None,
        "Networks that the files are of, one for each or one for all: "
        f"{', '.join(presets.PRESETS)}. Default: the runs'.",
    ),
    flags.DEFINE_enum(
        "layout",
        None,
        ["caffe"],
        "Order of axes in files, if it is Caffe's own: [out, in, ...].",
    ),
    flags.DEFINE_string(
        "dataset",
        None,
        "As for alexnet_tf.train. Default: that of the first run; textures for "
        "a file.",
    ),
    flags.DEFINE_string(
        "split",
        None,
        "Split to measure on. Default: the run's eval_split; else validation or "
        "test.",
    ),
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of TFDS's data sets. Default: the run's; else "
        "~/tensorflow_datasets.",
    ),
    flags.DEFINE_enum(
        "protocol",
        "ten_crop",
        ["center", "ten_crop", "dense"],
        "The central view alone; the paper's ten views; or all places of the "
        "whole picture, every 32 pixels, at the sizes --scales. Probabilities "
        "are averaged.",
    ),
    flags.DEFINE_list(
        "scales", ["256"], "Pixels of the short side, for --protocol=dense."
    ),
    flags.DEFINE_integer("batch_size", 32, "Pictures at a time.", lower_bound=1),
    flags.DEFINE_string(
        "search_split",
        None,
        "Split on which the weights of an ensemble are searched; must share no "
        "picture with --split. Default: equal weights.",
    ),
    cli.define_path("per_class", None, "CSV to write: errors by class."),
    flags.DEFINE_integer(
        "confusions", 5, "Pairs of classes to name that were taken for each "
        "other.", lower_bound=0,
    ),
]
flags.register_validator(
    "scales",
    lambda scales: scales and all(scale.isdecimal() for scale in scales),
    "must be pixels, whole numbers with commas between them",
)


def _networks():
    """A `Classifier` for each of the weights."""
    from alexnet_tf.inference.classifier import load_classifier

    args = flags.FLAGS
    names = args.preset or [None]
    if len(names) == 1:
        names = names * len(args.weights)
    if len(names) != len(args.weights):
        raise ValueError(
            f"Expected one preset, or one for each of {len(args.weights)} "
            f"weights. Received: preset={','.join(names)}."
        )
    return [
        load_classifier(path, name, args.layout)
        for path, name in zip(args.weights, names)
    ]


def _measure(networks, source):
    """(float32 [n, N, classes], int32 [N]) of all networks."""
    from alexnet_tf import cli
    from alexnet_tf.inference import evaluation

    args = flags.FLAGS
    verbose = cli.progress()
    if args.protocol == "dense":
        scales = [int(scale) for scale in args.scales]
        measured = [
            evaluation.dense_probabilities(network, source, scales, verbose)
            for network in networks
        ]
    else:
        measured = [
            evaluation.probabilities(
                network, source, args.protocol, args.batch_size, verbose
            )
            for network in networks
        ]
    # Unshuffled, the pictures come in one order for all.
    return [found for found, _ in measured], measured[0][1]


def _data():
    from alexnet_tf.inference.classifier import find_run_data

    args = flags.FLAGS
    return find_run_data(
        args.weights[0], args.dataset, args.split, args.data_dir, "textures"
    )


def _searched_weights(networks, reported):
    from alexnet_tf.inference import evaluation

    split = flags.FLAGS.search_split
    source = dataclasses.replace(_data(), split=split).source()
    shared = len(source.names() & reported.names())
    if shared:
        raise ValueError(
            "Expected other pictures to search weights on than those to be reported. "
            f"Received: {split}, of which {shared} are in {reported.split} too."
        )
    return evaluation.search_weights(*_measure(networks, source))


def _print_row(source, found, labels):
    from alexnet_tf.inference import evaluation

    args = flags.FLAGS
    views = {
        "center": "central view",
        "ten_crop": "ten views",
        "dense": f"all places at {', '.join(args.scales)} pixels",
    }[args.protocol]
    count = len(args.weights)
    cells = []
    for k in (1, 5):
        hits = evaluation.hits(found, labels, k)
        low, high = evaluation.interval(hits)
        cells.append(f"{1 - hits.mean():.1%} ({low:.1%} to {high:.1%})")
    print("| network | top-1 error | top-5 error | protocol |")
    print("|---|---|---|---|")
    print(
        f"| {count} network{'s' * (count > 1)} | {' | '.join(cells)} | {views}, "
        f"{len(labels)} pictures of {source} |"
    )


def _print_confusions(source, found, labels):
    from alexnet_tf.inference import evaluation
    from alexnet_tf.models.labels import readable_name

    names = source.classes
    for label, guess, count in evaluation.confusions(
        found, labels, flags.FLAGS.confusions
    ):
        print(f"{readable_name(names[label])} taken for {readable_name(names[guess])}: {count}")


def _write_per_class(source, found, labels):
    from alexnet_tf.inference import evaluation

    with open(flags.FLAGS.per_class, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["label", "class", "pictures", "top1_error", "top5_error"])
        for label, *rest in evaluation.per_class(found, labels):
            rows.writerow([label, source.classes[label], *rest])


def _evaluate():
    from alexnet_tf import cli
    from alexnet_tf.inference import evaluation

    args = flags.FLAGS
    if args.per_class:
        cli.check_output("per_class", args.per_class)
    networks = _networks()
    source = _data().source()
    weights = None
    if args.search_split:
        weights = _searched_weights(networks, source)
    each, labels = _measure(networks, source)
    found = evaluation.average(each, weights)
    if weights is not None:
        print("Weights:", ", ".join(f"{w:.3f}" for w in weights))
    _print_row(source, found, labels)
    _print_confusions(source, found, labels)
    if args.per_class:
        _write_per_class(source, found, labels)


def main(argv):
    cli.run("alexnet_tf.evaluate", _evaluate, argv)


if __name__ == "__main__":
    app.run(main)
