"""Compares fine-tuning with random initialization on few images.

    python -m experiments.finetune_cifar10 DATA_DIR

The network `cifar10_full` is trained on five classes of CIFAR-10 (airplane to deer)
with 25,000 images. Its last layer is then replaced, and the network is fine-tuned on
50, 200 and 1,000 images of each of the other five classes (dog to truck). For
comparison the same network is trained on the same images from a random initialization.
Both are trained for 1,500 steps of 50 images with the same recipe. There are three
seeds, each with a different selection of images; the network trained on the first five
classes is the same for all seeds. Errors are measured on all test images of the last
five classes, on center crops and after the last step. No choice was based on these
errors.

Writes experiments/logs/finetune_cifar10.jsonl with one line per epoch of each run,
draws experiments/finetune_cifar10.png from the log and prints the table of errors.
Without DATA_DIR nothing is trained, and the existing log is used. Training takes 22
minutes on two CPU cores. The results are in docs/fine-tuning.md.
"""

import dataclasses
import os
import pathlib
import sys
import tempfile

from matplotlib import figure
import numpy as np
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf import presets
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training import loop
from alexnet_tf.workdir import read_metrics
from experiments import intervals
from experiments import run_log
from experiments import table

NAME = "finetune_cifar10"
IMAGES_PER_CLASS = (50, 200, 1000)
SEEDS = (0, 1, 2)
# The labels of the initializations, by the value of "start" in the log.
LABELS = {"scratch": "random initialization", "fine-tuned": "fine-tuned"}
# Errors are measured after each epoch. An epoch has this many images for every number
# of images per class, so that all runs are measured at the same steps.
IMAGES_PER_EPOCH = 5000
COLUMNS = ("images per class", *LABELS.values(), "reduction, points")
PLOT = pathlib.Path(__file__).with_suffix(".png")


def select_classes(source, first_label, seed=0, per_class=None):
    """Selects five consecutive classes of CIFAR-10 as a `Source`.

    Args:
        source: a `Source` of 10 classes.
        first_label: the first of the five labels, which becomes label 0.
        seed: the random seed of the selection of images.
        per_class: the number of images of each class to select. The selected images
            are repeated up to a total of `IMAGES_PER_EPOCH`. By default all images
            are taken once.
    """
    last_label = first_label + 4
    examples = [
        example
        for example in source.examples()
        if first_label <= int(example["label"]) <= last_label
    ]
    if per_class:
        order = np.random.default_rng(seed).permutation(len(examples))
        selected = []
        for label in range(first_label, last_label + 1):
            of_class = [i for i in order if int(examples[i]["label"]) == label]
            selected += of_class[:per_class]
        repeats = IMAGES_PER_EPOCH // len(selected)
        examples = [examples[i] for i in selected] * repeats
    columns = {
        key: [example[key].numpy() for example in examples]
        for key in ("image", "name")
    }
    labels = [int(example["label"]) - first_label for example in examples]
    return dataclasses.replace(
        source,
        name=f"{source.name} {first_label}-{last_label}, {per_class or 'all'} each",
        classes=source.classes[first_label : last_label + 1],
        num_examples=len(examples),
        fingerprint=f"{source.fingerprint} {first_label} {seed} {per_class}",
        read=lambda shuffle_seed: tf.data.Dataset.from_tensor_slices(
            {**columns, "label": np.array(labels, np.int32)}
        ),
    )


def train(folder, preset, source, test, seed, fine_tuning=None):
    """Trains in a new folder and returns the metrics of each epoch on `test`.

    Args:
        folder: the path of the work directory, which must not exist.
        preset: the `presets.Preset` to train.
        source: the `Source` to train on.
        test: the `Source` to measure the error on.
        seed: the random seed of the run.
        fine_tuning: a `FineTuning`; None for a random initialization.
    """
    os.makedirs(folder)
    loop.train(
        preset,
        source,
        test,
        folder,
        seed=seed,
        fine_tuning=fine_tuning,
        checkpoint_minutes=1e9,  # One checkpoint at the end suffices.
    )
    return [line for line in read_metrics(folder) if line["split"] == "eval"]


def measure(data_dir, folder):
    """Trains all runs and yields lines for the log, one for each epoch of each run.

    Args:
        data_dir: the folder of TFDS's data sets.
        folder: an existing folder for the work directories.
    """
    train_split = datasets.load("cifar10", "train", data_dir)
    test_split = datasets.load("cifar10", "test", data_dir)
    base = os.path.join(folder, "base")
    cifar10_full = presets.get("cifar10_full")
    base_preset = presets.override(cifar10_full, epochs=12, boundaries=(10, 11))
    train(
        base,
        base_preset,
        select_classes(train_split, 0),
        select_classes(test_split, 0),
        seed=0,
    )
    preset = presets.override(
        cifar10_full, batch_size=50, epochs=15, boundaries=(11, 13)
    )
    test = select_classes(test_split, 5)
    fine_tunings = {
        "scratch": None,
        "fine-tuned": FineTuning(base, reinit=("fc10",)),
    }
    for per_class in IMAGES_PER_CLASS:
        for seed in SEEDS:
            source = select_classes(train_split, 5, seed, per_class)
            for start, fine_tuning in fine_tunings.items():
                path = os.path.join(folder, f"{start}-{per_class}-{seed}")
                for line in train(path, preset, source, test, seed, fine_tuning):
                    yield dict(start=start, per_class=per_class, seed=seed, **line)


def draw(lines):
    """Plots the test error of all runs over the steps.

    Args:
        lines: the lines of the log.
    """
    fig = figure.Figure(figsize=(6, 7.5), layout="constrained")
    axes = fig.subplots(len(IMAGES_PER_CLASS), 1, sharex=True)
    for ax, per_class in zip(axes, IMAGES_PER_CLASS):
        styles = ("#D55E00", "dashed"), ("#0072B2", "solid")
        for start, (color, style) in zip(LABELS, styles):
            for seed in SEEDS:
                errors = [
                    (line["step"], 100 * line["top1_error"])
                    for line in lines
                    if (line["start"], line["per_class"], line["seed"])
                    == (start, per_class, seed)
                ]
                ax.plot(
                    *zip(*errors), color=color, linestyle=style,
                    label=LABELS[start] if seed == SEEDS[0] else None,
                )
        ax.set_title(f"{per_class:,} images per class", fontsize=10)
        ax.set(ylabel="test error (%)", ylim=(0, 60))
        ax.grid(alpha=0.3)
    axes[0].legend()
    axes[-1].set(xlabel="step")
    fig.suptitle(
        "Five classes of CIFAR-10: random initialization and fine-tuning", fontsize=11
    )
    fig.savefig(PLOT, dpi=160)


def error_table(lines):
    """Returns the test errors after the last epoch as a table in Markdown.

    Args:
        lines: the lines of the log.
    """
    last_epoch = max(line["epoch"] for line in lines)
    rows = [_row(lines, per_class, last_epoch) for per_class in IMAGES_PER_CLASS]
    return table.markdown(COLUMNS, rows)


def _row(lines, per_class, epoch):
    """Returns the cells for one number of images per class.

    The cells are this number, the mean error of each initialization with the errors of
    all seeds, and the mean reduction by fine-tuning with its 95% interval.
    """
    errors = {
        start: {
            line["seed"]: line["top1_error"]
            for line in lines
            if (line["start"], line["per_class"], line["epoch"])
            == (start, per_class, epoch)
        }
        for start in LABELS
    }
    cells = [
        f"{100 * np.mean([*by_seed.values()]):.1f}% "
        f"({', '.join(f'{100 * error:.1f}' for error in by_seed.values())})"
        for by_seed in errors.values()
    ]
    reductions = intervals.paired_points(errors["fine-tuned"], errors["scratch"])
    mean, half_width = intervals.confidence_interval(reductions)
    interval = intervals.format_interval(mean, half_width)
    return f"{per_class:,}", *cells, f"{mean:+.1f} ({interval})"


def main(argv):
    if len(argv) > 1:
        with tempfile.TemporaryDirectory() as folder:
            lines = [*measure(argv[1], folder)]
        (run_log.LOGS / f"{NAME}.jsonl").unlink(missing_ok=True)
        run_log.append_to_log(NAME, lines)
    lines = run_log.read_log(NAME)
    draw(lines)
    print(error_table(lines))


if __name__ == "__main__":
    main(sys.argv)
