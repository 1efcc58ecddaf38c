"""Batch sizes for data sets that are too small for the batch size of a preset."""

import logging

from alexnet_tf import presets

_log = logging.getLogger(__name__)

# The presets have batch sizes for ImageNet. On a few hundred images, an epoch of one or
# two such batches would hardly change the weights.
MIN_STEPS_PER_EPOCH = 10


def fit(
    preset, num_examples, num_replicas, keep_learning_rate=False, recorded=(None, None)
):
    """Returns the preset with a batch size that suits a number of training images.

    If the batch size of the preset gives an epoch fewer than `MIN_STEPS_PER_EPOCH`
    steps, it is replaced by the largest batch size that gives it at least that many and
    that the devices can share equally, or by one image per device if there is none. The
    change is logged. With fewer images than devices, the preset is returned unchanged,
    and `loop.train` raises an error.

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
            are used instead: it may have begun on another number of devices or with an
            earlier version. (None, None) for a new run.
    """
    recipe = preset.recipe
    has_enough_steps = num_examples // recipe.batch_size >= MIN_STEPS_PER_EPOCH
    if has_enough_steps or num_examples < num_replicas:
        return preset
    batch_size, learning_rate = recorded
    if batch_size is None:
        largest = num_examples // MIN_STEPS_PER_EPOCH
        batch_size = max(1, largest // num_replicas) * num_replicas
        learning_rate = recipe.learning_rate * (batch_size / recipe.batch_size) ** 0.5
        learning_rate = float(f"{learning_rate:.3g}")
    if batch_size == recipe.batch_size:
        return preset
    overrides = {"batch_size": batch_size}
    if not keep_learning_rate:
        overrides["learning_rate"] = learning_rate
    fitted = presets.override(preset, **overrides)
    rate_change = ""
    if not keep_learning_rate:
        rate_change = (
            f", and the learning rate is {fitted.recipe.learning_rate:g} instead of "
            f"{recipe.learning_rate:g}"
        )
    _log.info(
        "There are only %d training images: the batch size is %d instead of %d, so "
        "that an epoch has %d step(s)%s. Use --batch_size and --learning_rate to "
        "choose other values.",
        num_examples, batch_size, recipe.batch_size, num_examples // batch_size,
        rate_change,
    )  # fmt: skip
    return fitted


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
