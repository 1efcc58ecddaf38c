"""The AlexNet for CIFAR-10 that circulates in blogs, and the cost of its mistakes.

    python -m experiments.reproduce --run=blog

The network has three mistakes: the loss is the mean squared error of the probabilities
in place of cross-entropy, there is no response normalization, and the network is
tested on labels in place of images, because two variables are confused. Here each
mistake is made separately, and the first two also together, in the network of
`ablations` and on the same 10,000 training images. As in the blogs, the network
is trained with `Model.fit` of Keras on center crops, without augmentation: 30 epochs in
batches of 128 with a constant learning rate, momentum .9 and weight decay .0005.

The learning rate is chosen for each loss: from .001, .003 and .01 for cross-entropy,
and from .01, .03 and .1 for the squared error. It is the one with the lowest error on
1,000 training images that are not used otherwise, with seed 0 and half of the epochs.
For the squared error this is the highest learning rate that was tried. The true cost of
this loss may therefore be lower than the table shows. The table gives the errors on the
test images with seeds 1 to 3.
"""

import keras
import numpy as np

from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.models import alexnet
from alexnet_tf.training import optimizers
from experiments import ablations
from experiments import harness
from experiments import intervals
from experiments import run_log

NAME = "blog"
SEEDS = (1, 2, 3)
LEARNING_RATES = {"cross_entropy": (0.001, 0.003, 0.01), "mse": (0.01, 0.03, 0.1)}
EPOCHS = 30
COLUMNS = ("variant", "test error", "increase, points", "seeds")

_LOSSES = {
    "cross_entropy": "categorical_crossentropy", "mse": "mean_squared_error"
}
_PRESETS = {"norm": ablations.BASE, "no_norm": ablations.ARMS["no_norm"]}


def runs(log):
    """Returns the runs of the search.

    Once these are done, also returns the runs that are compared.
    """
    search = [
        harness.Run(NAME, _search_arm(loss, rate), 0, ablations.BASE)
        for loss, learning_rates in LEARNING_RATES.items()
        for rate in learning_rates
    ]
    if not all(run_log.is_done(run, log) for run in search):
        return search
    return search + [
        harness.Run(NAME, _arm(log, loss, norm), seed, preset)
        for seed in SEEDS
        for loss in LEARNING_RATES
        for norm, preset in _PRESETS.items()
    ]


def best_learning_rate(log, loss):
    """Returns the learning rate with the lowest error in the search."""

    def error(learning_rate):
        arm = _search_arm(loss, learning_rate)
        return run_log.final_values(log, arm, "top1_error")[0]

    return min(LEARNING_RATES[loss], key=error)


def _search_arm(loss, learning_rate):
    return f"search-{loss}-{learning_rate:g}"


def _arm(log, loss, norm):
    return f"{loss}-{norm}-{best_learning_rate(log, loss):g}"


def measure(run, path, data_dir):
    """Trains and tests the network of a run; returns a list with one line for the log.

    The arguments are those of `harness.measure`. The run writes nothing to its work
    directory, and cannot be resumed.
    """
    del path
    is_search = run.arm.startswith("search-")
    loss, *_, learning_rate = run.arm.removeprefix("search-").split("-")
    train = _arrays("train[:10000]", data_dir)
    test = _arrays("train[10000:11000]" if is_search else "test", data_dir)
    keras.utils.set_random_seed(run.seed)
    model = alexnet.AlexNet(run.preset, 10)
    model.compile(
        optimizers.MomentumSGD(float(learning_rate)),
        _LOSSES[loss],
        metrics=["accuracy"],
    )
    epochs = EPOCHS // 2 if is_search else EPOCHS
    model.fit(*train, batch_size=128, epochs=epochs, verbose=2)
    error = _top1_error(model, *test)
    line = {"final": True, "top1_error": error, **harness.describe_machine()}
    if not is_search:
        images, labels = test
        line["labels_top1_error"] = _top1_error(
            model, _as_images(labels, images.shape), labels
        )
    return [line]


def _top1_error(model, images, labels):
    """Returns the top-1 error in [0, 1]; labels are one-hot."""
    probabilities = model.predict(images, batch_size=500, verbose=0)
    return float(np.mean(probabilities.argmax(axis=1) != labels.argmax(axis=1)))


def _as_images(labels, shape):
    """Returns float32 images of a shape, each filled with the index of its class.

    Args:
        labels: one-hot labels [N, 10].
        shape: (N, height, width, channels).
    """
    indices = labels.argmax(axis=1).astype(np.float32)
    return np.broadcast_to(indices[:, None, None, None], shape)


def _arrays(split, data_dir):
    """Returns center crops, float32 [N, 24, 24, 3], and one-hot labels [N, 10]."""
    source = harness.load_cifar10(split, data_dir)
    preprocessing = ablations.BASE.preprocessing
    train = harness.load_cifar10("train[:10000]", data_dir)
    statistics = pixel_statistics.compute(train, preprocessing, verbose=0)
    batches = input_pipeline.evaluation_batches(
        source, preprocessing, statistics, batch_size=500
    )
    images, labels = map(np.concatenate, zip(*batches.as_numpy_iterator()))
    # The last batch is padded.
    count = source.num_examples
    return images[:count], np.eye(10)[labels[:count]]


def rows(log):
    """Returns the rows of the table, see `COLUMNS`; [] before all runs are done."""
    if not all(run_log.is_done(run, log) for run in runs(log)):
        return []

    def final_errors(loss, norm, key="top1_error"):
        return run_log.final_values(log, _arm(log, loss, norm), key)

    correct = final_errors("cross_entropy", "norm")
    variants = [
        ("cross-entropy, with response normalization", correct),
        ("mean squared error", final_errors("mse", "norm")),
        ("no response normalization", final_errors("cross_entropy", "no_norm")),
        ("both", final_errors("mse", "no_norm")),
        (
            "the correct network, tested on labels in place of images",
            final_errors("cross_entropy", "norm", "labels_top1_error"),
        ),
    ]
    return [_row(name, correct, errors) for name, errors in variants]


def _row(name, correct, errors):
    increases = intervals.paired_points(correct, errors)
    mean, half_width = intervals.confidence_interval(increases)
    increase = f"{mean:+.1f} ({intervals.format_interval(mean, half_width)})"
    error = f"{100 * np.mean([*errors.values()]):.1f}%"
    # With labels in place of images every run has the same error, and an interval
    # has no meaning.
    if len({*errors.values()}) == 1:
        increase, error = f"{mean:+.1f}", f"{error} in each"
    return name, error, "-" if errors is correct else increase, len(increases)
