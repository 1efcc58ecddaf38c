"""One training step, and the optimizer that it applies."""

import contextlib

import keras
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf.training import metrics
from alexnet_tf.training import optimizers


@contextlib.contextmanager
def dtype_policy(name):
    """Layers made within it have this Keras dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def make_optimizer(model, recipe, precision):
    """The paper's rule for all variables of `model` that move.

    Args:
        model: the network; callbacks find the optimizer in it.
        recipe: a `presets.Recipe`.
        precision: as in `loop.train`.
    """
    optimizer = optimizers.MomentumSGD(
        recipe.learning_rate, recipe.momentum, recipe.weight_decay
    )
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    # Callbacks look for it there.
    model.compile(optimizer)
    return optimizer


def set_multipliers(optimizer, biases, layers, lr_mult):
    """Those of the epoch, times those of the fine-tuning."""
    rule = getattr(optimizer, "inner_optimizer", optimizer)
    rule.bias_lr_multiplier = biases
    rule.lr_multipliers = {
        layer: layers.get(layer, 1.0) * lr_mult.get(layer, 1.0)
        for layer in layers | lr_mult
    }


def make_run_steps(model, optimizer, strategy, recipe, seed):
    """run_steps(iterator, first_step, count) -> `metrics.batch_sums` [count, 4].

    Args:
        model: gives logits.
        optimizer: from `make_optimizer`.
        strategy: the `tf.distribute.Strategy` of its variables.
        recipe: a `presets.Recipe`, for the size of the batches.
        seed: of the dropout.
    """
    states = alexnet.dropout_states(model)

    def train_step(images, labels, step):
        with keras.StatelessScope(_dropout_seeds(states, seed, step)):
            logits = model(images, training=True)
        losses = metrics.cross_entropy(logits, labels)
        # The mean over the global batch: the optimizer sums over devices.
        return tf.reduce_sum(losses) / recipe.batch_size, logits

    def replica_step(images, labels, step):
        with tf.GradientTape() as tape:
            loss, logits = train_step(images, labels, step)
            loss = optimizer.scale_loss(loss)
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            # Keras looks for overflow on the first device alone, before the
            # gradients are summed: one on any device must show on all.
            poison = tf.add_n([tf.reduce_sum(0 * g) for g in gradients])
            context = tf.distribute.get_replica_context()
            gradients[0] += context.all_reduce("SUM", poison)
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


def _dropout_seeds(states, seed, step):
    """[(state, value)]: the masks are a function of seed, step and device.

    Keras would advance the states, and a resumed run would draw other masks.
    """
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    key = tf.constant([seed, 2], tf.int64)
    for number in (step, replica):
        key = tf.random.fold_in(key, number)
    return [
        (state, tf.cast(tf.random.fold_in(key, layer), state.dtype))
        for layer, state in enumerate(states)
    ]
