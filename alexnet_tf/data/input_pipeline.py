"""Input pipelines, which turn streams of encoded images into batches."""

import contextlib
import dataclasses
import functools
import threading

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import interleaving
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
    augment=None,
):
    """Returns one epoch of random crops in random order, as a `tf.data.Dataset`.

    Each element is a pair of images and labels, float32 [b, crop, crop, 3] and
    int32 [b], for one device: b is batch_size / num_replicas. The elements depend only
    on the arguments (and, as always in `tf.data`, on `tf.random.set_seed`): the same
    epoch always has the same crops in the same order, so that a run can be resumed
    in the middle of an epoch.

    Args:
        source: a `Source`.
        preprocessing: a `presets.Preprocessing`.
        statistics: a `pixel_statistics.Statistics` of the training split.
        batch_size: the number of images per step, over all replicas.
        seed, epoch: the random seed of the run and the index of the epoch, from 0.
            They determine the order and the augmentation.
        steps: the number of steps in the epoch. Images beyond the last full batch are
            not used in this epoch.
        first_step: the number of steps to skip at the beginning of the epoch. Their
            images are not decoded.
        num_replicas: the number of devices, over all workers. A batch consists of one
            element for each device.
        num_workers, worker_index: the number of processes, and the index of this one.
            Each process computes only its share of every batch. The shares together
            are the batches that a single process would compute.
        shuffle_buffer: the number of encoded images from which the next image is drawn.
            It matters for sources that themselves shuffle only the order of their
            files.
        data_service: HOST:PORT of the dispatcher of a `data_service`, which computes
            the crops; None to compute them in this process. An image still gets the
            same crop each time in an epoch, but the order of the images is not fixed,
            and a resumed epoch draws new images.
        augment: a function that changes the crops, see `preprocess.check_augment`.

    Raises:
        tf.errors.OpError: when the dataset is read, if an image or a label is invalid
            or the data can't be read; see `bad_images.diagnose`.
    """
    pca_color_epochs = preprocessing.pca_color_epochs
    if pca_color_epochs is not None and epoch >= pca_color_epochs:
        preprocessing = dataclasses.replace(preprocessing, pca_color_std=0.0)
    run_seed = tf.constant([seed, 0], tf.int64)

    @tf.autograph.experimental.do_not_convert
    def crop_and_label(index, example):
        epoch_seed = tf.random.fold_in(run_seed, epoch)
        image_seed = tf.random.fold_in(epoch_seed, index)
        image = preprocess.training_image(
            example["image"], image_seed, preprocessing, statistics, augment
        )
        return image, source.label_of(example)

    if data_service:
        inputs = _map_on_data_service(
            _read_shuffled(
                source.without_count_check, source, seed, epoch, shuffle_buffer
            ),
            crop_and_label,
            batch_size // num_replicas,
            data_service,
        ).take((steps - first_step) * batch_size)
    else:
        examples = (
            shuffled(source, seed, epoch, shuffle_buffer, first_step * batch_size)
            .enumerate(first_step * batch_size)
            .take((steps - first_step) * batch_size)
        )
        share = _worker_share(examples, batch_size, num_workers, worker_index)
        inputs = share.map(crop_and_label, num_parallel_calls=tf.data.AUTOTUNE)
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

    Each element is a pair of images and labels, float32 [b, crop, crop, 3] and
    int32 [b], for one device: b is batch_size / num_replicas. The last batch is padded
    with zeros labeled `PADDING_LABEL`, so that every device gets an element and no
    image of the split is dropped.

    Args:
        source, preprocessing, statistics, batch_size, num_replicas, num_workers,
            worker_index: as in `training_batches`.

    Raises:
        tf.errors.OpError: when the dataset is read, as in `training_batches`.
    """

    @tf.autograph.experimental.do_not_convert
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

    Each element is a pair of features and labels, float32 [b, ...] and int32 [b], for
    one device: b is batch_size / num_replicas.

    Args:
        features: float32 [N, ...], the features of all images.
        labels: int32 [N], the labels of all images.
        batch_size, seed, epoch, steps, first_step, num_replicas, num_workers,
            worker_index: as in `training_batches`.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(labels))
    order = order[first_step * batch_size : steps * batch_size]
    indices = tf.data.Dataset.from_tensor_slices(order)
    return (
        _worker_share(indices, batch_size, num_workers, worker_index)
        .with_options(PIPELINE_OPTIONS)
        .batch(batch_size // num_replicas, drop_remainder=True)
        .map(lambda batch: (tf.gather(features, batch), tf.gather(labels, batch)))
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

    The elements are those of `cached_training_batches`. The last batch is padded as in
    `evaluation_batches`.

    Args:
        features, labels, batch_size, num_replicas, num_workers, worker_index: as
            in `cached_training_batches`.
    """

    def gather(index):
        return tf.gather(features, index), tf.gather(labels, index)

    return _padded_batches(
        tf.data.Dataset.range(len(labels)).with_options(PIPELINE_OPTIONS),
        gather,
        len(labels),
        batch_size,
        num_replicas,
        num_workers,
        worker_index,
    )


def shuffled(source, seed, epoch, shuffle_buffer, position=0):
    """Returns the examples of a `Source` in the order of an epoch.

    Args:
        source, seed, epoch, shuffle_buffer: as in `training_batches`.
        position: the number of examples to leave out at the beginning. Files that
            contain only such examples are not read if the source can begin in the
            middle of its data.
    """
    read = source.examples
    if position and source.read_from:
        # The first `num_unused` of the unshuffled examples are not needed.
        num_unused = interleaving.first_unread(
            source.num_examples,
            *_buffer_and_seed(source, seed, epoch, shuffle_buffer),
            position,
        )
        read = functools.partial(source.examples, num_unused=num_unused)
    return _read_shuffled(read, source, seed, epoch, shuffle_buffer).skip(position)


def index_from_name(name):
    """Hashes an image's name to a number that replaces its index, int64 [].

    Each worker of a data service reads only some of the images, so it can't count the
    images that come before an image in the epoch.

    Args:
        name: string [], the name of the image.
    """
    return tf.strings.to_hash_bucket_fast(name, 2**62)


@contextlib.contextmanager
def diagnosing_shuffled(source, order, first, count):
    """Replaces errors of `training_batches` by errors that name the image.

    Args:
        source: the `Source` that the pipeline reads.
        order: (seed, epoch, shuffle_buffer), which determine the order of the images;
            None if a data service reads them, in an order that is not known.
        first, count: the position in that order of the first requested image, and the
            number of requested images.
    """
    try:
        yield
    except tf.errors.OpError as error:
        examples = source.examples()
        if order:
            examples = shuffled(source, *order, first).take(count)
        raise bad_images.diagnose(error, source, examples) from error


class ReleasableIterator:
    """Iterator over batches that is released in a background thread.

    `tf.data` tunes a pipeline in a thread that sometimes misses the signal to stop: on
    a busy machine, one in five threads missed it. (In the source code of TensorFlow
    2.21, `Model::OptimizeLoop` can be woken before `CancellationManager` reports that
    the pipeline is cancelled.) The thread then sleeps for up to a minute, and releasing
    the iterator takes as long. The pipelines of this module have no such thread
    (`PIPELINE_OPTIONS`), but with several devices, `tf.distribute` appends a pipeline
    for each device, and these have such a thread.

    Args:
        batches: an iterable, such as a `tf.data.Dataset`.

    Attributes:
        iterator: the iterator over the batches, None once it is closed. No other
            reference to it may be kept, or `close` does not release it.
    """

    def __init__(self, batches):
        self.iterator = iter(batches)

    def close(self):
        """Releases the iterator in a thread that the process joins when it exits.

        A second call does nothing.
        """
        if self.iterator is not None:
            references, self.iterator = [self.iterator], None
            threading.Thread(target=references.clear).start()


def _read_shuffled(read, source, seed, epoch, shuffle_buffer):
    """Returns the examples of a `Source` in the order of an epoch.

    Args:
        read: the method of `source` that returns the examples: `examples` or
            `without_count_check`.
        source, seed, epoch, shuffle_buffer: as in `training_batches`.
    """
    buffer, shuffle_seed = _buffer_and_seed(source, seed, epoch, shuffle_buffer)
    return read(shuffle_seed).shuffle(
        buffer, shuffle_seed, reshuffle_each_iteration=False
    )


def _buffer_and_seed(source, seed, epoch, shuffle_buffer):
    """Returns the size of the shuffle buffer, and the random seed of an epoch."""
    shuffle_seed = int(np.random.default_rng((seed, epoch)).integers(2**31))
    return min(shuffle_buffer, source.num_examples), shuffle_seed


def _map_on_data_service(examples, crop_and_label, batch_size, data_service):
    """Returns a `tf.data.Dataset` of crops and labels, from a data service.

    Args:
        examples: a `tf.data.Dataset` of examples.
        crop_and_label: a function that turns an index and an example into (crop,
            label).
        batch_size: the number of results in a message of the service.
        data_service: HOST:PORT of the dispatcher.
    """

    def crop_and_label_by_name(example):
        return crop_and_label(index_from_name(example["name"]), example)

    service = tf.data.experimental.service
    return (
        examples.map(crop_and_label_by_name, num_parallel_calls=tf.data.AUTOTUNE)
        # The service sends one batch per message.
        .batch(batch_size)
        .apply(
            service.distribute(
                service.ShardingPolicy.DYNAMIC, f"grpc://{data_service}"
            )
        )
        .unbatch()
    )


def _worker_share(examples, batch_size, num_workers, worker_index):
    """Returns one worker's part of each batch of a `tf.data.Dataset`, unbatched."""
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
    """Batches a worker's share of the examples, and pads the last batch with zeros.

    Args:
        examples: a `tf.data.Dataset`.
        map_func: a function that turns an element of `examples` into (input, label).
        num_examples: the number of elements of `examples`.
        batch_size, num_replicas, num_workers, worker_index: as in `training_batches`.
    """
    share = _worker_share(examples, batch_size, num_workers, worker_index)
    inputs = share.map(map_func, num_parallel_calls=tf.data.AUTOTUNE)
    share_size = batch_size // num_workers
    worker_indices = np.arange(num_examples) // share_size % num_workers
    num_inputs = np.count_nonzero(worker_indices == worker_index)
    num_padding = -(-num_examples // batch_size) * share_size - num_inputs
    shape = inputs.element_spec[0].shape
    padding = tf.data.Dataset.from_tensors((tf.zeros(shape), PADDING_LABEL))
    return (
        inputs.concatenate(padding.repeat(num_padding))
        .batch(batch_size // num_replicas, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )
