"""One training step, and the optimizer that it applies."""

import contextlib

import keras
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.training import metrics
from alexnet_tf.training import optimizers


@contextlib.contextmanager
def dtype_policy(name):
    """Sets the Keras dtype policy of the layers that are made in the body."""
    previous_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous_policy)


def make_optimizer(model, recipe, precision):
    """Makes the optimizer of the paper for the trainable variables of `model`.

    The learning-rate multipliers are 1 until `set_multipliers` is called.

    Args:
        model: the network. It is compiled with the optimizer, because callbacks look
            for it in `model.optimizer`.
        recipe: a `presets.Recipe`.
        precision: the dtype policy, as for `loop.train`.
    """
    optimizer = optimizers.MomentumSGD(
        recipe.learning_rate, recipe.momentum, recipe.weight_decay
    )
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer)
    return optimizer


def set_multipliers(optimizer, bias_multiplier, layer_multipliers, lr_mult):
    """Sets the learning-rate multipliers of the biases and of single layers.

    They are constants of a traced step, so `make_run_steps` must be called again after
    this function.

    Args:
        optimizer: an optimizer from `make_optimizer`.
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


def make_run_steps(model, optimizer, strategy, recipe, seed):
    """Makes a function that trains for several steps within one graph call.

    Args:
        model: a model that outputs logits.
        optimizer: an optimizer from `make_optimizer`.
        strategy: the `tf.distribute.Strategy` that `model` was made with.
        recipe: a `presets.Recipe`, whose global batch size is used.
        seed: the random seed of the dropout masks.

    Returns:
        run_steps(iterator, first_step, count), which takes `count` batches from the
        iterator and returns their `metrics.batch_sums` as a NumPy array [count, 4].
    """
    states = alexnet.dropout_states(model)

    def mean_loss(images, labels, step):
        dropout_scope = keras.StatelessScope(_dropout_seeds(states, seed, step))
        # Each replica is traced in a thread of its own, to which the scope is limited.
        with compiled_normalization(), dropout_scope:
            logits = model(images, training=True)
        losses = metrics.cross_entropy(logits, labels)
        # The mean over the global batch: the optimizer sums over devices.
        return tf.reduce_sum(losses) / recipe.batch_size, logits

    def replica_step(images, labels, step):
        with tf.GradientTape() as tape:
            loss, logits = mean_loss(images, labels, step)
            loss = optimizer.scale_loss(loss)
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            gradients = _propagate_overflow(gradients)
        optimizer.apply(gradients, variables)
        return metrics.batch_sums(logits, labels)

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


def _propagate_overflow(gradients):
    """Adds NaN to a gradient on all devices if one on any device is not finite.

    All devices then skip the step. Keras looks for overflow on the first device alone,
    before the gradients are summed.
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
