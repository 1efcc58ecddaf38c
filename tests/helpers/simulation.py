"""Training runs that compute no network, for tests of all the rest.

Tracing the network and starting the input pipelines take most of the time of a short
run. Without the network a run takes half the time, and without images a sixth.

A simulated step applies the optimizer to gradients that depend on the weights and on
the number of the step, and the loss depends on the weights. A resumed run therefore
equals an uninterrupted one only if everything is restored.
"""

import numpy as np
import tensorflow as tf

from alexnet_tf.training import loop
from alexnet_tf.training import metrics
from alexnet_tf.training import steps
from alexnet_tf.training import validation


def simulate_steps(monkeypatch):
    """Makes training runs read their images, but compute no network."""
    monkeypatch.setattr(steps, "make_run_steps", _make_run_steps)
    monkeypatch.setattr(validation, "evaluator", _evaluator)


def simulate_runs(monkeypatch):
    """Makes training runs read no images and compute no network."""
    simulate_steps(monkeypatch)
    monkeypatch.setattr(loop, "_distributed", lambda *_, **__: [])


def _make_run_steps(model, optimizer, strategy, recipe, seed, class_weights=None):
    """Returns a function like that of `steps.make_run_steps`."""

    def apply_gradients(step):
        variables = model.trainable_variables
        optimizer.apply([0.1 * v + 0.01 * (step + 1) for v in variables], variables)

    def run_steps(iterator, first_step, count):
        sums = []
        for step in range(first_step, first_step + count):
            next(iterator, None)
            strategy.run(apply_gradients, args=(float(step),))
            sums.append(_sums(model, recipe.batch_size))
        return np.array(sums, np.float32)

    return run_steps


def _evaluator(model, strategy):
    """Returns a function like that of `validation.evaluator`."""

    def evaluate(batches, source, batch_size, on_step=None):
        for _ in batches:
            pass
        on_step()
        totals = np.array(_sums(model, source.num_examples))
        bad_images = {"bad_images": 0} if source.allows_bad_images else {}
        return metrics.mean_metrics(totals, len(source.classes)) | bad_images

    return evaluate


def _sums(model, count):
    """Returns what `metrics.batch_sums` returns for `count` images, half of them hits.
    """
    losses = [float(tf.reduce_mean(tf.abs(v))) for v in model.trainable_variables]
    return [count * np.mean(losses), count / 2, count / 2, count]
