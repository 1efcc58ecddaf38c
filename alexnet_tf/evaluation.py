"""How wrong the network is on a split, each picture counted once."""

import functools
import math

import numpy as np
import tensorflow as tf

from alexnet_tf import cluster
from alexnet_tf import datasets
from alexnet_tf import input_pipeline
from alexnet_tf.pace import Pace


def top_k_hits(logits, labels, k):
    """float32 [B], 1 where the label is among the k most probable classes.

    Where classes tie for the last of the k places, each gets its share of
    what is left (CHM layer_kernels.cu:55-82): a network that says the same of
    all classes is right in k of `classes` cases, not always.

    Args:
        logits: float [B, classes], or probabilities.
        labels: int32 [B].
    """
    score = tf.gather(logits, labels, batch_dims=1)[:, tf.newaxis]
    above = tf.reduce_sum(tf.cast(logits > score, tf.float32), axis=1)
    tied = tf.reduce_sum(tf.cast(logits == score, tf.float32), axis=1)
    # No score equals NaN: that is no hit.
    return tf.clip_by_value(tf.math.divide_no_nan(k - above, tied), 0, 1)


def cross_entropy(logits, labels):
    """float32 [B], in nats; 0 where the label is `datasets.PADDING_LABEL`.

    Args:
        logits, labels: as in `top_k_hits`.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.maximum(labels, 0), logits
    )
    return tf.where(labels == datasets.PADDING_LABEL, 0.0, tf.cast(losses, tf.float32))


def sums(logits, labels):
    """float32 [4]: cross-entropy in nats, top-1 and top-5 hits, pictures.

    Summed over the batch; `datasets.PADDING_LABEL` counts nothing.
    """
    real = tf.cast(labels != datasets.PADDING_LABEL, tf.float32)
    losses, labels = cross_entropy(logits, labels), tf.maximum(labels, 0)
    per_image = [
        losses,
        top_k_hits(logits, labels, 1) * real,
        top_k_hits(logits, labels, 5) * real,
        real,
    ]
    return tf.reduce_sum(tf.stack(per_image), axis=1)


def rates(totals):
    """{"loss": nats, "top1_error", "top5_error": in [0, 1]} of summed `sums`."""
    loss, top1, top5, count = (float(total) for total in totals)
    count = count or math.nan  # All of them were bad pictures.
    return {
        "loss": loss / count,
        "top1_error": 1 - top1 / count,
        "top5_error": 1 - top5 / count,
    }


def evaluator(model, strategy):
    """A function that measures `rates` over all of a source.

    Args:
        model: gives logits.
        strategy: the `tf.distribute.Strategy` of its variables.

    Returns:
        evaluate(batches, source, batch_size, between=None), which takes
        `input_pipeline.evaluation_batches` and calls `between()` about once a
        second. It raises ValueError if a picture can't be read or was not
        counted exactly once; of a source that `mends`, it says how many were bad
        ("bad_images").
    """

    def step(images, labels):
        return sums(model(images, training=False), labels)

    @tf.function
    def totals(iterator, steps):
        total = tf.zeros([4], tf.float64)
        for _ in tf.range(steps):
            per_replica = strategy.run(step, args=next(iterator))
            batch = strategy.reduce("SUM", per_replica, axis=None)
            total += tf.cast(batch, tf.float64)
        return total

    def evaluate(batches, source, batch_size, between=None):
        steps = -(-source.num_examples // batch_size)
        pace = Pace(agree=functools.partial(cluster.mean, strategy))
        batches = input_pipeline.Iteration(batches)
        result, done = np.zeros(4), 0
        while done < steps:
            count = min(pace.count, steps - done)
            with (
                pace.measure(count),
                datasets.explained(
                    source, lambda: (done * batch_size, count * batch_size)
                ),
            ):
                result += totals(batches.iterator, tf.constant(count)).numpy()
            done += count
            if between:
                between()
        with datasets.explained(source, lambda: (done * batch_size, 0)):
            # Full batches of `num_examples` do not show that there are more.
            batches.iterator.get_next_as_optional()
        batches.close()
        _check_count(source, result[3])
        if source.mends:
            return rates(result) | {"bad_images": source.num_examples - int(result[3])}
        return rates(result)

    return evaluate


def _check_count(source, count):
    if source.mends and count == 0:
        raise ValueError(f"Expected a good picture in {source}. Received: none.")
    if count != source.num_examples and not source.mends:
        raise ValueError(
            f"Expected to evaluate {source.num_examples} pictures of {source}, "
            f"each once. Received: {count:.0f}. Prepare the data set again."
        )
