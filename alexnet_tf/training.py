"""The training loop: from a preset and a data set to weights.

A library: nothing here reads flags. `train` is to be read from top to bottom.
"""

import contextlib
import functools
import json
import logging
import os
import pathlib
import shutil
import signal
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf import cluster
from alexnet_tf import datasets
from alexnet_tf import environment
from alexnet_tf import evaluation
from alexnet_tf import fine_tuning as fine_tuning_lib
from alexnet_tf import input_pipeline
from alexnet_tf import models
from alexnet_tf import optimizer as optimizers
from alexnet_tf import statistics as statistics_lib
from alexnet_tf import watching
from alexnet_tf import workdir as workdirs
from alexnet_tf.pace import Pace

_log = logging.getLogger(__name__)

_CACHE_BATCH = 64


def make_strategy(num_devices=None):
    """The `tf.distribute.Strategy` for this machine.

    All GPUs, or `num_devices` of them; without GPUs one CPU, or `num_devices`
    virtual ones. TensorFlow must not have touched its devices yet if virtual
    ones are wanted.

    Raises:
        ValueError: if there are fewer GPUs.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and num_devices and num_devices > len(gpus):
        raise ValueError(
            f"Expected at most {len(gpus)} devices, the GPUs of this machine. "
            f"Received: num_devices={num_devices}."
        )
    kind, count = ("GPU", num_devices or len(gpus)) if gpus else (
        "CPU", num_devices or 1
    )
    if count == 1:
        return tf.distribute.get_strategy()
    if kind == "CPU":
        _make_virtual_cpus(count)
    return tf.distribute.MirroredStrategy(
        [f"{kind}:{i}" for i in range(count)],
        # TensorFlow's collectives on CPUs refuse a second strategy of another
        # size in one process.
        tf.distribute.ReductionToOneDevice() if kind == "CPU" else None,
    )


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
        source: the `datasets.Source` to train on.
        eval_source: the one to measure the validation error on.
        workdir: an existing directory.
        fine_tuning: a `fine_tuning.FineTuning` to start from weights.
        seed: of the start, the order, the views and the dropout.
        strategy: from `make_strategy` or `cluster.make_strategy`; one device by
            default. Of several workers all call this with the same arguments and
            see the same `workdir`, to which the first one alone, the chief, writes.
        precision: a Keras dtype policy, "float32", "mixed_bfloat16" or
            "mixed_float16" (which scales the loss).
        shuffle_buffer, data_service: see `input_pipeline.training_batches`; with
            a data service, a run that was stopped ends with other weights.
        checkpoint_minutes: between two checkpoints.
        log_steps: between two lines of metrics within an epoch.
        max_bad_images: that an epoch or an evaluation may have, of sources that
            are `datasets.Source.mended`; metrics then have "bad_images" too.
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
    plan = fine_tuning or fine_tuning_lib.FineTuning()
    chief, agree = cluster.is_chief(strategy), functools.partial(cluster.mean, strategy)
    recipe, pixels = preset.recipe, preset.preprocessing
    _check_sizes(recipe.batch_size, strategy, source, eval_source)
    source.check_fits(pixels), eval_source.check_fits(pixels)
    steps_per_epoch = source.num_examples // recipe.batch_size
    # A line at the end of each epoch where a bar can't be redrawn.
    verbose = (1 if sys.stdout.isatty() else 2) if chief else 0
    with cluster.chief_first(strategy):
        statistics = _statistics(plan, source, pixels, workdir, verbose)

    # ---- 2. The network and its optimizer --------------------------------
    keras.utils.set_random_seed(seed)
    with strategy.scope(), dtype_policy(precision):
        model = models.AlexNet(
            preset, len(source.classes), classifier_activation=None
        )
        fine_tuning_lib.freeze(model, plan)
        optimizer = make_optimizer(model, recipe, precision)
    _log_plan(model, recipe, source, eval_source, strategy, steps_per_epoch)
    # ---- 3. Where the run was stopped ------------------------------------
    progress = Progress()
    checkpoint = tf.train.Checkpoint(
        layers={layer.name: layer for layer in model.layers},
        optimizer=optimizer,
        progress=progress,
    )
    folder = os.path.join(workdir, "checkpoints")
    fresh = not workdirs.has_checkpoint(workdir)
    if fresh:
        fine_tuning_lib.load(model, plan)
    else:
        whole, damaged = _restore(checkpoint, folder)
        progress.saved = progress.place
        if chief:
            _set_aside(folder, whole, damaged)
    checkpoints = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
    _check_place(progress, agree, workdir)
    pictures = {str(each): each.num_examples for each in (source, eval_source)}
    if not fresh:
        workdirs.check_data(workdir, pictures)
    album = watching.Album(workdir, preset, source, statistics, model)
    if chief:
        if fresh:
            workdirs.write_network(workdir, preset, source.classes)
            workdirs.write_data(workdir, pictures)
            statistics_lib.write(
                statistics, os.path.join(workdir, workdirs.STATISTICS)
            )
        _remove_unfinished(folder)
        workdirs.forget_after(workdir, progress.step, len(progress.errors))
        callbacks = [
            *watching.callbacks(workdir, resumed=progress.step > 0),
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
        beginning, learner = fine_tuning_lib.split(model)
        training_batches, evaluation_batches = _cached(
            beginning, source, eval_source, pixels, statistics
        )
    evaluate = evaluation.evaluator(learner, strategy)

    # ---- 5. Epochs -------------------------------------------------------
    def batches_of(make_batches, **kwargs):
        return strategy.distribute_datasets_from_function(
            lambda _: make_batches(
                batch_size=recipe.batch_size,
                pieces=strategy.num_replicas_in_sync,
                workers=cluster.workers(strategy),
                **kwargs,
            )
        )

    def note(**values):
        if chief:
            workdirs.append_metrics(workdir, **values)

    def save():
        if chief:
            _save(checkpoints, model, progress)

    def save_and_stop_if_asked():
        # One is enough that any of the workers was sent.
        if agree(bool(signals.received)):
            save()
            raise Stopped(signals.received or signal.SIGTERM, progress.step)

    # Made once: tracing its functions anew for each epoch takes a second.
    validation = batches_of(evaluation_batches)
    pace = Pace(agree=agree)
    multipliers = None
    first_epoch = len(progress.errors)
    with _Signals() as signals, cluster.watched(strategy):
        while True:
            epoch = len(progress.errors)
            rate = optimizers.learning_rate(recipe, epoch, progress.errors)
            # By a callback; `agree`, since only the chief has any.
            if rate is None or agree(model.stop_training):
                break
            optimizer.learning_rate = rate
            before = multipliers
            multipliers = optimizers.multipliers(recipe, epoch, rate)
            if multipliers != before:
                _set_multipliers(optimizer, *multipliers, plan.lr_mult)
                run_steps = make_run_steps(
                    learner, optimizer, strategy, recipe, seed
                )
            # Not for a finished run, which has nothing to tell TensorBoard.
            if epoch == first_epoch:
                if chief:
                    workdirs.append_environment(
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
                    raise datasets.explain(error, source, asked) from error
                _check_finite(sums, progress.step, checkpoints)
                step += count
                progress.add(count, sums, recipe.batch_size)
                _check_bad_images(source, progress.bad_images, max_bad_images)
                logs = evaluation.rates(progress.totals)
                watchers.on_train_batch_end(step - 1, logs)
                if step % log_steps == 0 or step == steps_per_epoch:
                    speed = pace.lap()
                    note(
                        split="train",
                        step=progress.step,
                        epoch=progress.step / steps_per_epoch,
                        **logs,
                        **({"bad_images": progress.bad_images} if source.mends else {}),
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
                validation,
                eval_source,
                recipe.batch_size,
                between=save_and_stop_if_asked,
            )
            _check_bad_images(
                eval_source, measured.get("bad_images", 0), max_bad_images
            )
            if not np.isfinite(measured["loss"]):
                raise _not_finite(
                    f"loss {measured['loss']} in the evaluation after step "
                    f"{progress.step}",
                    checkpoints,
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
                watchers.on_epoch_end(epoch, watching.epoch_logs(workdir))

        # ---- 6. The end --------------------------------------------------
        save()
        if len(progress.errors) > first_epoch:
            watchers.on_train_end()
        if chief:
            album.draw()
        agree(0)  # Whoever ends earlier would be missed.
    last = [m for m in workdirs.read_metrics(workdir) if m["split"] == "eval"][-1]
    return {key: last[key] for key in ("loss", "top1_error", "top5_error")}


class Stopped(Exception):
    """Training was asked to stop by a signal, and has saved its state."""

    def __init__(self, signum, step):
        super().__init__(
            f"Stopped by {signal.Signals(signum).name} after step {step}; the "
            "same command goes on from there."
        )
        self.signum = signum


class Progress(tf.train.experimental.PythonState):
    """How far a run has come: what a checkpoint keeps beside the variables.

    Attributes:
        step: steps done, and with it the position in the data.
        errors: the validation errors of the epochs done.
        totals: `evaluation.sums` since the last line of metrics.
        bad_images: of the epoch that goes on.
        saved: the `place` that the newest checkpoint holds, None for none.
    """

    def __init__(self):
        self.step = 0
        self.errors = []
        self.totals = [0.0] * 4
        self.bad_images = 0
        self.saved = None

    @property
    def place(self):
        """(steps, epochs) done: at each the state is one and the same."""
        return self.step, len(self.errors)

    def add(self, steps, sums, batch_size):
        self.step += steps
        self.bad_images += steps * batch_size - int(sums[:, 3].sum())
        self.totals = list(self.totals + sums.sum(axis=0, dtype=np.float64))

    def serialize(self):
        return json.dumps([self.step, self.errors, self.totals, self.bad_images])

    def deserialize(self, string_value):
        self.step, self.errors, self.totals, self.bad_images = json.loads(string_value)


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


def _make_virtual_cpus(count):
    try:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * count,
        )
    except RuntimeError as error:
        have = len(tf.config.list_logical_devices("CPU"))
        if have < count:
            raise ValueError(
                f"Expected at most {have} devices, since TensorFlow has set "
                f"up as many. Received: num_devices={count}. Ask for them "
                "before anything else."
            ) from error


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


@contextlib.contextmanager
def dtype_policy(name):
    """Layers made within it have this Keras dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _statistics(plan, source, pixels, workdir, verbose):
    """Of the run, of the weights that it starts from, or of its pictures."""
    if workdirs.has_checkpoint(workdir):
        return statistics_lib.read(os.path.join(workdir, workdirs.STATISTICS))
    if plan.weights:
        return fine_tuning_lib.statistics(plan, pixels)
    return statistics_lib.load_or_compute(source, pixels, workdir, verbose)


def _cached(beginning, source, eval_source, pixels, statistics):
    """Makers of batches of features, computed here and now."""
    _log.info("Computing the features of all pictures, once.")
    train, evaluation_ = (
        fine_tuning_lib.features(
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


def make_optimizer(model, recipe, precision):
    """The paper's rule for all variables of `model` that move.

    Args:
        model: the network; callbacks find the optimizer in it.
        recipe: a `presets.Recipe`.
        precision: as in `train`.
    """
    optimizer = optimizers.MomentumSGD(
        recipe.learning_rate, recipe.momentum, recipe.weight_decay
    )
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(model.trainable_variables)
    # Callbacks look for it there.
    model.compile(optimizer)
    return optimizer


def _set_multipliers(optimizer, biases, layers, lr_mult):
    """Those of the epoch, times those of the fine-tuning."""
    rule = getattr(optimizer, "inner_optimizer", optimizer)
    rule.bias_lr_multiplier = biases
    rule.lr_multipliers = {
        layer: layers.get(layer, 1.0) * lr_mult.get(layer, 1.0)
        for layer in layers | lr_mult
    }


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


def make_run_steps(model, optimizer, strategy, recipe, seed):
    """run_steps(iterator, first_step, count) -> `evaluation.sums` [count, 4].

    Args:
        model: gives logits.
        optimizer: from `make_optimizer`.
        strategy: the `tf.distribute.Strategy` of its variables.
        recipe: a `presets.Recipe`, for the size of the batches.
        seed: of the dropout.
    """
    states = models.dropout_states(model)

    def train_step(images, labels, step):
        with keras.StatelessScope(_dropout_seeds(states, seed, step)):
            logits = model(images, training=True)
        losses = evaluation.cross_entropy(logits, labels)
        # The mean over the global batch: the optimizer sums over devices.
        return tf.reduce_sum(losses) / recipe.batch_size, logits

    def replica_step(images, labels, step):
        with tf.GradientTape() as tape:
            loss, logits = train_step(images, labels, step)
            loss = optimizer.scale_loss(loss)
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            # Keras looks for overflow on the first device alone, before the
            # gradients are summed: one on any device must show on all.
            poison = tf.add_n([tf.reduce_sum(0 * g) for g in gradients])
            context = tf.distribute.get_replica_context()
            gradients[0] += context.all_reduce("SUM", poison)
        optimizer.apply(gradients, variables)
        return evaluation.sums(logits, labels)

    @tf.function
    def run_steps(iterator, first_step, count):
        sums = tf.TensorArray(tf.float32, size=count)
        for i in tf.range(count):
            images, labels = next(iterator)
            per_replica = strategy.run(
                replica_step, args=(images, labels, first_step + i)
            )
            sums = sums.write(i, strategy.reduce("SUM", per_replica, axis=None))
        return sums.stack()  # [count, 4]

    return lambda iterator, first_step, count: run_steps(
        iterator, tf.constant(first_step), tf.constant(count)
    ).numpy()


def _dropout_seeds(states, seed, step):
    """[(state, value)]: the masks are a function of seed, step and device.

    Keras would advance the states, and a resumed run would draw other masks.
    """
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    key = tf.constant([seed, 2], tf.int64)
    for number in (step, replica):
        key = tf.random.fold_in(key, number)
    return [
        (state, tf.cast(tf.random.fold_in(key, layer), state.dtype))
        for layer, state in enumerate(states)
    ]


def _restore(checkpoint, folder):
    """Reads the newest checkpoint that is whole.

    Returns:
        (paths of it and of older ones, paths of damaged ones that are newer).
    """
    indices = pathlib.Path(folder).glob("ckpt-*.index")
    whole = [str(path.with_suffix("")) for path in indices]
    whole.sort(key=lambda path: int(path.rpartition("-")[2]))
    damaged, errors = [], []
    while whole:
        try:
            checkpoint.restore(whole[-1]).assert_existing_objects_matched()
        # Of a file cut short TensorFlow's reader says IndexError.
        except (tf.errors.OpError, IndexError, AssertionError) as error:
            errors.append(error)
            damaged.append(whole.pop())
            _log.warning("Damaged or of another network: %s.", damaged[-1])
        else:
            _log.info("Going on from %s.", whole[-1])
            return whole, damaged
    raise ValueError(
        "Expected a whole checkpoint of this network. Received: "
        f"{damaged[0] if damaged else folder}, which is damaged or of another one, "
        f"and none before it. Remove {os.path.dirname(folder)} to start anew, or "
        "give another."
    ) from (errors[0] if errors else None)


def _set_aside(folder, whole, damaged):
    """Damaged checkpoints get another name, and the rest are those there are."""
    for checkpoint in map(pathlib.Path, damaged):
        for path in checkpoint.parent.glob(f"{checkpoint.name}.*"):
            path.rename(path.with_name(f"damaged-{path.name}"))
    # With times of the day behind those of the list, old ones would stay for ever.
    tf.compat.v1.train.update_checkpoint_state(
        folder, whole[-1], whole,
        all_model_checkpoint_timestamps=[1.0] * len(whole),
        last_preserved_timestamp=0.0,
    )


def _save(checkpoints, model, progress):
    """Writes a checkpoint, unless there is one of this very state."""
    if progress.saved == progress.place:
        return
    finite = [
        tf.reduce_all(tf.math.is_finite(variable.value))
        for variable in model.trainable_variables
    ]
    if not tf.reduce_all(finite):
        raise _not_finite(f"weights after step {progress.step}", checkpoints)
    try:
        checkpoints.save(checkpoint_number=progress.step)
    except tf.errors.OpError as error:
        _remove_unfinished(checkpoints.directory)
        raise OSError(
            f"Expected room for a checkpoint in {checkpoints.directory}. "
            f"Received: {datasets.gist(error)}. {_last_good(checkpoints)} Make "
            "room and run the same command again."
        ) from error
    progress.saved = progress.place


def _remove_unfinished(folder):
    """Frees the room of checkpoints that a full disk or a kill cut short."""
    for path in pathlib.Path(folder).glob("*_temp"):
        shutil.rmtree(path, ignore_errors=True)
    for path in pathlib.Path(folder).glob("ckpt-*.data-*"):
        if not path.with_suffix(".index").exists():
            path.unlink()


def _last_good(checkpoints):
    if checkpoints.latest_checkpoint is None:
        return "No checkpoint was saved."
    return f"The last good checkpoint is {checkpoints.latest_checkpoint}."


def _check_place(progress, agree, workdir):
    if agree(progress.step) != progress.step:
        raise ValueError(
            "Expected all workers to see the same checkpoints. Received: another "
            f"newest one here, of step {progress.step}, in {workdir}. Put the work "
            "directory where all can read it."
        )


def _check_bad_images(source, count, most):
    if count > most:
        raise ValueError(
            f"Expected at most {most} bad pictures in {source}. Received: {count}. "
            "Mend them (--on_bad_image=error names the first one), or allow more by "
            "--max_bad_images."
        )


def _check_finite(sums, steps_before, checkpoints):
    bad = np.flatnonzero(~np.isfinite(sums[:, 0]))
    if bad.size:
        step = steps_before + 1 + bad[0]
        raise _not_finite(f"loss {sums[bad[0], 0]} at step {step}", checkpoints)


def _not_finite(what, checkpoints):
    return FloatingPointError(
        f"Expected a finite loss and finite weights. Received: {what}. "
        f"{_last_good(checkpoints)} Take a smaller learning_rate."
    )
