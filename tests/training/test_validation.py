"""Tests that loss and errors equal those of NumPy, with each image counted once."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf import presets
from alexnet_tf.training import distribution
from alexnet_tf.training import metrics
from alexnet_tf.training.step_timer import StepTimer
from alexnet_tf.training import validation


@pytest.mark.parametrize(
    "scores, label, k, hit",
    [
        ([3.0, 2.0, 1.0], 0, 1, 1),
        ([3.0, 2.0, 1.0], 1, 1, 0),
        ([3.0, 2.0, 1.0], 1, 2, 1),
        ([3.0, 2.0, 1.0], 2, 2, 0),
        ([1.0, 1.0, 1.0], 2, 1, 1 / 3),
        ([1.0, 1.0, 1.0], 0, 2, 2 / 3),
        ([2.0, 1.0, 1.0], 1, 2, 1 / 2),
        ([2.0, 1.0, 1.0], 0, 2, 1),
        ([1.0, 2.0], 0, 5, 1),
        ([np.nan, np.nan], 0, 1, 0),
    ],
)
def test_top_k_hits_divides_the_last_places_among_ties(scores, label, k, hit):
    hits = metrics.top_k_hits(tf.constant([scores]), tf.constant([label]), k)
    assert float(hits[0]) == pytest.approx(hit)


def test_batch_sums_ignores_padding():
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.9, 0.05, 0.05]])
    totals = metrics.batch_sums(
        tf.constant(logits, tf.float32), tf.constant([0, 1, -1])
    )
    loss = -np.log(0.5) - np.log(0.2)
    np.testing.assert_allclose(totals, [loss, 1, 2, 2], rtol=1e-6)
    assert metrics.mean_metrics(totals.numpy(), 10) == pytest.approx(
        {"loss": loss / 2, "top1_error": 0.5, "top5_error": 0.0}, rel=1e-6
    )


def test_errors_are_the_nearest_numbers_to_their_decimals():
    """1 - 66 / 100 is .33999999999999997 in floating point."""
    means = metrics.mean_metrics([1.0, 66.0, 93.0, 100.0], 10)
    assert (means["top1_error"], means["top5_error"]) == (0.34, 0.07)


def preprocessing():
    return presets.get("tiny").preprocessing


def statistics():
    return pixel_statistics.imagenet(preprocessing())


def evaluate(source, batch_size, strategy=None, **changes):
    """Evaluates an untrained model; returns the metrics and the model.

    The images are read from a copy of `source` with the attributes `changes`, but the
    evaluator expects `source`.
    """
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = keras.Sequential(
            [
                keras.Input((64, 64, 3)),
                keras.layers.AveragePooling2D(8),
                keras.layers.Flatten(),
                keras.layers.Dense(10, kernel_initializer=random_kernel),
            ]
        )

    def batches(_):
        return input_pipeline.evaluation_batches(
            dataclasses.replace(source, **changes),
            preprocessing(),
            statistics(),
            batch_size=batch_size,
            num_replicas=strategy.num_replicas_in_sync,
        )

    distributed = strategy.distribute_datasets_from_function(batches)
    measure = validation.evaluator(model, strategy)
    return measure(distributed, source, batch_size), model


def random_kernel(shape, dtype=None):
    """Returns the same random numbers for every model."""
    return tf.cast(np.random.default_rng(0).normal(size=shape), dtype)


@pytest.mark.parametrize("devices", [1, 3])
@pytest.mark.parametrize(
    "batch_size", [pytest.param(3, marks=pytest.mark.large), 12, 21]
)
def test_each_image_counts_once_for_any_batch_size(
    make_source, batch_size, devices
):
    source = make_source(21)
    strategy = distribution.make_strategy(devices)
    measured, model = evaluate(source, batch_size, strategy)
    images, labels = next(
        iter(
            input_pipeline.evaluation_batches(
                source, preprocessing(), statistics(), batch_size=21
            )
        )
    )
    logits = model(images).numpy().astype(np.float64)
    ranks = (logits > logits[range(21), labels][:, None]).sum(axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1))[:, None]
    assert measured["top1_error"] == pytest.approx((ranks >= 1).mean())
    assert measured["top5_error"] == pytest.approx((ranks >= 5).mean())
    assert measured["loss"] == pytest.approx(
        -log_probabilities[range(21), labels].mean(), rel=1e-5
    )
    assert 0 < measured["top5_error"] < measured["top1_error"] < 1


def test_rejects_a_wrong_number_of_evaluated_images(make_source):
    source, short_source = make_source(6), make_source(4)
    with pytest.raises(ValueError, match="evaluate 6 images.*Received: 4"):
        # The only batch has the expected size, but two of its images are padding.
        evaluate(source, 6, read=short_source.read, num_examples=4)


@pytest.mark.parametrize(
    "devices, batch_size",
    [
        (1, 6), (3, 6),
        pytest.param(1, 3, marks=pytest.mark.large),
        pytest.param(3, 3, marks=pytest.mark.large),
        pytest.param(1, 9, marks=pytest.mark.large),
        pytest.param(3, 9, marks=pytest.mark.large),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "num_images, received", [(4, "only 4"), (7, "at least 7"), (13, "at least 7")]
)
def test_rejects_sources_that_hold_fewer_or_more_images(
    make_source, num_images, received, batch_size, devices
):
    """If six images fill all batches, only one more read detects further images."""
    source = dataclasses.replace(make_source(num_images), num_examples=6)
    strategy = distribution.make_strategy(devices)
    with pytest.raises(
        ValueError, match=f"6 images in images.*Received: {received}. Prep"
    ):
        evaluate(source, batch_size, strategy)


def test_searches_for_an_unreadable_image_in_its_batch_only(make_source, monkeypatch):
    """It would take hours to read a large data set completely."""
    source = make_source(20)
    bad_source = dataclasses.replace(
        source,
        read=lambda seed: source.read(seed).map(
            lambda example: example
            | {"label": tf.where(example["name"] == "images 13", -7, 0)}
        ),
    )
    names = []

    def diagnose(error, source, examples):
        names.extend(example["name"].numpy().decode() for example in examples)
        return ValueError("diagnosed")

    def make_single_step_timer(mean_over_workers):
        return StepTimer(limit=1)

    monkeypatch.setattr(bad_images, "diagnose", diagnose)
    monkeypatch.setattr(validation, "StepTimer", make_single_step_timer)
    with pytest.raises(ValueError, match="diagnosed"):
        evaluate(bad_source, 4)
    assert names == [f"images {index}" for index in range(12, 16)]


def test_evaluator_calls_on_step(make_source):
    calls = []
    source = make_source(6)
    strategy = tf.distribute.get_strategy()
    model = keras.Sequential(
        [keras.Input((64, 64, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    batches = input_pipeline.evaluation_batches(
        source, preprocessing(), statistics(), batch_size=2
    )
    validation.evaluator(model, strategy)(
        batches, source, 2, on_step=lambda: calls.append(1)
    )
    assert calls


def test_padding_has_no_loss_and_no_gradient():
    """The loss of two classes with equal logits is ln 2."""
    logits = tf.Variable([[1.0, 1.0], [5.0, -5.0]])
    with tf.GradientTape() as tape:
        losses = metrics.cross_entropy(logits, tf.constant([1, -1]))
    np.testing.assert_allclose(losses, [np.log(2), 0], rtol=1e-6)
    gradient = tape.gradient(losses, logits)
    np.testing.assert_allclose(gradient, [[0.5, -0.5], [0, 0]], rtol=1e-6)


def test_unreadable_images_are_counted_as_bad_images(make_source):
    """Images with an invalid label count as unreadable, here two of 8."""
    source = dataclasses.replace(make_source(8, classes=4), classes=("0", "1", "2"))
    measured, _ = evaluate(source.allow_bad_images(), 3)
    assert measured["bad_images"] == 2
