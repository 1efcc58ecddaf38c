"""The training loop: from a preset and a data set to trained weights.

`train` is one long function in numbered sections, to be read from top to bottom.
"""

import contextlib
import functools
import os
import signal
import time

import keras
import tensorflow as tf

from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf import files
from alexnet_tf.models import alexnet
from alexnet_tf.network_json import write_network
from alexnet_tf.training.callbacks import FigureWriter
from alexnet_tf.training.callbacks import keras_callbacks
from alexnet_tf.training.checkpoints import CheckpointSaver
from alexnet_tf.training import checks
from alexnet_tf.training import class_weights
from alexnet_tf.training import distribution
from alexnet_tf.training import environment
from alexnet_tf.training.fine_tuning import cached_feature_batches
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training.fine_tuning import freeze_layers
from alexnet_tf.training.fine_tuning import initial_statistics
from alexnet_tf.training.fine_tuning import load_initial_weights
from alexnet_tf.training.kernel_history import KernelRecorder
from alexnet_tf.training import metrics
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import out_of_memory
from alexnet_tf.training import own_optimizer
from alexnet_tf.training.precision import warn_if_slower
from alexnet_tf.training import progress_bar
from alexnet_tf.training import run_settings
from alexnet_tf.training.signals import SignalRecorder
from alexnet_tf.training.signals import TrainingInterrupted
from alexnet_tf.training.step_timer import StepTimer
from alexnet_tf.training import steps
from alexnet_tf.training import stopping
from alexnet_tf.training import summary
from alexnet_tf.training import towers
from alexnet_tf.training import validation
from alexnet_tf.workdir import append_environment
from alexnet_tf.workdir import append_metrics
from alexnet_tf.workdir import check_characters
from alexnet_tf.workdir import has_checkpoint
from alexnet_tf.workdir import locked
from alexnet_tf.workdir import read_metrics
from alexnet_tf.workdir import STATISTICS_FILE
from alexnet_tf.workdir import truncate_metrics
from alexnet_tf.workdir import verify_image_counts
from alexnet_tf.workdir import write_image_counts


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
    verbose="auto",
    record_flags=None,
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
        workdir: the directory of the run, created if it does not exist. Its path must
            not contain [, ], *, ? or, except on Windows, a backslash.
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
        callbacks: a `keras.callbacks.Callback` or several. As in Keras, each of several
            workers calls its callbacks; those that write files should do so in one
            worker. A resumed run does not restore them. `on_train_batch_begin` and
            `on_train_batch_end` are called once for several steps, and the methods for
            evaluations are not called. `stop_training` ends the run after the current
            epoch. A changed learning rate has an effect only on an `optimizer` of your
            own; the schedule of the preset overrides it with a warning. With
            `tower_devices`, the weights of their `model` are those of the last
            checkpoint or the last end of an epoch, and changes of the weights have an
            effect only in `on_epoch_end` and `on_train_end`. The last checkpoint has
            the weights that `on_train_end` leaves, for example those that
            `EarlyStopping(restore_best_weights=True)` restores. A larger number of
            epochs continues from them. The returned metrics are those of the last
            epoch.
        verbose: what is printed, as for `fit` of Keras: 0 nothing, 1 a progress bar, 2
            one line per epoch; "auto" for 1 in a terminal or notebook, and 2 elsewhere.
        record_flags: a function without arguments that the chief calls once the
            arguments have been checked and the work directory is locked.
            `train_dataset` writes flags.txt with it.

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
            `workdir` has another preset, other settings or other classes or is in
            progress, no checkpoint of this network is intact, or a finished run has
            no evaluation in metrics.jsonl.
        OSError: if a file of the data set is missing, a checkpoint may not be read, the
            disk is full, or another worker is lost (`distribution.WorkerLost`).
        FloatingPointError: if the loss is not finite.
        MemoryError: if the memory does not suffice for a batch.
        TrainingInterrupted: after SIGINT or SIGTERM, once everything is saved.
    """
    # ---- 1. Checks -------------------------------------------------------------
    strategy = strategy or tf.distribute.get_strategy()
    fine_tuning, options = fine_tuning or FineTuning(), options or TrainingOptions()
    workdir = os.path.expanduser(workdir)
    is_single = isinstance(callbacks, keras.callbacks.Callback)
    callbacks = [callbacks] if is_single else list(callbacks or ())
    checks.check_numbers(
        seed=seed, shuffle_buffer=shuffle_buffer, log_steps=log_steps,
        max_bad_images=max_bad_images, verbose=verbose,
        checkpoint_minutes=checkpoint_minutes,
    )
    # Keras and TensorFlow do not accept integers of NumPy.
    seed, log_steps = int(seed), int(log_steps)
    check_characters(workdir)
    checks.check_objects(preset, source, eval_source, callbacks)
    checks.check_data(preset, source, eval_source, strategy, data_service)
    has_own_optimizer = optimizer is not None
    if has_own_optimizer:
        with strategy.scope():
            optimizer = own_optimizer.make(optimizer)
    checks.check_options(
        preset, strategy, tower_devices, precision, fine_tuning, options, optimizer,
        augment, data_service,
    )
    preprocessing = preset.preprocessing
    recipe = run_settings.effective_recipe(preset.recipe, options, has_own_optimizer)
    steps_per_epoch = source.num_examples // recipe.batch_size
    chief = distribution.is_chief(strategy)
    mean_over_workers = functools.partial(distribution.all_reduce_mean, strategy)
    verbose = progress_bar.verbosity(verbose) if chief else 0

    with contextlib.ExitStack() as stack:
        # ---- 2. Work directory and statistics ----------------------------------
        if chief:
            stack.enter_context(locked(workdir))
            if record_flags:
                record_flags()
            warn_if_slower(precision)
        with distribution.chief_first(strategy):
            statistics = _run_statistics(
                fine_tuning, source, preprocessing, workdir, verbose
            )
            weights_of_classes = None
            if options.class_weights:
                weights_of_classes = class_weights.balanced_weights(
                    class_weights.run_counts(source, workdir, chief)
                )

        # ---- 3. Model and optimizer --------------------------------------------
        keras.utils.set_random_seed(seed)
        placement = contextlib.nullcontext()
        if tower_devices:
            placement = tf.device(towers.HOST)
        with strategy.scope(), steps.dtype_policy(precision), placement:
            model = alexnet.AlexNet(
                preset, len(source.classes), classifier_activation=None
            )
            freeze_layers(model, fine_tuning)
            optimizer = steps.make_optimizer(model, recipe, precision, optimizer)
        num_devices = len(tower_devices or range(strategy.num_replicas_in_sync))
        summary.log_beginning(model, recipe, source, eval_source, num_devices)

        # ---- 4. Checkpoint to resume from --------------------------------------
        saver = CheckpointSaver(workdir, model, optimizer)
        progress, resuming = saver.progress, has_checkpoint(workdir)
        image_counts = {str(s): s.num_examples for s in (source, eval_source)}
        settings = run_settings.describe(
            seed, precision, shuffle_buffer, fine_tuning, options, augment,
            optimizer if has_own_optimizer else None,
        )
        if resuming:
            run_settings.check_same(workdir, preset, settings)
            run_settings.check_same_classes(workdir, source.classes)
            saver.restore(repair=chief)
            verify_image_counts(workdir, image_counts)
            run_settings.check_length(
                workdir, recipe, options, progress, steps_per_epoch
            )
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
        if progress.epoch_totals is None:
            progress.restore_epoch_totals(
                read_metrics(workdir), steps_per_epoch, recipe.batch_size
            )

        # ---- 5. Input pipelines ------------------------------------------------
        training_batches = functools.partial(
            input_pipeline.training_batches, source, preprocessing, statistics,
            shuffle_buffer=shuffle_buffer, data_service=data_service, augment=augment,
        )
        evaluation_batches = functools.partial(
            input_pipeline.evaluation_batches, eval_source, preprocessing, statistics
        )
        head = model
        if tower_devices:
            head = towers.Towers(model, optimizer, tower_devices)
        if fine_tuning.cache_features:
            head, training_batches, evaluation_batches = cached_feature_batches(
                model, source, eval_source, preprocessing, statistics
            )
        distributed = functools.partial(
            distribution.distribute_batches, strategy, recipe.batch_size
        )
        # The evaluation and its pipeline are made only once, because tracing their
        # functions takes a second.
        validation_batches = distributed(evaluation_batches)
        evaluate = validation.evaluator(head, strategy)
        training_steps = steps.TrainingSteps(
            head, optimizer, strategy, recipe, seed, weights_of_classes,
            lr_mult=fine_tuning.lr_mult, has_own_optimizer=has_own_optimizer,
            warmup_steps=options.warmup_epochs * steps_per_epoch,
        )

        # ---- 6. Callbacks, metrics and signals ---------------------------------
        figure_writer = FigureWriter(workdir, preset, source, statistics, model)
        metric_names, resumed = metrics.names(len(source.classes)), progress.step > 0
        kernel_recorder = KernelRecorder(workdir, preset, resumed)
        clock = progress_bar.RunClock(recipe, options, steps_per_epoch, eval_source)

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
            num_bad = measured.get("bad_images", 0)
            _check_bad_images(eval_source, num_bad, max_bad_images)
            saver.check_evaluation(measured)
            log_metrics(
                split="eval", epoch=progress.step // steps_per_epoch, **measured
            )
            return measured

        def save_if_best():
            if chief and options.keep_best and progress.is_best(steps_per_epoch):
                update_model()
                saver.save_best()

        first_callbacks, last_callbacks = [], []
        if chief:
            first_callbacks = [
                *keras_callbacks(workdir, metric_names, resumed),
                figure_writer, kernel_recorder,
                # A checkpoint counts the epoch, so the files above come first. The best
                # weights are those that were evaluated, which `callbacks` may change.
                keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: save_if_best()),
            ]
            last_callbacks = [progress_bar.ProgressBar(clock, progress)]
        callback_list = keras.callbacks.CallbackList(
            [*first_callbacks, *callbacks, *last_callbacks],
            model=model, verbose=verbose, epochs=recipe.epochs, steps=steps_per_epoch,
        )

        # ---- 7. Epochs ---------------------------------------------------------
        timer = StepTimer(mean_over_workers=mean_over_workers)
        saved_at, first_epoch = time.monotonic(), len(progress.errors)
        save_if_best()  # The run may have been killed before it saved its best weights.
        signals = stack.enter_context(SignalRecorder())
        stack.enter_context(distribution.detecting_lost_workers(strategy))
        stack.enter_context(
            out_of_memory.suggesting_smaller_batch(
                recipe.batch_size, strategy.num_replicas_in_sync,
                lambda: workdir if has_checkpoint(workdir) else None,
            )
        )
        while True:
            epoch = len(progress.errors)
            errors = stopping.without_extra_evaluations(
                progress.errors, recipe.epochs, options.eval_every
            )
            reason = stopping.end_reason(recipe, errors, options)
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

            # ---- 7a. Training steps --------------------------------------------
            step = progress.step - epoch * steps_per_epoch
            batches = input_pipeline.ReleasableIterator(
                distributed(
                    training_batches,
                    seed=seed, epoch=epoch, steps=steps_per_epoch, first_step=step,
                )
            )
            stack.callback(batches.close)  # An error or a signal may end the epoch.
            while step < steps_per_epoch:
                steps_until_log = log_steps - step % log_steps
                count = min(timer.count, steps_until_log, steps_per_epoch - step)
                order = None if data_service else (seed, epoch, shuffle_buffer)
                requested = step * recipe.batch_size, count * recipe.batch_size
                callback_list.on_train_batch_begin(step)
                with (
                    timer.measure(count),
                    input_pipeline.diagnosing_shuffled(source, order, *requested),
                ):
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

            # ---- 7b. Validation ------------------------------------------------
            is_due = stopping.is_evaluated(epoch + 1, recipe.epochs, options.eval_every)
            measured = validate() if is_due else {}
            progress.errors.append(measured.get("top1_error"))
            logs = metrics.mean_metrics(progress.epoch_totals, len(source.classes))
            logs |= {f"val_{name}": measured[name] for name in metric_names if measured}
            logs["learning_rate"] = training_steps.learning_rate(progress.step - 1)
            if chief and not (fine_tuning.weights or options.class_weights):
                summary.warn_of_plateau(
                    logs["loss"], len(source.classes), progress.step, steps_per_epoch
                )
            progress.end_epoch()
            update_model()
            callback_list.on_epoch_end(epoch, logs)
            if callbacks:
                progress.mark_changed_weights()
                if tower_devices:
                    head.read_model()

        # ---- 8. End of the run -------------------------------------------------
        if progress.errors[-1] is None:  # A callback has ended the run.
            measured = validate()
            progress.errors[-1] = measured["top1_error"]
            progress.has_changed_weights = False
            save_if_best()
        save()
        if len(progress.errors) > first_epoch:
            saved_weights = model.get_weights() if chief else []
            callback_list.on_train_end(logs)
            if chief:
                saver.save_changed_weights(saved_weights)
        elif verbose:
            print(run_settings.describe_end(workdir, recipe, progress.errors, reason))
        if chief:
            figure_writer.draw()
        mean_over_workers(0)  # A worker that exits early would be reported as lost.
    last = _last_evaluation(workdir)
    return {name: last[name] for name in (*metric_names, "bad_images") if name in last}


def _run_statistics(fine_tuning, source, preprocessing, workdir, verbose):
    """Returns the statistics of the resumed run, the initial weights, or the source."""
    os.makedirs(workdir, exist_ok=True)
    if has_checkpoint(workdir):
        return pixel_statistics.read(os.path.join(workdir, STATISTICS_FILE))
    if fine_tuning.weights:
        return initial_statistics(fine_tuning, preprocessing)
    return pixel_statistics.load_or_compute(source, preprocessing, workdir, verbose)


def _describe_data(workdir, image_counts, statistics):
    """Writes the files that describe the data."""
    write_image_counts(workdir, image_counts)
    pixel_statistics.write(statistics, os.path.join(workdir, STATISTICS_FILE))


def _last_evaluation(workdir):
    """Returns the line of the last evaluation in metrics.jsonl."""
    lines = [line for line in read_metrics(workdir) if line["split"] == "eval"]
    if not lines:
        raise ValueError(
            f"{os.path.join(workdir, 'metrics.jsonl')} has no line of an evaluation, "
            "though the run has finished. Restore the file, or measure the error "
            f"with python -m alexnet_tf.evaluate --weights={workdir}."
        )
    return lines[-1]


def _check_bad_images(source, count, max_bad_images):
    if count > max_bad_images:
        raise ValueError(
            f"Expected at most {max_bad_images} unreadable images in {source}. "
            f"Received: {count}. Repair them (--on_bad_image=error names the first "
            "one), or raise --max_bad_images."
        )
