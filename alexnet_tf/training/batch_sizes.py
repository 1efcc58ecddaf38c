"""Batch sizes for data sets that are too small for the batch size of a preset."""

import logging

from alexnet_tf import presets

_log = logging.getLogger(__name__)

# The presets have batch sizes for ImageNet. On a few hundred images, an epoch of one or
# two such batches would hardly change the weights.
MIN_STEPS_PER_EPOCH = 10


def fit(preset, num_examples, num_replicas, recorded=None):
    """Returns the preset with a batch size that suits a number of training images.

    If the batch size of the preset gives an epoch fewer than `MIN_STEPS_PER_EPOCH`
    steps, the largest one that gives it as many replaces it, which is logged. The
    learning rate does not change, as with any other batch size:
    `TrainingOptions.reference_batch_size` scales it.

    Args:
        preset: a `presets.Preset`.
        num_examples: the number of training images.
        num_replicas: the number of devices, which share a batch equally.
        recorded: the batch size of the run that is resumed, which is kept: it may have
            begun on another number of devices or with an earlier version. None for a
            new run.
    """
    batch_size = preset.recipe.batch_size
    if num_examples // batch_size >= MIN_STEPS_PER_EPOCH or num_examples < num_replicas:
        return preset
    largest = num_examples // MIN_STEPS_PER_EPOCH
    fitting = recorded or max(1, largest // num_replicas) * num_replicas
    if fitting == batch_size:
        return preset
    _log.info(
        "The batch size is %d instead of %d, because there are only %d training "
        "images: an epoch has %d steps. --batch_size sets another one, and "
        "--reference_batch_size scales the learning rate.",
        fitting, batch_size, num_examples, num_examples // fitting,
    )  # fmt: skip
    return presets.override(preset, batch_size=fitting)


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
