"""A training run on a named data set: what `python -m alexnet_tf.train` does."""

import contextlib
import dataclasses
import functools
import inspect
import logging
import os
import re

import tensorflow as tf

from alexnet_tf.data.bad_images import BadImageError
from alexnet_tf.data.data_service import check_dispatcher
from alexnet_tf.data import datasets
from alexnet_tf.files import expand_home
from alexnet_tf.network_json import preset_of_weights
from alexnet_tf.network_json import read_network
from alexnet_tf import presets
from alexnet_tf import published
from alexnet_tf import settings
from alexnet_tf.settings import as_names
from alexnet_tf.training import batch_sizes
from alexnet_tf.training.checkpoints import read_progress
from alexnet_tf.training import distribution
from alexnet_tf.training.fine_tuning import check_weights
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training import loop
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import own_optimizer
from alexnet_tf.training import run_settings
from alexnet_tf.training.summary import print_summary
from alexnet_tf.training import towers
from alexnet_tf.workdir import check_writable
from alexnet_tf.workdir import create_or_verify
from alexnet_tf.workdir import has_checkpoint
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import verify_image_counts

_log = logging.getLogger(__name__)

# Pretrained networks diverge at the preset's learning rate of .01.
_FINE_TUNING_DIVISOR = 10

# Flags that may change when a run is resumed.
_MAY_CHANGE = (
    "num_devices", "strategy", "parallelism", "data_dir", "log_steps", "on_bad_image",
    "max_bad_images", *run_settings.MAY_CHANGE,
)  # fmt: skip


def train_dataset(
    dataset="textures",
    preset=None,
    workdir=None,
    *,
    train_split=None,
    eval_split=None,
    data_dir=None,
    image_key=None,
    label_key=None,
    exif_orientation=None,
    weights=None,
    layout=None,
    reinit=(),
    freeze=(),
    train_layers=(),
    lr_mult=None,
    cache_features=False,
    precision="float32",
    seed=0,
    strategy="mirrored",
    num_devices=None,
    parallelism="data",
    shuffle_buffer=16384,
    cache=False,
    data_service=None,
    on_bad_image="error",
    max_bad_images=100,
    checkpoint_minutes=10.0,
    log_steps=100,
    early_stopping_patience=None,
    keep_best=False,
    class_weights=None,
    warmup_epochs=0,
    reference_batch_size=None,
    eval_every=1,
    optimizer=None,
    augment=None,
    callbacks=(),
    verbose="auto",
    **overrides,
):
    """Trains a network on a named data set and returns its validation metrics.

    This is what `python -m alexnet_tf.train` runs: it selects the preset and the
    devices, loads the splits, creates the work directory, calls `loop.train`, and
    prints the validation error, the paths of the results and commands to try next. If
    it is called again with the same arguments, it resumes the run; a larger number of
    epochs or a larger `early_stopping_patience` continues it, see `loop.train`. In a
    resumed run, a preset of this package has the layers that it had when the run began,
    and a preset of your own that has changed is refused. The devices, `data_dir`,
    `log_steps`, `on_bad_image` and `max_bad_images` may differ, and the path of a
    folder or a list may be spelled differently.

        alexnet_tf.training.train_dataset("cifar10", preset="cifar10_full", epochs=2)

    Args:
        dataset: the name of a data set, see `datasets`.
        preset: a preset for `presets.get`, such as a name in `presets.PRESETS`, or a
            `presets.Preset`. Default: that of `weights` if these are a run or published
            under a name; without weights, "tiny" for textures and "paper" for other
            data sets. A weights file and "imagenet" require a preset.
        workdir: the work directory, created if it does not exist. Default:
            runs/DATASET-PRESET.
        train_split, eval_split: the splits to train on and to measure the validation
            error on, see `datasets.load`, and `datasets.training_splits` for the
            defaults.
        data_dir: the directory of TFDS's data sets.
        image_key, label_key: the features of a data set of TFDS, see `datasets.load`.
        exif_orientation: whether to turn images upright by the EXIF orientation of
            their JPEG files. Default: True for the image files of a folder or a list,
            False for data sets of TFDS, and the value of the run if it is resumed.
        weights: the weights to start from: a name in `published.WEIGHTS`, "imagenet"
            for the published weights of `preset`, a weights file or the work directory
            of a run. The learning rate is then a tenth of the preset's, unless it is
            given.
        layout: the axis order of a weights file, see `weights.load_weights`.
        reinit: the name or names of layers that keep their random initialization.
        freeze: the name or names of layers that are not trained.
        train_layers: the name or names of the only layers that are trained, instead of
            `freeze`.
        lr_mult: {layer name: the factor that its learning rate is multiplied by}.
        cache_features: whether to compute the outputs of the frozen convolutions once,
            see `FineTuning`.
        precision, seed, shuffle_buffer, data_service, checkpoint_minutes, log_steps,
            max_bad_images, optimizer, augment, callbacks, verbose: see `loop.train`.
        early_stopping_patience, keep_best, class_weights, warmup_epochs,
            reference_batch_size, eval_every: see `TrainingOptions`.
        strategy: "mirrored" for the devices of this machine, "multi_worker" if this
            process is one of several workers, see `distribution`.
        num_devices: the number of devices, see `distribution.make_strategy`.
        parallelism: "data" to compute the whole network on each device, for a share of
            the batch; "towers" to compute one of the network's two towers on each of
            two devices, for the whole batch, see `towers`.
        cache: whether to keep the encoded images in memory.
        on_bad_image: "error" to stop at an unreadable image, "skip" to train without
            it. A stopped run is resumed with "skip" from its last checkpoint, with the
            other images in the same order.
        **overrides: single values of the preset, see `presets.override`: batch_size,
            learning_rate, epochs, ablate and others. The default batch size and
            learning rate for a small data set, or for devices that cannot share the
            preset's batch equally, are smaller than the preset's, see
            `batch_sizes.fit`. With published weights or a weights file, `mean` can also
            be the path of a mean image, see `pixel_statistics.published`.

    Returns:
        {"loss", "top1_error"}, with more than five classes "top5_error", and with
        `on_bad_image` "skip" the number of "bad_images"; see `loop.train`.

    Raises:
        ValueError: if arguments exclude each other, a name is unknown, the work
            directory belongs to another run, or as in `loop.train`.
        OSError: if weights or data are missing, the data service does not answer, the
            work directory cannot be written to, or as in `loop.train`.
        FloatingPointError, MemoryError, TrainingInterrupted: as in `loop.train`.
    """
    _check_name(dataset)
    settings.check_choice("strategy", strategy, ("mirrored", "multi_worker"))
    settings.check_choice("parallelism", parallelism, ("data", "towers"))
    settings.check_choice("on_bad_image", on_bad_image, ("error", "skip"))
    _check_exclusive(strategy, num_devices, data_service, cache, cache_features)
    _check_parallelism(parallelism, strategy, num_devices)
    _check_fine_tuning(weights, layout, reinit, freeze, train_layers, lr_mult)
    reinit, freeze, train_layers = map(as_names, (reinit, freeze, train_layers))
    options = TrainingOptions(
        early_stopping_patience, keep_best, class_weights, warmup_epochs,
        reference_batch_size, eval_every,
    )
    if optimizer is not None:
        own_optimizer.check_not_given(
            {name: overrides.get(name) for name in own_optimizer.REPLACED}
        )
    if data_service is not None:
        check_dispatcher(data_service)
    # flags.txt has the same paths as if the command had been given them.
    weights, workdir = expand_home(weights), expand_home(workdir)
    mean = expand_home(_pop_mean_file(overrides, weights))
    run_preset = resolve_preset(dataset, preset, weights, workdir, **overrides)
    if weights == "imagenet":
        weights = published.find(weights, run_preset.name).name
    workdir = os.fspath(workdir or default_workdir(dataset, run_preset.name))
    dataset = _spelling_of_run(dataset, workdir)
    turns_images = _resolve_exif_orientation(exif_orientation, dataset, workdir)
    run_preset = presets.override(run_preset, exif_orientation=bool(turns_images))
    tower_devices = None
    if parallelism == "towers":
        towers.check(run_preset, precision, optimizer is not None, cache_features)
        tower_devices = distribution.tower_devices()
        device_strategy = tf.distribute.get_strategy()
    elif strategy == "mirrored":
        device_strategy = distribution.make_strategy(num_devices)
    else:
        device_strategy = distribution.make_multi_worker_strategy()
    if distribution.is_chief(device_strategy):
        check_writable(workdir)  # Preparing the data may take hours.
    # The chief may have to prepare the data.
    with distribution.chief_first(device_strategy):
        splits = datasets.training_splits(dataset, train_split, eval_split, data_dir)
        source, eval_source = (
            datasets.load_as_spelled(
                dataset, split, data_dir, image_key=image_key, label_key=label_key
            )
            for split in splits
        )
    if not overrides.get("batch_size"):
        run_preset = batch_sizes.fit(
            run_preset, source.num_examples, device_strategy.num_replicas_in_sync,
            any((overrides.get("learning_rate"), reference_batch_size, optimizer)),
            _recorded_batch_size_and_learning_rate(workdir),
        )
    batch_sizes.warn_of_few_steps(run_preset.recipe.batch_size, source.num_examples)
    if on_bad_image == "skip":
        # The workers of a data service cannot call Python code of this process.
        source = source.allow_bad_images(log_names=data_service is None)
        eval_source = eval_source.allow_bad_images(log_names=True)
    if cache:
        source, eval_source = source.in_memory(), eval_source.in_memory()
    flags = {
        "dataset": dataset, "train_split": source.split,
        "eval_split": eval_source.split,
        "preset": preset if isinstance(preset, str) else run_preset.name,
        "precision": precision, "seed": seed,
        "shuffle_buffer": shuffle_buffer, "cache": cache,
        "on_bad_image": on_bad_image, "max_bad_images": max_bad_images,
        "log_steps": log_steps, "num_devices": num_devices, "strategy": strategy,
        "parallelism": parallelism,
        "weights": weights, "layout": layout, "reinit": reinit or None,
        "freeze": freeze or None, "train_layers": train_layers or None,
        "lr_mult": lr_mult or None, "cache_features": cache_features,
        **_preset_flags(run_preset, overrides), "data_dir": data_dir,
        "image_key": image_key, "label_key": label_key,
        "exif_orientation": turns_images,
        **options.changed(),
    }  # fmt: skip
    if mean:
        flags["mean"] = mean
    if optimizer is not None:
        flags |= dict.fromkeys(own_optimizer.REPLACED)
    given = {
        **dict.fromkeys(presets.OVERRIDES), **overrides,
        "preset": preset, "train_split": train_split, "eval_split": eval_split,
        "exif_orientation": exif_orientation,
    }  # fmt: skip
    if mean:
        given["mean"] = mean
    resolved = _names_of_defaults(flags | given)
    check = functools.partial(
        _check_resumable, workdir, run_preset, options, optimizer, source, eval_source
    )
    frozen = _layers_except(run_preset, train_layers) if train_layers else freeze
    plan = FineTuning(
        weights, reinit, frozen, dict(lr_mult or {}), cache_features, layout, mean,
    )
    with _advising_on_bad_images(workdir):
        measured = loop.train(
            run_preset, source, eval_source, workdir,
            fine_tuning=plan, options=options, optimizer=optimizer, augment=augment,
            seed=seed, strategy=device_strategy, tower_devices=tower_devices,
            precision=precision,
            shuffle_buffer=shuffle_buffer, data_service=data_service,
            checkpoint_minutes=checkpoint_minutes, log_steps=log_steps,
            max_bad_images=max_bad_images, callbacks=callbacks, verbose=verbose,
            record_flags=functools.partial(
                create_or_verify, workdir, flags, _MAY_CHANGE, resolved, check
            ),
        )
    if verbose and distribution.is_chief(device_strategy):
        print_summary(measured, eval_source, workdir)
    return measured


@contextlib.contextmanager
def _advising_on_bad_images(workdir):
    """Omits the advice to remove an unreadable image if a run has a checkpoint.

    Such a run cannot be resumed if its data set has shrunk.
    """
    try:
        yield
    except BadImageError as error:
        is_removable = not has_checkpoint(workdir)
        raise BadImageError(error.fault, is_removable) from error


def default_workdir(dataset, preset_name):
    """Returns the default work directory, runs/DATASET-PRESET.

    DATASET is the last part of the name of the data set or of its path, however the
    path is spelled. Characters that Windows does not allow in file names become "-".
    Earlier versions kept such characters, and also the prefix of a path without a
    slash, as in "folder:images". If there is such a directory, it is returned.
    """
    name = os.path.basename(dataset.rstrip("/" + os.sep))
    earlier_name = f"{name}-{preset_name}"
    if datasets.has_image_files(dataset):
        path = os.path.expanduser(dataset.partition(":")[2])
        name = os.path.basename(os.path.abspath(path))
    for earlier in (earlier_name, _without_reserved(earlier_name)):
        if os.path.isdir(os.path.join("runs", earlier)):
            return os.path.join("runs", earlier)
    return os.path.join("runs", _without_reserved(f"{name}-{preset_name}"))


def _without_reserved(name):
    """Returns a name with "-" for characters that Windows does not allow."""
    return re.sub(r'[<>:"|?*]', "-", name)


def _spelling_of_run(dataset, workdir):
    """Returns the name of a data set as the run to resume has recorded it.

    Without such a run or with another data set, the canonical name is returned.
    """
    if has_checkpoint(workdir):
        recorded = read_flags(workdir).get("dataset", "")
        if datasets.is_same(dataset, recorded):
            return recorded
    return datasets.canonical_name(dataset)


def _names_of_defaults(values):
    """Returns the names of values that are defaults of `train_dataset`.

    The default of all arguments without a parameter of their own is None.
    """
    parameters = inspect.signature(train_dataset).parameters
    return [
        name
        for name, value in values.items()
        if value == (parameters[name].default if name in parameters else None)
    ]


def _resolve_exif_orientation(exif_orientation, dataset, workdir):
    """Returns the value of `exif_orientation` to record in flags.txt.

    The result is None, which means False and is not recorded, by default for data sets
    of TFDS, and for runs of earlier versions, which used all images as they are stored.

    Args:
        exif_orientation, dataset, workdir: as in `train_dataset`.
    """
    if exif_orientation is not None:
        return exif_orientation
    if has_checkpoint(workdir):
        recorded = read_flags(workdir).get("exif_orientation")
        return None if recorded is None else recorded == str(True)
    return True if datasets.has_image_files(dataset) else None


def _check_resumable(workdir, preset, options, optimizer, source, eval_source):
    """Checks that a run can be resumed with these data and this number of epochs.

    A damaged checkpoint is left to `loop.train`, which resumes from an older one.
    """
    verify_image_counts(
        workdir, {str(split): split.num_examples for split in (source, eval_source)}
    )
    progress = read_progress(workdir)
    if progress is not None:
        recipe = run_settings.effective_recipe(
            preset.recipe, options, optimizer is not None
        )
        steps_per_epoch = source.num_examples // recipe.batch_size
        run_settings.check_length(
            workdir, recipe, options, progress, steps_per_epoch, prefix="--"
        )


def resolve_preset(dataset, name=None, weights=None, workdir=None, **overrides):
    """Returns the `presets.Preset` of a run; arguments are those of `train_dataset`.

    Raises:
        ValueError: if `name` is not the preset of `weights`, or is missing for a file,
            and the errors of `presets.override`.
        FileNotFoundError: if `weights` is a directory, but not that of a run.
    """
    recorded = has_divided_rate = False
    if isinstance(name, presets.Preset):
        preset = presets.check(name)
    elif weights:
        recorded = bool(workdir and has_checkpoint(workdir))
        try:
            # The weights that a resumed run started from may have been deleted.
            preset = preset_of_weights(workdir if recorded else weights, name)
            recipe = _own_recipe(preset, name)
        except (OSError, ValueError):
            # The file with the preset may have been deleted, too.
            if not (recorded and _began_with(workdir, name)):
                raise
            preset, recipe = read_network(workdir)[0], None
        if recipe:
            preset = dataclasses.replace(preset, recipe=recipe)
        has_divided_rate = recorded and recipe is None
    else:
        default = "tiny" if dataset == "textures" else "paper"
        preset, recorded = _get_preset(name or default, dataset, workdir)
    if recorded:
        # The preset in the work directory does not have the ablated parts any more.
        overrides["ablate"] = None
    is_given = overrides.get("learning_rate") is not None
    if weights and not (is_given or has_divided_rate):
        overrides["learning_rate"] = preset.recipe.learning_rate / _FINE_TUNING_DIVISOR
    changed = presets.override(preset, **overrides)
    if not has_checkpoint(workdir or default_workdir(dataset, preset.name)):
        presets.check_schedule(changed.recipe, preset.recipe, overrides)
    return changed


def _own_recipe(preset, name):
    """Returns the recipe of a preset, without the overrides of the run it comes from.

    The result is None for a preset of which only the run is known.

    Args:
        preset: the `presets.Preset` of the run.
        name: the argument `preset` of `train_dataset`.
    """
    if preset.name in presets.PRESETS:
        return presets.PRESETS[preset.name].recipe
    return None if name in (None, preset.name) else presets.get(name).recipe


def _get_preset(name, dataset, workdir):
    """Returns the preset of this name, and whether it is that of the run to resume.

    The work directory of a run contains its preset, so that the run can be resumed
    without the file that its preset came from, and with the layers that a preset of
    this name had when the run began.
    """
    try:
        preset = presets.get(name)
    except (OSError, ValueError):
        if not (workdir and _began_with(workdir, name)):
            raise
        return read_network(workdir)[0], True
    workdir = workdir or default_workdir(dataset, preset.name)
    if name in presets.PRESETS and _began_with(workdir, name):
        return dataclasses.replace(preset, layers=read_network(workdir)[0].layers), True
    return preset, False


def _began_with(workdir, name):
    """Returns whether a run in `workdir` with a checkpoint began with this preset."""
    return has_checkpoint(workdir) and read_flags(workdir).get("preset") == name


def _pop_mean_file(overrides, weights):
    """Removes `mean` from the overrides if it is the path of a file, and returns it."""
    mean = overrides.get("mean")
    if mean in (None, "image", "channel"):
        return None
    if not weights:
        raise ValueError(
            'Expected mean "image" or "channel" for a run that starts without weights. '
            f"Received: {mean=}. The mean of the training split is computed."
        )
    return overrides.pop("mean")


def _recorded_batch_size_and_learning_rate(workdir):
    """Returns (batch size, learning rate) of the run to resume.

    A value is None if the run has not recorded it, or if there is no run to resume.
    """
    flags = read_flags(workdir) if has_checkpoint(workdir) else {}
    batch_size, learning_rate = flags.get("batch_size"), flags.get("learning_rate")
    return batch_size and int(batch_size), learning_rate and float(learning_rate)


def _preset_flags(preset, overrides):
    """Returns the values of all flags of `alexnet_tf.train` that override a preset."""
    values = vars(preset.recipe) | vars(preset.preprocessing)
    return {
        name: values.get(name, overrides.get(name)) for name in presets.OVERRIDES
    }


def _layers_except(preset, trained):
    """Returns the names of all layers with weights that are not in `trained`."""
    names = preset.weighted_layers
    unknown = [name for name in trained if name not in names]
    if unknown:
        raise ValueError(
            f"Expected train_layers to name some of {', '.join(names)}. Received: "
            f"train_layers={','.join(unknown)}."
        )
    return tuple(name for name in names if name not in trained)


def _check_name(dataset):
    if not isinstance(dataset, str):
        raise ValueError(
            f"Expected the name of a data set. Received: dataset={dataset!r}. Call "
            "alexnet_tf.training.train, which takes a Source for training and one for "
            "validation."
        )


def _check_exclusive(strategy, num_devices, data_service, cache, cache_features):
    if strategy == "multi_worker":
        _check_not_both(
            "strategy=multi_worker",
            {"num_devices": num_devices, "data_service": data_service},
            "A worker uses all GPUs that it sees (CUDA_VISIBLE_DEVICES), and decodes "
            "its own share of the images.",
        )
    if data_service is not None:
        _check_not_both(
            "data_service",
            {"cache": cache, "cache_features": cache_features},
            "Images that are kept in memory are not decoded by a data service.",
        )


def _check_parallelism(parallelism, strategy, num_devices):
    if parallelism == "towers" and strategy == "multi_worker":
        raise ValueError(
            "Expected --parallelism=towers or --strategy=multi_worker. Received: both. "
            "The towers are computed by two devices of one machine."
        )
    if parallelism == "towers" and num_devices not in (None, towers.NUM_TOWERS):
        raise ValueError(
            "Expected --num_devices=2 for --parallelism=towers, one device for each "
            f"tower. Received: --num_devices={num_devices}. Leave it out."
        )


def _check_not_both(flag, other_flags, reason):
    for name, value in other_flags.items():
        if value:
            raise ValueError(
                f"Expected --{flag} or --{name}. Received: both. {reason}"
            )


def _check_fine_tuning(weights, layout, reinit, freeze, train_layers, lr_mult):
    for name, value in (
        ("weights", weights), ("reinit", reinit), ("freeze", freeze),
        ("train_layers", train_layers), ("lr_mult", lr_mult),
    ):
        # An empty tuple or dictionary is the default; an empty string or list comes
        # from an empty flag.
        if value is not None and not value and value not in ((), {}):
            raise ValueError(
                f"Expected a value, or no --{name}. Received: an empty --{name}."
            )
    check_weights(weights, reinit=reinit, layout=layout)
    if freeze and train_layers:
        raise ValueError(
            "Expected --freeze or --train_layers. Received: both. Each of them says "
            "which layers are trained."
        )
