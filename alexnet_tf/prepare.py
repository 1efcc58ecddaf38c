"""Resizes a data set once, so that training need not do it again each epoch.

    python -m alexnet_tf.prepare --dataset=imagenet2012
    python -m alexnet_tf.train --dataset=imagenet2012_256

The result is a data set of TFDS beside the others. The same command goes on
where it was stopped; several machines share the work by --worker_index and
--num_workers, each with the same --out.
"""

import dataclasses
import os

from absl import app
from absl import flags

from alexnet_tf import cli
from alexnet_tf import presets

# TensorFlow is imported when it is needed: --help must not wait for it.

_FLAGS = [
    flags.DEFINE_string(
        "dataset", None, "As for alexnet_tf.train.", required=True
    ),
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of TFDS's data sets. Default: ~/tensorflow_datasets.",
    ),
    flags.DEFINE_string(
        "out", None, "data_dir of the result. Default: --data_dir."
    ),
    flags.DEFINE_enum(
        "format",
        "jpeg",
        ["jpeg", "raw"],
        "raw: the pixels themselves, of which training makes bit for bit what it "
        "makes of the originals; 197 KB an image at 256 pixels.",
    ),
    flags.DEFINE_integer(
        "quality", 95, "Of JPEG.", lower_bound=1, upper_bound=100
    ),
    flags.DEFINE_integer(
        "image_size", 256, "Pixels of a side.", lower_bound=1
    ),
    flags.DEFINE_enum(
        "resize",
        "short_side",
        ["short_side", "squash"],
        "As for alexnet_tf.train; caffe and caffenet squash.",
    ),
    flags.DEFINE_integer(
        "images_per_shard", 1000, "Images in a file.", lower_bound=1
    ),
    flags.DEFINE_integer(
        "worker_index", 0, "Which part of the files this machine writes, from 0.",
        lower_bound=0,
    ),
    flags.DEFINE_integer(
        "num_workers", 1, "Machines that share the work.", lower_bound=1
    ),
]


def _prepare():
    from alexnet_tf import cli
    from alexnet_tf.data import datasets
    from alexnet_tf.data import pixel_statistics
    from alexnet_tf.data import resized_copy

    args = flags.FLAGS
    if args.worker_index >= args.num_workers:
        raise ValueError(
            f"Expected a worker_index below num_workers={args.num_workers}. "
            f"Received: worker_index={args.worker_index}."
        )
    pixels = dataclasses.replace(
        presets.get("paper").preprocessing,
        image_size=args.image_size,
        resize=args.resize,
    )
    out = args.out or args.data_dir or os.path.join("~", "tensorflow_datasets")
    name, whole = resized_copy.prepare(
        args.dataset,
        out,
        pixels,
        data_dir=args.data_dir,
        form=args.format,
        quality=args.quality,
        images_per_shard=args.images_per_shard,
        worker_index=args.worker_index,
        num_workers=args.num_workers,
        verbose=cli.progress(),
    )
    if not whole:
        print("Written; the files of other machines are still to come.")
        return
    train = datasets.load(name, "train", out)
    # Kept beside the data, for all runs.
    pixel_statistics.load_or_compute(train, pixels, train.folder, cli.progress())
    print(f"python -m alexnet_tf.train --dataset={name} --data_dir={out}")


def main(argv):
    cli.run("alexnet_tf.prepare", _prepare, argv)


if __name__ == "__main__":
    app.run(main)
