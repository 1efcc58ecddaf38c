"""The two towers of a network on two devices, as on the two GPUs of the paper.

Each device holds the weights, the velocities and the maps of one tower, and half of the
fully connected layers (paper, section 3.2 and Fig. 2). These values cross from one
device to the other, and their gradients cross back:

    - the maps that an ungrouped convolution such as conv3 reads, and the outputs that a
      fully connected layer reads: each device sends its half;
    - the maps beside the border between the towers, if response normalization extends
      across it, as in the preset `paper`, and not in `code2012`;
    - the logits of the second device, because the first one computes the loss.

Weights files and checkpoints are those of the whole network, which is kept in the
memory of the CPU.
"""

import logging

import keras
import tensorflow as tf

from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf import presets
from alexnet_tf.training import optimizers

_log = logging.getLogger(__name__)

NUM_TOWERS = 2
# The device of the whole network, whose weights are saved.
HOST = "CPU:0"


class Towers:
    """A model and its optimizer, computed by two devices.

    It is called like the model, and its trainable variables are the halves of those of
    the model: they are divided along their last axis, that of the filters or units.

    Attributes:
        devices: the names of the two devices.
        layers: the layers of the model. The towers share those without weights.
        optimizer: the `TowerSGD` of the trainable variables.

    Args:
        model: a model that returns logits, built for a preset that `check` accepts,
            with the weights to begin with.
        optimizer: the `optimizers.MomentumSGD` of `model`, whose state is taken over.
        devices: the names of two devices, see `distribution.tower_devices`.
    """

    def __init__(self, model, optimizer, devices):
        self.devices, self.layers = tuple(devices), model.layers
        self._tower_layers = {
            layer.name: self._on_each_device(
                lambda tower, layer=layer: _half_of(layer, tower)
            )
            for layer in model.layers
            if layer.weights or isinstance(layer, LocalResponseNormalization)
        }
        self._optimizer_of_model = optimizer
        with tf.device(devices[0]):
            self.optimizer = TowerSGD.from_config(optimizer.get_config())
            self.optimizer.build(self.trainable_variables)
        self._halves = [*self._halves_of_weights(), *self._halves_of_velocities()]
        self.read_model()
        _log.info("Towers: %s.", "; ".join(self._on_each_device(self._describe)))

    @property
    def trainable_variables(self):
        """The halves of the trainable variables of the model, in pairs."""
        pairs = [
            pair
            for layer in self.layers
            if layer.weights
            for pair in zip(
                *(half.trainable_variables for half in self._layers_of(layer))
            )
        ]
        return [variable for pair in pairs for variable in pair]

    @property
    def non_trainable_weights(self):
        """The variables that a step changes without gradients: there are none."""
        return []

    def __call__(self, images, training=False):
        """Returns what the model returns, on the first device.

        Args:
            images: float32 [B, H, W, 3], which both devices read.
            training: whether dropout is active. The masks are those of the model.
        """
        values, are_whole = [images] * NUM_TOWERS, True
        for layer in self.layers[1:]:
            if _reads_both_towers(layer) and not are_whole:
                values, are_whole = self._exchange(values), True
            values = self._apply(layer, values, are_whole, training)
            are_whole = are_whole and not layer.weights
        with tf.device(self.devices[0]):
            return tf.concat(values, axis=-1)

    def gradients(self, loss):
        """Returns the gradients of a loss with respect to `trainable_variables`.

        It must be called while a `tf.function` is traced. Each operation of the
        gradients is placed on the device of the operation that it differentiates;
        `tf.GradientTape` would not place it.
        """
        return tf.compat.v1.gradients(
            loss,
            [variable.value for variable in self.trainable_variables],
            colocate_gradients_with_ops=True,
        )

    def update_model(self):
        """Copies the weights, and the state of the optimizer, to the model."""
        with tf.device(HOST):
            for variable, halves in self._halves:
                variable.assign(tf.concat([half.value for half in halves], axis=-1))
        optimizer = self._optimizer_of_model
        optimizer.iterations.assign(self.optimizer.iterations)
        optimizer.learning_rate = self.optimizer.learning_rate.numpy()

    def read_model(self):
        """Copies the weights, and the state of the optimizer, from the model."""
        for variable, halves in self._halves:
            sizes = [half.shape[-1] for half in halves]
            for half, value in zip(halves, tf.split(variable.value, sizes, axis=-1)):
                half.assign(value)
        self.optimizer.iterations.assign(self._optimizer_of_model.iterations)

    def _halves_of_weights(self):
        """Yields (variable of the model, its halves)."""
        for layer in self.layers:
            halves = self._layers_of(layer)
            for variable, *parts in zip(
                layer.weights, *(half.weights for half in halves)
            ):
                yield variable, parts

    def _halves_of_velocities(self):
        """Yields (variable of the optimizer of the model, its halves)."""
        halves = self.optimizer.momentums
        pairs = zip(halves[::2], halves[1::2])
        yield from zip(self._optimizer_of_model.momentums, pairs)

    def _describe(self, tower):
        count = sum(
            variable.shape.num_elements()
            for variable in self.trainable_variables[tower::NUM_TOWERS]
        )
        return f"{count:,} trained parameters on {self.devices[tower]}"

    def _layers_of(self, layer):
        """Returns the layers that the two towers have in place of a layer."""
        return self._tower_layers.get(layer.name, [layer] * NUM_TOWERS)

    def _on_each_device(self, function):
        """Returns [function(tower) on the device of the tower, ...]."""
        results = []
        for tower, device in enumerate(self.devices):
            with tf.device(device):
                results.append(function(tower))
        return results

    def _exchange(self, halves):
        """Returns the values of both towers, on each of the devices."""
        return self._on_each_device(lambda tower: tf.concat(halves, axis=-1))

    def _apply(self, layer, values, are_whole, training):
        """Applies a layer to the values of both towers.

        Args:
            layer: a layer of the model.
            values: a tensor on each device.
            are_whole: whether each tensor has the values of both towers.
            training: as for `__call__`.
        """
        is_normalization = isinstance(layer, LocalResponseNormalization)
        if is_normalization and layer.groups == 1 and not are_whole:
            return self._normalize(layer, values)
        if isinstance(layer, keras.layers.Dropout):
            return self._drop(layer, values, are_whole, training)
        halves = self._layers_of(layer)
        return self._on_each_device(
            lambda tower: halves[tower](values[tower], training=training)
        )

    def _normalize(self, layer, halves):
        """Normalizes maps across the border between the towers."""
        radius, (left, right) = layer.depth_radius, halves
        with tf.device(self.devices[0]):
            end_of_left = left[..., -radius:]
        with tf.device(self.devices[1]):
            start_of_right = right[..., :radius]
        with tf.device(self.devices[0]):
            maps = layer(tf.concat([left, start_of_right], axis=-1))
            normalized_left = maps[..., : left.shape[-1]]
        with tf.device(self.devices[1]):
            maps = layer(tf.concat([end_of_left, right], axis=-1))
            return [normalized_left, maps[..., -right.shape[-1] :]]

    def _drop(self, layer, values, are_whole, training):
        """Applies dropout, each device with its part of the mask of the model.

        Each device draws the whole mask, because random numbers depend on the number of
        outputs.
        """
        sizes = [0 if are_whole else value.shape[-1] for value in values]
        seeds = [(state, state.value) for state in _seed_states(layer)]

        def drop(tower):
            value, before = values[tower], sum(sizes[:tower])
            end = before + value.shape[-1]
            padding = [[0, 0]] * (value.shape.rank - 1)
            padded = tf.pad(value, [*padding, [before, sum(sizes[tower + 1 :])]])
            # Otherwise, the layer would draw another mask for the second device.
            with keras.StatelessScope(seeds):
                return layer(padded, training=training)[..., before:end]

        return self._on_each_device(drop)


def check(preset, precision, has_own_optimizer, cache_features, has_strategy=False):
    """Raises a ValueError if a run cannot be computed by two towers.

    Args:
        preset: a `presets.Preset`.
        precision, cache_features: as for `loop.train` and `FineTuning`.
        has_own_optimizer: whether the optimizer is not that of the paper.
        has_strategy: whether the strategy is not the default one of TensorFlow.
    """
    groups = [getattr(layer, "groups", 1) for layer in preset.layers]
    if max(groups) != NUM_TOWERS:
        suitable = [
            name
            for name, other in presets.PRESETS.items()
            if any(getattr(layer, "groups", 1) == NUM_TOWERS for layer in other.layers)
        ]
        raise ValueError(
            "Expected a preset with two towers for parallelism=towers, such as "
            f"{', '.join(suitable)}. Received: {preset.name}, whose convolutions "
            f"have {max(groups)} group{'s' * (max(groups) > 1)}. Use parallelism=data."
        )
    unsupported = {
        "batch normalization": any(
            isinstance(layer, presets.BatchNorm) for layer in preset.layers
        ),
        f"precision={precision}": precision != "float32",
        "an optimizer of your own": has_own_optimizer,
        "cache_features": cache_features,
        "a strategy": has_strategy,
    }
    received = [name for name, is_given in unsupported.items() if is_given]
    if received:
        raise ValueError(
            "Expected float32, the paper's update rule, the default strategy, and "
            "neither batch normalization nor cached features for parallelism=towers. "
            f"Received: {', '.join(received)}. Use parallelism=data."
        )


class TowerSGD(optimizers.MomentumSGD):
    """The paper's update rule, which each device applies to its own variables."""

    def apply(self, grads, trainable_variables=None):
        # The `apply` of Keras sends all gradients through one operation, and thereby
        # through one device.
        learning_rate = tf.convert_to_tensor(self.learning_rate)
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            with tf.device(variable.value.device):
                self.update_step(gradient, variable.value, learning_rate)
        self.iterations.assign_add(1)


def _seed_states(dropout):
    """Returns the variables of the random seed; a rate of 0 has none."""
    return [dropout.seed_generator.state] if dropout.rate > 0 else []


def _reads_both_towers(layer):
    if isinstance(layer, keras.layers.Conv2D):
        return layer.groups == 1
    return isinstance(layer, keras.layers.Dense | keras.layers.Flatten)


def _half_of(layer, tower):
    """Returns a layer with half of the filters or units of `layer`.

    Args:
        layer: a convolution, a fully connected layer or a response normalization.
        tower: 0 or 1, the tower that the layer belongs to.
    """
    config = layer.get_config()
    if "groups" in config:
        config["groups"] = 1
    if isinstance(layer, LocalResponseNormalization):
        return type(layer).from_config(config)
    # The weights are copied later.
    config["kernel_initializer"] = "zeros"
    width = "filters" if "filters" in config else "units"
    config[width] = (config[width] + NUM_TOWERS - 1 - tower) // NUM_TOWERS
    half = type(layer).from_config(config)
    *_, num_inputs, _ = layer.kernel.shape
    half.build((*[None] * (len(layer.kernel.shape) - 1), num_inputs))
    return half
