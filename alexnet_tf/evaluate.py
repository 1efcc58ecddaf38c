"""Measures the error of a network or an ensemble on a split.

    python -m alexnet_tf.evaluate --weights=runs/textures-tiny
    python -m alexnet_tf.evaluate --weights=bvlc_alexnet --dataset=imagenet2012

Prints a row like those of the paper's Table 2. Several names or paths in --weights,
separated by commas, form an ensemble: the images are preprocessed for each network by
its own preset, and the probabilities are averaged.
"""

import csv
import os

from alexnet_tf import cli
from alexnet_tf import files

# TensorFlow is imported in the functions that need it: --help must not wait for it.

FLAGS = [
    cli.paths_flag(
        "weights",
        None,
        f"{cli.WEIGHTS_HELP} Several, separated by commas, form an ensemble.",
        required=True,
    ),
    cli.list_flag(
        "preset",
        None,
        "Preset of each weights file, or one preset for all of them. "
        f"{cli.PRESET_HELP} Default: those of the runs and of the published weights.",
    ),
    cli.layout_flag(),
    cli.mean_flag(),
    cli.checkpoint_flag(),
    *cli.data_flags(
        "Data set, as for alexnet_tf.train. Default: that of the first run or "
        "published weights; textures for a weights file.",
        "Split to evaluate. Default: the run's eval_split, or validation, or test.",
    ),
    cli.enum_flag(
        "protocol",
        "ten_crop",
        ["center", "ten_crop", "dense"],
        "center: the center crop. ten_crop: the paper's ten crops. dense: the network "
        "applied to the whole image, at each size in --scales. Probabilities are "
        "averaged.",
    ),
    cli.list_flag(
        "scales",
        None,
        "Sizes of the short side in pixels, for --protocol=dense. Default: the image "
        "size of the preset, 256 for most of them.",
    ),
    cli.integer_flag(
        "batch_size", 32, "Number of images in a batch.", lower_bound=1
    ),
    cli.string_flag(
        "search_split",
        None,
        "Split on which the averaging weights of the ensemble are optimized. It must "
        "share no image with --split. Default: equal weights.",
    ),
    cli.exif_orientation_flag(
        "Default: not for data sets of TFDS; for image files as in training, if the "
        "weights are those of a run on image files, and true for other weights."
    ),
    cli.path_flag("per_class", None, "CSV file to write the errors by class to."),
    cli.integer_flag(
        "confusions", 5, "Number of most frequent confusions to print.", lower_bound=0
    ),
    cli.check_flag(
        "scales",
        lambda scales: scales != [] and all(map(str.isdecimal, scales or ())),
        "must be whole numbers of pixels, separated by commas",
    ),
]


def _evaluate(args):
    from alexnet_tf.inference import evaluation

    if args.per_class:
        files.check_output("--per_class", args.per_class)
    result = evaluation.evaluate(
        args.weights,
        args.preset,
        layout=args.layout,
        mean=args.mean,
        checkpoint=args.checkpoint,
        dataset=args.dataset,
        split=args.split,
        data_dir=args.data_dir,
        image_key=args.image_key,
        label_key=args.label_key,
        protocol=args.protocol,
        scales=args.scales and [int(scale) for scale in args.scales],
        batch_size=args.batch_size,
        search_split=args.search_split,
        exif_orientation=args.exif_orientation,
        verbose=cli.progress(),
    )
    if result.ensemble_weights is not None:
        weights = ", ".join(f"{weight:.3f}" for weight in result.ensemble_weights)
        print("Ensemble weights:", weights)
    _print_table(result, args)
    _print_confusions(result, args.confusions)
    if args.per_class:
        _write_per_class(result, args.per_class)
        print(args.per_class)


def _print_table(result, args):
    from alexnet_tf.data import bad_images

    sizes = f" at {', '.join(args.scales)} pixels" if args.scales else ""
    protocol = {
        "center": "center crop",
        "ten_crop": "ten crops",
        "dense": f"dense{sizes}",
    }[args.protocol]
    cells = []
    for k in result.reported_ks:
        low, high = result.interval(k)
        cells.append(f"{result.error(k):.1%} ({low:.1%} to {high:.1%})")
    heads = [f"top-{k} error (95% interval)" for k in result.reported_ks]
    print(f"| network | {' | '.join(heads)} | protocol |")
    print("|---" * (2 + len(heads)) + "|")
    network = _network_name(args.weights, args.checkpoint)
    print(
        f"| {network} | {' | '.join(cells)} | {protocol}, "
        f"{len(result.labels)} images of {result.source}"
        f"{bad_images.describe_left_out(result.source.num_bad_images)} |"
    )


def _network_name(weights, checkpoint):
    """Returns the name of the weights, such as "textures-tiny", or "3 networks".

    It ends with " (best)" if the weights are the best instead of the last ones of runs.
    """
    name = os.path.basename(os.path.normpath(weights[0]))
    if len(weights) > 1:
        name = f"{len(weights)} networks"
    return name if checkpoint == "last" else f"{name} ({checkpoint})"


def _print_confusions(result, count):
    from alexnet_tf.models.labels import readable_name

    classes = result.source.classes
    for label, predicted, images in result.confusions(count):
        print(
            f"{readable_name(classes[label])} classified as "
            f"{readable_name(classes[predicted])}: {images}"
        )


def _write_per_class(result, path):
    with files.atomic_text(path) as file:
        writer = csv.writer(file)
        errors = [f"top{k}_error" for k in result.reported_ks]
        writer.writerow(["label", "class", "images", *errors])
        for label, *values in result.per_class():
            writer.writerow([label, result.source.classes[label], *values])


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.evaluate", _evaluate, FLAGS, argv)


if __name__ == "__main__":
    main()
