"""Loss and top-k errors of batches."""

import math

import tensorflow as tf

from alexnet_tf.data.source import PADDING_LABEL


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
    """float32 [B], in nats; 0 where the label is `PADDING_LABEL`.

    Args:
        logits, labels: as in `top_k_hits`.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.maximum(labels, 0), logits
    )
    return tf.where(labels == PADDING_LABEL, 0.0, tf.cast(losses, tf.float32))


def batch_sums(logits, labels):
    """float32 [4]: cross-entropy in nats, top-1 and top-5 hits, pictures.

    Summed over the batch; `PADDING_LABEL` counts nothing.
    """
    real = tf.cast(labels != PADDING_LABEL, tf.float32)
    losses, labels = cross_entropy(logits, labels), tf.maximum(labels, 0)
    per_image = [
        losses,
        top_k_hits(logits, labels, 1) * real,
        top_k_hits(logits, labels, 5) * real,
        real,
    ]
    return tf.reduce_sum(tf.stack(per_image), axis=1)


def mean_metrics(totals):
    """{"loss": nats, "top1_error", "top5_error": in [0, 1]} of summed `batch_sums`."""
    loss, top1, top5, count = (float(total) for total in totals)
    count = count or math.nan  # All of them were bad pictures.
    return {
        "loss": loss / count,
        "top1_error": 1 - top1 / count,
        "top5_error": 1 - top5 / count,
    }
