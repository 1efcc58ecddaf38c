"""Loss and errors of a model on a split, with each image counted once."""

import contextlib
import functools

import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import input_pipeline
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.training import distribution
from alexnet_tf.training import metrics
from alexnet_tf.training.step_timer import StepTimer


def evaluator(model, strategy):
    """Makes a function that measures `metrics.mean_metrics` on all images of a source.

    Args:
        model: a model that returns logits.
        strategy: the `tf.distribute.Strategy` that `model` was made with.

    Returns:
        evaluate(batches, source, batch_size, on_step=None), which reads the
        `input_pipeline.evaluation_batches` of `source` and calls `on_step()`
        about once a second. It raises ValueError if an image is unreadable, or
        if the number of images is not `source.num_examples`. If the
        source `allows_bad_images`, unreadable images are skipped, and the
        result has their number under the key "bad_images". ValueError is then
        raised if no image is readable.
    """

    @tf.autograph.experimental.do_not_convert
    def replica_step(images, labels):
        with compiled_normalization():
            logits = model(images, training=False)
        return metrics.batch_sums(logits, labels)

    @tf.function
    def run_steps(iterator, steps):
        total = tf.zeros([4], tf.float64)
        for _ in tf.range(steps):
            per_replica = strategy.run(replica_step, args=next(iterator))
            sums = strategy.reduce("SUM", per_replica, axis=None)
            total += tf.cast(sums, tf.float64)
        return total

    def evaluate(batches, source, batch_size, on_step=None):
        steps = -(-source.num_examples // batch_size)
        timer = StepTimer(
            mean_over_workers=functools.partial(distribution.all_reduce_mean, strategy)
        )
        totals, done = np.zeros(4), 0
        # A signal may end the evaluation by an error in `on_step`.
        with contextlib.closing(input_pipeline.ReleasableIterator(batches)) as images:
            while done < steps:
                count = min(timer.count, steps - done)
                with (
                    timer.measure(count),
                    bad_images.diagnosing(
                        source, lambda: (done * batch_size, count * batch_size)
                    ),
                ):
                    totals += run_steps(images.iterator, tf.constant(count)).numpy()
                done += count
                if on_step:
                    on_step()
            with bad_images.diagnosing(source, lambda: (done * batch_size, 0)):
                # If `num_examples` is a multiple of the batch size, only this read
                # detects that the source has more images.
                images.iterator.get_next_as_optional()
        return _checked_metrics(source, totals)

    return evaluate


def _checked_metrics(source, totals):
    """Returns the metrics, unless the number of evaluated images is wrong."""
    measured = metrics.mean_metrics(totals, len(source.classes))
    count = int(totals[3])
    if source.allows_bad_images:
        if count == 0:
            raise ValueError(
                f"Expected at least one readable image in {source}. Received: none. "
                "Repair the images, or choose another split."
            )
        return measured | {"bad_images": source.num_examples - count}
    if count != source.num_examples:
        raise ValueError(
            f"Expected to evaluate {source.num_examples} images of {source}, "
            f"each once. Received: {count}. Prepare the data set again."
        )
    return measured
