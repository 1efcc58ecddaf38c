"""What a run shows of itself while it goes on: curves, kernels, TensorBoard."""

import contextlib
import functools
import logging
import os
import time

import keras
import numpy as np
from tensorboard.plugins.histogram import metadata as histograms
import tensorflow as tf

from alexnet_tf.data import input_pipeline
from alexnet_tf.models import alexnet
from alexnet_tf import plots
from alexnet_tf.training import metrics
from alexnet_tf.workdir import read_metrics

_log = logging.getLogger(__name__)
DRAW_SECONDS = 30
DRAW_SHARE = 0.05
_PROBE_IMAGES = 32  # Pictures that the gradients shown are of.


def keras_callbacks(workdir, resumed):
    """Keras' own, which write tensorboard/ and metrics.csv.

    Args:
        workdir: an existing directory.
        resumed: whether metrics.csv goes on.
    """
    return [
        keras.callbacks.TensorBoard(
            os.path.join(workdir, "tensorboard"), write_graph=False
        ),
        keras.callbacks.CSVLogger(
            os.path.join(workdir, "metrics.csv"), append=resumed
        ),
    ]


class FigureWriter(keras.callbacks.Callback):
    """Draws curves.png and conv1.png, at most every `DRAW_SECONDS`.

    Less often where that would take more than `DRAW_SHARE` of the run's time.
    TensorBoard gets what Keras' own callback does not write: the kernels of the
    first layer, histograms of all weights and of the loss's gradients, and the
    speed. The gradients are those of the split's first 32 pictures, central
    view, without dropout and weight decay. What stops a drawing is logged, and
    training goes on.

    Args:
        workdir: an existing directory.
        preset: the `presets.Preset` of the network.
        source: the `Source` it is trained on.
        statistics: the `pixel_statistics.Statistics` it is fed with.
        model: gives logits.
    """

    def __init__(self, workdir, preset, source, statistics, model):
        super().__init__()
        self._workdir, self._preset, self._source = workdir, preset, source
        self._network = model
        self._drawn_at, self._wait = time.monotonic(), DRAW_SECONDS
        self._statistics = statistics

    def draw(self):
        with _logged("curves.png"):
            plots.curves(
                read_metrics(self._workdir),
                os.path.join(self._workdir, "curves.png"),
                f"{self._preset.name} on {self._source}",
            )
        with _logged("conv1.png"):
            plots.kernels(
                alexnet.rgb_kernels(self._network, self._preset),
                os.path.join(self._workdir, "conv1.png"),
                "conv1",
            )

    def on_train_begin(self, logs=None):
        self._events = tf.summary.create_file_writer(
            os.path.join(self._workdir, "tensorboard", "pictures")
        )

    def on_epoch_end(self, epoch, logs=None):
        began = time.monotonic()
        if began - self._drawn_at < self._wait:
            return
        self.draw()
        with _logged("TensorBoard's pictures"), self._events.as_default(epoch):
            self._write_events()
        self._drawn_at = time.monotonic()
        self._wait = max(DRAW_SECONDS, (self._drawn_at - began) / DRAW_SHARE)

    def _write_events(self):
        kernels = alexnet.rgb_kernels(self._network, self._preset)
        tf.summary.image("conv1", plots.kernel_sheet(kernels)[np.newaxis])
        for variable in self._network.weights:
            _write_histogram(variable.path, variable.numpy())
        found = loss_gradients(self._network, *self._probe)
        for path, gradient in found.items():
            _write_histogram(f"gradients/{path}", gradient.numpy())
        # The last line but the evaluation's.
        speed = read_metrics(self._workdir)[-2]["images_per_second"]
        tf.summary.scalar("images_per_second", speed or 0)

    @functools.cached_property
    def _probe(self):
        """The pictures and labels that the gradients are of."""
        batches = input_pipeline.evaluation_batches(
            self._source, self._preset.preprocessing, self._statistics,
            batch_size=min(_PROBE_IMAGES, self._source.num_examples),
        )
        return next(iter(batches))


@contextlib.contextmanager
def _logged(what):
    """Errors of a drawing, which are worth no run."""
    try:
        yield
    except Exception as error:
        _log.warning("Could not draw %s: %s", what, error)


def histogram(values, buckets=30):
    """float64 [buckets, 3] of an array, as TensorBoard keeps it.

    Left edge, right edge, count. `tf.summary.histogram` makes 30 float64 of each
    value on the way: 9 GB for the 38 million of fc6.
    """
    counts, edges = np.histogram(values, buckets)
    return np.stack([edges[:-1], edges[1:], counts], axis=-1)


def _write_histogram(name, values):
    metadata = histograms.create_summary_metadata(None, None)
    tf.summary.write(name, histogram(values), metadata=metadata)


def loss_gradients(model, images, labels):
    """{path: float32 tensor} of the loss by each variable that moves.

    The mean over the pictures, without dropout and weight decay.

    Args:
        model: gives logits, and has its optimizer.
        images, labels: float32 [B, S, S, 3], int32 [B].
    """
    variables = model.trainable_variables
    # float16 can't hold the gradients as they are.
    scale = model.optimizer.scale_loss(tf.constant(1.0))
    with tf.GradientTape() as tape:
        logits = tf.cast(model(images, training=False), tf.float32)
        loss = scale * tf.reduce_mean(metrics.cross_entropy(logits, labels))
    found = tape.gradient(loss, [variable.value for variable in variables])
    return {v.path: gradient / scale for v, gradient in zip(variables, found)}


def epoch_logs(workdir):
    """The last measurements, under the names that Keras would give them."""
    lines = {line["split"]: line for line in read_metrics(workdir)}
    keys = ("loss", "top1_error", "top5_error")
    return {
        **{key: lines["train"][key] for key in keys},
        **{f"val_{key}": lines["eval"][key] for key in keys},
        "learning_rate": lines["train"]["learning_rate"],
    }
