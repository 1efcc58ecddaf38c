"""Callbacks that show the progress of a run: curves, kernels, TensorBoard."""

import contextlib
import functools
import logging
import os
import time

import keras
import numpy as np
from tensorboard.plugins.histogram import metadata as histogram_plugin
import tensorflow as tf

from alexnet_tf.data import input_pipeline
from alexnet_tf.models import alexnet
from alexnet_tf import plots
from alexnet_tf.training import metrics
from alexnet_tf.workdir import read_metrics

_log = logging.getLogger(__name__)
DRAW_SECONDS = 30  # The shortest time between two drawings.
DRAW_SHARE = 0.05  # The largest share of a run's time that drawing may take.
KERNEL_EPOCHS = 20  # The number of first epochs whose kernels are always written.
_GRADIENT_IMAGES = 32  # The number of images over which gradients are averaged.


def keras_callbacks(workdir, metric_names, resumed):
    """Returns Keras' callbacks that write tensorboard/ and metrics.csv.

    Args:
        workdir: an existing directory.
        metric_names: the names of the metrics in training, see `metrics.names`.
        resumed: whether the run is resumed, so that an existing metrics.csv is
            continued instead of overwritten.
    """
    return [
        keras.callbacks.TensorBoard(
            os.path.join(workdir, "tensorboard"), write_graph=False
        ),
        _EpochTable(os.path.join(workdir, "metrics.csv"), metric_names, resumed),
    ]


class _EpochTable(keras.callbacks.CSVLogger):
    """Keras' `CSVLogger`, with the same columns after each resumption.

    Keras would choose the columns at the first epoch after each resumption, and add
    val_learning_rate if that epoch is not evaluated. A file of an earlier version keeps
    its columns, among which is the top-5 error for any number of classes. Keras writes
    "NA" where there is no value.

    The file is open only while a line is written. Otherwise, an interrupted run would
    leave it open as long as a notebook keeps the exception, and on Windows the next run
    could not replace the file.
    """

    def __init__(self, path, metric_names, append):
        super().__init__(path, append=append)
        validation_names = [f"val_{name}" for name in metric_names]
        self._columns = sorted(["learning_rate", *metric_names, *validation_names])
        if append and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                _, *columns = file.readline().strip().split(",")
            self._columns = columns or self._columns

    def on_train_begin(self, logs=None):
        pass

    def on_epoch_end(self, epoch, logs=None):
        super().on_train_begin()
        self.keys = self._columns
        super().on_epoch_end(epoch, logs)
        super().on_train_end()
        self.append = True


class FigureWriter(keras.callbacks.Callback):
    """Draws curves.png and conv1.png at the end of epochs.

    conv1.png shows the kernels of the first convolution, whatever its name; a network
    without convolutions has no such file. The callback skips an epoch if less than
    `DRAW_SECONDS` have passed since the last drawing, or if drawing would take more
    than `DRAW_SHARE` of the run's time. With each drawing, TensorBoard receives what
    Keras' callback does not write: the kernels of the first convolution; histograms of
    all weights and of the gradients of the loss; and the training throughput in images
    per second, 0 if it was not measured. In the first `KERNEL_EPOCHS` epochs, the
    kernels are written after each epoch, since they change most then. The gradients are
    computed on the center crops of the first 32 images of `source`, without dropout or
    weight decay. An error while drawing is logged, and training continues.

    Args:
        workdir: an existing directory.
        preset: the `presets.Preset` of the model.
        source: the `Source` that the model is trained on.
        statistics: the `pixel_statistics.Statistics` that preprocessing uses.
        model: the model, which returns logits.
    """

    def __init__(self, workdir, preset, source, statistics, model):
        super().__init__()
        self._workdir, self._preset, self._source = workdir, preset, source
        self._statistics = statistics
        self._logits_model = model
        self._drawn_at, self._min_interval = time.monotonic(), DRAW_SECONDS

    def draw(self):
        """Draws curves.png and conv1.png now."""
        with _logging_errors("curves.png"):
            plots.curves(
                read_metrics(self._workdir),
                os.path.join(self._workdir, "curves.png"),
                f"Training of {self._preset.name} on {self._source.name}",
            )
        convolution = alexnet.first_convolution(self._logits_model)
        if convolution is None:
            return
        with _logging_errors("conv1.png"):
            plots.kernels(
                alexnet.rgb_kernels(self._logits_model, self._preset),
                os.path.join(self._workdir, "conv1.png"),
                f"{convolution.name} of {self._preset.name}",
                alexnet.kernel_towers(self._logits_model),
            )

    def on_train_begin(self, logs=None):
        self._event_writer = tf.summary.create_file_writer(
            os.path.join(self._workdir, "tensorboard", "images")
        )

    def on_epoch_end(self, epoch, logs=None):
        start = time.monotonic()
        is_due = start - self._drawn_at >= self._min_interval
        if is_due or epoch < KERNEL_EPOCHS:
            self._write(epoch, self._write_kernels)
        if not is_due:
            return
        self.draw()
        self._write(epoch, self._write_events)
        self._drawn_at = time.monotonic()
        self._min_interval = max(
            DRAW_SECONDS, (self._drawn_at - start) / DRAW_SHARE
        )

    def _write(self, epoch, write):
        """Calls a function that writes summaries of an epoch for TensorBoard."""
        with (
            _logging_errors("the figures of TensorBoard"),
            self._event_writer.as_default(epoch),
        ):
            write()

    def _write_kernels(self):
        convolution = alexnet.first_convolution(self._logits_model)
        if convolution is None:
            return
        sheet = plots.kernel_sheet(
            alexnet.rgb_kernels(self._logits_model, self._preset),
            alexnet.kernel_towers(self._logits_model),
        )
        tf.summary.image(convolution.name, sheet[np.newaxis])

    def _write_events(self):
        for variable in self._logits_model.weights:
            _write_histogram(variable.path, variable.numpy())
        gradients = loss_gradients(self._logits_model, *self._gradient_batch)
        for path, gradient in gradients.items():
            _write_histogram(f"gradients/{path}", gradient.numpy())
        lines = read_metrics(self._workdir)
        train_lines = [line for line in lines if line["split"] == "train"]
        throughput = train_lines[-1]["images_per_second"]
        tf.summary.scalar("images_per_second", throughput or 0)

    @functools.cached_property
    def _gradient_batch(self):
        """The images and labels for which the gradients are recorded."""
        batches = input_pipeline.evaluation_batches(
            self._source, self._preset.preprocessing, self._statistics,
            batch_size=min(_GRADIENT_IMAGES, self._source.num_examples),
        )
        return next(iter(batches))


@contextlib.contextmanager
def _logging_errors(figure):
    """Logs errors while drawing `figure`, because they must not end a run."""
    try:
        yield
    except Exception as error:
        _log.warning("Could not draw %s: %s", figure, error)


def histogram(values, buckets=30):
    """Returns the histogram of an array in TensorBoard's format.

    `tf.summary.histogram` is not used, because it allocates 30 float64 numbers
    for each value, 9 GB for the 38 million weights of fc6.

    Args:
        values: an array of any shape.
        buckets: the number of buckets.

    Returns:
        float64 [buckets, 3]: left edge, right edge and count of each bucket.
    """
    counts, edges = np.histogram(values, buckets)
    return np.stack([edges[:-1], edges[1:], counts], axis=-1)


def _write_histogram(name, values):
    metadata = histogram_plugin.create_summary_metadata(None, None)
    tf.summary.write(name, histogram(values), metadata=metadata)


def loss_gradients(model, images, labels):
    """Computes the gradients of the loss with respect to all trainable variables.

    The loss is the mean cross-entropy of the images, without dropout or weight
    decay.

    Args:
        model: a model that returns logits and is compiled with its optimizer.
        images, labels: float32 [B, crop, crop, 3], int32 [B].

    Returns:
        {path of a variable: float32 tensor}.
    """
    variables = model.trainable_variables
    # A `LossScaleOptimizer` scales the loss, because many unscaled gradients are
    # too small for float16.
    scale = model.optimizer.scale_loss(tf.constant(1.0))
    with tf.GradientTape() as tape:
        logits = tf.cast(model(images, training=False), tf.float32)
        loss = scale * tf.reduce_mean(metrics.cross_entropy(logits, labels))
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    return {
        variable.path: gradient / scale
        for variable, gradient in zip(variables, gradients)
    }
