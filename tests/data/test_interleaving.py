"""Reading a data set from its middle, in the order of `interleave` and `shuffle`."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import interleaving
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import resized_copy
from alexnet_tf import presets
from helpers.images import write_image_folder

# The seed of the order of files in the first epoch of a run with the seed 0.
SHUFFLE_SEED = int(np.random.default_rng((0, 0)).integers(2**31))


def interleaved(files, starts, counts, cycle_length, block_length):
    """Returns the order in which `interleave` reads the records of some files.

    Each record is the number 100 * file + index.
    """
    dataset = tf.data.Dataset.from_tensor_slices((files, starts)).interleave(
        lambda file, start: tf.data.Dataset.range(
            100 * file + start, 100 * file + tf.gather(counts, file)
        ),
        cycle_length=cycle_length,
        block_length=block_length,
        num_parallel_calls=min(2, cycle_length),
        deterministic=True,
    )
    return [*dataset.as_numpy_iterator()]


@pytest.mark.parametrize("seed", range(8))
def test_the_rest_is_read_in_the_order_of_all_files(seed):
    """Files may be empty, shorter than a block, and fewer than are read in turn."""
    rng = np.random.default_rng(seed)
    cycle_length, block_length = (int(number) for number in rng.integers(1, 6, 2))
    counts = rng.integers(0, 12, rng.integers(1, 12))
    files = np.arange(len(counts))
    shape = cycle_length, block_length
    everything = interleaved(files, np.zeros_like(files), counts, *shape)
    assert len(everything) == sum(counts)
    for position in range(0, len(everything) + 2, 3):
        num_skipped, rest = interleaving.position_near(
            counts, position, cycle_length=cycle_length, block_length=block_length
        )
        # Fewer records than one block are read although they could be left out.
        assert 0 <= min(position, len(everything)) - num_skipped < block_length
        columns = np.array(rest, np.int64).reshape(-1, 2).T
        assert interleaved(*columns, counts, *shape) == everything[num_skipped:]


@pytest.mark.parametrize("num_read", [0, 1, 37, 99, 100])
def test_finds_the_first_position_that_shuffling_still_needs(num_read):
    dataset = tf.data.Dataset.range(100).shuffle(
        10, seed=3, reshuffle_each_iteration=False
    )
    needed = [*dataset.as_numpy_iterator()][num_read:]
    first = interleaving.first_unread(100, 10, 3, num_read)
    assert first == min(needed, default=100)
    assert num_read < 90 or first > 60


def batches(source, first_step):
    """Returns the batches of an epoch of 12 steps of 5 images."""
    preprocessing = dataclasses.replace(
        presets.get("tiny").preprocessing, image_size=18, crop_size=16
    )
    dataset = input_pipeline.training_batches(
        source,
        preprocessing,
        pixel_statistics.imagenet(preprocessing),
        batch_size=5,
        seed=0,
        epoch=0,
        steps=12,
        first_step=first_step,
        shuffle_buffer=6,
    )
    return [*dataset.as_numpy_iterator()]


def crops(source, first_step):
    """Returns the images and labels of the batches."""
    images, labels = zip(*batches(source, first_step))
    return np.concatenate(images), np.concatenate(labels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The name of a data set of 60 image files."""
    folder = tmp_path_factory.mktemp("images") / "images"
    return write_image_folder(folder, count=30, side=18)


@pytest.fixture(scope="module")
def copy_in_files(folder, tmp_path_factory):
    """The data_dir of the data set images_18, whose 60 images are in 20 files."""
    data_dir = str(tmp_path_factory.mktemp("copy"))
    resized_copy.prepare(
        folder, data_dir, image_size=18, images_per_shard=3, verbose=0
    )
    return data_dir


@pytest.mark.parametrize(
    "allows_bad_images", [False, pytest.param(True, marks=pytest.mark.large)]
)
def test_a_resumed_epoch_reads_only_the_files_that_it_needs(
    copy_in_files, tmp_path, allows_bad_images
):
    """The records that the first steps have read are deleted."""

    def load(data_dir):
        source = datasets.load("images_18", "train", str(data_dir))
        return source.allow_bad_images() if allows_bad_images else source

    images, labels = crops(load(copy_in_files), first_step=0)
    shutil.copytree(copy_in_files, tmp_path / "copy")
    source = load(tmp_path / "copy")
    num_unused = interleaving.first_unread(60, 6, SHUFFLE_SEED, 45)
    _, num_skipped = source.read_from(SHUFFLE_SEED, num_unused)
    assert num_skipped == num_unused // 3 * 3 > 15
    names = [
        example["name"].decode().split("__")[0]
        for example in load(copy_in_files).examples(SHUFFLE_SEED).as_numpy_iterator()
    ]
    for name in names[:num_skipped]:
        for path in (tmp_path / "copy").rglob(name):
            path.unlink()
    resumed_images, resumed_labels = crops(source, first_step=9)
    np.testing.assert_array_equal(resumed_labels, labels[45:])
    np.testing.assert_array_equal(resumed_images, images[45:])


def test_an_epoch_resumed_after_its_last_step_has_no_batches(copy_in_files):
    """A run may be stopped when it has trained, but not evaluated, an epoch."""
    source = datasets.load("images_18", "train", copy_in_files)
    assert batches(source, first_step=12) == []


def test_an_ordered_data_set_is_shuffled_like_others(copy_in_files, tmp_path):
    """TFDS refuses to shuffle the files of such a data set by default."""
    shutil.copytree(copy_in_files, tmp_path / "copy")
    (path,) = (tmp_path / "copy").rglob("dataset_info.json")
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"disableShuffling": True}))
    names = [
        [example["name"] for example in source.examples(SHUFFLE_SEED)]
        for source in (
            datasets.load("images_18", "train", data_dir)
            for data_dir in (copy_in_files, str(tmp_path / "copy"))
        )
    ]
    assert names[0] == names[1] and len(names[0]) == 60


def test_a_resumed_epoch_of_image_files_reads_only_those_that_it_needs(tmp_path):
    name = write_image_folder(tmp_path / "images", count=30, side=18)
    source = datasets.load(name, "train")
    images, labels = crops(source, first_step=0)
    num_unused = interleaving.first_unread(60, 6, SHUFFLE_SEED, 45)
    assert num_unused > 15
    for example in source.read(SHUFFLE_SEED).take(num_unused).as_numpy_iterator():
        os.remove(example["name"])
    resumed_images, resumed_labels = crops(source, first_step=9)
    np.testing.assert_array_equal(resumed_labels, labels[45:])
    np.testing.assert_array_equal(resumed_images, images[45:])


@pytest.mark.parametrize(
    "change",
    [
        lambda source: source.subsample(30),
        lambda source: source.in_memory(),
        lambda source: source.without_bad_images(),
        lambda source: dataclasses.replace(
            source, read=lambda seed: source.read(seed).shard(2, 1), num_examples=30
        ),
    ],
)
def test_other_sources_are_read_from_their_start(copy_in_files, change):
    """Their examples do not have the positions of the files."""
    source = change(datasets.load("images_18", "train", copy_in_files))
    expected = [*source.examples(3).as_numpy_iterator()]
    actual = [*source.examples(3, num_unused=20).as_numpy_iterator()]
    assert [example["name"] for example in actual] == [
        example["name"] for example in expected
    ]
