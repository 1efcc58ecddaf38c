"""Resizes a data set once, so that training does not do it again in each epoch.

    python -m alexnet_tf.prepare --dataset=imagenet2012
    python -m alexnet_tf.train --dataset=imagenet2012_256

The result is a data set of TFDS. The same command continues where it was stopped.
Several machines share the work if each has a different --worker_index, and all have the
same --num_workers and --output_dir.
"""

import os
import shlex

from alexnet_tf import cli

# TensorFlow is imported in _prepare: --help must not wait for it.

FLAGS = [
    cli.string_flag(
        "dataset", None, "Data set to resize, as for alexnet_tf.train.", required=True
    ),
    cli.data_dir_flag(),
    *cli.feature_flags(),
    cli.string_flag(
        "output_dir",
        None,
        "Directory to write the data set to, the --data_dir of training. Default: "
        "--data_dir.",
    ),
    cli.enum_flag(
        "format",
        "jpeg",
        ["jpeg", "raw"],
        "jpeg: compressed with --quality. raw: uncompressed pixels, on which training "
        "computes what it computes on the originals; 197 KB for an image of 256 x 256 "
        "pixels.",
    ),
    cli.integer_flag(
        "quality", 95, "JPEG quality.", lower_bound=1, upper_bound=100
    ),
    cli.integer_flag(
        "image_size", 256, "Side of the resized images in pixels.", lower_bound=1
    ),
    cli.enum_flag(
        "resize",
        "short_side",
        ["short_side", "squash"],
        "As for alexnet_tf.train; the presets caffe and caffenet use squash.",
    ),
    cli.list_flag(
        "splits",
        None,
        "Splits to resize, separated by commas. Default: all.",
    ),
    cli.exif_orientation_flag("Default: only for folder: and list: data sets."),
    cli.integer_flag(
        "images_per_shard", 1000, "Number of images in a file.", lower_bound=1
    ),
    cli.integer_flag(
        "worker_index", 0, "Index of this machine, from 0.", lower_bound=0
    ),
    cli.integer_flag(
        "num_workers", 1, "Number of machines that share the work.", lower_bound=1
    ),
]


def _prepare(args):
    from alexnet_tf.data import resized_copy

    default_dir = os.path.join("~", "tensorflow_datasets")
    output_dir = args.output_dir or args.data_dir or default_dir
    name, complete = resized_copy.prepare(
        args.dataset,
        output_dir,
        data_dir=args.data_dir,
        image_size=args.image_size,
        resize=args.resize,
        image_format=args.format,
        quality=args.quality,
        images_per_shard=args.images_per_shard,
        worker_index=args.worker_index,
        num_workers=args.num_workers,
        splits=args.splits,
        exif_orientation=args.exif_orientation,
        image_key=args.image_key,
        label_key=args.label_key,
        verbose=cli.progress(),
    )
    if complete:
        flags = [f"--dataset={name}", f"--data_dir={output_dir}"]
        print("python -m alexnet_tf.train", shlex.join(flags))
    else:
        print(
            f"This worker has written its files to {output_dir}. The files of other "
            "workers are still missing."
        )


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    cli.run("alexnet_tf.prepare", _prepare, FLAGS, argv)


if __name__ == "__main__":
    main()
