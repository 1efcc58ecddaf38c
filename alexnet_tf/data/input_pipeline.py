"""A stream of encoded pictures becomes batches for the network."""

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
    workers=(1, 0),
    shuffle_buffer=16384,
    data_service=None,
):
    """One epoch of random views in random order, as a `tf.data.Dataset`.

    (float32 [b, crop, crop, 3], int32 [b]) with b = batch_size / num_replicas. A
    function of its arguments (and of `tf.random.set_seed`, as `tf.data` has
    it): the same epoch always brings the same views in the same order, so that
    a run can resume in the middle of one.

    Args:
        source: a `Source`.
        preprocessing: a `presets.Preprocessing`.
        statistics: a `pixel_statistics.Statistics` of the training split.
        batch_size: pictures a step.
        seed, epoch: which order and which views.
        steps: of the epoch; what is left of the pictures waits for another.
        first_step: steps of the epoch to leave out, before any decoding.
        num_replicas: elements that make up a batch, one for each device.
        workers: (count, index): of each batch this process makes but its share,
            all of which together are the batches of a process by itself.
        shuffle_buffer: pictures, still encoded, to draw the next one from,
            where the source is only shuffled by file.
        data_service: HOST:PORT of `data_service`'s dispatcher, whose workers
            then make the views, which come in no certain order: the same picture
            has the same view in an epoch, and what an epoch was stopped at is
            drawn anew.
    """
    noisy = preprocessing.pca_color_epochs
    if noisy is not None and epoch >= noisy:
        preprocessing = dataclasses.replace(preprocessing, pca_color_std=0.0)

    def view(index, example):
        view_seed = tf.random.fold_in(tf.random.fold_in(key, epoch), index)
        image = preprocess.training_image(
            example["image"], view_seed, preprocessing, statistics
        )
        return image, source.label_of(example)

    key = tf.constant([seed, 0], tf.int64)
    if data_service:
        views = _served(
            _shuffled(source.without_count_check, source, seed, epoch, shuffle_buffer),
            view,
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
        views = (
            _share(examples, batch_size, workers)
            .map(view, num_parallel_calls=tf.data.AUTOTUNE)
        )
    return views.batch(batch_size // num_replicas, drop_remainder=True).prefetch(
        tf.data.AUTOTUNE
    )


def evaluation_batches(
    source,
    preprocessing,
    statistics,
    *,
    batch_size,
    num_replicas=1,
    workers=(1, 0),
):
    """Each picture's central view once, as a `tf.data.Dataset`.

    (float32 [b, crop, crop, 3], int32 [b]) with b = batch_size / num_replicas.
    Zeros labelled `PADDING_LABEL` fill the last batch, so that no device
    goes without and none of the split is dropped.
    """

    def view(example):
        image = preprocess.evaluation_image(
            example["image"], preprocessing, statistics
        )
        return image, source.label_of(example)

    return _padded(
        source.examples(), view, source.num_examples, batch_size, num_replicas, workers
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
    workers=(1, 0),
):
    """One epoch of features in random order, as a `tf.data.Dataset`.

    (float32 [b, ...], int32 [b]) with b = batch_size / num_replicas.

    Args:
        features, labels: float32 [N, ...], int32 [N]: of all pictures.
        batch_size, seed, epoch, steps, first_step, num_replicas, workers: as in
            `training_batches`.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(labels))
    order = order[first_step * batch_size : steps * batch_size]
    return (
        _share(tf.data.Dataset.from_tensor_slices(order), batch_size, workers)
        .with_options(PIPELINE_OPTIONS)
        .batch(batch_size // num_replicas, drop_remainder=True)
        .map(lambda i: (tf.gather(features, i), tf.gather(labels, i)))
        .prefetch(tf.data.AUTOTUNE)
    )


def cached_evaluation_batches(
    features, labels, *, batch_size, num_replicas=1, workers=(1, 0)
):
    """The features of each picture once, as a `tf.data.Dataset`.

    As `evaluation_batches`, of `features` and `labels` as in
    `cached_training_batches`.
    """

    def view(i):
        return tf.gather(features, i), tf.gather(labels, i)

    examples = tf.data.Dataset.range(len(labels)).with_options(PIPELINE_OPTIONS)
    return _padded(examples, view, len(labels), batch_size, num_replicas, workers)


def shuffled(source, seed, epoch, shuffle_buffer):
    """The examples of a `Source` in the order of an epoch.

    Args as in `training_batches`.
    """
    return _shuffled(source.examples, source, seed, epoch, shuffle_buffer)


def _shuffled(read, source, seed, epoch, shuffle_buffer):
    shuffle_seed = int(np.random.default_rng((seed, epoch)).integers(2**31))
    return read(shuffle_seed).shuffle(
        min(shuffle_buffer, source.num_examples),
        seed=shuffle_seed,
        reshuffle_each_iteration=False,
    )


def _served(examples, view, batch_size, data_service):
    """The views that the workers of a data service make of examples."""

    def named_view(example):
        return view(place_of(example["name"]), example)

    service = tf.data.experimental.service
    return (
        examples.map(named_view, num_parallel_calls=tf.data.AUTOTUNE)
        # What is sent at once.
        .batch(batch_size)
        .apply(
            service.distribute(
                service.ShardingPolicy.DYNAMIC, f"grpc://{data_service}"
            )
        )
        .unbatch()
    )


def place_of(name):
    """int64 []: what stands for a picture's place where that can't be known.

    Each worker of a data service sees some of the pictures.
    """
    return tf.strings.to_hash_bucket_fast(name, 2**62)


def _share(examples, batch_size, workers):
    """Those of a worker: in each batch its part, one after the other."""
    count, index = workers
    if count == 1:
        return examples
    return examples.batch(batch_size // count).shard(count, index).unbatch()


def _padded(examples, view, total, batch_size, num_replicas, workers):
    """Views of a worker's share in batches, the last one filled with zeros."""
    count, index = workers
    views = _share(examples, batch_size, workers).map(
        view, num_parallel_calls=tf.data.AUTOTUNE
    )
    part = batch_size // count
    own = np.count_nonzero(np.arange(total) // part % count == index)
    missing = -(-total // batch_size) * part - own
    shape = views.element_spec[0].shape
    padding = tf.data.Dataset.from_tensors((tf.zeros(shape), PADDING_LABEL))
    return (
        views.concatenate(padding.repeat(missing))
        .batch(batch_size // num_replicas, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


class Iteration:
    """One pass over batches, whose end nobody waits for.

    The thread by which `tf.data` tunes a pipeline at times misses that it is to
    stop, on a busy machine one time in five (TensorFlow 2.21; by its sources,
    `Model::OptimizeLoop` can be woken before `CancellationManager` says that it
    is cancelled). It then sleeps on, up to a minute, and whoever lets go of the
    iterator waits for it. Ours have no such thread (`PIPELINE_OPTIONS`), but what
    `tf.distribute` puts behind them for each of several devices has.

    Attributes:
        iterator: what gives the batches; nobody else is to keep it.
    """

    def __init__(self, batches):
        self.iterator = iter(batches)

    def close(self):
        """Lets go of the iterator in a thread, which the process' end waits for."""
        last = [self.iterator]
        del self.iterator
        threading.Thread(target=last.clear).start()
