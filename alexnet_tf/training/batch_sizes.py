"""Default batch sizes for small data sets and for any number of devices."""

import logging

from alexnet_tf import presets

_log = logging.getLogger(__name__)

# The presets have batch sizes for ImageNet. On a few hundred images, an epoch of one or
# two such batches would hardly change the weights.
MIN_STEPS_PER_EPOCH = 10


def fit(
    preset, num_examples, num_replicas, keep_learning_rate=False, recorded=(None, None)
):
    """Returns the preset with a batch size that suits the images and the devices.

    If the batch size of the preset gives an epoch fewer than `MIN_STEPS_PER_EPOCH`
    steps, it is replaced by the largest batch size that gives it at least that many. It
    is rounded down to a number that the devices can share equally, at least one image
    per device. The change is logged. With fewer images than devices, the preset is
    returned unchanged, and `loop.train` raises an error.

    The learning rate is multiplied by the square root of the ratio of the two batch
    sizes, which keeps the variance of an update (Krizhevsky, "One weird trick for
    parallelizing convolutional neural networks", section 5). With an unchanged learning
    rate, `tiny` diverged on 40 images in batches of 4; a learning rate in proportion to
    the batch size would cancel the effect of the additional steps.

    Args:
        preset: a `presets.Preset`.
        num_examples: the number of training images.
        num_replicas: the number of devices, which share a batch equally.
        keep_learning_rate: whether to keep the learning rate of the preset.
        recorded: the batch size and the learning rate of the run that is resumed, which
            may have begun on another number of devices or with an earlier version; for
            a new run (None, None). They are used instead, unless they come from flags:
            with ten steps per epoch or more, the learning rate must follow the rule.
    """
    recipe = preset.recipe
    if num_examples < num_replicas:
        return preset
    batch_size = _default_batch_size(recipe, num_examples, num_replicas)
    learning_rate = _scaled_learning_rate(recipe, batch_size)
    if _is_default(*recorded, recipe, num_examples, keep_learning_rate):
        batch_size, learning_rate = recorded
    if batch_size == recipe.batch_size:
        return preset
    overrides = {"batch_size": batch_size}
    if not keep_learning_rate:
        overrides["learning_rate"] = learning_rate
    fitted = presets.override(preset, **overrides)
    reason = f"There are only {num_examples} training images"
    if _has_enough_steps(recipe, num_examples):
        reason = "The devices share a batch equally"
    _log_change(reason, recipe, fitted.recipe, num_examples // batch_size)
    return fitted


def _has_enough_steps(recipe, num_examples):
    return num_examples // recipe.batch_size >= MIN_STEPS_PER_EPOCH


def _default_batch_size(recipe, num_examples, num_replicas):
    largest = recipe.batch_size
    if not _has_enough_steps(recipe, num_examples):
        largest = num_examples // MIN_STEPS_PER_EPOCH
    return max(1, largest // num_replicas) * num_replicas


def _is_default(batch_size, learning_rate, recipe, num_examples, keep_learning_rate):
    """Returns whether the batch size of the run to resume did not come from a flag."""
    if batch_size is None:
        return False
    return (
        not _has_enough_steps(recipe, num_examples)
        or keep_learning_rate
        or learning_rate == _scaled_learning_rate(recipe, batch_size)
    )


def _scaled_learning_rate(recipe, batch_size):
    """Returns the learning rate for a batch size, see `fit`."""
    learning_rate = recipe.learning_rate * (batch_size / recipe.batch_size) ** 0.5
    return float(f"{learning_rate:.3g}")


def _log_change(reason, recipe, fitted, steps_per_epoch):
    """Logs how the recipe `fitted` differs from `recipe`, and why."""
    rate_change = ""
    if fitted.learning_rate != recipe.learning_rate:
        rate_change = (
            f", and the learning rate is {fitted.learning_rate:g} instead of "
            f"{recipe.learning_rate:g}"
        )
    _log.info(
        "%s: the batch size is %d instead of %d, so that an epoch has %d step(s)%s. "
        "Use --batch_size and --learning_rate to choose other values.",
        reason, fitted.batch_size, recipe.batch_size, steps_per_epoch, rate_change,
    )  # fmt: skip


def warn_of_few_steps(batch_size, num_examples):
    """Logs a warning if an epoch has fewer than `MIN_STEPS_PER_EPOCH` steps.

    Args:
        batch_size: the number of images in a step.
        num_examples: the number of training images.
    """
    steps = num_examples // batch_size
    if 0 < steps < MIN_STEPS_PER_EPOCH:
        _log.warning(
            "An epoch has only %d step%s of %d images, because there are %d training "
            "images. A smaller --batch_size or more --epochs give the network more "
            "updates.",
            steps, "s" * (steps != 1), batch_size, num_examples,
        )  # fmt: skip
