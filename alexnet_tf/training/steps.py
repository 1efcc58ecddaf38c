"""One training step, and the optimizer that it applies."""

import contextlib
import functools
import logging

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.training import metrics
from alexnet_tf.training import optimizers
from alexnet_tf.training.towers import Towers

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def dtype_policy(name):
    """Sets the Keras dtype policy of the layers that are made in the body."""
    previous_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous_policy)


def make_optimizer(model, recipe, precision, optimizer=None):
    """Makes the optimizer of the trainable variables of `model`.

    It is that of the paper, unless another one is given. The learning-rate multipliers
    are 1 until `set_multipliers` is called.

    Args:
        model: the network. It is compiled with the optimizer, because callbacks look
            for it in `model.optimizer`.
        recipe: a `presets.Recipe`.
        precision: as for `loop.train`.
        optimizer: the result of `own_optimizer.make`, or None for the paper's.
    """
    if optimizer is None:
        optimizer = optimizers.MomentumSGD(
            recipe.learning_rate, float(recipe.momentum), recipe.weight_decay
        )
    scales_loss = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if precision == "mixed_float16" and not scales_loss:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer)
    return optimizer


def set_multipliers(optimizer, bias_multiplier, layer_multipliers, lr_mult):
    """Sets the learning-rate multipliers of the biases and of single layers.

    They are constants of a traced step, so `make_run_steps` must be called again after
    this function.

    Args:
        optimizer: the paper's optimizer, from `make_optimizer`.
        bias_multiplier, layer_multipliers: from `optimizers.multipliers`.
        lr_mult: {layer: multiplier} of `fine_tuning.FineTuning`, multiplied with
            `layer_multipliers`.
    """
    # A `LossScaleOptimizer` contains the optimizer with the update rule.
    inner_optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    inner_optimizer.bias_lr_multiplier = bias_multiplier
    inner_optimizer.lr_multipliers = {
        layer: layer_multipliers.get(layer, 1.0) * lr_mult.get(layer, 1.0)
        for layer in layer_multipliers | lr_mult
    }


def make_run_steps(model, optimizer, strategy, recipe, seed, class_weights=None):
    """Makes a function that trains for several steps within one graph call.

    Args:
        model: a model that outputs logits, or `towers.Towers`.
        optimizer: an optimizer from `make_optimizer`, or that of the `Towers`.
        strategy: the `tf.distribute.Strategy` that `model` was made with.
        recipe: a `presets.Recipe`, whose global batch size is used.
        seed: the random seed of the dropout masks.
        class_weights: float32 [classes], the weights of the classes in the loss; None
            for equal weights.

    Returns:
        run_steps(iterator, first_step, count), which takes `count` batches from the
        iterator and returns their `metrics.batch_sums` as a NumPy array [count, 4].
        The dropout masks depend on `first_step`, the number of the first step from 0.
    """
    replica_step = make_replica_step(model, optimizer, recipe, seed, class_weights)

    @tf.function
    def run_steps(iterator, first_step, count):
        sums = tf.TensorArray(tf.float32, size=count)
        for i in tf.range(count):
            images, labels = next(iterator)
            per_replica = strategy.run(
                replica_step, args=(images, labels, first_step + i)
            )
            sums = sums.write(i, strategy.reduce("SUM", per_replica, axis=None))
        return sums.stack()  # [count, 4]

    return lambda iterator, first_step, count: run_steps(
        iterator, tf.constant(first_step), tf.constant(count)
    ).numpy()


def make_replica_step(model, optimizer, recipe, seed, class_weights=None):
    """Makes a function that trains on the share of a batch that one replica has.

    The arguments are those of `make_run_steps`.

    Returns:
        replica_step(images, labels, step), which is to be traced in a `tf.function`,
        changes the weights, and returns the `metrics.batch_sums` of the images.
    """
    states = alexnet.dropout_states(model)
    # Batch normalization, for example, updates its moving averages.
    updated_variables = model.non_trainable_weights

    def mean_loss(images, labels, step):
        dropout_scope = keras.StatelessScope(_dropout_seeds(states, seed, step))
        # Each replica is traced in a thread of its own, to which the scope is limited.
        with compiled_normalization(), dropout_scope:
            logits = model(images, training=True)
        _assign_updates(dropout_scope, updated_variables)
        losses = metrics.cross_entropy(logits, labels, class_weights)
        # The mean over the global batch: the optimizer sums over devices.
        return tf.reduce_sum(losses) / recipe.batch_size, logits

    @tf.autograph.experimental.do_not_convert
    def replica_step(images, labels, step):
        with tf.GradientTape() as tape:
            loss, logits = mean_loss(images, labels, step)
            loss = optimizer.scale_loss(loss)
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _propagate_overflow(gradients)
        optimizer.apply(gradients, variables)
        return metrics.batch_sums(logits, labels, class_weights)

    @tf.autograph.experimental.do_not_convert
    def towers_step(images, labels, step):
        with tf.device(model.devices[0]):
            loss, logits = mean_loss(images, labels, step)
            optimizer.apply(model.gradients(loss), model.trainable_variables)
            return metrics.batch_sums(logits, labels, class_weights)

    return towers_step if isinstance(model, Towers) else replica_step


class TrainingSteps:
    """The training steps of a run, with the learning rate of each epoch and step.

    The schedule sets the learning rate before each call of the graph, because a resumed
    run could not repeat what a callback has set. The first time that a callback has
    changed it, a warning is logged.

    Args:
        model: as for `make_run_steps`.
        optimizer: the optimizer from `make_optimizer`, which callbacks see. `Towers`
            have another one in addition, with the same learning rate.
        strategy, recipe, seed, class_weights: as for `make_run_steps`.
        lr_mult: as for `set_multipliers`.
        warmup_steps: the number of steps of the warm-up, see
            `optimizers.warmup_factor`.
        has_own_optimizer: whether the optimizer is not that of the paper. Its learning
            rate is then left as it is.
    """

    def __init__(
        self, model, optimizer, strategy, recipe, seed, class_weights=None, *,
        lr_mult, warmup_steps, has_own_optimizer,
    ):
        self._optimizer, self._recipe, self._lr_mult = optimizer, recipe, lr_mult
        self._applied = model.optimizer if isinstance(model, Towers) else optimizer
        self._warmup_steps, self._has_own_optimizer = warmup_steps, has_own_optimizer
        self._learning_rate, self._multipliers = None, None
        self._set_value, self._has_warned = None, False
        self._make_run_steps = functools.partial(
            make_run_steps, model, self._applied, strategy, recipe, seed, class_weights
        )

    def begin_epoch(self, epoch, errors):
        """Sets the learning rate and its multipliers for an epoch.

        Args:
            epoch, errors: as for `optimizers.learning_rate`.
        """
        self._learning_rate = optimizers.learning_rate(self._recipe, epoch, errors)
        previous_multipliers = self._multipliers
        self._multipliers = optimizers.multipliers(
            self._recipe, epoch, self._learning_rate
        )
        if not self._has_own_optimizer:
            self._set_learning_rate(self._learning_rate)
            set_multipliers(self._applied, *self._multipliers, self._lr_mult)
        if self._multipliers != previous_multipliers:
            self._run_steps = self._make_run_steps()

    def run(self, iterator, first_step, count):
        """Runs steps like the function that `make_run_steps` returns."""
        if first_step >= self._warmup_steps:
            if not self._has_own_optimizer:
                self._set_learning_rate(self._learning_rate)
            return self._run_steps(iterator, first_step, count)
        # If the learning rate changed within a call, operations of the graph would
        # compute it, and oneDNN would round the results of the graph in one of two
        # ways, which may change from one trace to the next.
        sums = []
        for step in range(first_step, first_step + count):
            self._set_learning_rate(self.learning_rate(step))
            sums.append(self._run_steps(iterator, step, 1))
        return np.concatenate(sums)

    def learning_rate(self, step):
        """Returns the learning rate of a step of the present epoch.

        Args:
            step: the number of the step, from 0. For an optimizer that is not that of
                the paper, the result is its present learning rate for any step.
        """
        if self._has_own_optimizer:
            return self._read_learning_rate()
        factor = optimizers.warmup_factor(step, self._warmup_steps)
        return self._learning_rate * factor

    def _read_learning_rate(self):
        # With several devices, the learning rate is a variable that only TensorFlow
        # converts; with a function, it is a number.
        return float(tf.convert_to_tensor(self._optimizer.learning_rate))

    def _set_learning_rate(self, value):
        """Sets the learning rate of the paper's optimizer."""
        found = self._read_learning_rate()
        expected = found if self._set_value is None else np.float32(self._set_value)
        if found != expected and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "A callback has set the learning rate to %g, which has no effect: the "
                "schedule of the preset sets it to %g. Give an optimizer of your own "
                "to let callbacks change its learning rate.", found, value,
            )  # fmt: skip
        self._optimizer.learning_rate = self._applied.learning_rate = value
        self._set_value = value


def _assign_updates(scope, variables):
    """Assigns to variables the new values that a `StatelessScope` has recorded."""
    for variable in variables:
        value = scope.get_current_value(variable)
        if value is not None:
            # Otherwise, Keras would keep the value of the first device alone.
            context = tf.distribute.get_replica_context()
            variable.assign(context.all_reduce("MEAN", value))


def _propagate_overflow(gradients):
    """Adds NaN to a gradient on all devices if one on any device is not finite.

    All devices then skip the step. Keras looks for an overflow on the first device
    only, before the gradients are summed.
    """
    zero_or_nan = tf.add_n([tf.reduce_sum(0 * gradient) for gradient in gradients])
    context = tf.distribute.get_replica_context()
    first, *others = gradients
    return [first + context.all_reduce("SUM", zero_or_nan), *others]


def _dropout_seeds(states, seed, step):
    """Returns [(state, value), ...], the dropout seeds of one step on this device.

    They depend only on the seed, the step, the device and the layer, so that a resumed
    run draws the same masks. Keras would advance the states in each step instead.
    """
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    # The 2 separates these random numbers from those of the input pipeline.
    key = tf.constant([seed, 2], tf.int64)
    for value in (step, replica):
        key = tf.random.fold_in(key, value)
    return [
        (state, tf.cast(tf.random.fold_in(key, index), state.dtype))
        for index, state in enumerate(states)
    ]
