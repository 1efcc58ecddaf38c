"""The first and the last lines of a run.

The first ones say what is trained on which images; the last ones are the validation
error, the paths of the results, and commands to try.
"""

import logging
import math
import os
import shlex

from alexnet_tf.data import bad_images
from alexnet_tf.data.source import PADDING_LABEL
from alexnet_tf import files
from alexnet_tf.training import metrics
from alexnet_tf.training import optimizers

_log = logging.getLogger(__name__)

PLATEAU_STEPS = 500  # The number of steps in which every preset has begun to learn.
_PLATEAU_SHARE = 0.99  # The share of the loss of guessing that is taken for a plateau.
_FIGURES = ("curves.png", "conv1.png")
_FILES = ("metrics.jsonl", "checkpoints")
_JPEG_SIGNATURE = b"\xff\xd8\xff"


def log_beginning(model, recipe, source, eval_source, num_devices):
    """Logs the number of parameters, the optimizer, the data and the recipe.

    Args:
        model: the model, compiled with its optimizer.
        recipe: the `presets.Recipe` that is applied.
        source, eval_source: as for `loop.train`.
        num_devices: the number of devices.
    """
    _log_optimizer(model)
    frozen = [layer.name for layer in model.layers if not layer.trainable]
    if frozen:
        _log.info("Frozen: %s.", ", ".join(frozen))
    _log.info(
        "%d training images of %d classes (%s), %d validation images (%s). %d steps "
        "per epoch, %d images per step on %d device(s), at most %d epoch(s).",
        source.num_examples, len(source.classes), source,
        eval_source.num_examples, eval_source,
        source.num_examples // recipe.batch_size, recipe.batch_size, num_devices,
        recipe.epochs,
    )


def warn_of_plateau(loss, num_classes, step, steps_per_epoch):
    """Warns once, at the end of an epoch, if a run has not begun to learn.

    The loss of such a run is that of guessing, ln(classes). It is judged by the first
    epoch that ends after `PLATEAU_STEPS`.

    Args:
        loss: the mean loss of the epoch in training.
        num_classes: the number of classes.
        step: the number of steps completed.
        steps_per_epoch: the number of steps in an epoch.
    """
    guessing = math.log(num_classes)
    is_judged = step - steps_per_epoch < PLATEAU_STEPS <= step
    if is_judged and loss > _PLATEAU_SHARE * guessing:
        _log.warning(
            "The mean loss of this epoch is %.3f, hardly less than that of guessing, "
            "ln(%d) = %.3f: after %d steps, the network has not begun to learn. In our "
            "trials, --init=he --mean=channel --divide_by_std --learning_rate=0.002 "
            "avoided this. Trained weights (--weights) do, too. Give another --workdir "
            "for the new run.",
            loss, num_classes, guessing, step,
        )  # fmt: skip


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


def print_summary(measured, eval_source, workdir):
    """Prints the validation error, the paths of the results, and what to type next.

    Args:
        measured: the result of `loop.train`.
        eval_source: the `Source` that was evaluated.
        workdir: the work directory of the run. The first readable image of
            `eval_source` is copied there if it is not a file of its own, as an example
            to predict.
    """
    errors = ", ".join(
        f"top-{k} {measured[f'top{k}_error']:.2%}"
        for k in metrics.reported_ks(len(eval_source.classes))
    )
    num_bad = measured.get("bad_images", 0)
    print(
        f"Validation error: {errors} (center crop, "
        f"{eval_source.num_examples - num_bad} images"
        f"{bad_images.describe_left_out(num_bad)})."
    )
    # A network without convolutions has no conv1.png, and drawing may have failed.
    figures = [
        name for name in _FIGURES if os.path.exists(os.path.join(workdir, name))
    ]
    for name in (*figures, *_FILES):
        print(os.path.join(workdir, name))
    advice = f"Look at {' and '.join(figures)} first. " if figures else ""
    print(f"{advice}Commands to try next:")
    for command in _commands(workdir, _example_path(eval_source, workdir)):
        print("  python -m alexnet_tf." + shlex.join(command))


def _commands(workdir, image):
    """Returns the arguments of commands that use the run, each a list."""
    figure = os.path.join(workdir, "predictions.png")
    return (
        ["report", workdir],
        ["predict", f"--weights={workdir}", image],
        [
            "visualize", "--figure=predictions", f"--weights={workdir}",
            f"--output={figure}",
        ],
    )  # fmt: skip


def _example_path(source, workdir):
    """Returns the path of a readable image of a `Source`.

    The image is written to `workdir` if it is not a file of its own.
    """
    examples = source.without_count_check().filter(
        lambda example: example["label"] != PADDING_LABEL
    )
    (example,) = examples.take(1).as_numpy_iterator()
    name = os.fsdecode(example["name"])
    if os.path.isfile(name):
        return name
    is_jpeg = example["image"].startswith(_JPEG_SIGNATURE)
    path = os.path.join(workdir, "example.jpg" if is_jpeg else "example.png")
    with files.atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(example["image"])
    return path
