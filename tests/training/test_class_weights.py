"""Class weights: their values, and their effect on the loss and on the updates."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf import presets
from alexnet_tf.training import class_weights
from alexnet_tf.training import metrics
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import optimizers
from alexnet_tf.training import steps
from alexnet_tf.workdir import read_metrics
from helpers.runs import shallow_preset
from helpers.runs import train_briefly

pytestmark = pytest.mark.usefixtures("figures_as_text")


def test_balanced_weights_are_those_of_scikit_learn():
    """n / (k * n_c), with n = 20 images and k = 3 of 4 classes that have images."""
    weights = class_weights.balanced_weights([17, 0, 1, 2])
    expected = [20 / (3 * 17), 0, 20 / 3, 20 / 6]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    # The mean weight of an image is 1.
    assert np.dot(weights, [17, 0, 1, 2]) == pytest.approx(20, rel=1e-6)
    assert class_weights.balanced_weights(None) is None


def test_labels_are_counted_without_reading_images(make_source):
    def fetch(element):
        raise AssertionError("An image was read.")

    source = dataclasses.replace(make_source(23), fetch=fetch)
    assert class_weights.count_labels(source).tolist() == [3, 3, 3] + 7 * [2]


def test_labels_of_unreadable_images_are_not_counted(image_folder):
    (bad,) = (image_folder / "3").glob("*13.jpg")
    bad.write_bytes(b"no image")
    source = datasets.load(f"folder:{image_folder}", "train")
    assert class_weights.count_labels(source).tolist() == 10 * [2]
    counts = class_weights.count_labels(source.allow_bad_images())
    assert counts.tolist() == [2, 2, 2, 1] + 6 * [2]


def test_the_counts_of_a_run_are_kept(tmp_path):
    class_weights.write_counts(str(tmp_path), np.array([3, 0, 2]))
    assert class_weights.read_counts(str(tmp_path)).tolist() == [3, 0, 2]
    (tmp_path / "label_counts.json").write_text("[3, ")
    with pytest.raises(ValueError, match="label_counts.json is missing or damaged"):
        class_weights.read_counts(str(tmp_path))


def test_batch_sums_weight_only_the_loss():
    logits = np.array([[2, 0, 0], [0, 0, 1], [0, 3, 0], [1, 1, 1]], np.float32)
    labels = np.array([0, 1, 2, -1], np.int32)  # The last image is padding.
    weights = np.array([0.5, 2, 4], np.float32)
    log_sums = np.log(np.exp(logits).sum(axis=1))
    losses = log_sums[:3] - logits[range(3), labels[:3]]
    plain = metrics.batch_sums(logits, labels).numpy()
    weighted = metrics.batch_sums(logits, labels, weights).numpy()
    assert plain[0] == pytest.approx(losses.sum(), rel=1e-6)
    assert weighted[0] == pytest.approx(losses @ weights, rel=1e-6)
    np.testing.assert_array_equal(weighted[1:], plain[1:])


def test_an_update_follows_the_weighted_mean_over_the_batch():
    """The gradient of the biases is the mean of w * (softmax - one-hot)."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="fc8")(inputs))
    recipe = presets.Recipe(batch_size=5, momentum=0.0, weight_decay=0.0)
    optimizer = steps.make_optimizer(model, recipe, "float32")
    weights = np.array([0.5, 2, 4], np.float32)
    strategy = tf.distribute.get_strategy()
    run_steps = steps.make_run_steps(model, optimizer, strategy, recipe, 0, weights)
    images = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1], np.int32)
    residuals = tf.nn.softmax(model(images)) - tf.one_hot(labels, 3)
    expected = -0.01 * np.mean(weights[labels][:, np.newaxis] * residuals, axis=0)
    batches = tf.data.Dataset.from_tensors((images, labels))
    run_steps(iter(batches), 0, 1)
    assert optimizers.is_kernel(model.get_layer("fc8").kernel)
    bias = model.get_layer("fc8").bias.numpy()
    np.testing.assert_allclose(bias, expected, rtol=1e-5)


def test_a_run_logs_the_weighted_loss_of_training(tmp_path, make_source):
    """With a learning rate of 0, the loss is that of the initial weights."""
    preset = shallow_preset(
        epochs=1, learning_rate=0.0, init="he", dropout=0.0, random_crop=False,
        flip=False, pca_color_std=0.0,
    )
    source = make_source(24)  # Labels 0 to 3 have three images, the others two.
    options = TrainingOptions(class_weights="balanced")
    train_briefly(tmp_path, source, preset=preset, options=options)
    counts = json.loads((tmp_path / "label_counts.json").read_text())
    assert counts == 4 * [3] + 6 * [2]
    statistics = pixel_statistics.read(str(tmp_path / "statistics.npz"))
    batches = input_pipeline.evaluation_batches(
        source, preset.preprocessing, statistics, batch_size=24
    )
    ((images, labels),) = batches
    probabilities = load_classifier(str(tmp_path)).model(images).numpy()
    losses = -np.log(probabilities[range(24), labels])
    weights = np.array([24 / (10 * count) for count in counts])[labels]
    train_line, eval_line = read_metrics(str(tmp_path))
    assert train_line["loss"] == pytest.approx(np.mean(weights * losses), rel=1e-4)
    assert eval_line["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert train_line["loss"] != pytest.approx(eval_line["loss"], rel=1e-4)
