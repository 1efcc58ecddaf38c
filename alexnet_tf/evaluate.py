"""Measures the error of a network or an ensemble on a split.

    python -m alexnet_tf.evaluate --weights=runs/textures-tiny
    python -m alexnet_tf.evaluate --weights=bvlc_alexnet --dataset=imagenet2012

Prints a row like those of the paper's Table 2. Several paths, separated by commas, form
an ensemble: the images are preprocessed for each network by its own preset, and the
probabilities are averaged.
"""

import csv

from absl import app
from absl import flags

from alexnet_tf import cli
from alexnet_tf import files
from alexnet_tf import presets

# TensorFlow is imported in the functions that need it: --help must not wait for it.

_FLAGS = [
    cli.define_paths(
        "weights",
        None,
        f"{cli.WEIGHTS_HELP} Several, separated by commas, form an ensemble.",
        required=True,
    ),
    flags.DEFINE_list(
        "preset",
        None,
        "Preset of each weights file, or one preset for all of them. The presets are "
        f"{', '.join(presets.PRESETS)}. Default: those of the runs and of the published "
        "weights.",
    ),
    cli.define_layout(),
    cli.define_mean(),
    *cli.define_data(
        "Data set, as for alexnet_tf.train. Default: that of the first run; textures "
        "for a file.",
        "Split to evaluate. Default: the run's eval_split, or validation, or test.",
    ),
    flags.DEFINE_enum(
        "protocol",
        "ten_crop",
        ["center", "ten_crop", "dense"],
        "center: the center crop. ten_crop: the paper's ten crops. dense: the network "
        "applied to the whole image with a stride of 32 pixels, at each size in "
        "--scales. Probabilities are averaged.",
    ),
    flags.DEFINE_list(
        "scales", ["256"], "Sizes of the short side in pixels, for --protocol=dense."
    ),
    flags.DEFINE_integer(
        "batch_size", 32, "Number of images in a batch.", lower_bound=1
    ),
    flags.DEFINE_string(
        "search_split",
        None,
        "Split on which the averaging weights of the ensemble are optimized. It must "
        "share no image with --split. Default: equal weights.",
    ),
    cli.define_path("per_class", None, "CSV file to write the errors by class to."),
    flags.DEFINE_integer(
        "confusions", 5, "Number of most frequent confusions to print.", lower_bound=0
    ),
]

flags.register_validator(
    "scales",
    lambda scales: scales and all(scale.isdecimal() for scale in scales),
    "must be whole numbers of pixels, separated by commas",
)


def _evaluate():
    from alexnet_tf.inference import evaluation

    args = flags.FLAGS
    if args.per_class:
        files.check_output("--per_class", args.per_class)
    result = evaluation.evaluate(
        args.weights,
        args.preset,
        layout=args.layout,
        mean=args.mean,
        dataset=args.dataset,
        split=args.split,
        data_dir=args.data_dir,
        protocol=args.protocol,
        scales=[int(scale) for scale in args.scales],
        batch_size=args.batch_size,
        search_split=args.search_split,
        verbose=cli.progress(),
    )
    if result.ensemble_weights is not None:
        weights = ", ".join(f"{weight:.3f}" for weight in result.ensemble_weights)
        print("Ensemble weights:", weights)
    _print_table(result)
    _print_confusions(result)
    if args.per_class:
        _write_per_class(result)


def _print_table(result):
    args = flags.FLAGS
    protocol = {
        "center": "center crop",
        "ten_crop": "ten crops",
        "dense": f"dense at {', '.join(args.scales)} pixels",
    }[args.protocol]
    count = len(args.weights)
    cells = []
    for k in (1, 5):
        low, high = result.interval(k)
        cells.append(f"{result.error(k):.1%} ({low:.1%} to {high:.1%})")
    print(
        "| network | top-1 error (95% interval) | top-5 error (95% interval) "
        "| protocol |"
    )
    print("|---|---|---|---|")
    print(
        f"| {count} network{'s' * (count > 1)} | {' | '.join(cells)} | {protocol}, "
        f"{len(result.labels)} images of {result.source} |"
    )


def _print_confusions(result):
    from alexnet_tf.models.labels import readable_name

    classes = result.source.classes
    for label, predicted, count in result.confusions(flags.FLAGS.confusions):
        print(
            f"{readable_name(classes[label])} classified as "
            f"{readable_name(classes[predicted])}: {count}"
        )


def _write_per_class(result):
    with open(flags.FLAGS.per_class, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "class", "images", "top1_error", "top5_error"])
        for label, *values in result.per_class():
            writer.writerow([label, result.source.classes[label], *values])


def main(argv):
    cli.run("alexnet_tf.evaluate", _evaluate, argv)


if __name__ == "__main__":
    app.run(main)
