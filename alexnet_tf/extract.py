"""Writes the features of images to a file, from one or several layers in one pass.

    python -m alexnet_tf.extract --weights=runs/textures-tiny --layer=fc6,fc7 \\
        --output=features.npz 'stimuli/*.png' more_stimuli/
    python -m alexnet_tf.extract --weights=bvlc_alexnet --layer=fc7 \\
        --dataset=imagenet2012 --split=train --output=fc7.npy

Images are files, glob patterns (** stands for folders of any depth), folders with all
images in their subfolders, or list:FILE with one path, or `path label`, in each line.
Without images, those of a data set are used.

The extension of --output chooses the format. .npz and .h5 hold an array [N, ...] for
each layer, `names` and, if the images have labels, `labels`. .npy holds the array of a
single layer, and a file NAME.names.txt beside NAME.npy has a line for each row: the
name of the image and, after a tab, its label.

N is the number of images that could be read, in every format. The exit status is 1 if
an image could not be read; the file has the features of all others.
"""

import sys

from alexnet_tf import cli

# TensorFlow is imported in _extract: --help must not wait for it.

FLAGS = [
    *cli.weights_flags(required=True),
    cli.mean_flag(),
    cli.list_flag(
        "layer",
        None,
        "Layers whose outputs are the features, after their ReLU, such as fc6,fc7. "
        "Default: the penultimate layer, fc7 for most presets.",
    ),
    cli.path_flag(
        "output", None, "File to write: .npz, .npy or .h5.", required=True
    ),
    *cli.data_flags(
        "Data set, as for alexnet_tf.train, if no images are given. Default: that of "
        "the run or of the published weights.",
        "Split of the data set. Default: the run's eval_split, or validation, or test.",
    ),
    cli.enum_flag(
        "pool",
        None,
        ["mean"],
        "mean: average maps over height and width. Default: keep them.",
    ),
    cli.boolean_flag(
        "ten_crop",
        False,
        "Average the features over the paper's ten crops instead of using the center "
        "crop.",
    ),
    cli.integer_flag(
        "batch_size", 32, "Number of images in a batch.", lower_bound=1
    ),
    cli.enum_flag(
        "on_bad_image",
        "skip",
        ["skip", "error"],
        "skip: leave out unreadable images, and name them at the end. error: stop at "
        "the first unreadable image.",
    ),
    cli.exif_orientation_flag(
        "Default: not for data sets of TFDS; for image files as in training, if the "
        "weights are those of a run on image files, and true for other weights."
    ),
]


def _extract(args, arguments):
    """Writes the file, and returns whether all images could be read."""
    from alexnet_tf import inference

    result = inference.extract_features(
        args.weights,
        arguments or None,
        args.layer,
        preset=args.preset,
        layout=args.layout,
        mean=args.mean,
        dataset=args.dataset,
        split=args.split,
        data_dir=args.data_dir,
        image_key=args.image_key,
        label_key=args.label_key,
        pool=args.pool,
        ten_crop=args.ten_crop,
        batch_size=args.batch_size,
        on_bad_image=args.on_bad_image,
        exif_orientation=args.exif_orientation,
        output=args.output,
        verbose=cli.progress(),
    )
    for name, reason in result.errors:
        print(f"alexnet_tf.extract: {name}: {reason}", file=sys.stderr)
    print(f"{args.output}: features of {len(result.names)} images")
    return not result.errors


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.extract", _extract, FLAGS, argv, takes_arguments=True)


if __name__ == "__main__":
    main()
