"""Input pipelines: streams of encoded images become batches for the network."""

import dataclasses
import threading

import numpy as np
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.data.source import PADDING_LABEL
from alexnet_tf.data.source import PIPELINE_OPTIONS


def training_batches(
    source,
    preprocessing,
    statistics,
    *,
    batch_size,
    seed,
    epoch,
    steps,
    first_step=0,
    num_replicas=1,
    num_workers=1,
    worker_index=0,
    shuffle_buffer=16384,
    data_service=None,
):
    """Returns one epoch of random crops in random order, as a `tf.data.Dataset`.

    Its elements are (float32 [b, crop, crop, 3], int32 [b]), images and labels,
    with b = batch_size / num_replicas. They are a function of the arguments (and,
    as always in `tf.data`, of `tf.random.set_seed`): the same epoch always has the
    same crops in the same order, so that a run can resume in the middle of one.

    Args:
        source: a `Source`.
        preprocessing: a `presets.Preprocessing`.
        statistics: a `pixel_statistics.Statistics` of the training split.
        batch_size: images per step, over all replicas.
        seed, epoch: the random seed of the run and the index of the epoch, which
            determine the order and the augmentation.
        steps: steps of the epoch; images beyond the last full batch are not used
            in this epoch.
        first_step: steps of the epoch to skip, before any decoding.
        num_replicas: elements that make up a batch, one for each device.
        num_workers, worker_index: the number of processes, and which of them this
            one is. It makes only its share of each batch; the shares of all
            workers together are the batches of a single process.
        shuffle_buffer: encoded images from which the next one is drawn, for
            sources that are only shuffled by file.
        data_service: HOST:PORT of the dispatcher of a `data_service`, whose
            workers then make the crops. An image still has the same crop each time
            in an epoch, but the order is not fixed, and a resumed epoch draws new
            images.
    """
    pca_color_epochs = preprocessing.pca_color_epochs
    if pca_color_epochs is not None and epoch >= pca_color_epochs:
        preprocessing = dataclasses.replace(preprocessing, pca_color_std=0.0)

    def augment(index, example):
        image_seed = tf.random.fold_in(tf.random.fold_in(key, epoch), index)
        image = preprocess.training_image(
            example["image"], image_seed, preprocessing, statistics
        )
        return image, source.label_of(example)

    key = tf.constant([seed, 0], tf.int64)
    if data_service:
        inputs = _map_on_data_service(
            _shuffled(
                source.without_count_check, source, seed, epoch, shuffle_buffer
            ),
            augment,
            batch_size // num_replicas,
            data_service,
        ).take((steps - first_step) * batch_size)
    else:
        examples = (
            shuffled(source, seed, epoch, shuffle_buffer)
            .enumerate()
            .take(steps * batch_size)
            .skip(first_step * batch_size)
        )
        inputs = _share(examples, batch_size, num_workers, worker_index).map(
            augment, num_parallel_calls=tf.data.AUTOTUNE
        )
    return inputs.batch(
        batch_size // num_replicas, drop_remainder=True
    ).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(
    source,
    preprocessing,
    statistics,
    *,
    batch_size,
    num_replicas=1,
    num_workers=1,
    worker_index=0,
):
    """Returns the center crop of each image once, as a `tf.data.Dataset`.

    Its elements are (float32 [b, crop, crop, 3], int32 [b]), images and labels,
    with b = batch_size / num_replicas. Zeros labeled `PADDING_LABEL` fill the last
    batch, so that every device gets one and no image of the split is dropped.

    Args:
        source, preprocessing, statistics, batch_size, num_replicas, num_workers,
            worker_index: as in `training_batches`.
    """

    def normalize(example):
        image = preprocess.evaluation_image(
            example["image"], preprocessing, statistics
        )
        return image, source.label_of(example)

    return _padded_batches(
        source.examples(),
        normalize,
        source.num_examples,
        batch_size,
        num_replicas,
        num_workers,
        worker_index,
    )


def cached_training_batches(
    features,
    labels,
    *,
    batch_size,
    seed,
    epoch,
    steps,
    first_step=0,
    num_replicas=1,
    num_workers=1,
    worker_index=0,
):
    """Returns one epoch of features in random order, as a `tf.data.Dataset`.

    Its elements are (float32 [b, ...], int32 [b]), features and labels, with
    b = batch_size / num_replicas.

    Args:
        features: float32 [N, ...], the features of all images.
        labels: int32 [N], their labels.
        batch_size, seed, epoch, steps, first_step, num_replicas, num_workers,
            worker_index: as in `training_batches`.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(labels))
    order = order[first_step * batch_size : steps * batch_size]
    indices = tf.data.Dataset.from_tensor_slices(order)
    return (
        _share(indices, batch_size, num_workers, worker_index)
        .with_options(PIPELINE_OPTIONS)
        .batch(batch_size // num_replicas, drop_remainder=True)
        .map(lambda i: (tf.gather(features, i), tf.gather(labels, i)))
        .prefetch(tf.data.AUTOTUNE)
    )


def cached_evaluation_batches(
    features,
    labels,
    *,
    batch_size,
    num_replicas=1,
    num_workers=1,
    worker_index=0,
):
    """Returns the features of each image once, as a `tf.data.Dataset`.

    The batches are padded as in `evaluation_batches`.

    Args:
        features, labels, batch_size, num_replicas, num_workers, worker_index: as
            in `cached_training_batches`.
    """

    def gather(i):
        return tf.gather(features, i), tf.gather(labels, i)

    return _padded_batches(
        tf.data.Dataset.range(len(labels)).with_options(PIPELINE_OPTIONS),
        gather,
        len(labels),
        batch_size,
        num_replicas,
        num_workers,
        worker_index,
    )


def shuffled(source, seed, epoch, shuffle_buffer):
    """Returns the examples of a `Source` in the order of an epoch.

    Args as in `training_batches`.
    """
    return _shuffled(source.examples, source, seed, epoch, shuffle_buffer)


def index_from_name(name):
    """Returns a number that stands for an image's index in an epoch, int64 [].

    Each worker of a data service sees some of the images only, so that the index
    is not known there. The number is a hash of the name.
    """
    return tf.strings.to_hash_bucket_fast(name, 2**62)


class ReleasableIterator:
    """Iterator over batches that is released in a background thread.

    The thread with which `tf.data` tunes a pipeline sometimes misses that it is to
    stop, on a busy machine one time in five (TensorFlow 2.21; by its sources,
    `Model::OptimizeLoop` can be woken before `CancellationManager` says that it
    is cancelled). It then sleeps for up to a minute, and releasing the iterator
    takes as long. The pipelines of this module have no such thread
    (`PIPELINE_OPTIONS`), but those that `tf.distribute` appends for each of
    several devices have one.

    Attributes:
        iterator: the iterator over the batches. No other reference to it may be
            kept, or `close` does not release it.
    """

    def __init__(self, batches):
        self.iterator = iter(batches)

    def close(self):
        """Releases the iterator in a thread, for which the process waits at exit."""
        references = [self.iterator]
        del self.iterator
        threading.Thread(target=references.clear).start()


def _shuffled(read, source, seed, epoch, shuffle_buffer):
    shuffle_seed = int(np.random.default_rng((seed, epoch)).integers(2**31))
    return read(shuffle_seed).shuffle(
        min(shuffle_buffer, source.num_examples),
        seed=shuffle_seed,
        reshuffle_each_iteration=False,
    )


def _map_on_data_service(examples, augment, batch_size, data_service):
    """Maps examples by `augment` on the workers of a data service."""

    def augment_by_name(example):
        return augment(index_from_name(example["name"]), example)

    service = tf.data.experimental.service
    return (
        examples.map(augment_by_name, num_parallel_calls=tf.data.AUTOTUNE)
        # Each message of the service carries one batch.
        .batch(batch_size)
        .apply(
            service.distribute(
                service.ShardingPolicy.DYNAMIC, f"grpc://{data_service}"
            )
        )
        .unbatch()
    )


def _share(examples, batch_size, num_workers, worker_index):
    """Returns the part of each batch that belongs to a worker, unbatched."""
    if num_workers == 1:
        return examples
    return (
        examples.batch(batch_size // num_workers)
        .shard(num_workers, worker_index)
        .unbatch()
    )


def _padded_batches(
    examples,
    map_func,
    num_examples,
    batch_size,
    num_replicas,
    num_workers,
    worker_index,
):
    """Batches a worker's share of the examples, the last batch filled with zeros.

    `map_func` turns an example into (input, label).
    """
    inputs = _share(examples, batch_size, num_workers, worker_index).map(
        map_func, num_parallel_calls=tf.data.AUTOTUNE
    )
    share_size = batch_size // num_workers
    workers = np.arange(num_examples) // share_size % num_workers
    present = np.count_nonzero(workers == worker_index)
    missing = -(-num_examples // batch_size) * share_size - present
    shape = inputs.element_spec[0].shape
    padding = tf.data.Dataset.from_tensors((tf.zeros(shape), PADDING_LABEL))
    return (
        inputs.concatenate(padding.repeat(missing))
        .batch(batch_size // num_replicas, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
