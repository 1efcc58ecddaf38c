"""Loss and top-k errors of batches.

"CHM" is the authors' source code of 2012, see `presets`.
"""

import math

import tensorflow as tf

from alexnet_tf.data.source import PADDING_LABEL


def top_k_hits(logits, labels, k):
    """Returns whether each label is among the k classes with the highest scores.

    If several classes tie for the last of the k places, each of them gets an
    equal share of the remaining places (CHM layer_kernels.cu:55-82). A model
    that gives all classes the same score then has k / classes hits per image
    instead of one.

    Args:
        logits: float [B, classes], logits or probabilities.
        labels: int32 [B], in [0, classes).
        k: the number of places.

    Returns:
        float32 [B]: 1 for a hit, 0 for a miss, a fraction for ties.
    """
    scores = tf.gather(logits, labels, batch_dims=1)[:, tf.newaxis]  # [B, 1]
    above = tf.reduce_sum(tf.cast(logits > scores, tf.float32), axis=1)
    tied = tf.reduce_sum(tf.cast(logits == scores, tf.float32), axis=1)
    # NaN equals no score, so that `tied` is 0, which must give a miss.
    return tf.clip_by_value(tf.math.divide_no_nan(k - above, tied), 0, 1)


def cross_entropy(logits, labels, class_weights=None):
    """Computes the cross-entropy of each image in nats.

    Args:
        logits: float [B, classes].
        labels: int32 [B], in [0, classes) or `PADDING_LABEL`.
        class_weights: float32 [classes], the weight that the cross-entropy of an image
            of each class is multiplied by; None for 1.

    Returns:
        float32 [B], 0 where the label is `PADDING_LABEL`.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        tf.maximum(labels, 0), logits
    )
    if class_weights is not None:
        weights = tf.gather(class_weights, tf.maximum(labels, 0))
        losses = weights * tf.cast(losses, tf.float32)
    return tf.where(labels == PADDING_LABEL, 0.0, tf.cast(losses, tf.float32))


def batch_sums(logits, labels, class_weights=None):
    """Sums the losses and the hits of a batch, and counts its images.

    Images labeled `PADDING_LABEL` are ignored.

    Args:
        logits, labels, class_weights: as for `cross_entropy`.

    Returns:
        float32 [4]: the sums of the cross-entropies in nats, of the top-1 hits and
        of the top-5 hits, and the number of images.
    """
    is_image = tf.cast(labels != PADDING_LABEL, tf.float32)
    losses = cross_entropy(logits, labels, class_weights)
    labels = tf.maximum(labels, 0)
    per_image = [
        losses,
        top_k_hits(logits, labels, 1) * is_image,
        top_k_hits(logits, labels, 5) * is_image,
        is_image,
    ]
    return tf.reduce_sum(tf.stack(per_image), axis=1)


def mean_metrics(totals, num_classes):
    """Computes the mean loss and the errors from the sum of several `batch_sums`.

    Args:
        totals: array [4], the sum of the results of `batch_sums`.
        num_classes: the number of classes.

    Returns:
        {name: value} for each of `names`: the loss in nats, and errors in [0, 1]. All
        values are NaN if the number of images is 0.
    """
    loss, top1_hits, top5_hits, count = (float(total) for total in totals)
    count = count or math.nan
    means = {
        "loss": loss / count,
        # 1 - .66 would be .33999999999999997 for 66 hits of 100.
        "top1_error": (count - top1_hits) / count,
        "top5_error": (count - top5_hits) / count,
    }
    return {name: means[name] for name in names(num_classes)}


def names(num_classes):
    """Returns the names of the metrics: "loss" and an error for each of `reported_ks`.

    Args:
        num_classes: the number of classes.
    """
    return ("loss", *(f"top{k}_error" for k in reported_ks(num_classes)))


def reported_ks(num_classes):
    """Returns the values of k for which a top-k error is reported, (1, 5).

    With five classes or fewer, in which the top-5 error is always 0, the result is
    (1,).

    Args:
        num_classes: the number of classes.
    """
    return (1, 5) if num_classes > 5 else (1,)
