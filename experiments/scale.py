"""Measures how the package reads a data set of as many images as ImageNet.

    python -m experiments.scale --format=records
    python -m experiments.scale --format=folder

Writes 1,281,167 JPEGs of 2 KB to a temporary folder: as 1,024 files in TFDS format, or
as image files in 1,000 class folders. Prints how long it takes to load the data set, to
begin an epoch, to begin an epoch nine tenths of which are left out, as a resumed run
does, and to read all images once; and the peak memory. The contents of the images do
not matter for this, and the images of ImageNet are 50 times as large.
"""

import os
import resource
import tempfile
import time

import numpy as np

from alexnet_tf import cli

BATCH_SIZE = 128
_NUM_FILES = 1024
_NUM_CLASSES = 1000

FLAGS = [
    cli.enum_flag(
        "format", "records", ["records", "folder"], "Format of the data set."
    ),
    cli.integer_flag("num_images", 1_281_167, "Number of images.", lower_bound=1),
    cli.path_flag(
        "folder",
        None,
        "Folder in which the temporary folder is made. Default: that of the system.",
    ),
]


def random_jpegs(count):
    """Returns a list of JPEGs of random pixels, 40 pixels high and wide, as bytes."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    return [
        tf.io.encode_jpeg(rng.integers(0, 256, (40, 40, 3), np.uint8)).numpy()
        for _ in range(count)
    ]


def write_folder(folder, num_images):
    """Writes image files, and returns the name of the data set and its data_dir."""
    jpegs = random_jpegs(16)
    for label in range(min(num_images, _NUM_CLASSES)):
        os.makedirs(os.path.join(folder, f"class{label:03d}"))
    for index in range(num_images):
        class_folder = f"class{index % _NUM_CLASSES:03d}"
        with open(os.path.join(folder, class_folder, f"{index}.jpg"), "wb") as file:
            file.write(jpegs[index % len(jpegs)])
    return f"folder:{folder}", None


def write_records(folder, num_images):
    """Writes record files, and returns the name of the data set and its data_dir."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=_NUM_CLASSES),
        }
    )
    data_path = os.path.join(folder, "scale", "1.0.0")
    os.makedirs(data_path)
    template = tfds.core.ShardedFileTemplate(
        data_dir=data_path, dataset_name="scale", filetype_suffix="tfrecord"
    )
    jpegs, lengths = random_jpegs(16), []
    for shard, indices in enumerate(np.array_split(np.arange(num_images), _NUM_FILES)):
        name = f"scale-train.tfrecord-{shard:05d}-of-{_NUM_FILES:05d}"
        with tf.io.TFRecordWriter(os.path.join(data_path, name)) as file:
            for index in indices:
                example = {
                    "image": jpegs[index % len(jpegs)], "label": index % _NUM_CLASSES
                }  # fmt: skip
                file.write(features.serialize_example(example))
        lengths.append(len(indices))
    info = tfds.core.SplitInfo(
        name="train", shard_lengths=lengths, num_bytes=0, filename_template=template
    )
    tfds.folder_dataset.write_metadata(
        data_dir=data_path, features=features, split_infos=[info],
        filename_template=template, check_data=False,
    )  # fmt: skip
    return "scale", folder


def measure(name, data_dir):
    """Yields (description of a measurement, seconds).

    Args:
        name, data_dir: the data set, as for `datasets.load`.
    """
    from alexnet_tf.data import datasets
    from alexnet_tf.data import input_pipeline
    from alexnet_tf.data import pixel_statistics
    from alexnet_tf import presets

    preprocessing = presets.get("tiny").preprocessing
    statistics = pixel_statistics.imagenet(preprocessing)
    start = time.perf_counter()
    source = datasets.load(name, "train", data_dir)
    yield "load the data set", time.perf_counter() - start
    steps = source.num_examples // BATCH_SIZE
    for first_step in (0, steps * 9 // 10):
        start = time.perf_counter()
        batches = input_pipeline.training_batches(
            source, preprocessing, statistics, batch_size=BATCH_SIZE, seed=0, epoch=0,
            steps=steps, first_step=first_step,
        )  # fmt: skip
        next(iter(batches))
        yield (
            f"first batch from step {first_step:,} of {steps:,}",
            time.perf_counter() - start,
        )
    start = time.perf_counter()
    source.examples(shuffle_seed=0).reduce(0, lambda count, _: count + 1)
    yield "read all images once", time.perf_counter() - start


def _measure_scale(args):
    write = write_folder if args.format == "folder" else write_records
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        data_set = write(folder, args.num_images)
        print(f"| {args.num_images:,} images, {args.format} | seconds |\n|---|---|")
        for description, seconds in measure(*data_set):
            print(f"| {description} | {seconds:.1f} |", flush=True)
        # Linux reports kilobytes.
        peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        # Removing the files, which follows, takes minutes.
        print(f"\nPeak memory: {peak_memory:,.0f} MiB", flush=True)


def main(argv=None):
    cli.run("experiments.scale", _measure_scale, FLAGS, argv)


if __name__ == "__main__":
    main()
