"""Batches are a function of seed and epoch, and lose no image."""

import dataclasses
import os
import threading

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import datasets
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data.source import PIPELINE_OPTIONS
from alexnet_tf import presets

PIXELS = presets.get("tiny").preprocessing
KNOWN = pixel_statistics.imagenet(PIXELS)


def training(source, **changes):
    """[(images, labels)] of an epoch of 20 images."""
    settings = dict(batch_size=6, seed=1, epoch=0, steps=3) | changes
    return list(
        input_pipeline.training_batches(
            source, PIXELS, KNOWN, **settings
        ).as_numpy_iterator()
    )


def evaluation(source, batch_size, **changes):
    return input_pipeline.evaluation_batches(
        source, PIXELS, KNOWN, batch_size=batch_size, **changes
    )


def joined(batches):
    """(images, labels) of several batches as one."""
    return tuple(map(np.concatenate, zip(*batches)))


def assert_same(one, other):
    assert len(one) == len(other) > 0
    for (images, labels), (other_images, other_labels) in zip(one, other):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


@pytest.fixture
def source(make_source):
    """20 images, each of its own class."""
    return make_source(20, classes=20)


def test_an_epoch_comes_twice_the_same(source):
    assert_same(training(source), training(source))


def test_an_epoch_comes_twice_the_same_from_one_dataset(source):
    dataset = input_pipeline.training_batches(
        source, PIXELS, KNOWN, batch_size=6, seed=1, epoch=0, steps=3
    )
    assert_same(*(list(dataset.as_numpy_iterator()) for _ in range(2)))


@pytest.mark.parametrize("changes", [{"epoch": 1}, {"seed": 2}])
def test_another_epoch_or_seed_brings_other_views_and_order(source, changes):
    images, labels = joined(training(source))
    other_images, other_labels = joined(training(source, **changes))
    assert labels.tolist() != other_labels.tolist()
    for label in set(labels) & set(other_labels):
        mine = images[labels == label]
        assert (mine != other_images[other_labels == label]).any()


def test_views_differ_where_the_order_does_not(make_source):
    """Of one and the same image over and over no two views are alike."""
    source = make_source(1)
    many = dataclasses.replace(
        source, num_examples=12, read=lambda seed: source.read(seed).repeat(12)
    )
    images = [
        joined(training(many, steps=2, seed=seed, epoch=epoch))[0]
        for seed, epoch in [(1, 0), (1, 1), (2, 0)]
    ]
    flat = np.concatenate(images).reshape(36, -1)
    assert len(np.unique(flat, axis=0)) == 36


@pytest.mark.parametrize("first_step", [1, 2])
def test_resuming_brings_the_rest_of_the_epoch(source, first_step):
    assert_same(
        training(source)[first_step:], training(source, first_step=first_step)
    )


def test_nothing_is_left_after_the_last_step(source):
    assert training(source, first_step=3) == []


@pytest.mark.parametrize("num_replicas", [2, 3])
def test_pieces_make_up_the_batches(source, num_replicas):
    whole, split = training(source), training(source, num_replicas=num_replicas)
    assert len(split) == 3 * num_replicas
    assert all(len(labels) == 6 // num_replicas for _, labels in split)
    assert_same(whole, [
        joined(split[i : i + num_replicas]) for i in range(0, len(split), num_replicas)
    ])


@pytest.mark.parametrize("shuffle_buffer", [1, 4, 100])
def test_a_image_comes_at_most_once_an_epoch(source, shuffle_buffer):
    _, labels = joined(training(source, shuffle_buffer=shuffle_buffer))
    assert len(labels) == len(set(labels)) == 18
    if shuffle_buffer > 1:
        assert labels.tolist() != sorted(labels)


def test_every_image_comes_in_some_epoch(source):
    seen = [joined(training(source, epoch=e))[1] for e in range(4)]
    assert set(np.concatenate(seen)) == set(range(20))


def test_the_source_s_own_shuffle_differs_by_epoch_and_seed(source):
    asked = []

    def read(shuffle_seed):
        asked.append(shuffle_seed)
        return source.read(shuffle_seed)

    spy = dataclasses.replace(source, read=read)
    for seed, epoch in [(1, 0), (1, 1), (2, 0), (1, 0)]:
        input_pipeline.shuffled(spy, seed, epoch, 10)
    assert asked[0] == asked[3]
    assert len(set(asked)) == 3
    # What NumPy and TFDS take.
    assert all(0 <= seed < 2**31 for seed in asked)


def test_no_image_is_lost_in_the_shuffle(source):
    examples = input_pipeline.shuffled(source, 3, 5, 7)
    labels = [int(example["label"]) for example in examples]
    assert sorted(labels) == list(range(20)) != labels


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_shapes_and_types_are_static(source, num_replicas):
    for dataset in (
        input_pipeline.training_batches(
            source, PIXELS, KNOWN,
            batch_size=6, seed=1, epoch=0, steps=3, num_replicas=num_replicas,
        ),
        evaluation(source, 6, num_replicas=num_replicas),
    ):
        assert dataset.element_spec == (
            tf.TensorSpec((6 // num_replicas, 64, 64, 3), tf.float32),
            tf.TensorSpec((6 // num_replicas,), tf.int32),
        )


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 20, 32])
def test_evaluation_sees_every_image_once_and_pads(source, batch_size):
    batches = list(evaluation(source, batch_size).as_numpy_iterator())
    assert len(batches) == -(-20 // batch_size)
    assert all(len(labels) == batch_size for _, labels in batches)
    images, labels = joined(batches)
    assert labels[:20].tolist() == list(range(20))
    assert (labels[20:] == -1).all() and (images[20:] == 0).all()
    assert np.abs(images[:20]).max(axis=(1, 2, 3)).min() > 1


@pytest.mark.parametrize("num_replicas", [2, 3])
def test_evaluation_gives_every_device_a_full_piece(source, num_replicas):
    whole = list(evaluation(source, 6).as_numpy_iterator())
    split = list(evaluation(source, 6, num_replicas=num_replicas).as_numpy_iterator())
    assert_same(whole, [
        joined(split[i : i + num_replicas]) for i in range(0, len(split), num_replicas)
    ])


def test_evaluation_always_brings_the_same(source):
    assert_same(*(
        list(evaluation(source, 6).as_numpy_iterator()) for _ in range(2)
    ))


@pytest.mark.parametrize("classes", [7, 19])
def test_a_label_of_no_class_is_named(make_source, classes):
    source = make_source(20, classes=20)
    narrow = dataclasses.replace(source, classes=source.classes[:classes])
    first = f"images {classes}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=first):
        list(evaluation(narrow, 1))
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        training(narrow, batch_size=20, steps=1)
    for examples in (
        narrow.examples(), input_pipeline.shuffled(narrow, 1, 0, 16384)
    ):
        explained = bad_images.diagnose(error.value, narrow, examples)
        assert isinstance(explained, ValueError)
        assert "its label is" in str(explained)


def test_a_negative_label_is_no_padding(make_source):
    source = make_source(4)
    wrong = dataclasses.replace(
        source,
        read=lambda seed: source.read(seed).map(
            lambda example: example | {"label": example["label"] - 1}
        ),
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="images 0"):
        list(evaluation(wrong, 2))


def folder_with(tmp_path, bad):
    """A source of 6 JPEGs of which the one called bad.jpg holds `bad`."""
    (tmp_path / "only").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    good = tf.io.encode_jpeg(image).numpy()
    for index in range(5):
        (tmp_path / "only" / f"{index}.jpg").write_bytes(good)
    (tmp_path / "only" / "bad.jpg").write_bytes(bad(good))
    return datasets.load(f"folder:{tmp_path}", "train")


DAMAGES = {
    "zero bytes": lambda good: b"",
    "cut in half": lambda good: good[: len(good) // 2],
    "header only": lambda good: good[:30],
    "text": lambda good: b"<html>404</html>",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_image_is_named_in_training(tmp_path, damage):
    source = folder_with(tmp_path, DAMAGES[damage])
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        training(source, batch_size=6, steps=1)
    examples = input_pipeline.shuffled(source, 1, 0, 16384)
    assert_named(source, bad_images.diagnose(error.value, source, examples))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_image_is_named_in_evaluation(tmp_path, damage):
    source = folder_with(tmp_path, DAMAGES[damage])
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        list(evaluation(source, 4))
    assert_named(
        source, bad_images.diagnose(error.value, source, source.examples())
    )


def assert_named(source, explained):
    path = f"{source.folder}/only/bad.jpg"
    with open(path, "rb") as file:
        size = len(file.read())
    assert isinstance(explained, ValueError)
    assert f"{path} of {source.name}, split train" in str(explained)
    assert f"({size} bytes)" in str(explained)


def test_an_error_without_a_bad_image_stays_itself(source):
    error = tf.errors.InvalidArgumentError(None, None, "something else")
    assert bad_images.diagnose(error, source, source.examples()) is error


def test_color_noise_ends_after_its_epochs(make_source):
    """The original code switched it off, and its divisor with it."""
    source = make_source(4)
    noisy = presets.override(
        presets.get("tiny"), pca_color_std=0.3, pca_color_divisor=1.1,
        pca_color_epochs=2,
    ).preprocessing  # fmt: skip
    plain = dataclasses.replace(noisy, pca_color_std=0.0)

    def first(preprocessing, epoch):
        batches = input_pipeline.training_batches(
            source, preprocessing, KNOWN, batch_size=4, seed=0, epoch=epoch, steps=1
        )
        return next(iter(batches))[0].numpy()

    assert np.abs(first(noisy, 1) - first(plain, 1)).max() > 0.1
    for epoch in (2, 3):
        np.testing.assert_array_equal(first(noisy, epoch), first(plain, epoch))


# ---- Several workers -------------------------------------------------------------


def interleaved(parts):
    """The batches of a process, of those of its workers."""
    return [joined(num_replicas) for num_replicas in zip(*parts, strict=True)]


@pytest.mark.parametrize(
    "count, first_step",
    [
        (3, 1),
        pytest.param(3, 0, marks=pytest.mark.large),
        pytest.param(2, 0, marks=pytest.mark.large),
        pytest.param(2, 1, marks=pytest.mark.large),
    ],
)
def test_workers_make_together_the_batches_of_one(source, count, first_step):
    parts = [
        training(source, num_replicas=count, workers=(count, i), first_step=first_step)
        for i in range(count)
    ]
    assert_same(interleaved(parts), training(source, first_step=first_step))


def test_workers_with_several_devices_each_have_theirs(source):
    """Four num_replicas of each batch: two for the devices of either worker."""
    whole = training(source, batch_size=8, steps=2, num_replicas=4)
    parts = [
        training(source, batch_size=8, steps=2, num_replicas=4, workers=(2, i))
        for i in range(2)
    ]
    assert_same(parts[0], whole[0:2] + whole[4:6])
    assert_same(parts[1], whole[2:4] + whole[6:8])


@pytest.mark.parametrize(
    "count", [pytest.param(2, marks=pytest.mark.large), 3]
)
@pytest.mark.parametrize(
    "batch_size", [6, pytest.param(12, marks=pytest.mark.large), 30]
)
def test_workers_evaluate_each_image_once(source, count, batch_size):
    parts = [
        list(
            evaluation(source, batch_size, num_replicas=count, workers=(count, i))
            .as_numpy_iterator()
        )
        for i in range(count)
    ]
    whole = list(evaluation(source, batch_size).as_numpy_iterator())
    assert_same(interleaved(parts), whole)


def test_workers_share_cached_features():
    features = np.arange(20, dtype=np.float32)[:, None]
    labels = np.arange(20, dtype=np.int32)
    settings = dict(batch_size=6, num_replicas=2)
    order = dict(seed=1, epoch=0, steps=3)
    for make, more in [
        (input_pipeline.cached_training_batches, order),
        (input_pipeline.cached_evaluation_batches, {}),
    ]:
        whole = make(features, labels, batch_size=6, **more)
        parts = [
            list(
                make(features, labels, workers=(2, i), **settings, **more)
                .as_numpy_iterator()
            )
            for i in range(2)
        ]
        assert_same(interleaved(parts), list(whole.as_numpy_iterator()))


def test_as_many_calls_at_a_time_as_there_are_threads(source):
    """And no thread that tries other numbers."""
    features, labels = np.zeros((12, 3), np.float32), np.zeros(12, np.int32)
    epoch = dict(seed=0, epoch=0, steps=2)
    batches = [
        input_pipeline.training_batches(source, PIXELS, KNOWN, batch_size=6, **epoch),
        evaluation(source, 6),
        evaluation(source.allow_bad_images(), 6),
        evaluation(source.in_memory(), 6),
        evaluation(source.without_bad_images(), 6),
        input_pipeline.cached_training_batches(
            features, labels, batch_size=6, **epoch
        ),
        input_pipeline.cached_evaluation_batches(features, labels, batch_size=6),
    ]
    for each in batches:
        options = each.options()
        assert options.autotune.enabled is False
        assert options.experimental_optimization.apply_default_optimizations is False
    pulled = []

    def count(x):
        pulled.append(int(x))
        return x

    numbers = tf.data.Dataset.range(10_000).map(
        lambda x: tf.py_function(count, [x], tf.int64)
    )
    ahead = numbers.with_options(PIPELINE_OPTIONS).map(
        lambda x: x + 1, num_parallel_calls=tf.data.AUTOTUNE
    )
    next(iter(ahead))
    assert len(pulled) <= 3 * os.cpu_count()


def test_nobody_waits_for_the_end_of_a_pass():
    go_on, gone = threading.Event(), threading.Event()

    class Slow:
        def __iter__(self):
            return self

        def __next__(self):
            raise StopIteration

        def __del__(self):
            go_on.wait(60)
            gone.set()

    batches = input_pipeline.Iteration(Slow())
    batches.close()
    assert not gone.is_set()
    go_on.set()
    assert gone.wait(60)
    assert not hasattr(batches, "iterator")
