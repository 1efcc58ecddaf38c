"""Input pipelines: the order, crops and sharing of batches, and errors of images."""

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

PREPROCESSING = presets.get("tiny").preprocessing
STATISTICS = pixel_statistics.imagenet(PREPROCESSING)


def training_batches(source, **changes):
    """Returns the training batches of an epoch, [(images, labels), ...]."""
    settings = dict(batch_size=6, seed=1, epoch=0, steps=3) | changes
    return list(
        input_pipeline.training_batches(
            source, PREPROCESSING, STATISTICS, **settings
        ).as_numpy_iterator()
    )


def evaluation_batches(source, batch_size, **changes):
    """Returns a `tf.data.Dataset` of the evaluation batches."""
    return input_pipeline.evaluation_batches(
        source, PREPROCESSING, STATISTICS, batch_size=batch_size, **changes
    )


def concatenate(batches):
    """Returns (images, labels) of several batches as one batch."""
    return tuple(map(np.concatenate, zip(*batches)))


def assert_same(batches, other_batches):
    """Checks that two non-empty lists of batches are equal bit for bit."""
    assert len(batches) == len(other_batches) > 0
    pairs = zip(batches, other_batches)
    for (images, labels), (other_images, other_labels) in pairs:
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def merge_replicas(parts, num_replicas):
    """Returns whole batches, given the parts of all replicas in turn."""
    return [
        concatenate(parts[i : i + num_replicas])
        for i in range(0, len(parts), num_replicas)
    ]


@pytest.fixture
def source(make_source):
    """A `Source` of 20 images, each of a different class."""
    return make_source(20, classes=20)


def test_equal_arguments_give_equal_epochs(source):
    assert_same(training_batches(source), training_batches(source))


def test_a_dataset_has_the_same_batches_each_time_it_is_read(source):
    dataset = input_pipeline.training_batches(
        source, PREPROCESSING, STATISTICS, batch_size=6, seed=1, epoch=0, steps=3
    )
    assert_same(*(list(dataset.as_numpy_iterator()) for _ in range(2)))


@pytest.mark.parametrize("changes", [{"epoch": 1}, {"seed": 2}])
def test_crops_and_order_depend_on_epoch_and_seed(source, changes):
    images, labels = concatenate(training_batches(source))
    other_images, other_labels = concatenate(training_batches(source, **changes))
    assert labels.tolist() != other_labels.tolist()
    for label in set(labels) & set(other_labels):
        image = images[labels == label]
        assert (image != other_images[other_labels == label]).any()


def test_all_crops_of_an_image_differ(make_source):
    """No two crops are equal in 36 repetitions of the same image."""
    source = make_source(1)
    repeated = dataclasses.replace(
        source, num_examples=12, read=lambda seed: source.read(seed).repeat(12)
    )
    images = [
        concatenate(training_batches(repeated, steps=2, seed=seed, epoch=epoch))[0]
        for seed, epoch in [(1, 0), (1, 1), (2, 0)]
    ]
    flat = np.concatenate(images).reshape(36, -1)
    assert len(np.unique(flat, axis=0)) == 36


@pytest.mark.parametrize("first_step", [1, 2])
def test_first_step_skips_the_first_steps_of_the_epoch(source, first_step):
    batches = training_batches(source)
    resumed = training_batches(source, first_step=first_step)
    assert_same(batches[first_step:], resumed)


def test_there_are_no_batches_after_the_last_step(source):
    assert training_batches(source, first_step=3) == []


@pytest.mark.parametrize("num_replicas", [2, 3])
def test_the_parts_of_the_replicas_make_up_the_batches(source, num_replicas):
    parts = training_batches(source, num_replicas=num_replicas)
    assert len(parts) == 3 * num_replicas
    assert all(len(labels) == 6 // num_replicas for _, labels in parts)
    assert_same(training_batches(source), merge_replicas(parts, num_replicas))


@pytest.mark.parametrize("shuffle_buffer", [1, 4, 100])
def test_an_image_occurs_at_most_once_in_an_epoch(source, shuffle_buffer):
    _, labels = concatenate(training_batches(source, shuffle_buffer=shuffle_buffer))
    assert len(labels) == len(set(labels)) == 18
    if shuffle_buffer > 1:
        assert labels.tolist() != sorted(labels)


def test_every_image_occurs_in_some_epoch(source):
    labels = [
        concatenate(training_batches(source, epoch=epoch))[1] for epoch in range(4)
    ]
    assert set(np.concatenate(labels)) == set(range(20))


def test_the_shuffle_seed_of_the_source_differs_by_epoch_and_seed(source):
    shuffle_seeds = []

    def read(shuffle_seed):
        shuffle_seeds.append(shuffle_seed)
        return source.read(shuffle_seed)

    recording = dataclasses.replace(source, read=read)
    for seed, epoch in [(1, 0), (1, 1), (2, 0), (1, 0)]:
        input_pipeline.shuffled(recording, seed, epoch, 10)
    assert shuffle_seeds[0] == shuffle_seeds[3]
    assert len(set(shuffle_seeds)) == 3
    # NumPy and TFDS accept this range.
    assert all(0 <= seed < 2**31 for seed in shuffle_seeds)


def test_shuffling_loses_no_image(source):
    examples = input_pipeline.shuffled(source, 3, 5, 7)
    labels = [int(example["label"]) for example in examples]
    assert sorted(labels) == list(range(20)) != labels


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_shapes_and_dtypes_are_static(source, num_replicas):
    for dataset in (
        input_pipeline.training_batches(
            source, PREPROCESSING, STATISTICS,
            batch_size=6, seed=1, epoch=0, steps=3, num_replicas=num_replicas,
        ),
        evaluation_batches(source, 6, num_replicas=num_replicas),
    ):
        assert dataset.element_spec == (
            tf.TensorSpec((6 // num_replicas, 64, 64, 3), tf.float32),
            tf.TensorSpec((6 // num_replicas,), tf.int32),
        )


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 20, 32])
def test_evaluation_has_every_image_once_and_padding(source, batch_size):
    batches = list(evaluation_batches(source, batch_size).as_numpy_iterator())
    assert len(batches) == -(-20 // batch_size)
    assert all(len(labels) == batch_size for _, labels in batches)
    images, labels = concatenate(batches)
    assert labels[:20].tolist() == list(range(20))
    assert (labels[20:] == -1).all() and (images[20:] == 0).all()
    assert np.abs(images[:20]).max(axis=(1, 2, 3)).min() > 1


@pytest.mark.parametrize("num_replicas", [2, 3])
def test_evaluation_gives_every_replica_a_full_part(source, num_replicas):
    batches = list(evaluation_batches(source, 6).as_numpy_iterator())
    dataset = evaluation_batches(source, 6, num_replicas=num_replicas)
    parts = list(dataset.as_numpy_iterator())
    assert_same(batches, merge_replicas(parts, num_replicas))


def test_evaluation_is_the_same_each_time(source):
    assert_same(*(
        list(evaluation_batches(source, 6).as_numpy_iterator()) for _ in range(2)
    ))


@pytest.mark.parametrize("classes", [7, 19])
def test_an_error_names_the_image_with_an_invalid_label(make_source, classes):
    source = make_source(20, classes=20)
    too_few = dataclasses.replace(source, classes=source.classes[:classes])
    first_invalid = f"images {classes}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=first_invalid):
        list(evaluation_batches(too_few, 1))
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        training_batches(too_few, batch_size=20, steps=1)
    for examples in (
        too_few.examples(), input_pipeline.shuffled(too_few, 1, 0, 16384)
    ):  # fmt: skip
        diagnosis = bad_images.diagnose(error.value, too_few, examples)
        assert isinstance(diagnosis, ValueError)
        assert "its label is" in str(diagnosis)


def test_rejects_an_image_with_the_label_of_padding(make_source):
    source = make_source(4)
    negative = dataclasses.replace(
        source,
        read=lambda seed: source.read(seed).map(
            lambda example: example | {"label": example["label"] - 1}
        ),
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="images 0"):
        list(evaluation_batches(negative, 2))


def source_with_damaged_file(tmp_path, damage):
    """Returns a `Source` of five good JPEGs and of bad.jpg, in one class folder.

    Args:
        tmp_path: the folder to write to.
        damage: a function from the bytes of a good JPEG to those of bad.jpg.
    """
    (tmp_path / "only").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    good = tf.io.encode_jpeg(image).numpy()
    for index in range(5):
        (tmp_path / "only" / f"{index}.jpg").write_bytes(good)
    (tmp_path / "only" / "bad.jpg").write_bytes(damage(good))
    return datasets.load(f"folder:{tmp_path}", "train")


DAMAGES = {
    "zero bytes": lambda good: b"",
    "cut in half": lambda good: good[: len(good) // 2],
    "header only": lambda good: good[:30],
    "text": lambda good: b"<html>404</html>",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_error_names_the_unreadable_image_in_training(tmp_path, damage):
    source = source_with_damaged_file(tmp_path, DAMAGES[damage])
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        training_batches(source, batch_size=6, steps=1)
    examples = input_pipeline.shuffled(source, 1, 0, 16384)
    diagnosis = bad_images.diagnose(error.value, source, examples)
    assert_names_bad_image(diagnosis, source)


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_error_names_the_unreadable_image_in_evaluation(tmp_path, damage):
    source = source_with_damaged_file(tmp_path, DAMAGES[damage])
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        list(evaluation_batches(source, 4))
    diagnosis = bad_images.diagnose(error.value, source, source.examples())
    assert_names_bad_image(diagnosis, source)


def assert_names_bad_image(diagnosis, source):
    """Checks the path and the size of bad.jpg in an error."""
    path = f"{source.folder}/only/bad.jpg"
    size = os.path.getsize(path)
    assert isinstance(diagnosis, ValueError)
    assert f"{path} of {source.name}, split train" in str(diagnosis)
    assert f"({size} bytes)" in str(diagnosis)


def test_an_error_without_an_unreadable_image_is_returned_unchanged(source):
    error = tf.errors.InvalidArgumentError(None, None, "something else")
    assert bad_images.diagnose(error, source, source.examples()) is error


def test_color_augmentation_ends_after_its_epochs(make_source):
    """Images are not divided by `pca_color_divisor` either, as in the original code."""
    source = make_source(4)
    augmented = presets.override(
        presets.get("tiny"), pca_color_std=0.3, pca_color_divisor=1.1,
        pca_color_epochs=2,
    ).preprocessing  # fmt: skip
    plain = dataclasses.replace(augmented, pca_color_std=0.0)

    def first_images(preprocessing, epoch):
        batches = input_pipeline.training_batches(
            source,
            preprocessing,
            STATISTICS,
            batch_size=4,
            seed=0,
            epoch=epoch,
            steps=1,
        )
        return next(iter(batches))[0].numpy()

    shifts = first_images(augmented, 1) - first_images(plain, 1)
    assert np.abs(shifts).max() > 0.1
    for epoch in (2, 3):
        np.testing.assert_array_equal(
            first_images(augmented, epoch), first_images(plain, epoch)
        )


# ---- Several workers -------------------------------------------------------------


def merge_workers(shares):
    """Returns the batches of a single process, given the lists of all workers."""
    return [concatenate(parts) for parts in zip(*shares, strict=True)]


@pytest.mark.parametrize(
    "num_workers, first_step",
    [
        (3, 1),
        pytest.param(3, 0, marks=pytest.mark.large),
        pytest.param(2, 0, marks=pytest.mark.large),
        pytest.param(2, 1, marks=pytest.mark.large),
    ],
)
def test_workers_share_the_batches_of_one_process(source, num_workers, first_step):
    shares = [
        training_batches(
            source,
            num_replicas=num_workers,
            num_workers=num_workers,
            worker_index=i,
            first_step=first_step,
        )
        for i in range(num_workers)
    ]
    batches = training_batches(source, first_step=first_step)
    assert_same(merge_workers(shares), batches)


def test_each_worker_has_the_parts_of_its_devices(source):
    """A batch has four parts, and each of two workers has two devices."""
    settings = dict(batch_size=8, steps=2, num_replicas=4)
    parts = training_batches(source, **settings)
    shares = [
        training_batches(source, num_workers=2, worker_index=i, **settings)
        for i in range(2)
    ]
    assert_same(shares[0], parts[0:2] + parts[4:6])
    assert_same(shares[1], parts[2:4] + parts[6:8])


@pytest.mark.parametrize(
    "num_workers", [pytest.param(2, marks=pytest.mark.large), 3]
)
@pytest.mark.parametrize(
    "batch_size", [6, pytest.param(12, marks=pytest.mark.large), 30]
)
def test_workers_evaluate_each_image_once(source, num_workers, batch_size):
    shares = [
        list(
            evaluation_batches(
                source,
                batch_size,
                num_replicas=num_workers,
                num_workers=num_workers,
                worker_index=i,
            ).as_numpy_iterator()
        )
        for i in range(num_workers)
    ]
    batches = list(evaluation_batches(source, batch_size).as_numpy_iterator())
    assert_same(merge_workers(shares), batches)


def test_workers_share_cached_features():
    features = np.arange(20, dtype=np.float32)[:, None]
    labels = np.arange(20, dtype=np.int32)
    epoch = dict(seed=1, epoch=0, steps=3)
    for make_batches, settings in [
        (input_pipeline.cached_training_batches, epoch),
        (input_pipeline.cached_evaluation_batches, {}),
    ]:
        batches = make_batches(features, labels, batch_size=6, **settings)
        shares = [
            list(
                make_batches(
                    features,
                    labels,
                    batch_size=6,
                    num_replicas=2,
                    num_workers=2,
                    worker_index=i,
                    **settings,
                ).as_numpy_iterator()
            )
            for i in range(2)
        ]
        assert_same(merge_workers(shares), list(batches.as_numpy_iterator()))


# ---- Starting a pipeline -----------------------------------------------------------


@pytest.mark.all_formats
@pytest.mark.compiled
@pytest.mark.parametrize("make_batches", ["training", "evaluation"])
def test_functions_that_remain_calls_are_not_optimized(source, make_batches):
    """All of them need an attribute of their own, see `separate_graph`."""
    if make_batches == "training":
        batches = input_pipeline.training_batches(
            source, PREPROCESSING, STATISTICS, batch_size=6, seed=1, epoch=0, steps=3
        )
    else:
        batches = evaluation_batches(source, 6)
    serialized = tf.raw_ops.DatasetToGraphV2(input_dataset=batches._variant_tensor)
    graph = tf.compat.v1.GraphDef.FromString(serialized.numpy())
    calls = {
        function.signature.name: "_tf_data_function" in function.attr
        for function in graph.library.function
        if {"_noinline", "_XlaMustCompile"} & function.attr.keys()
    }
    # The decoder and the header of images other than JPEG, their parts, and the
    # function that XLA compiles.
    assert len(calls) > 3
    assert all(calls.values()), calls


# ---- Threads ---------------------------------------------------------------------


def test_pipelines_are_not_tuned_and_limit_their_parallel_calls(source):
    """As many parallel calls run as there are threads, and no thread tunes them."""
    features, labels = np.zeros((12, 3), np.float32), np.zeros(12, np.int32)
    epoch = dict(seed=0, epoch=0, steps=2)
    pipelines = [
        input_pipeline.training_batches(
            source, PREPROCESSING, STATISTICS, batch_size=6, **epoch
        ),
        evaluation_batches(source, 6),
        evaluation_batches(source.allow_bad_images(), 6),
        evaluation_batches(source.in_memory(), 6),
        evaluation_batches(source.without_bad_images(), 6),
        input_pipeline.cached_training_batches(
            features, labels, batch_size=6, **epoch
        ),
        input_pipeline.cached_evaluation_batches(features, labels, batch_size=6),
    ]
    for pipeline in pipelines:
        options = pipeline.options()
        assert options.autotune.enabled is False
        assert options.experimental_optimization.apply_default_optimizations is False
    consumed = []

    def record(number):
        consumed.append(int(number))
        return number

    numbers = tf.data.Dataset.range(10_000).map(
        lambda number: tf.py_function(record, [number], tf.int64)
    )
    successors = numbers.with_options(PIPELINE_OPTIONS).map(
        lambda number: number + 1, num_parallel_calls=tf.data.AUTOTUNE
    )
    next(iter(successors))
    assert len(consumed) <= 3 * os.cpu_count()


def test_an_iterator_is_released_in_the_background():
    may_finish, released = threading.Event(), threading.Event()

    class SlowIterator:
        def __iter__(self):
            return self

        def __next__(self):
            raise StopIteration

        def __del__(self):
            may_finish.wait(60)
            released.set()

    batches = input_pipeline.ReleasableIterator(SlowIterator())
    batches.close()
    assert not released.is_set()
    may_finish.set()
    assert released.wait(60)
    assert batches.iterator is None
    batches.close()  # A second call does nothing.
