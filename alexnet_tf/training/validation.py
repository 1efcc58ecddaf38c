"""Loss and errors of a model on a split, with each image counted once."""

import functools

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import input_pipeline
from alexnet_tf.training import distribution
from alexnet_tf.training import metrics
from alexnet_tf.training.step_timer import StepTimer


def evaluator(model, strategy):
    """Makes a function that measures `metrics.mean_metrics` on a whole source.

    Args:
        model: a model that returns logits.
        strategy: the `tf.distribute.Strategy` of its variables.

    Returns:
        evaluate(batches, source, batch_size, on_step=None), which reads
        `input_pipeline.evaluation_batches` of `source` and calls `on_step()`
        about once a second. It raises ValueError if an image is unreadable or
        was not counted exactly once. If the source `allows_bad_images`, the
        result has their number ("bad_images").
    """

    def step(images, labels):
        return metrics.batch_sums(model(images, training=False), labels)

    @tf.function
    def run_steps(iterator, steps):
        total = tf.zeros([4], tf.float64)
        for _ in tf.range(steps):
            per_replica = strategy.run(step, args=next(iterator))
            batch = strategy.reduce("SUM", per_replica, axis=None)
            total += tf.cast(batch, tf.float64)
        return total

    def evaluate(batches, source, batch_size, on_step=None):
        steps = -(-source.num_examples // batch_size)
        timer = StepTimer(
            mean_over_workers=functools.partial(distribution.all_reduce_mean, strategy)
        )
        batches = input_pipeline.ReleasableIterator(batches)
        totals, done = np.zeros(4), 0
        while done < steps:
            count = min(timer.count, steps - done)
            with (
                timer.measure(count),
                bad_images.diagnosing(
                    source, lambda: (done * batch_size, count * batch_size)
                ),
            ):
                totals += run_steps(batches.iterator, tf.constant(count)).numpy()
            done += count
            if on_step:
                on_step()
        with bad_images.diagnosing(source, lambda: (done * batch_size, 0)):
            # If `num_examples` fills all batches, only this read finds out that
            # the source holds more images.
            batches.iterator.get_next_as_optional()
        batches.close()
        return _checked_metrics(source, totals)

    return evaluate


def _checked_metrics(source, totals):
    measured, count = metrics.mean_metrics(totals), int(totals[3])
    if source.allows_bad_images:
        if count == 0:
            raise ValueError(
                f"Expected at least one readable image in {source}. Received: none."
            )
        return measured | {"bad_images": source.num_examples - count}
    if count != source.num_examples:
        raise ValueError(
            f"Expected to evaluate {source.num_examples} images of {source}, "
            f"each once. Received: {count}. Prepare the data set again."
        )
    return measured
