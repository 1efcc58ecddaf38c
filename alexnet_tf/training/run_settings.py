"""Checks that a run has the settings of the run that it resumes.

network.json holds the preset of a run and its settings: those arguments of `loop.train`
that change the weights.
"""

import dataclasses
import functools
import json
import numbers
import os
import unicodedata

from alexnet_tf.network_json import read_network
from alexnet_tf.network_json import read_run_settings
from alexnet_tf import settings
from alexnet_tf.training import optimizers
from alexnet_tf.training import own_optimizer
from alexnet_tf.training import stopping

# Settings that may change when a run is resumed. It goes on like a run that began with
# the new values, see `check_length`.
MAY_CHANGE = ("epochs", "early_stopping_patience")

_REMEDY = (
    "Give the same settings to resume it, or another work directory to start a new run."
)


def effective_recipe(recipe, options, has_own_optimizer):
    """Returns the `presets.Recipe` that a run applies.

    Args:
        recipe: the recipe of the preset.
        options: the `TrainingOptions`.
        has_own_optimizer: whether the optimizer is not that of the paper.
    """
    recipe = optimizers.scale_learning_rate(recipe, options.reference_batch_size)
    return own_optimizer.without_schedule(recipe) if has_own_optimizer else recipe


def describe(
    seed, precision, shuffle_buffer, fine_tuning, options, augment=None, optimizer=None
):
    """Returns {name: JSON value} of the settings of a run beside its preset.

    Settings that later versions have added are left out at their defaults, because
    older work directories do not have them.

    Args:
        seed, precision, shuffle_buffer, fine_tuning, options, augment: see
            `loop.train`.
        optimizer: a new optimizer from `steps.make_optimizer`; None for the paper's.
    """
    values = {
        "seed": seed,
        "precision": precision,
        "shuffle_buffer": shuffle_buffer,
        **dataclasses.asdict(fine_tuning),
        **options.changed(),
    }
    if optimizer is not None:
        values |= own_optimizer.describe(optimizer)
    if augment is not None:
        values["augment"] = function_name(augment)
    return json.loads(json.dumps(values, default=_json_value))


def function_name(function):
    """Returns the full name of a function, or that of the class of another callable."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def check_same(workdir, preset, run_settings):
    """Checks that the run in a work directory has the same preset and settings.

    Args:
        workdir: the work directory of a run with a checkpoint.
        preset: the `presets.Preset` of the present call.
        run_settings: the result of `describe` for the present call.

    Raises:
        ValueError: if a value differs, except for those in `MAY_CHANGE`, or if
            network.json is damaged.
        FileNotFoundError: if there is no network.json.
    """
    previous, _ = read_network(workdir)
    compare = functools.partial(
        settings.check_same,
        description=f"the settings of the run in {workdir}",
        remedy=_REMEDY,
    )
    compare(_layer_types(previous), _layer_types(preset))
    compare(_layer_fields(previous), _layer_fields(preset))
    for part in ("preprocessing", "recipe"):
        parts = getattr(previous, part), getattr(preset, part)
        compare(*(_may_not_change(vars(values)) for values in parts))
    recorded = read_run_settings(workdir)
    if recorded:  # Version 0.1 did not record them.
        compare(_may_not_change(recorded), _may_not_change(run_settings))


def check_same_classes(workdir, classes):
    """Checks that the run in a work directory has the same classes in the same order.

    The label of an image is the position of its class, so a class with another name
    may change the labels of all classes. Names that differ only in their Unicode
    normal form, as on macOS, are the same.

    Args:
        workdir: the work directory of a run with a checkpoint.
        classes: the present names of the classes, in the order of the labels.

    Raises:
        ValueError: if the classes differ, or if network.json is damaged.
        FileNotFoundError: if there is no network.json.
    """
    before, now = (
        [unicodedata.normalize("NFC", name) for name in names]
        for names in (read_network(workdir)[1], classes)
    )
    if before == now:
        return
    if sorted(before) == sorted(now):
        received = f"the same classes in the order {settings.some_of(now)}"
    else:
        received = f"{len(now)} classes{_describe_others(now, before)}"
    expected = _describe_others(before, now) or f", {settings.some_of(before)}"
    raise ValueError(
        f"Expected the {len(before)} classes of the run in {workdir}{expected}. "
        f"Received: {received}. Restore the names of the classes, or give another work "
        "directory to start a new run."
    )


def _describe_others(names, known):
    """Returns a phrase with names that are not among the known ones."""
    others = [repr(name) for name in names if name not in known]
    return f" with {settings.some_of(others)}" if others else ""


def check_length(workdir, recipe, options, progress, steps_per_epoch, prefix=""):
    """Checks that a run can be resumed with the present settings in `MAY_CHANGE`.

    The result must be that of a run that began with these settings: the learning rates
    of earlier epochs must not depend on the number of epochs, and the run must not have
    gone on for longer already.

    Args:
        workdir: the work directory of a run with a checkpoint.
        recipe: the `presets.Recipe` that is applied.
        options: the `TrainingOptions`.
        progress: the `checkpoints.Progress` of the run.
        steps_per_epoch: the number of steps in an epoch.
        prefix: what precedes the names of settings in error messages.

    Raises:
        ValueError: if the run cannot be resumed.
    """
    previous = read_network(workdir)[0].recipe.epochs
    if previous != recipe.epochs and recipe.schedule == "stepped_exponential":
        raise ValueError(
            f"Expected {prefix}epochs={previous}, as in the run in {workdir}. "
            f"Received: {prefix}epochs={recipe.epochs}. The schedule "
            "stepped_exponential spreads its learning rates over all epochs, so they "
            f"depend on the number of epochs. {_describe_new_run(workdir)}"
        )
    errors = stopping.without_extra_evaluations(
        progress.errors, recipe.epochs, options.eval_every
    )
    last = stopping.last_epoch(recipe, errors, options)
    if last is not None and last * steps_per_epoch < progress.step:
        completed = progress.step / steps_per_epoch
        received = f"{prefix}epochs={recipe.epochs}"
        if last < recipe.epochs:
            patience = options.early_stopping_patience
            received = f"{prefix}early_stopping_patience={patience}"
        raise ValueError(
            f"Expected settings with which the run in {workdir} lasts at least as long "
            f"as it has been trained, {completed:.4g} epochs. Received: {received}, "
            f"with which it ends after {last}. Give larger values, or another work "
            "directory to start a new run."
        )


def describe_end(workdir, recipe, errors, reason):
    """Returns sentences that say why a run has ended, and how to train further.

    Args:
        workdir: the work directory.
        recipe: the `presets.Recipe` that is applied.
        errors: the validation errors of the completed epochs.
        reason: the result of `stopping.end_reason`.
    """
    epochs = f"{len(errors)} epoch{'s' * (len(errors) != 1)}"
    finished = f"The run in {workdir} has already finished after {epochs}"
    if reason == "plateau":
        return (
            f"{finished}, at the fourth plateau of its validation error. "
            f"{_describe_new_run(workdir)}"
        )
    if reason == "early_stopping":
        return (
            f"{finished}, by its early_stopping_patience. With a larger "
            "--early_stopping_patience it goes on."
        )
    if recipe.schedule == "stepped_exponential":
        return (
            f"{finished}. Its schedule stepped_exponential does not allow more. "
            f"{_describe_new_run(workdir)}"
        )
    return f"{finished}. With a larger number of epochs (--epochs) it goes on."


def _describe_new_run(workdir):
    return (
        "To train its network further, start another run from its weights: "
        f"--weights={workdir} and another --workdir."
    )


def _json_value(value):
    """Returns a JSON value in place of an object that JSON has no type for.

    It is an integer for one of NumPy, the text of a path, and otherwise the name of the
    object's class.
    """
    if isinstance(value, numbers.Integral):
        return int(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else type(value).__name__


def _layer_types(preset):
    texts = [f"{layer.name}:{type(layer).__name__}" for layer in preset.layers]
    return {"layers": " ".join(texts)}


def _layer_fields(preset):
    return {
        f"{layer.name}.{field}": value
        for layer in preset.layers
        for field, value in vars(layer).items()
    }


def _may_not_change(values):
    return {name: value for name, value in values.items() if name not in MAY_CHANGE}
