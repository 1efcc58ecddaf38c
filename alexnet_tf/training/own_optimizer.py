"""Optimizers of Keras that a user gives in place of the paper's update rule."""

import dataclasses

import keras
import tensorflow as tf

# The fields of a recipe that the optimizer replaces.
REPLACED = (
    "learning_rate", "momentum", "weight_decay", "bias_lr_multiplier",
    "schedule", "boundaries", "patience",
)  # fmt: skip


def make(optimizer):
    """Returns a new Keras optimizer. It must be called within the strategy's scope.

    Args:
        optimizer: a name such as "adam", for the optimizer with the defaults of Keras;
            a `keras.optimizers.Optimizer`, of which a copy is made from its
            configuration, or a function without arguments that returns a new one.
            Settings that are not in the configuration, such as those of
            `exclude_from_weight_decay`, require a function.

    Raises:
        ValueError: if `optimizer` is something else or an unknown name, if the function
            returns something else or an optimizer that another model uses, or if the
            optimizer averages the weights.
    """
    if isinstance(optimizer, str):
        optimizer = keras.optimizers.get(optimizer)
    if isinstance(optimizer, keras.optimizers.Optimizer):
        made = type(optimizer).from_config(optimizer.get_config())
    else:
        made = optimizer() if callable(optimizer) else optimizer
    if not isinstance(made, keras.optimizers.Optimizer):
        raise ValueError(
            "Expected optimizer to be a Keras optimizer, or a function that returns "
            f"one. Received: {made!r}."
        )
    if made.built:
        raise ValueError(
            "Expected optimizer to be a function that returns a new Keras optimizer in "
            f"each call. Received: a function that returned {made!r}, which another "
            "model uses."
        )
    inner = getattr(made, "inner_optimizer", made)
    if inner.use_ema:
        raise ValueError(
            "Expected an optimizer that does not average the weights. Received: "
            f"{type(inner).__name__}(use_ema=True). Leave use_ema out, because the "
            "average would not be used."
        )
    return made


def check_accumulation(optimizer, strategy):
    """Raises a ValueError if an optimizer accumulates gradients and cannot do so.

    Args:
        optimizer: the result of `make`.
        strategy: the `tf.distribute.Strategy` of the run. Keras accumulates gradients
            with the default strategy only, which a single CPU gets.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    steps = inner.gradient_accumulation_steps
    if steps and strategy is not tf.distribute.get_strategy():
        raise ValueError(
            "Expected an optimizer that does not accumulate gradients, because Keras "
            "cannot do so on GPUs and on several devices. Received: "
            f"{type(inner).__name__}(gradient_accumulation_steps={steps}). Use a "
            "larger batch_size."
        )


def describe(optimizer):
    """Returns the class and the settings of an optimizer, {name: JSON value}.

    A resumed run must have an optimizer with the same description.

    Args:
        optimizer: a new optimizer from `steps.make_optimizer`.
    """
    values = {
        f"optimizer.{name}": value
        for name, value in optimizer.get_config().items()
        if name != "name" and value is not None
    }
    return {"optimizer": type(optimizer).__name__, **values}


def without_schedule(recipe):
    """Returns a copy of a recipe that leaves the learning rate to the optimizer.

    Args:
        recipe: a `presets.Recipe`.
    """
    return dataclasses.replace(
        recipe, schedule="constant", layer_lr_multipliers=(), bias_lr_multiplier=1.0
    )


def check_exclusive(options, fine_tuning):
    """Raises a ValueError if settings of the paper's update rule are given, too.

    Args:
        options: a `TrainingOptions`.
        fine_tuning: a `FineTuning`.
    """
    given = {
        "warmup_epochs": options.warmup_epochs,
        "reference_batch_size": options.reference_batch_size,
        "lr_mult": fine_tuning.lr_mult,
    }
    check_not_given(given)


def check_not_given(values):
    """Raises a ValueError if one of the values beside an optimizer is given.

    Args:
        values: {name of an argument: value}; a value that is None, 0 or empty is not
            given.
    """
    given = [f"{name}={value!r}" for name, value in values.items() if value]
    if given:
        raise ValueError(
            "Expected no settings of the learning rate or of the paper's update rule "
            f"beside an optimizer of your own. Received: {', '.join(given)}. Set them "
            "in the optimizer, for example with a keras.optimizers.schedules object."
        )
