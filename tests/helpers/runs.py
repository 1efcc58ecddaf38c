"""Short training runs, and readers of the files that they write."""

import dataclasses

import keras
import tensorflow as tf

from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf import presets
from alexnet_tf.training import distribution
from alexnet_tf.training import loop
from alexnet_tf.workdir import read_metrics


def small_preset(**overrides):
    """Returns the preset `tiny` with a recipe for a few steps.

    Args:
        **overrides: arguments of `presets.override`.
    """
    defaults = dict(epochs=2, batch_size=12, schedule="constant", dropout=0.5)
    return presets.override(presets.get("tiny"), **defaults | overrides)


def shallow_preset(**overrides):
    """Returns `small_preset` with one convolution, one normalization and one dropout.

    Tracing the training step takes half as long as for `small_preset`.

    Args:
        **overrides: arguments of `presets.override`.
    """
    preset = small_preset(**overrides)
    names = "conv1 relu1 norm1 pool1 fc7 relu7 drop7 fc8".split()
    layers = tuple(layer for layer in preset.layers if layer.name in names)
    return dataclasses.replace(preset, layers=layers)


def train_briefly(path, source, *, preset=None, devices=1, **kwargs):
    """Trains and validates on `source` in the work directory `path`.

    Args:
        path: a `pathlib.Path`, created if it does not exist.
        source: the `Source` to train on and to validate on.
        preset: a `presets.Preset`. Default: `shallow_preset()`.
        devices: the number of virtual CPU devices.
        **kwargs: arguments of `loop.train`.

    Returns:
        The metrics that `loop.train` returns.
    """
    path.mkdir(exist_ok=True)
    return loop.train(
        preset or shallow_preset(),
        source,
        source,
        str(path),
        strategy=distribution.make_strategy(devices),
        **kwargs,
    )


class CallAtStep(keras.callbacks.Callback):
    """Calls a function once, at the end of the step with a given number.

    Args:
        step: the number of the step, in all epochs; the first is 1.
        function: a function without arguments.
    """

    def __init__(self, step, function):
        super().__init__()
        self.step, self.function = step, function

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) >= self.step:
            self.step = float("inf")
            self.function()


def run_weights(path):
    """Returns the weights of a run's model, a list of arrays."""
    return load_classifier(str(path)).model.get_weights()


def final_arrays(path):
    """Returns {name: array} of the variables in the newest checkpoint of a run.

    The counter of the checkpoints that have been saved is omitted.
    """
    latest = tf.train.latest_checkpoint(str(path / "checkpoints"))
    reader = tf.train.load_checkpoint(latest)
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.endswith("VARIABLE_VALUE") and "save_counter" not in name
    }


def layers_of(path):
    """Returns {layer name: [kernel, bias]} of the newest checkpoint of a run."""
    arrays = {}
    for name, array in sorted(final_arrays(path).items()):
        if name.startswith("layers/"):
            arrays.setdefault(name.split("/")[1], []).append(array)
    return arrays


def events(path):
    """Yields (step, value) of the summaries in a folder with one event file."""
    (file,) = path.glob("events*")
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            yield event.step, value


def run_metrics(path):
    """Returns the lines of a run's metrics.jsonl without `images_per_second`."""
    lines = read_metrics(str(path))
    return [
        {key: value for key, value in line.items() if key != "images_per_second"}
        for line in lines
    ]
