"""The gradients that TensorBoard gets, and drawings that fail."""

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
from helpers.runs import events


@pytest.mark.parametrize(
    "devices, precision", [(1, "float32"), (2, "float32"), (1, "mixed_float16")]
)
def test_gradients_are_those_of_the_loss(devices, precision):
    """Of fc8's biases: the mean of the probabilities minus the truth."""
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
    found = loss_gradients(model, images, labels)
    wrong = tf.nn.softmax(model(images)) - tf.one_hot(labels, 10)
    atol = 1e-6 if precision == "float32" else 1e-3
    np.testing.assert_allclose(
        found["fc8/bias"], tf.reduce_mean(wrong, axis=0), atol=atol
    )
    assert found.keys() == {v.path for v in model.trainable_variables}
    assert "conv1/kernel" not in found and len(found) == 14
    assert all(np.abs(gradient).max() > 0 for gradient in found.values())


def test_histograms_are_those_of_tensorboard(tmp_path):
    values = np.random.default_rng(0).normal(1, 2, (40, 30)).astype(np.float32)
    with tf.summary.create_file_writer(str(tmp_path)).as_default(3):
        _write_histogram("ours", values)
        tf.summary.histogram("theirs", values)
    found = {value.tag: value for _, value in events(tmp_path)}
    assert found["ours"].metadata == found["theirs"].metadata
    ours, theirs = (tf.make_ndarray(found[tag].tensor) for tag in ("ours", "theirs"))
    assert ours.dtype == theirs.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert ours[:, 2].sum() == 1200


def test_histograms_by_hand():
    edges_and_counts = [[0, 1, 2], [1, 2, 0], [2, 3, 1]]
    assert histogram(np.array([0, 0.5, 3]), 3).tolist() == edges_and_counts
    assert histogram(np.ones(7), 30)[:, 2].sum() == 7  # Biases at first.


def test_histograms_need_little_beside_the_values():
    values = np.zeros(4_000_000, np.float32)
    tracemalloc.start()
    histogram(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < values.nbytes


def test_the_environment_names_the_versions():
    found = environment.describe()
    assert found["tensorflow"] == tf.__version__
    assert found["numpy"] == np.__version__
    assert "pytest" in found["command"] or "-c" in found["command"]
    assert int(found["processors"].split(" x ")[0]) >= 1
    assert all(isinstance(text, str) and text for text in found.values())


def test_the_command_is_one_that_can_be_typed(monkeypatch):
    """`python -m` leaves the path of a file in sys.argv."""
    main = types.SimpleNamespace(__spec__=types.SimpleNamespace(name="alexnet_tf.train"))
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", ["/x/alexnet_tf/train.py", "--dataset=a b"])
    command = environment.describe()["command"]
    assert command == "python -m alexnet_tf.train '--dataset=a b'"


def test_a_drawing_that_fails_ends_no_run(tmp_path, caplog):
    """The kernels are drawn though the curves can't be."""
    preset = presets.get("tiny")
    model = alexnet.AlexNet(preset, 10)
    album = FigureWriter(str(tmp_path), preset, "source", None, model)
    (tmp_path / "metrics.jsonl").write_text("no JSON\n")
    album.draw()
    assert "Could not draw curves.png: Expected a JSON object in line 1" in caplog.text
    assert (tmp_path / "conv1.png").exists()
    album.on_train_begin()
    album._drawn_at -= DRAW_SECONDS
    album.on_epoch_end(0)
    assert "Could not draw TensorBoard's images" in caplog.text


def test_drawing_takes_no_more_than_its_share(monkeypatch):
    """Ten seconds of drawing are a twentieth of 200: none before those."""
    now, drawn = [0.0], []
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    preset = presets.get("tiny")
    album = FigureWriter("", preset, "source", None, None)

    def draw():
        drawn.append(now[0])
        now[0] += 10

    album.draw = draw
    album._events = tf.summary.create_noop_writer()
    while now[0] < 500:
        album.on_epoch_end(0)
        now[0] += 1
    assert drawn == [30, 240, 450]
