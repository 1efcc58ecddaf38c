"""The training loop: from a preset and a data set to trained weights.

`train` is one long function in numbered sections, to be read from top to bottom.
"""

import contextlib
import functools
import logging
import math
import os
import signal
import sys
import threading
import time

import keras
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.data.source import Source
from alexnet_tf import files
from alexnet_tf.models import alexnet
from alexnet_tf.network_json import write_network
from alexnet_tf import presets
from alexnet_tf.training.callbacks import epoch_logs
from alexnet_tf.training.callbacks import FigureWriter
from alexnet_tf.training.callbacks import keras_callbacks
from alexnet_tf.training.checkpoints import CheckpointSaver
from alexnet_tf.training import class_weights
from alexnet_tf.training import distribution
from alexnet_tf.training import environment
from alexnet_tf.training.fine_tuning import compute_features
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training.fine_tuning import freeze_layers
from alexnet_tf.training.fine_tuning import initial_statistics
from alexnet_tf.training.fine_tuning import load_initial_weights
from alexnet_tf.training.fine_tuning import split_backbone
from alexnet_tf.training.kernel_history import KernelRecorder
from alexnet_tf.training import metrics
from alexnet_tf.training import optimizers
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import out_of_memory
from alexnet_tf.training import own_optimizer
from alexnet_tf.training.precision import warn_if_slower
from alexnet_tf.training import progress_bar
from alexnet_tf.training import run_settings
from alexnet_tf.training.step_timer import StepTimer
from alexnet_tf.training import steps
from alexnet_tf.training import stopping
from alexnet_tf.training import towers
from alexnet_tf.training import validation
from alexnet_tf.workdir import append_environment
from alexnet_tf.workdir import append_metrics
from alexnet_tf.workdir import has_checkpoint
from alexnet_tf.workdir import locked
from alexnet_tf.workdir import read_metrics
from alexnet_tf.workdir import STATISTICS_FILE
from alexnet_tf.workdir import truncate_metrics
from alexnet_tf.workdir import verify_image_counts
from alexnet_tf.workdir import write_image_counts

_log = logging.getLogger(__name__)

_FEATURE_BATCH_SIZE = 64


def _locking_workdir(function):
    """Decorates `train`: the chief locks the work directory during the call."""

    @functools.wraps(function)
    def train_locked(preset, source, eval_source, workdir, **kwargs):
        strategy = kwargs.get("strategy") or tf.distribute.get_strategy()
        lock = contextlib.nullcontext()
        if distribution.is_chief(strategy):
            # `train_dataset` has locked it, to write flags.txt.
            lock = locked(workdir, reentrant=True)
        with lock:
            return function(preset, source, eval_source, workdir, **kwargs)

    return train_locked


@_locking_workdir
def train(
    preset,
    source,
    eval_source,
    workdir,
    *,
    fine_tuning=None,
    options=None,
    optimizer=None,
    augment=None,
    seed=0,
    strategy=None,
    tower_devices=None,
    precision="float32",
    shuffle_buffer=16384,
    data_service=None,
    checkpoint_minutes=10.0,
    log_steps=100,
    max_bad_images=0,
    callbacks=(),
):
    """Trains `preset` on `source` and returns the metrics of the last evaluation.

    The arguments are objects; `train_dataset` takes names.

    If it is called again with the same arguments, training resumes from the last
    checkpoint. The final weights equal those of an uninterrupted run, bit for bit on
    one CPU. In such a call, `early_stopping_patience` and, unless the schedule is
    "stepped_exponential", the number of epochs may be larger: the run goes on as if it
    had begun with these values.

    `alexnet_tf.workdir` describes the files that are written to `workdir`, except
    flags.txt, which only `train_dataset` writes. The folder tensorboard/ and the
    figures curves.png and conv1.png are added.

    In the main thread, SIGINT and SIGTERM save a checkpoint before training stops. In
    other threads they are left to the program.

    Args:
        preset: a `presets.Preset`.
        source: the `Source` to train on.
        eval_source: the `Source` to measure the validation error on.
        workdir: the directory of the run, created if it does not exist.
        fine_tuning: a `FineTuning` to start from trained weights.
        options: a `TrainingOptions`: early stopping, class weights and others.
        optimizer: a Keras optimizer, or a function that returns one, in place of the
            paper's; see `own_optimizer.make`. It keeps its own learning rate: only the
            batch size and the number of epochs of the recipe are used then.
        augment: a function of an image and a seed that changes the random crops, see
            `preprocess.check_augment`. The augmentation of the preset follows it.
        seed: the random seed of initialization, shuffling, augmentation and dropout.
        strategy: a `tf.distribute.Strategy` from `distribution`; one device by
            default. In a run of several workers all of them call this function with
            the same arguments and see the same `workdir`, to which only the first
            worker, the chief, writes.
        tower_devices: the names of two devices, from `distribution.tower_devices`, each
            of which computes one tower of the network, see `towers`; None to compute
            the whole network on each device of `strategy`.
        precision: a Keras dtype policy: "float32", "mixed_bfloat16", or
            "mixed_float16", with which the loss is scaled.
        shuffle_buffer, data_service: see `input_pipeline.training_batches`. With a
            data service, the final weights of a resumed run differ from those of an
            uninterrupted run.
        checkpoint_minutes: minutes between two checkpoints.
        log_steps: steps between two lines of metrics within an epoch.
        max_bad_images: the number of unreadable images that an epoch or an evaluation
            may skip, if the sources come from `Source.allow_bad_images`. Metrics then
            have the key "bad_images".
        callbacks: further `keras.callbacks.Callback` objects, called in the chief only.
            `on_train_batch_begin` is not called, and `on_train_batch_end` is called
            once for several steps. `stop_training` ends the run after the current
            epoch. A changed learning rate has an effect only on an `optimizer` of your
            own; the schedule of the preset overrides it with a warning. With
            `tower_devices`, the weights of their `model` are those of the last
            checkpoint or the last end of an epoch. The last checkpoint has the weights
            that `on_train_end` leaves, for example those that
            `EarlyStopping(restore_best_weights=True)` restores. A larger number of
            epochs continues from them. The returned metrics are those of the last
            epoch.

    Returns:
        {"loss", "top1_error"} on `eval_source` and, with more than five classes,
        "top5_error": the cross-entropy in nats, and errors in [0, 1]. If `eval_source`
        allows unreadable images, their number is added as "bad_images".

    Raises:
        ValueError: if the batch size does not suit the devices or the data, the sources
            have fewer than two classes, different ones, or do not suit the
            preprocessing, `fine_tuning` does not suit the network, arguments exclude
            each other or are names, an image is unreadable, a source does not hold the
            number of images that it declares or held when the run began, the run in
            `workdir` has another preset or other settings or is in progress, or no
            checkpoint of this network is intact.
        OSError: if a file of the data set is missing, the disk is full, or another
            worker is lost (`distribution.WorkerLost`).
        FloatingPointError: if the loss is not finite.
        MemoryError: if the memory does not suffice for a batch.
        TrainingInterrupted: after SIGINT or SIGTERM, once everything is saved.
    """
    # ---- 1. Checks and statistics ----------------------------------------------
    strategy = strategy or tf.distribute.get_strategy()
    fine_tuning, options = fine_tuning or FineTuning(), options or TrainingOptions()
    chief = distribution.is_chief(strategy)
    mean_over_workers = functools.partial(distribution.all_reduce_mean, strategy)
    _check_inputs(preset, strategy, source, eval_source)
    _check_options(preset, options, fine_tuning, optimizer, augment)
    if tower_devices:
        towers.check(
            preset, precision, optimizer is not None, fine_tuning.cache_features,
            has_strategy=strategy is not tf.distribute.get_strategy(),
        )
    _check_data_service(data_service, source)
    has_own_optimizer, preprocessing = optimizer is not None, preset.preprocessing
    recipe = run_settings.effective_recipe(preset.recipe, options, has_own_optimizer)
    steps_per_epoch = source.num_examples // recipe.batch_size
    verbose = progress_bar.verbosity() if chief else 0
    if chief:
        warn_if_slower(precision)
    with distribution.chief_first(strategy):
        statistics = _run_statistics(
            fine_tuning, source, preprocessing, workdir, verbose
        )
        label_counts = _run_label_counts(options, source, workdir, chief)

    # ---- 2. Model and optimizer ------------------------------------------------
    keras.utils.set_random_seed(seed)
    placement = tf.device(towers.HOST) if tower_devices else contextlib.nullcontext()
    with strategy.scope(), steps.dtype_policy(precision), placement:
        model = alexnet.AlexNet(
            preset, len(source.classes), classifier_activation=None
        )
        freeze_layers(model, fine_tuning)
        optimizer = steps.make_optimizer(model, recipe, precision, optimizer)
    num_devices = len(tower_devices or range(strategy.num_replicas_in_sync))
    _log_summary(model, recipe, source, eval_source, num_devices, steps_per_epoch)

    # ---- 3. Checkpoint to resume from ------------------------------------------
    saver = CheckpointSaver(workdir, model, optimizer)
    progress, resuming = saver.progress, has_checkpoint(workdir)
    image_counts = {str(s): s.num_examples for s in (source, eval_source)}
    settings = run_settings.describe(
        seed, precision, shuffle_buffer, fine_tuning, options, augment,
        optimizer if has_own_optimizer else None,
    )
    if resuming:
        run_settings.check_same(workdir, preset, settings)
        saver.restore(repair=chief)
        verify_image_counts(workdir, image_counts)
        run_settings.check_length(workdir, recipe, options, progress, steps_per_epoch)
    else:
        load_initial_weights(model, fine_tuning, preprocessing.channel_order)
    saver.check_same_position(mean_over_workers)
    if chief:
        if not resuming:
            _describe_data(workdir, image_counts, statistics)
        write_network(workdir, preset, source.classes, settings)
        files.remove_unfinished(workdir)
        saver.remove_unfinished()
        truncate_metrics(workdir, progress.step, progress.errors)

    # ---- 4. Input pipelines ----------------------------------------------------
    training_batches = functools.partial(
        input_pipeline.training_batches, source, preprocessing, statistics,
        shuffle_buffer=shuffle_buffer, data_service=data_service, augment=augment,
    )
    evaluation_batches = functools.partial(
        input_pipeline.evaluation_batches, eval_source, preprocessing, statistics
    )
    head, head_optimizer = model, optimizer
    if tower_devices:
        head = towers.Towers(model, optimizer, tower_devices)
        head_optimizer = head.optimizer
    if fine_tuning.cache_features:
        head, training_batches, evaluation_batches = _cached_feature_batches(
            model, source, eval_source, preprocessing, statistics
        )
    distributed = functools.partial(_distributed, strategy, recipe.batch_size)
    # The evaluation and its pipeline are made only once, because tracing their
    # functions takes a second.
    validation_batches = distributed(evaluation_batches)
    evaluate = validation.evaluator(head, strategy)
    training_steps = steps.TrainingSteps(
        head, head_optimizer, strategy, recipe, seed,
        class_weights.balanced_weights(label_counts),
        lr_mult=fine_tuning.lr_mult, has_own_optimizer=has_own_optimizer,
        warmup_steps=options.warmup_epochs * steps_per_epoch,
    )

    # ---- 5. Callbacks, metrics and signals -------------------------------------
    figure_writer = FigureWriter(workdir, preset, source, statistics, model)
    metric_names, resumed = metrics.names(len(source.classes)), progress.step > 0
    kernel_recorder = KernelRecorder(workdir, preset, resumed)
    progress_callbacks = [
        *keras_callbacks(workdir, metric_names, resumed), figure_writer, kernel_recorder
    ]
    clock = progress_bar.RunClock(recipe, options, steps_per_epoch, eval_source)
    bar = progress_bar.ProgressBar(clock, progress)
    callback_list = keras.callbacks.CallbackList(
        [*progress_callbacks, *callbacks, bar] if chief else [],
        model=model, verbose=verbose, epochs=recipe.epochs, steps=steps_per_epoch,
    )

    def log_metrics(**values):
        if chief:
            append_metrics(workdir, step=progress.step, **values)

    def update_model():
        if tower_devices:
            head.update_model()

    def save():
        if chief:
            update_model()
            saver.save()

    def stop_if_asked():
        # A signal to any of the workers stops all of them.
        if mean_over_workers(bool(signals.received)):
            save()
            raise TrainingInterrupted(
                signals.received or signal.SIGTERM, progress.step
            )

    def validate():
        with clock.measure_evaluation():
            measured = evaluate(
                validation_batches, eval_source, recipe.batch_size,
                on_step=stop_if_asked,
            )
        _check_bad_images(eval_source, measured.get("bad_images", 0), max_bad_images)
        saver.check_evaluation(measured)
        log_metrics(split="eval", epoch=progress.step // steps_per_epoch, **measured)
        return measured["top1_error"]

    def save_if_best():
        if chief and options.keep_best and progress.is_best(steps_per_epoch):
            saver.save_best()

    # ---- 6. Epochs -------------------------------------------------------------
    timer = StepTimer(mean_over_workers=mean_over_workers)
    saved_at, first_epoch = time.monotonic(), len(progress.errors)
    save_if_best()  # The run may have been killed before it saved its best weights.
    with (
        _SignalRecorder() as signals,
        distribution.detecting_lost_workers(strategy),
        out_of_memory.suggesting_smaller_batch(
            recipe.batch_size, strategy.num_replicas_in_sync,
            lambda: workdir if has_checkpoint(workdir) else None,
        ),
    ):  # fmt: skip
        while True:
            epoch = len(progress.errors)
            errors = stopping.without_extra_evaluations(
                progress.errors, recipe.epochs, options.eval_every
            )
            reason = stopping.end_reason(recipe, errors, options)
            # Only the chief has the callbacks that set `stop_training`.
            if reason or mean_over_workers(model.stop_training):
                break
            training_steps.begin_epoch(epoch, errors)
            # `on_train_begin` is called inside the loop, so that resuming a finished
            # run does not add a TensorBoard file.
            if epoch == first_epoch:
                if chief:
                    append_environment(
                        workdir, step=progress.step, **environment.describe()
                    )
                callback_list.on_train_begin()
            callback_list.on_epoch_begin(epoch)

            # ---- 6a. Training steps --------------------------------------------
            step = progress.step - epoch * steps_per_epoch
            batches = input_pipeline.ReleasableIterator(
                distributed(
                    training_batches,
                    seed=seed, epoch=epoch, steps=steps_per_epoch, first_step=step,
                )
            )
            while step < steps_per_epoch:
                steps_until_log = log_steps - step % log_steps
                count = min(timer.count, steps_until_log, steps_per_epoch - step)
                order = None if data_service else (seed, epoch, shuffle_buffer)
                requested = step * recipe.batch_size, count * recipe.batch_size
                with timer.measure(count), _diagnosing(source, order, *requested):
                    sums = training_steps.run(batches.iterator, progress.step, count)
                saver.check_finite(sums, progress.step)
                step += count
                progress.add(count, sums, recipe.batch_size)
                _check_bad_images(source, progress.bad_images, max_bad_images)
                logs = metrics.mean_metrics(progress.totals, len(source.classes))
                callback_list.on_train_batch_end(step - 1, logs)
                if step % log_steps == 0 or step == steps_per_epoch:
                    if source.allows_bad_images:
                        logs["bad_images"] = progress.bad_images
                    log_metrics(
                        split="train", epoch=progress.step / steps_per_epoch, **logs,
                        learning_rate=training_steps.learning_rate(progress.step - 1),
                        images_per_second=timer.lap(recipe.batch_size),
                    )
                    progress.totals = [0.0] * 4
                if time.monotonic() - saved_at > 60 * checkpoint_minutes:
                    save()
                    saved_at = time.monotonic()
                stop_if_asked()
            batches.close()

            # ---- 6b. Validation ------------------------------------------------
            is_due = stopping.is_evaluated(epoch + 1, recipe.epochs, options.eval_every)
            progress.errors.append(validate() if is_due else None)
            progress.bad_images = 0
            if chief:
                update_model()
                callback_list.on_epoch_end(epoch, epoch_logs(workdir, metric_names))
            save_if_best()

        # ---- 7. End of the run -------------------------------------------------
        if progress.errors[-1] is None:  # A callback has ended the run.
            progress.errors[-1] = validate()
            save_if_best()
        save()
        if len(progress.errors) > first_epoch:
            saved_weights = model.get_weights() if chief else []
            callback_list.on_train_end()
            if chief:
                saver.save_changed_weights(saved_weights)
        elif chief:
            print(run_settings.describe_end(workdir, recipe, progress.errors, reason))
        if chief:
            figure_writer.draw()
        mean_over_workers(0)  # A worker that exits early would be reported as lost.
    last = [line for line in read_metrics(workdir) if line["split"] == "eval"][-1]
    return {name: last[name] for name in (*metric_names, "bad_images") if name in last}


class TrainingInterrupted(Exception):
    """A signal has stopped training, and the state is saved.

    Attributes:
        signum: the number of the signal, such as `signal.SIGTERM`.
    """

    def __init__(self, signum, step):
        super().__init__(
            f"Stopped by {signal.Signals(signum).name} after step {step}; the same "
            "command resumes from there."
        )
        self.signum = signum


class _SignalRecorder:
    """Records the first SIGINT or SIGTERM; the second one ends the process.

    Outside the main thread, where Python allows no signal handlers, it records nothing.
    """

    def __enter__(self):
        self.received = None
        self._previous = {}
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._record)
        return self

    def _record(self, signum, frame):
        del frame
        self.received = signum
        print(
            "\nSaving a checkpoint. Press Ctrl-C again to quit immediately.",
            file=sys.stderr,
        )
        self._restore_handlers()

    def _restore_handlers(self):
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def __exit__(self, *unused):
        self._restore_handlers()


@contextlib.contextmanager
def _diagnosing(source, order, first, count):
    """Replaces errors of the training pipeline by errors that name the image.

    Args:
        source: the `Source` that the pipeline reads.
        order: (seed, epoch, shuffle_buffer), which determine the order of the images;
            None if a data service reads them, in an order that is not known.
        first, count: the position in that order of the first requested image, and the
            number of requested images.
    """
    try:
        yield
    except tf.errors.OpError as error:
        examples = source.examples()
        if order:
            examples = input_pipeline.shuffled(source, *order, first).take(count)
        raise bad_images.diagnose(error, source, examples) from error


def _check_objects(preset, source, eval_source):
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


def _check_options(preset, options, fine_tuning, optimizer, augment):
    if optimizer is not None:
        own_optimizer.check_exclusive(options, fine_tuning)
    elif options.early_stopping_patience and preset.recipe.schedule == "plateau":
        raise ValueError(
            "Expected another schedule than plateau for early_stopping_patience. "
            f"Received: early_stopping_patience={options.early_stopping_patience}, "
            "schedule=plateau, which itself ends training at the fourth plateau. Leave "
            "early_stopping_patience out, or give a schedule such as constant."
        )
    if augment is not None:
        preprocess.check_augment(augment, preset.preprocessing)
        if fine_tuning.cache_features:
            raise ValueError(
                "Expected augment or cache_features. Received: both. Cached features "
                "are those of the center crop, which is not augmented."
            )


def _check_data_service(data_service, source):
    if data_service and source.in_process:
        raise ValueError(
            "Expected a data set of image files or TFRecord files for a data service. "
            f"Received: data_service={data_service}, {source}, whose ArrayRecord files "
            "only this process can read. Leave the data service out."
        )


def _check_inputs(preset, strategy, source, eval_source):
    _check_objects(preset, source, eval_source)
    batch_size, replicas = preset.recipe.batch_size, strategy.num_replicas_in_sync
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


def _run_statistics(fine_tuning, source, preprocessing, workdir, verbose):
    """Returns the statistics of the resumed run, the initial weights, or the source."""
    os.makedirs(workdir, exist_ok=True)
    if has_checkpoint(workdir):
        return pixel_statistics.read(os.path.join(workdir, STATISTICS_FILE))
    if fine_tuning.weights:
        return initial_statistics(fine_tuning, preprocessing)
    return pixel_statistics.load_or_compute(source, preprocessing, workdir, verbose)


def _run_label_counts(options, source, workdir, chief):
    """Returns the number of images of each class; None if the loss is not weighted.

    Counting reads the whole split, so only the chief counts, before the other workers.
    """
    if options.class_weights is None:
        return None
    if has_checkpoint(workdir) or not chief:
        return class_weights.read_counts(workdir)
    counts = class_weights.count_labels(source)
    class_weights.write_counts(workdir, counts)
    return counts


def _describe_data(workdir, image_counts, statistics):
    """Writes the files that describe the data."""
    write_image_counts(workdir, image_counts)
    pixel_statistics.write(statistics, os.path.join(workdir, STATISTICS_FILE))


def _distributed(strategy, batch_size, make_batches, **kwargs):
    """Distributes the batches that `make_batches` returns over all devices."""
    num_workers, worker_index = distribution.worker_count_and_index(strategy)
    return strategy.distribute_datasets_from_function(
        lambda _: make_batches(
            batch_size=batch_size,
            num_replicas=strategy.num_replicas_in_sync,
            num_workers=num_workers,
            worker_index=worker_index,
            **kwargs,
        )
    )


def _cached_feature_batches(model, source, eval_source, preprocessing, statistics):
    """Computes the features of all images with the frozen layers of `model`.

    Returns:
        (head, training_batches, evaluation_batches): the model of the other layers, and
        functions with the same role as those of `input_pipeline`.
    """
    backbone, head = split_backbone(model)
    _log.info("Computing the features of all images once.")
    train_features, eval_features = (
        compute_features(
            backbone,
            input_pipeline.evaluation_batches(
                split_source, preprocessing, statistics, batch_size=_FEATURE_BATCH_SIZE
            ),
            split_source,
        )
        for split_source in (source, eval_source)
    )
    return (
        head,
        functools.partial(input_pipeline.cached_training_batches, *train_features),
        functools.partial(input_pipeline.cached_evaluation_batches, *eval_features),
    )


def _check_bad_images(source, count, max_bad_images):
    if count > max_bad_images:
        raise ValueError(
            f"Expected at most {max_bad_images} unreadable images in {source}. "
            f"Received: {count}. Repair them (--on_bad_image=error names the first "
            "one), or raise --max_bad_images."
        )


def _log_optimizer(model):
    inner_optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not isinstance(inner_optimizer, optimizers.MomentumSGD):
        name, count = type(inner_optimizer).__name__, model.count_params()
        _log.info("%s: %d parameters. Optimizer: %s.", model.name, count, name)
        return
    kernels, others = [], []
    for variable in model.trainable_variables:
        (kernels if inner_optimizer.is_decayed(variable) else others).append(variable)
    _log.info(
        "%s: %d parameters. Weight decay of %g on %d of them, in %d kernels, and none "
        "on %d others that are trained.",
        model.name, model.count_params(), inner_optimizer.kernel_decay,
        sum(v.shape.num_elements() for v in kernels), len(kernels),
        sum(v.shape.num_elements() for v in others),
    )


def _log_summary(model, recipe, source, eval_source, num_devices, steps_per_epoch):
    _log_optimizer(model)
    frozen = [layer.name for layer in model.layers if not layer.trainable]
    if frozen:
        _log.info("Frozen: %s.", ", ".join(frozen))
    _log.info(
        "%d training images of %d classes (%s), %d validation images (%s). %d steps "
        "per epoch, %d images per step on %d device(s), at most %d epoch(s).",
        source.num_examples, len(source.classes), source,
        eval_source.num_examples, eval_source,
        steps_per_epoch, recipe.batch_size, num_devices, recipe.epochs,
    )
