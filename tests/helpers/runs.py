"""Short trainings, and what is left of them."""

import dataclasses

import keras
import tensorflow as tf

from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf import presets
from alexnet_tf.training import distribution
from alexnet_tf.training import loop
from alexnet_tf.workdir import read_metrics


def small(**values):
    """The tiny preset for a few steps."""
    defaults = dict(epochs=2, batch_size=12, schedule="constant", dropout=0.5)
    return presets.override(presets.get("tiny"), **defaults | values)


def shallow(**values):
    """`small` with one convolution, a norm, a dropout: traced in half the time."""
    preset = small(**values)
    kept = "conv1 relu1 norm1 pool1 flatten fc7 relu7 drop7 fc8".split()
    layers = tuple(layer for layer in preset.layers if layer.name in kept)
    return dataclasses.replace(preset, layers=layers)


def run(path, source, *, preset=None, devices=1, **kwargs):
    path.mkdir(exist_ok=True)
    return loop.train(
        preset or shallow(),
        source,
        source,
        str(path),
        strategy=distribution.make_strategy(devices),
        **kwargs,
    )


class At(keras.callbacks.Callback):
    """Does something when the optimizer has come to a step."""

    def __init__(self, step, action):
        super().__init__()
        self.step, self.action = step, action

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations.numpy()) >= self.step:
            self.step = float("inf")
            self.action()


def weights(path):
    """[array, ...] of the network of a run."""
    return load_classifier(str(path)).model.get_weights()


def final_arrays(path):
    """{name: array} of the newest checkpoint, without its bookkeeping."""
    latest = tf.train.latest_checkpoint(str(path / "checkpoints"))
    reader = tf.train.load_checkpoint(latest)
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.endswith("VARIABLE_VALUE") and "save_counter" not in name
    }


def layers_of(path):
    """{layer: [kernel, bias]} of the newest checkpoint."""
    arrays = {}
    for name, array in sorted(final_arrays(path).items()):
        if name.startswith("layers/"):
            arrays.setdefault(name.split("/")[1], []).append(array)
    return arrays


def events(path):
    """Yields (step, value) of what a summary writer wrote to a folder."""
    (file,) = path.glob("events*")
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            yield event.step, value


def metrics(path):
    """All lines of metrics without the speed."""
    lines = read_metrics(str(path))
    return [
        {key: value for key, value in line.items() if key != "images_per_second"}
        for line in lines
    ]
