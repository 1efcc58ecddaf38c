"""A training run on a named data set: what `python -m alexnet_tf.train` does."""

import contextlib
import functools
import inspect
import os

import tensorflow as tf

from alexnet_tf.data.bad_images import BadImageError
from alexnet_tf.data.data_service import check_dispatcher
from alexnet_tf.data import datasets
from alexnet_tf.files import expand_home
from alexnet_tf import presets
from alexnet_tf import published
from alexnet_tf.settings import as_names
from alexnet_tf.training import batch_sizes
from alexnet_tf.training.checkpoints import read_progress
from alexnet_tf.training import distribution
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training import loop
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import own_optimizer
from alexnet_tf.training import run_checks
from alexnet_tf.training.run_names import default_workdir
from alexnet_tf.training.run_names import spelling_of_run
from alexnet_tf.training.run_preset import resolve_preset
from alexnet_tf.training import run_settings
from alexnet_tf.training.summary import print_summary
from alexnet_tf.training import towers
from alexnet_tf.workdir import check_writable
from alexnet_tf.workdir import create_or_verify
from alexnet_tf.workdir import has_checkpoint
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import verify_image_counts

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
    # ---- 1. Checks and names ---------------------------------------------------
    run_checks.check_dataset(dataset)
    run_checks.check_devices(strategy, num_devices, parallelism)
    run_checks.check_data(on_bad_image, data_service, strategy, cache, cache_features)
    run_checks.check_fine_tuning(weights, layout, reinit, freeze, train_layers, lr_mult)
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

    # ---- 2. Preset, work directory and devices ---------------------------------
    run_preset = resolve_preset(dataset, preset, weights, workdir, **overrides)
    if weights == "imagenet":
        weights = published.find(weights, run_preset.name).name
    workdir = os.fspath(workdir or default_workdir(dataset, run_preset.name))
    dataset = spelling_of_run(dataset, workdir)
    turns_images = _resolve_exif_orientation(exif_orientation, dataset, workdir)
    run_preset = presets.override(run_preset, exif_orientation=bool(turns_images))
    frozen = _layers_except(run_preset, train_layers) if train_layers else freeze
    plan = FineTuning(
        weights, reinit, frozen, dict(lr_mult or {}), cache_features, layout, mean,
    )
    if parallelism == "towers":
        towers.check(run_preset, precision, optimizer is not None, cache_features)
    device_strategy, tower_devices = _find_devices(strategy, num_devices, parallelism)

    # ---- 3. Data and batch size ------------------------------------------------
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
    if on_bad_image == "skip":
        # The workers of a data service cannot call Python code of this process.
        source = source.allow_bad_images(log_names=data_service is None)
        eval_source = eval_source.allow_bad_images(log_names=True)
    if cache:
        source, eval_source = source.in_memory(), eval_source.in_memory()
    if not overrides.get("batch_size"):
        run_preset = batch_sizes.fit(
            run_preset, source.num_examples, device_strategy.num_replicas_in_sync,
            any((overrides.get("learning_rate"), reference_batch_size, optimizer)),
            _recorded_batch_size_and_learning_rate(workdir),
        )
    batch_sizes.warn_of_few_steps(run_preset.recipe.batch_size, source.num_examples)

    # ---- 4. Flags to record ----------------------------------------------------
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
    if optimizer is not None:
        flags |= dict.fromkeys(own_optimizer.REPLACED)
    given = {
        **dict.fromkeys(presets.OVERRIDES), **overrides,
        "preset": preset, "train_split": train_split, "eval_split": eval_split,
        "exif_orientation": exif_orientation,
    }  # fmt: skip
    if mean:
        flags["mean"] = given["mean"] = mean
    resolved = _names_of_defaults(flags | given)
    check = functools.partial(
        _check_resumable, workdir, run_preset, options, optimizer, source, eval_source
    )

    # ---- 5. Training -----------------------------------------------------------
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


def _find_devices(strategy, num_devices, parallelism):
    """Returns the strategy of `loop.train` and its `tower_devices`."""
    if parallelism == "towers":
        return tf.distribute.get_strategy(), distribution.tower_devices()
    if strategy == "multi_worker":
        return distribution.make_multi_worker_strategy(), None
    return distribution.make_strategy(num_devices), None


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
    run_settings.check_same_classes(workdir, source.classes)
    progress = read_progress(workdir)
    if progress is not None:
        recipe = run_settings.effective_recipe(
            preset.recipe, options, optimizer is not None
        )
        steps_per_epoch = source.num_examples // recipe.batch_size
        run_settings.check_length(
            workdir, recipe, options, progress, steps_per_epoch, prefix="--"
        )


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


def _preset_flags(preset, overrides):
    """Returns the values of all flags of `alexnet_tf.train` that override a preset."""
    values = vars(preset.recipe) | vars(preset.preprocessing)
    if overrides.get("dropout") is not None:
        values["dropout"] = float(overrides["dropout"])
    return {
        name: values.get(name, overrides.get(name)) for name in presets.OVERRIDES
    }


def _recorded_batch_size_and_learning_rate(workdir):
    """Returns (batch size, learning rate) of the run to resume.

    A value is None if the run has not recorded it, or if there is no run to resume.
    """
    flags = read_flags(workdir) if has_checkpoint(workdir) else {}
    batch_size, learning_rate = flags.get("batch_size"), flags.get("learning_rate")
    return batch_size and int(batch_size), learning_rate and float(learning_rate)


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
