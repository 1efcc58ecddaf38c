"""Resized copies of data sets, so that training need not resize in each epoch.

A copy is a data set in TFDS's format. Its images are the center squares that
`preprocess` computes from the original images. Several machines can share the work, and
files that exist already are not written again.
"""

import dataclasses
import functools
import itertools
import json
import os
import re
import struct

import keras
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data import bad_images
from alexnet_tf.data import datasets
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.data import tfds_source
from alexnet_tf.files import atomic_write
from alexnet_tf.files import remove_unfinished
from alexnet_tf.files import write_text
from alexnet_tf import presets
from alexnet_tf import settings

_VERSION = "1.0.0"

# Version 0.1 wrote these names to the settings file. They are translated, so that
# a copy that version 0.1 began can be continued.
_OLD_SETTINGS = {
    "form": "image_format",
    "pictures_per_shard": "images_per_shard",  # word: kept
}


def data_set_name(dataset, image_size, resize, image_format):
    """Returns the name of a copy, such as "imagenet2012_256_squash_raw".

    The default values "short_side" and "jpeg" do not appear in the name.

    Args:
        dataset: the name of the original data set, as for `datasets.load`.
        image_size: the side of the squares in pixels.
        resize: "short_side" or "squash".
        image_format: "jpeg" or "raw".
    """
    original, _, path = dataset.partition(":")
    if datasets.has_image_files(dataset):
        original = os.path.splitext(os.path.basename(path.rstrip("/" + os.sep)))[0]
    elif original == "huggingface":
        original = dataset
    name = re.sub(r"\W+", "_", original.lower()).strip("_")
    # The names of data sets in TFDS start with a letter.
    name = name if name[:1].isalpha() else f"images_{name}"
    squash = "_squash" if resize == "squash" else ""
    raw = "_raw" if image_format == "raw" else ""
    return f"{name}_{image_size}{squash}{raw}"


def prepare(
    dataset,
    output_dir,
    *,
    data_dir=None,
    image_size=256,
    resize="short_side",
    image_format="jpeg",
    quality=95,
    images_per_shard=1000,
    worker_index=0,
    num_workers=1,
    splits=None,
    exif_orientation=None,
    image_key=None,
    label_key=None,
    verbose=1,
):
    """Writes a resized copy of a data set.

    Once the copy is complete, the pixel statistics of its split "train", if it has one,
    are stored beside it.

    Args:
        dataset, data_dir: the original data set, as for `datasets.load`.
        output_dir: the directory of TFDS's data sets to write the copy to, which is
            the `data_dir` for loading it.
        image_size: the side of the squares in pixels.
        resize: "short_side" or "squash", see `presets.Preprocessing`.
        image_format: "jpeg", or "raw" for uncompressed pixels, stored as BMP.
        quality: the JPEG quality, from 1 to 100. "raw" ignores it.
        images_per_shard: the number of images in a record file.
        worker_index, num_workers: the index of this process, from 0, and the number of
            processes. Each process writes its share of the files.
        splits: the names of the splits to copy. Default: all.
        exif_orientation: whether to turn images upright by the EXIF orientation of
            their JPEG files, which the copy does not have. Default: whether they are
            image files of a folder or a list.
        image_key, label_key: the features of a data set of TFDS, see `datasets.load`.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        (name, complete): the name of the copy, and whether all its files are written.
        The copy is complete once all processes have finished.

    Raises:
        ValueError: if a split of the original data set can't be loaded (see
            `datasets.load`) or does not exist, `worker_index` is not from 0 to
            `num_workers` - 1, a copy was begun in `output_dir` with other settings, a
            class name has line breaks or spaces at its ends, an image is unreadable, or
            the number of examples in a split is wrong.
        OSError: if `output_dir` can't be written to, or the original can't be read.
        ModuleNotFoundError: as in `datasets.load`.
    """
    if not 0 <= worker_index < num_workers:
        raise ValueError(
            f"Expected a non-negative worker_index below num_workers={num_workers}. "
            f"Received: worker_index={worker_index}."
        )
    if exif_orientation is None:
        exif_orientation = datasets.has_image_files(dataset)
    preprocessing = dataclasses.replace(
        presets.get("paper").preprocessing, image_size=image_size, resize=resize
    )
    load = functools.partial(
        datasets.load,
        dataset,
        data_dir=data_dir,
        image_key=image_key,
        label_key=label_key,
    )
    name = data_set_name(dataset, image_size, resize, image_format)
    folder = os.path.join(os.path.expanduser(output_dir), name, _VERSION)
    all_splits = datasets.split_names(
        dataset, data_dir, image_key=image_key, label_key=label_key
    )
    sources = _load_splits(load, all_splits, splits)
    copy_settings = {
        "image_format": image_format,
        "quality": quality if image_format == "jpeg" else None,
        "image_size": image_size,
        "resize": resize,
        "images_per_shard": images_per_shard,
        "splits": {split: source.fingerprint for split, source in sources.items()},
        # Earlier versions did not record it, and never turned images.
        "exif_orientation": exif_orientation or None,
    }
    features = _features(image_format, image_size, sources)
    _create_or_verify(folder, copy_settings)
    paths = {
        split: _shard_paths(folder, name, split, source.num_examples, images_per_shard)
        for split, source in sources.items()
    }
    # The statistics are those of the copy, whose images are upright already.
    original_preprocessing = dataclasses.replace(
        preprocessing, exif_orientation=exif_orientation
    )
    for split, source in sources.items():
        missing = _missing_shards(paths[split], worker_index, num_workers)
        progress_bar = keras.utils.Progbar(
            len(missing), unit_name="file", verbose=verbose
        )
        for shards in _consecutive_runs(missing):
            first = shards[0] * images_per_shard
            end = min((shards[-1] + 1) * images_per_shard, source.num_examples)
            part = load(f"{split}[{first}:{end}]")
            examples = _encoded_squares(
                part, original_preprocessing, image_format, quality
            )
            for shard in shards:
                shard_examples = itertools.islice(examples, images_per_shard)
                _write_shard(paths[split][shard], shard_examples, features)
                progress_bar.add(1)
            # The number of examples is checked when they are read to the end.
            next(examples, None)
    complete = all(map(os.path.exists, itertools.chain(*paths.values())))
    if complete:
        _write_metadata(folder, name, features, sources, paths, images_per_shard)
    if complete and "train" in sources:
        train = datasets.load(name, "train", output_dir)
        pixel_statistics.load_or_compute(train, preprocessing, train.folder, verbose)
    return name, complete


def _load_splits(load, all_splits, splits):
    """Returns {split: `Source`} of the splits to copy.

    Args:
        load: a function that returns the `Source` of a split.
        all_splits: the names of all splits.
        splits: as for `prepare`.

    Raises:
        ValueError: if a split does not exist or cannot be loaded.
    """
    unknown = set(splits or ()) - set(all_splits)
    if unknown or (splits is not None and not splits):
        raise ValueError(
            f"Expected splits of the data set: {', '.join(all_splits)}. Received: "
            f"splits={splits}."
        )
    sources = {}
    for split in splits or all_splits:
        try:
            sources[split] = load(split)
        except ValueError as error:
            others = [name for name in all_splits if name != split]
            if splits or not others:
                raise
            raise ValueError(
                f"The split {split!r} cannot be copied. Leave it out by naming the "
                f"splits to copy, such as {','.join(others)}. {error}"
            ) from error
    return sources


def read_settings(path):
    """Reads the settings of a copy, a dictionary with the names in `prepare`.

    Args:
        path: the path of the settings file, `tfds_source.SETTINGS_FILE`.
    """
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    return {_OLD_SETTINGS.get(key, key): value for key, value in content.items()}


def _missing_shards(paths, worker_index, num_workers):
    """Returns the indices of the record files that this worker has to write."""
    first = worker_index * len(paths) // num_workers
    end = (worker_index + 1) * len(paths) // num_workers
    return [shard for shard in range(first, end) if not os.path.exists(paths[shard])]


def _consecutive_runs(numbers):
    """Splits ascending integers into lists of consecutive integers.

    `prepare` reads the examples of consecutive record files in one pass.
    """
    # The difference of a number and its index is constant up to the next gap.
    runs = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    return [[number for _, number in run] for _, run in runs]


def _encoded_squares(source, preprocessing, image_format, quality):
    """Yields (encoded center square, label) of each image of a source, in order."""

    def square(example):
        pixels = preprocess.center_square(example["image"], preprocessing)
        if image_format == "jpeg":
            pixels = tf.io.encode_jpeg(pixels, "rgb", quality)
        return pixels, example["label"]

    squares = source.examples().map(square, num_parallel_calls=tf.data.AUTOTUNE)
    num_yielded = 0
    with bad_images.diagnosing(source, lambda: (num_yielded, 1)):
        for image, label in squares.prefetch(tf.data.AUTOTUNE):
            image = image.numpy()
            yield image if image_format == "jpeg" else _encode_bmp(image), int(label)
            num_yielded += 1


def _encode_bmp(pixels):
    """Encodes pixels, uint8 RGB [H, W, 3], as the bytes of a BMP."""
    height, width, _ = pixels.shape
    rows = pixels[..., ::-1].reshape(height, -1)  # BGR
    # The format requires rows of a multiple of 4 bytes.
    rows = np.pad(rows, ((0, 0), (0, -3 * width % 4)))
    header = struct.pack(
        # The header has 54 bytes. The height is negative, since the rows are stored
        # from the top. The resolution, 2835 pixels per meter, is 72 per inch.
        "<2sIHHIIiiHHIIiiII",
        b"BM", 54 + rows.size, 0, 0, 54,
        40, width, -height, 1, 24, 0, rows.size, 2835, 2835, 0, 0,
    )  # fmt: skip
    return header + rows.tobytes()


def _features(image_format, image_size, sources):
    """Returns the TFDS features of a copy.

    Args:
        image_format, image_size: as in `prepare`.
        sources: {split: `Source`}, the splits of the original data set.
    """
    classes = next(iter(sources.values())).classes
    # TFDS writes one class name per line, and strips the spaces at the ends of a line
    # when it reads the file.
    invalid_names = [name for name in classes if name.strip().splitlines() != [name]]
    if invalid_names:
        raise ValueError(
            "Expected class names of one line, without spaces at the ends. "
            f"Received: {invalid_names[0]!r}. Rename the class."
        )
    encoding = "jpeg" if image_format == "jpeg" else None
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                shape=(image_size, image_size, 3), encoding_format=encoding
            ),
            "label": tfds.features.ClassLabel(names=list(classes)),
        }
    )


def _create_or_verify(folder, new_settings):
    """Creates the folder of a copy, or checks that it was begun with the same settings.

    Raises:
        ValueError: if the copy was begun with other settings.
        OSError: if the folder can't be written to.
    """
    path = os.path.join(folder, tfds_source.SETTINGS_FILE)
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(path):
        settings.check_same(
            read_settings(path), new_settings,
            f"the settings of the copy in {folder}",
            "Give the same settings to continue it, or remove the folder.",
        )
    write_text(path, json.dumps(new_settings, indent=1))


def _shard_paths(folder, name, split, num_examples, images_per_shard):
    """Returns the paths of the record files of a split, named as in TFDS."""
    count = -(-num_examples // images_per_shard)
    return [
        os.path.join(folder, f"{name}-{split}.tfrecord-{shard:05d}-of-{count:05d}")
        for shard in range(count)
    ]


def _write_shard(path, examples, features):
    """Writes a record file, which exists only once it is complete.

    Raises:
        OSError: if the file can't be written.
    """
    # A process that was killed may have left a temporary file, which would take space.
    remove_unfinished(*os.path.split(path))
    try:
        with (
            atomic_write(path) as temporary,
            tf.io.TFRecordWriter(temporary) as file,
        ):
            for image, label in examples:
                example = {"image": image, "label": label}
                file.write(features.serialize_example(example))
    except tf.errors.OpError as error:
        raise OSError(
            f"Could not write {path}: {bad_images.short_message(error)}. Once this is "
            "resolved, the same command continues with this file."
        ) from error


def _write_metadata(folder, name, features, sources, paths, images_per_shard):
    """Writes the files from which TFDS loads a folder of record files as a data set.

    Args:
        folder, name: the folder and the name of the copy.
        features: the TFDS features of the copy.
        sources: {split: `Source`}, the splits of the original data set.
        paths: {split: paths of the record files}.
        images_per_shard: as in `prepare`.
    """
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix="tfrecord"
    )
    infos = []
    for split, source in sources.items():
        full_shards, remainder = divmod(source.num_examples, images_per_shard)
        shard_lengths = [images_per_shard] * full_shards
        shard_lengths += [remainder] * (remainder > 0)
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=shard_lengths,
                num_bytes=sum(map(os.path.getsize, paths[split])),
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        filename_template=template,
        check_data=False,
        description=f"{name}: center squares, written by alexnet_tf.prepare.",
    )
