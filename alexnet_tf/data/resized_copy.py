"""A data set resized once, so that training need not do it again each epoch.

The result is one more data set of TFDS, whose images are the central squares
that `preprocess` would make of the originals. As many machines as there are
share the work, and what has been written is not written again.
"""

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
from alexnet_tf.data import preprocess
from alexnet_tf.data import tfds_source
from alexnet_tf.files import atomic_write
from alexnet_tf.files import write_text

_VERSION = "1.0.0"


def data_set_name(dataset, image_size, resize, form):
    """What the prepared data set is called: imagenet2012_256, or ..._256_squash_raw.

    Args:
        dataset: the name of the original, see `datasets`.
        image_size: pixels of a side.
        resize: "short_side" or "squash".
        form: "jpeg" or "raw".
    """
    kind, _, path = dataset.partition(":")
    if kind in ("folder", "list"):
        kind = os.path.splitext(os.path.basename(path.rstrip("/")))[0]
    word = re.sub(r"\W+", "_", kind.split("/")[0].lower()).strip("_")
    # TFDS wants a letter first.
    word = word if word[:1].isalpha() else f"images_{word}"
    return f"{word}_{image_size}" + "_squash" * (resize == "squash") + (
        "_raw" * (form == "raw")
    )


def prepare(
    dataset,
    out,
    preprocessing,
    *,
    data_dir=None,
    form="jpeg",
    quality=95,
    images_per_shard=1000,
    worker_index=0,
    num_workers=1,
    verbose=1,
):
    """Writes all splits of a data set; (its name, whether it is whole now).

    Args:
        dataset, data_dir: see `datasets.load`.
        out: the data_dir of the result.
        preprocessing: a `presets.Preprocessing`, of which `image_size` and
            `resize` count.
        form: "jpeg", or "raw": the pixels themselves, as BMP.
        quality: of JPEG, 1 to 100.
        images_per_shard: in a file of records.
        worker_index, num_workers: which part of the files is written here, of
            how many.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if `out` holds it with other settings, a class name is not
            one line, an image can't be read, or a split does not hold as many
            as it says.
        OSError: if `out` can't be written to.
    """
    name = data_set_name(
        dataset, preprocessing.image_size, preprocessing.resize, form
    )
    folder = os.path.join(os.path.expanduser(out), name, _VERSION)
    sources = {
        split: datasets.load(dataset, split, data_dir)
        for split in datasets.split_names(dataset, data_dir)
    }
    settings = {
        "form": form,
        "quality": quality if form == "jpeg" else None,
        "image_size": preprocessing.image_size,
        "resize": preprocessing.resize,
        "images_per_shard": images_per_shard,
        "splits": {s: source.fingerprint for s, source in sources.items()},
    }
    features = _features(form, preprocessing.image_size, sources)
    _create_or_verify(folder, settings)
    files = {
        split: _paths(folder, name, split, source, images_per_shard)
        for split, source in sources.items()
    }
    for split, paths in files.items():
        first = worker_index * len(paths) // num_workers
        last = (worker_index + 1) * len(paths) // num_workers
        missing = [
            shard
            for shard in range(first, last)
            if not os.path.exists(paths[shard])
        ]
        bar = keras.utils.Progbar(
            len(missing), unit_name="file", verbose=verbose
        )
        for run in _runs(missing):
            begin = run[0] * images_per_shard
            end = (run[-1] + 1) * images_per_shard
            end = min(end, sources[split].num_examples)
            part = datasets.load(dataset, f"{split}[{begin}:{end}]", data_dir)
            examples = _encoded(part, preprocessing, form, quality)
            for shard in run:
                some = itertools.islice(examples, images_per_shard)
                _write_shard(paths[shard], some, features)
                bar.add(1)
            # Read to the end, where a miscount shows.
            next(examples, None)
    whole = all(map(os.path.exists, itertools.chain(*files.values())))
    if whole:
        _write_metadata(
            folder, name, features, sources, files, images_per_shard
        )
    return name, whole


def _encoded(source, preprocessing, form, quality):
    """(encoded square, label) of each image of a source, in order."""

    def square(example):
        pixels = preprocess.center_square(example["image"], preprocessing)
        if form == "jpeg":
            pixels = tf.io.encode_jpeg(pixels, "rgb", quality)
        return pixels, example["label"]

    squares = source.examples().map(square, num_parallel_calls=tf.data.AUTOTUNE)
    done = 0
    with bad_images.diagnosing(source, lambda: (done, 1)):
        for image, label in squares.prefetch(tf.data.AUTOTUNE):
            image = image.numpy()
            yield image if form == "jpeg" else _bmp(image), int(label)
            done += 1


def _bmp(pixels):
    """The bytes of uint8 RGB [S, S, 3] as a BMP, whose rows are whole words."""
    height, width, _ = pixels.shape
    rows = pixels[..., ::-1].reshape(height, -1)  # BGR
    rows = np.pad(rows, ((0, 0), (0, -3 * width % 4)))
    header = struct.pack(
        # 54 bytes, then the pixels; a negative height: the first row first.
        "<2sIHHIIiiHHIIiiII",
        b"BM", 54 + rows.size, 0, 0, 54,
        40, width, -height, 1, 24, 0, rows.size, 2835, 2835, 0, 0,
    )
    return header + rows.tobytes()


def _features(form, image_size, sources):
    classes = next(iter(sources.values())).classes
    # TFDS keeps the names as lines, and reads them without outer spaces.
    bad = [name for name in classes if name.strip().splitlines() != [name]]
    if bad:
        raise ValueError(
            "Expected class names of one line, without spaces at the ends. "
            f"Received: {bad[0]!r}. Rename the class."
        )
    encoding = "jpeg" if form == "jpeg" else None
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                shape=(image_size, image_size, 3), encoding_format=encoding
            ),
            "label": tfds.features.ClassLabel(names=list(classes)),
        }
    )


def _create_or_verify(folder, settings):
    """Makes the folder one of these settings, or refuses to mix two."""
    path = os.path.join(folder, tfds_source.SETTINGS_FILE)
    os.makedirs(folder, exist_ok=True)
    before = settings
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
    other = [key for key in settings if before.get(key) != settings[key]]
    if other:
        old, new = (
            ", ".join(f"{key}={values.get(key)}" for key in other)
            for values in (before, settings)
        )
        raise ValueError(
            f"Expected the settings that {folder} was begun with: {old}. "
            f"Received: {new}. Give those, or remove it."
        )
    write_text(path, json.dumps(settings, indent=1))


def _paths(folder, name, split, source, images_per_shard):
    count = -(-source.num_examples // images_per_shard)
    return [
        os.path.join(folder, f"{name}-{split}.tfrecord-{i:05d}-of-{count:05d}")
        for i in range(count)
    ]


def _runs(numbers):
    """Ascending numbers as lists without gaps: each is read in one go."""
    groups = itertools.groupby(
        enumerate(numbers), lambda pair: pair[1] - pair[0]
    )
    return [[number for _, number in group] for _, group in groups]


def _write_shard(path, examples, features):
    """Writes a file of records; it is there when it is whole."""
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
            f"Expected to write {path}. Received: {bad_images.short_message(error)}. The "
            "same command goes on from here."
        ) from error


def _write_metadata(
    folder, name, features, sources, files, images_per_shard
):
    """What makes a folder of records a data set of TFDS."""
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=name, filetype_suffix="tfrecord"
    )
    infos = []
    for split, source in sources.items():
        whole, rest = divmod(source.num_examples, images_per_shard)
        infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[images_per_shard] * whole + [rest] * (rest > 0),
                num_bytes=sum(map(os.path.getsize, files[split])),
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=infos,
        filename_template=template,
        check_data=False,
        description=f"{name}: central squares, made by alexnet_tf.prepare.",
    )
