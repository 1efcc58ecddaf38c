"""Checks of the arguments of `loop.train`, before anything is computed or written."""

import math

import keras
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.data.source import Source
from alexnet_tf import presets
from alexnet_tf import settings
from alexnet_tf.training import distribution
from alexnet_tf.training.fine_tuning import check_plan
from alexnet_tf.training import own_optimizer
from alexnet_tf.training import towers

_PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def check_numbers(
    *, seed, shuffle_buffer, log_steps, max_bad_images, verbose, **minutes
):
    """Raises a ValueError if a number is out of range.

    Args:
        seed, shuffle_buffer, log_steps, max_bad_images, verbose: as for `loop.train`.
        **minutes: {name: a number of minutes}.
    """
    settings.check_integer("seed", seed, 0)
    settings.check_integer("shuffle_buffer", shuffle_buffer, 1)
    settings.check_integer("log_steps", log_steps, 1)
    if max_bad_images != math.inf:
        settings.check_integer("max_bad_images", max_bad_images, 0)
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(
            f'Expected verbose to be "auto", 0, 1 or 2. Received: {verbose=}.'
        )
    for name, value in minutes.items():
        if not (isinstance(value, int | float) and value >= 0):
            raise ValueError(
                f"Expected {name} to be a number of at least 0. Received: "
                f"{name}={value!r}."
            )


def check_objects(preset, source, eval_source, callbacks):
    """Raises a ValueError if an object is of another class, or the preset not valid.

    Args:
        preset, source, eval_source: as for `loop.train`.
        callbacks: a list of `keras.callbacks.Callback` objects.
    """
    for name, value, kind in (
        ("preset", preset, presets.Preset),
        ("source", source, Source),
        ("eval_source", eval_source, Source),
    ):
        if not isinstance(value, kind):
            raise ValueError(
                f"Expected {name} to be a {kind.__name__}. Received: {name}={value!r}. "
                "Call alexnet_tf.training.train_dataset(dataset, preset), which takes "
                "names."
            )
    presets.check_fields(preset)
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise ValueError(
                "Expected callbacks to be keras.callbacks.Callback objects. Received: "
                f"{callback!r}."
            )


def check_data(preset, source, eval_source, strategy, data_service):
    """Raises a ValueError if the data suit neither the devices nor the preprocessing.

    Args:
        preset, source, eval_source, strategy, data_service: as for `loop.train`.
    """
    _check_batch_size(preset.recipe.batch_size, source, strategy)
    if len(source.classes) < 2:
        raise ValueError(
            f"Expected at least two classes in {source}. Received: "
            f"{', '.join(source.classes) or 'none'}, with which every answer is right. "
            "Add images of another class."
        )
    if source.classes != eval_source.classes:
        raise ValueError(
            f"Expected the same classes in {source} and {eval_source}. Received: "
            f"{len(source.classes)} and {len(eval_source.classes)} classes, or the "
            "same number with different names. Use splits of one data set."
        )
    source.check_fits(preset.preprocessing)
    eval_source.check_fits(preset.preprocessing)
    if data_service:
        _check_data_service(data_service, source, strategy)


def _check_batch_size(batch_size, source, strategy):
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        multiple = max(1, batch_size // replicas) * replicas
        raise ValueError(
            f"Expected a batch that {replicas} devices can share equally. Received: "
            f"batch_size={batch_size}. Use batch_size={multiple} or another multiple "
            f"of {replicas}, or num_devices={math.gcd(batch_size, replicas)}."
        )
    if batch_size > source.num_examples:
        raise ValueError(
            f"Expected at least one full batch in {source}. Received: "
            f"{source.num_examples} images, batch_size={batch_size}. Use a smaller "
            "batch_size."
        )


def _check_data_service(data_service, source, strategy):
    if source.in_process:
        raise ValueError(
            "Expected a data set of image files or TFRecord files for a data service. "
            f"Received: data_service={data_service}, {source}, whose ArrayRecord files "
            "only this process can read. Leave the data service out."
        )
    num_workers, _ = distribution.worker_count_and_index(strategy)
    if num_workers > 1:
        raise ValueError(
            "Expected one worker beside a data service. Received: "
            f"data_service={data_service}, {num_workers} workers, each of which "
            "decodes its own share of the images. Leave the data service out."
        )


def check_options(
    preset, strategy, tower_devices, precision, fine_tuning, options, optimizer,
    augment, data_service,
):
    """Raises a ValueError if options do not suit the preset, or exclude each other.

    Args:
        preset, strategy, tower_devices, precision, fine_tuning, options, augment,
            data_service: as for `loop.train`.
        optimizer: the result of `own_optimizer.make`, or None for the paper's.
    """
    settings.check_choice("precision", precision, _PRECISIONS)
    check_plan(fine_tuning, preset)
    if tower_devices:
        towers.check(
            preset, precision, optimizer is not None, fine_tuning.cache_features,
            has_strategy=strategy is not tf.distribute.get_strategy(),
        )
    if optimizer is not None:
        own_optimizer.check_exclusive(options, fine_tuning)
        own_optimizer.check_accumulation(optimizer, strategy)
    elif options.early_stopping_patience and preset.recipe.schedule == "plateau":
        raise ValueError(
            "Expected another schedule than plateau for early_stopping_patience. "
            f"Received: early_stopping_patience={options.early_stopping_patience}, "
            "schedule=plateau, which itself ends training at the fourth plateau. Leave "
            "early_stopping_patience out, or give a schedule such as constant."
        )
    if data_service and fine_tuning.cache_features:
        raise ValueError(
            "Expected data_service or cache_features. Received: both. Images whose "
            "features are kept in memory are not decoded by a data service."
        )
    if augment is not None:
        preprocess.check_augment(augment, preset.preprocessing)
        if fine_tuning.cache_features:
            raise ValueError(
                "Expected augment or cache_features. Received: both. Cached features "
                "are those of the center crop, which is not augmented."
            )
