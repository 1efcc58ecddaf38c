"""Training runs that compute no network, for tests of everything else.

Tracing the network and starting the input pipelines take most of the time of a short
run. Without the network a run takes half the time, and without images a sixth.

A simulated step applies the optimizer to gradients that depend on the weights, on the
number of the step and on the images, and the loss depends on the weights. A resumed run
therefore equals an uninterrupted one only if everything is restored.
"""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data.source import PADDING_LABEL
from alexnet_tf.training import distribution
from alexnet_tf.training import metrics
from alexnet_tf.training import steps
from alexnet_tf.training import validation


def simulate_steps(monkeypatch):
    """Makes training runs read their images, but compute no network."""
    monkeypatch.setattr(steps, "make_run_steps", _make_run_steps)
    monkeypatch.setattr(validation, "evaluator", _make_evaluator)


def simulate_runs(monkeypatch):
    """Makes training runs read no images and compute no network."""
    simulate_steps(monkeypatch)
    monkeypatch.setattr(distribution, "distribute_batches", lambda *_, **__: [])


@contextlib.contextmanager
def simulated_runs():
    """Simulates the training runs in the block, see `simulate_runs`."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        simulate_runs(monkeypatch)
        yield


def _make_run_steps(model, optimizer, strategy, recipe, seed, class_weights=None):
    """Returns a function like that of `steps.make_run_steps`."""

    def apply_gradients(value):
        variables = model.trainable_variables
        gradients = [0.1 * v + 0.01 * value for v in variables]
        optimizer.apply([optimizer.scale_loss(g) for g in gradients], variables)

    def run_steps(iterator, first_step, count):
        sums = []
        for step in range(first_step, first_step + count):
            batch = next(iterator, None)
            brightness, num_images = 0.0, recipe.batch_size
            if batch is not None:
                brightness, num_images = _brightness_and_count(strategy, batch)
            value = tf.constant(step + 1 + brightness, tf.float32)
            strategy.run(apply_gradients, args=(value,))
            sums.append(_sums(model, num_images))
        return np.array(sums, np.float32)

    return run_steps


def _make_evaluator(model, strategy):
    """Returns a function like that of `validation.evaluator`."""

    def evaluate(batches, source, batch_size, on_step=None):
        counts = [_brightness_and_count(strategy, batch)[1] for batch in batches]
        on_step()
        num_images = sum(counts) if counts else source.num_examples
        measured = metrics.mean_metrics(_sums(model, num_images), len(source.classes))
        if source.allows_bad_images:
            measured["bad_images"] = source.num_examples - num_images
        return measured

    return evaluate


def _brightness_and_count(strategy, batch):
    """Returns the mean pixel of a batch / 100, and the number of its images."""
    images, labels = (
        np.concatenate(strategy.experimental_local_results(part)) for part in batch
    )
    return images.mean() / 100, int(np.sum(labels != PADDING_LABEL))


def _sums(model, count):
    """Returns sums like those of `metrics.batch_sums`; half of the images are hits."""
    losses = [float(tf.reduce_mean(tf.abs(v))) for v in model.trainable_variables]
    return np.array([count * np.mean(losses), count / 2, count / 2, count])
