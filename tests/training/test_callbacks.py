"""Tests of gradients, histograms and figures, and of the environment's description."""

import sys
import tracemalloc
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf import presets
from alexnet_tf.training import callbacks
from alexnet_tf.training.callbacks import _write_histogram
from alexnet_tf.training.callbacks import DRAW_SECONDS
from alexnet_tf.training.callbacks import FigureWriter
from alexnet_tf.training.callbacks import histogram
from alexnet_tf.training.callbacks import loss_gradients
from alexnet_tf.training import distribution
from alexnet_tf.training import environment
from alexnet_tf.training import optimizers
from helpers.networks import dense_preset
from helpers.runs import events


@pytest.mark.parametrize(
    "devices, precision", [(1, "float32"), (2, "float32"), (1, "mixed_float16")]
)
def test_loss_gradients_equal_the_derivative_of_the_cross_entropy(devices, precision):
    """The gradient of fc8's biases is the mean of softmax minus one-hot labels."""
    keras.utils.set_random_seed(0)
    with distribution.make_strategy(devices).scope():
        keras.config.set_dtype_policy(precision)
        model = alexnet.AlexNet("tiny", 10, classifier_activation=None)
        keras.config.set_dtype_policy("float32")
        optimizer = optimizers.MomentumSGD(0.01, 0.9, 0.0005, 1.0)
        if precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.get_layer("conv1").trainable = False
        optimizer.build(model.trainable_variables)
        model.compile(optimizer)
    images = np.random.default_rng(0).normal(0, 1, (6, 64, 64, 3))
    images, labels = images.astype(np.float32), np.arange(6, dtype=np.int32)
    gradients = loss_gradients(model, images, labels)
    logit_gradients = tf.nn.softmax(model(images)) - tf.one_hot(labels, 10)
    atol = 1e-6 if precision == "float32" else 1e-3
    np.testing.assert_allclose(
        gradients["fc8/bias"], tf.reduce_mean(logit_gradients, axis=0), atol=atol
    )
    assert gradients.keys() == {v.path for v in model.trainable_variables}
    assert "conv1/kernel" not in gradients and len(gradients) == 14
    assert all(np.abs(gradient).max() > 0 for gradient in gradients.values())


def test_histograms_equal_those_of_tensorboard(tmp_path):
    values = np.random.default_rng(0).normal(1, 2, (40, 30)).astype(np.float32)
    with tf.summary.create_file_writer(str(tmp_path)).as_default(3):
        _write_histogram("ours", values)
        tf.summary.histogram("theirs", values)
    written = {value.tag: value for _, value in events(tmp_path)}
    assert written["ours"].metadata == written["theirs"].metadata
    ours, theirs = (tf.make_ndarray(written[tag].tensor) for tag in ("ours", "theirs"))
    assert ours.dtype == theirs.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert ours[:, 2].sum() == 1200


def test_histogram_has_edges_and_counts():
    edges_and_counts = [[0, 1, 2], [1, 2, 0], [2, 3, 1]]
    assert histogram(np.array([0, 0.5, 3]), 3).tolist() == edges_and_counts
    # A histogram of equal values, such as initial biases, counts all of them.
    assert histogram(np.ones(7), 30)[:, 2].sum() == 7


def test_histogram_needs_less_memory_than_the_values():
    values = np.zeros(4_000_000, np.float32)
    tracemalloc.start()
    histogram(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < values.nbytes


def test_environment_describes_the_versions_and_the_machine():
    description = environment.describe()
    assert description["tensorflow"] == tf.__version__
    assert description["numpy"] == np.__version__
    assert "pytest" in description["command"] or "-c" in description["command"]
    assert int(description["processors"].split(" x ")[0]) >= 1
    assert all(isinstance(text, str) and text for text in description.values())


def test_environment_contains_the_command_as_it_was_typed(monkeypatch):
    """With `python -m`, sys.argv[0] is the path of the module's file instead."""
    spec = types.SimpleNamespace(name="alexnet_tf.train")
    main = types.SimpleNamespace(__spec__=spec)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", ["/x/alexnet_tf/train.py", "--dataset=a b"])
    command = environment.describe()["command"]
    assert command == "python -m alexnet_tf.train '--dataset=a b'"


def test_errors_while_drawing_are_logged(tmp_path, caplog):
    """The kernels are drawn although the curves cannot be drawn."""
    preset = presets.get("tiny")
    model = alexnet.AlexNet(preset, 10)
    figure_writer = FigureWriter(str(tmp_path), preset, "source", None, model)
    (tmp_path / "metrics.jsonl").write_text("no JSON\n")
    figure_writer.draw()
    assert "Could not draw curves.png: Line 1 of" in caplog.text
    assert (tmp_path / "conv1.png").exists()
    figure_writer.on_train_begin()
    figure_writer._drawn_at -= DRAW_SECONDS
    figure_writer.on_epoch_end(0)
    assert "Could not draw the figures of TensorBoard" in caplog.text


def test_a_network_without_convolutions_has_no_kernels_to_draw(tmp_path, caplog):
    preset = dense_preset()
    model = alexnet.AlexNet(preset, 10)
    figure_writer = FigureWriter(str(tmp_path), preset, "source", None, model)
    figure_writer.on_train_begin()
    figure_writer.on_epoch_end(0)
    figure_writer.draw()
    assert not (tmp_path / "conv1.png").exists()
    assert "conv1.png" not in caplog.text and "TensorBoard" not in caplog.text


def test_drawing_takes_no_more_than_its_share_of_the_time(monkeypatch):
    """Drawing takes 10 seconds, so the next drawing waits 10 / 5% = 200 seconds."""
    clock, drawn_at = [0.0], []
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: clock[0])
    preset = presets.get("tiny")
    figure_writer = FigureWriter("", preset, "source", None, None)

    def draw():
        drawn_at.append(clock[0])
        clock[0] += 10

    figure_writer.draw = draw
    figure_writer._write_kernels = lambda: None
    figure_writer._event_writer = tf.summary.create_noop_writer()
    while clock[0] < 500:
        figure_writer.on_epoch_end(0)
        clock[0] += 1
    assert drawn_at == [30, 240, 450]


def test_tensorboard_receives_the_kernels_of_the_first_epochs(tmp_path):
    """Kernels change most in the first epochs, when drawing is not due yet."""
    preset = presets.get("tiny")
    model = alexnet.AlexNet(preset, 10)
    figure_writer = FigureWriter(str(tmp_path), preset, "source", None, model)
    figure_writer.on_train_begin()
    for epoch in (0, 1, callbacks.KERNEL_EPOCHS - 1, callbacks.KERNEL_EPOCHS):
        figure_writer.on_epoch_end(epoch)
    figure_writer._event_writer.close()
    written = list(events(tmp_path / "tensorboard" / "images"))
    assert [(step, value.tag) for step, value in written] == [
        (0, "conv1"), (1, "conv1"), (callbacks.KERNEL_EPOCHS - 1, "conv1")
    ]  # fmt: skip
    # Two towers of eight kernels of 11 x 11 pixels, with a band between them.
    image = tf.io.decode_png(tf.make_ndarray(written[0][1].tensor)[2])
    assert image.shape == (12 + 5 + 12, 96, 3)
    assert not (tmp_path / "conv1.png").exists()
