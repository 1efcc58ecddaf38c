"""How wrong the network is on a split, each picture counted once."""

import functools

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import input_pipeline
from alexnet_tf.training import distribution
from alexnet_tf.training import metrics
from alexnet_tf.training.step_timer import StepTimer


def evaluator(model, strategy):
    """A function that measures `metrics.mean_metrics` over all of a source.

    Args:
        model: gives logits.
        strategy: the `tf.distribute.Strategy` of its variables.

    Returns:
        evaluate(batches, source, batch_size, between=None), which takes
        `input_pipeline.evaluation_batches` and calls `between()` about once a
        second. It raises ValueError if a picture can't be read or was not
        counted exactly once; of a source that `allows_bad_images`, it says how many were bad
        ("bad_images").
    """

    def step(images, labels):
        return metrics.batch_sums(model(images, training=False), labels)

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
        pace = StepTimer(mean_over_workers=functools.partial(distribution.all_reduce_mean, strategy))
        batches = input_pipeline.Iteration(batches)
        result, done = np.zeros(4), 0
        while done < steps:
            count = min(pace.count, steps - done)
            with (
                pace.measure(count),
                bad_images.diagnosing(
                    source, lambda: (done * batch_size, count * batch_size)
                ),
            ):
                result += totals(batches.iterator, tf.constant(count)).numpy()
            done += count
            if between:
                between()
        with bad_images.diagnosing(source, lambda: (done * batch_size, 0)):
            # Full batches of `num_examples` do not show that there are more.
            batches.iterator.get_next_as_optional()
        batches.close()
        _check_count(source, result[3])
        if source.allows_bad_images:
            return metrics.mean_metrics(result) | {"bad_images": source.num_examples - int(result[3])}
        return metrics.mean_metrics(result)

    return evaluate


def _check_count(source, count):
    if source.allows_bad_images and count == 0:
        raise ValueError(f"Expected a good picture in {source}. Received: none.")
    if count != source.num_examples and not source.allows_bad_images:
        raise ValueError(
            f"Expected to evaluate {source.num_examples} pictures of {source}, "
            f"each once. Received: {count:.0f}. Prepare the data set again."
        )
