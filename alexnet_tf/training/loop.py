"""The training loop: from a preset and a data set to weights.

A library: nothing here reads flags. `train` is to be read from top to bottom.
"""

import functools
import logging
import os
import signal
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.models import alexnet
from alexnet_tf.training.callbacks import epoch_logs
from alexnet_tf.training.callbacks import FigureWriter
from alexnet_tf.training.callbacks import keras_callbacks
from alexnet_tf.training import checkpoints
from alexnet_tf.training import distribution
from alexnet_tf.training import environment
from alexnet_tf.training.fine_tuning import compute_features
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training.fine_tuning import freeze_layers
from alexnet_tf.training.fine_tuning import initial_statistics
from alexnet_tf.training.fine_tuning import load_initial_weights
from alexnet_tf.training.fine_tuning import split_backbone
from alexnet_tf.training import metrics
from alexnet_tf.training import optimizers
from alexnet_tf.training.step_timer import StepTimer
from alexnet_tf.training import steps
from alexnet_tf.training import validation
from alexnet_tf.workdir import append_environment
from alexnet_tf.workdir import append_metrics
from alexnet_tf.workdir import check_data
from alexnet_tf.workdir import has_checkpoint
from alexnet_tf.workdir import read_metrics
from alexnet_tf.workdir import STATISTICS_FILE
from alexnet_tf.workdir import truncate_metrics
from alexnet_tf.workdir import write_data
from alexnet_tf.workdir import write_network

_log = logging.getLogger(__name__)
_CACHE_BATCH = 64


def train(
    preset,
    source,
    eval_source,
    workdir,
    *,
    fine_tuning=None,
    seed=0,
    strategy=None,
    precision="float32",
    shuffle_buffer=16384,
    data_service=None,
    checkpoint_minutes=10.0,
    log_steps=100,
    max_bad_images=0,
    callbacks=(),
):
    """Trains `preset` on `source` and returns the metrics of the last epoch.

    Run again with the same arguments it goes on where it was stopped, and
    ends with the weights of a run that never was (bit for bit on one CPU).
    `workdir` receives metrics.jsonl, metrics.csv, environment.jsonl,
    checkpoints/, tensorboard/, curves.png and conv1.png, and with network.json
    and statistics.npz all that its weights need to be used.

    Args:
        preset: a `presets.Preset`.
        source: the `Source` to train on.
        eval_source: the one to measure the validation error on.
        workdir: an existing directory.
        fine_tuning: a `FineTuning` to start from weights.
        seed: of the start, the order, the views and the dropout.
        strategy: from `distribution.make_strategy` or `distribution.make_multi_worker_strategy`; one device by
            default. Of several workers all call this with the same arguments and
            see the same `workdir`, to which the first one alone, the chief, writes.
        precision: a Keras dtype policy, "float32", "mixed_bfloat16" or
            "mixed_float16" (which scales the loss).
        shuffle_buffer, data_service: see `input_pipeline.training_batches`; with
            a data service, a run that was stopped ends with other weights.
        checkpoint_minutes: between two checkpoints.
        log_steps: between two lines of metrics within an epoch.
        max_bad_images: that an epoch or an evaluation may have, of sources that
            are `Source.allow_bad_images`; metrics then have "bad_images" too.
        callbacks: further `keras.callbacks.Callback` objects; they get no
            on_train_batch_begin, and on_train_batch_end once for several steps.
            One that sets `stop_training` ends the run behind the epoch, as a last
            one; the learning rate is the recipe's in each. Of several workers the
            chief's alone are called.

    Returns:
        {"loss", "top1_error", "top5_error"} of `eval_source`, errors in [0, 1].

    Raises:
        ValueError: if the sizes do not fit each other, a picture is bad, or a
            source does not hold as many as it says.
        OSError: if the data or the disk fail, or another worker has gone.
        FloatingPointError: if the loss is not finite.
        Stopped: after SIGINT or SIGTERM, when all is saved.
    """
    # ---- 1. Sizes --------------------------------------------------------
    strategy = strategy or tf.distribute.get_strategy()
    plan = fine_tuning or FineTuning()
    chief, agree = distribution.is_chief(strategy), functools.partial(distribution.all_reduce_mean, strategy)
    recipe, pixels = preset.recipe, preset.preprocessing
    _check_sizes(recipe.batch_size, strategy, source, eval_source)
    source.check_fits(pixels), eval_source.check_fits(pixels)
    steps_per_epoch = source.num_examples // recipe.batch_size
    # A line at the end of each epoch where a bar can't be redrawn.
    verbose = (1 if sys.stdout.isatty() else 2) if chief else 0
    with distribution.chief_first(strategy):
        statistics = _pixel_statistics(plan, source, pixels, workdir, verbose)

    # ---- 2. The network and its optimizer --------------------------------
    keras.utils.set_random_seed(seed)
    with strategy.scope(), steps.dtype_policy(precision):
        model = alexnet.AlexNet(
            preset, len(source.classes), classifier_activation=None
        )
        freeze_layers(model, plan)
        optimizer = steps.make_optimizer(model, recipe, precision)
    _log_plan(model, recipe, source, eval_source, strategy, steps_per_epoch)
    # ---- 3. Where the run was stopped ------------------------------------
    progress = checkpoints.Progress()
    checkpoint = tf.train.Checkpoint(
        layers={layer.name: layer for layer in model.layers},
        optimizer=optimizer,
        progress=progress,
    )
    folder = os.path.join(workdir, "checkpoints")
    fresh = not has_checkpoint(workdir)
    if fresh:
        load_initial_weights(model, plan)
    else:
        whole, damaged = checkpoints.restore(checkpoint, folder)
        progress.saved = progress.place
        if chief:
            checkpoints.set_aside_damaged(folder, whole, damaged)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
    checkpoints.check_same_position(progress, mean_over_workers, workdir)
    pictures = {str(each): each.num_examples for each in (source, eval_source)}
    if not fresh:
        check_data(workdir, pictures)
    album = FigureWriter(workdir, preset, source, statistics, model)
    if chief:
        if fresh:
            write_network(workdir, preset, source.classes)
            write_data(workdir, pictures)
            pixel_statistics.write(
                statistics, os.path.join(workdir, STATISTICS_FILE)
            )
        checkpoints.remove_unfinished(folder)
        truncate_metrics(workdir, progress.step, len(progress.errors))
        callbacks = [
            *keras_callbacks(workdir, resumed=progress.step > 0),
            album,
            *callbacks,
        ]
    watchers = keras.callbacks.CallbackList(
        callbacks if chief else [],
        add_progbar=True, model=model, verbose=verbose,
        epochs=recipe.epochs, steps=steps_per_epoch,
    )
    saved_at = time.monotonic()

    # ---- 4. What is fed to what ------------------------------------------
    training_batches = functools.partial(
        input_pipeline.training_batches,
        source,
        pixels,
        statistics,
        shuffle_buffer=shuffle_buffer,
        data_service=data_service,
    )
    evaluation_batches = functools.partial(
        input_pipeline.evaluation_batches, eval_source, pixels, statistics
    )
    learner = model
    if plan.cache_features:
        beginning, learner = split_backbone(model)
        training_batches, evaluation_batches = _cached_batches(
            beginning, source, eval_source, pixels, statistics
        )
    evaluate = validation.evaluator(learner, strategy)

    # ---- 5. Epochs -------------------------------------------------------
    def batches_of(make_batches, **kwargs):
        return strategy.distribute_datasets_from_function(
            lambda _: make_batches(
                batch_size=recipe.batch_size,
                num_replicas=strategy.num_replicas_in_sync,
                workers=distribution.worker_count_and_index(strategy),
                **kwargs,
            )
        )

    def note(**values):
        if chief:
            append_metrics(workdir, **values)

    def save():
        if chief:
            checkpoints.save(manager, model, progress)

    def save_and_stop_if_asked():
        # One is enough that any of the workers was sent.
        if mean_over_workers(bool(signals.received)):
            save()
            raise TrainingInterrupted(signals.received or signal.SIGTERM, progress.step)

    # Made once: tracing its functions anew for each epoch takes a second.
    validation_batches = batches_of(evaluation_batches)
    pace = StepTimer(mean_over_workers=mean_over_workers)
    multipliers = None
    first_epoch = len(progress.errors)
    with _Signals() as signals, distribution.detecting_lost_workers(strategy):
        while True:
            epoch = len(progress.errors)
            rate = optimizers.learning_rate(recipe, epoch, progress.errors)
            # By a callback; `agree`, since only the chief has any.
            if rate is None or mean_over_workers(model.stop_training):
                break
            optimizer.learning_rate = rate
            before = multipliers
            multipliers = optimizers.multipliers(recipe, epoch, rate)
            if multipliers != before:
                steps.set_multipliers(optimizer, *multipliers, plan.lr_mult)
                run_steps = steps.make_run_steps(
                    learner, optimizer, strategy, recipe, seed
                )
            # Not for a finished run, which has nothing to tell TensorBoard.
            if epoch == first_epoch:
                if chief:
                    append_environment(
                        workdir, step=progress.step, **environment.describe()
                    )
                watchers.on_train_begin()
            watchers.on_epoch_begin(epoch)
            step = progress.step - epoch * steps_per_epoch
            batches = input_pipeline.Iteration(
                batches_of(
                    training_batches,
                    seed=seed,
                    epoch=epoch,
                    steps=steps_per_epoch,
                    first_step=step,
                )
            )

            # ---- 5a. Steps -----------------------------------------------
            while step < steps_per_epoch:
                until_line = log_steps - step % log_steps
                count = min(pace.count, until_line, steps_per_epoch - step)
                try:
                    with pace.measure(count):
                        sums = run_steps(batches.iterator, progress.step, count)
                except tf.errors.OpError as error:
                    asked = source.examples()
                    if not data_service:
                        asked = (
                            input_pipeline.shuffled(
                                source, seed, epoch, shuffle_buffer
                            )
                            .skip(step * recipe.batch_size)
                            .take(count * recipe.batch_size)
                        )
                    raise bad_images.diagnose(error, source, asked) from error
                checkpoints.check_finite(sums, progress.step, manager)
                step += count
                progress.add(count, sums, recipe.batch_size)
                _check_bad_images(source, progress.bad_images, max_bad_images)
                logs = metrics.mean_metrics(progress.totals)
                watchers.on_train_batch_end(step - 1, logs)
                if step % log_steps == 0 or step == steps_per_epoch:
                    speed = pace.lap()
                    note(
                        split="train",
                        step=progress.step,
                        epoch=progress.step / steps_per_epoch,
                        **logs,
                        **({"bad_images": progress.bad_images} if source.allows_bad_images else {}),
                        learning_rate=rate,
                        images_per_second=speed and speed * recipe.batch_size,
                    )
                    progress.totals = [0.0] * 4
                if time.monotonic() - saved_at > 60 * checkpoint_minutes:
                    save()
                    saved_at = time.monotonic()
                save_and_stop_if_asked()
            batches.close()

            # ---- 5b. Validation ------------------------------------------
            measured = evaluate(
                validation_batches,
                eval_source,
                recipe.batch_size,
                between=save_and_stop_if_asked,
            )
            _check_bad_images(
                eval_source, measured.get("bad_images", 0), max_bad_images
            )
            if not np.isfinite(measured["loss"]):
                raise checkpoints.not_finite_error(
                    f"loss {measured['loss']} in the evaluation after step "
                    f"{progress.step}",
                    manager,
                )
            note(
                split="eval",
                step=progress.step,
                epoch=epoch + 1,
                **measured,
            )
            progress.errors.append(measured["top1_error"])
            progress.bad_images = 0
            if chief:
                watchers.on_epoch_end(epoch, epoch_logs(workdir))

        # ---- 6. The end --------------------------------------------------
        save()
        if len(progress.errors) > first_epoch:
            watchers.on_train_end()
        if chief:
            album.draw()
        mean_over_workers(0)  # Whoever ends earlier would be missed.
    last = [m for m in read_metrics(workdir) if m["split"] == "eval"][-1]
    return {key: last[key] for key in ("loss", "top1_error", "top5_error")}


class TrainingInterrupted(Exception):
    """Training was asked to stop by a signal, and has saved its state."""

    def __init__(self, signum, step):
        super().__init__(
            f"Stopped by {signal.Signals(signum).name} after step {step}; the "
            "same command goes on from there."
        )
        self.signum = signum


class _Signals:
    """Remembers SIGINT or SIGTERM instead of dying of it; the second kills."""

    def __enter__(self):
        self.received = None
        self._previous = {
            signum: signal.signal(signum, self._remember)
            for signum in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def _remember(self, signum, frame):
        del frame
        self.received = signum
        print("\nSaving. Once more ends at once.", file=sys.stderr)
        self._restore()

    def _restore(self):
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def __exit__(self, *unused):
        self._restore()


def _check_sizes(batch_size, strategy, source, eval_source):
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise ValueError(
            f"Expected a batch that {replicas} devices can share equally. "
            f"Received: batch_size={batch_size}. Take a multiple of "
            f"{replicas}."
        )
    if batch_size > source.num_examples:
        raise ValueError(
            f"Expected at least one full batch in {source}. Received: "
            f"{source.num_examples} pictures, batch_size={batch_size}. Take "
            "a smaller batch_size."
        )
    if source.classes != eval_source.classes:
        raise ValueError(
            f"Expected the same classes in {source} and {eval_source}. "
            f"Received: {len(source.classes)} and {len(eval_source.classes)}, "
            "or others of the same number."
        )


def _pixel_statistics(plan, source, pixels, workdir, verbose):
    """Of the run, of the weights that it starts from, or of its pictures."""
    if has_checkpoint(workdir):
        return pixel_statistics.read(os.path.join(workdir, STATISTICS_FILE))
    if plan.weights:
        return initial_statistics(plan, pixels)
    return pixel_statistics.load_or_compute(source, pixels, workdir, verbose)


def _cached_batches(beginning, source, eval_source, pixels, statistics):
    """Makers of batches of features, computed here and now."""
    _log.info("Computing the features of all pictures, once.")
    train, evaluation_ = (
        compute_features(
            beginning,
            input_pipeline.evaluation_batches(
                each, pixels, statistics, batch_size=_CACHE_BATCH
            ),
            each,
        )
        for each in (source, eval_source)
    )
    return (
        functools.partial(input_pipeline.cached_training_batches, *train),
        functools.partial(input_pipeline.cached_evaluation_batches, *evaluation_),
    )


def _log_plan(model, recipe, source, eval_source, strategy, steps_per_epoch):
    decayed = [v for v in model.trainable_variables if optimizers.is_kernel(v)]
    others = [
        v for v in model.trainable_variables if not optimizers.is_kernel(v)
    ]
    _log.info(
        "%s: %d parameters. Weight decay %g on %d kernels (%d parameters), "
        "none on %d biases (%d).",
        model.name,
        model.count_params(),
        recipe.weight_decay,
        len(decayed),
        sum(v.shape.num_elements() for v in decayed),
        len(others),
        sum(v.shape.num_elements() for v in others),
    )
    frozen = [layer.name for layer in model.layers if not layer.trainable]
    if frozen:
        _log.info("Frozen: %s.", ", ".join(frozen))
    _log.info(
        "%d pictures of %d classes (%s), %d to evaluate (%s). %d steps an "
        "epoch, %d pictures a step on %d device(s), at most %d epochs.",
        source.num_examples,
        len(source.classes),
        source,
        eval_source.num_examples,
        eval_source,
        steps_per_epoch,
        recipe.batch_size,
        strategy.num_replicas_in_sync,
        recipe.epochs,
    )


def _check_bad_images(source, count, most):
    if count > most:
        raise ValueError(
            f"Expected at most {most} bad pictures in {source}. Received: {count}. "
            "Mend them (--on_bad_image=error names the first one), or allow more by "
            "--max_bad_images."
        )
