"""Fine-tuning compared with random initialization, on few images.

    python -m experiments.finetune_cifar10 DATA_DIR

The four-layer CIFAR-10 network learns five classes (airplane to deer) from 25,000
images. Starting from these weights, with its last layer initialized again, it then
learns the other five (dog to truck) from 50, 200 and 1,000 images of each. For
comparison the same network learns them from its random initialization, with the same
images, the same 1,500 steps of 50 images and the same recipe. There are three seeds,
each with its own choice of images; all start from one network trained on the first
five classes. Errors are measured on all test images of the five classes, on center
crops and after the last step; they were not used to choose anything.

Writes experiments/logs/finetune_cifar10.jsonl, one line per epoch of each run, and
from it experiments/finetune_cifar10.png. Without DATA_DIR it only draws the plot from
the log. It takes 22 minutes on two CPU cores. The results are in the section
"Fine-tuning" of the README.
"""

import dataclasses
import json
import os
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
from experiments import table as tables

SIZES = (50, 200, 1000)
SEEDS = (0, 1, 2)
STARTS = ("scratch", "fine-tuned")
EPOCH = 5000  # Images between two measurements, for every size of the training set.
HEAD = (
    "images per class", "random initialization", "fine-tuned", "reduction, points"
)
LOG = "experiments/logs/finetune_cifar10.jsonl"
PLOT = "experiments/finetune_cifar10.png"


def part(source, first, seed=0, per_class=None):
    """Selects five consecutive classes of CIFAR-10 as a `Source`.

    Args:
        source: a `Source` of 10 classes.
        first: the first of the five labels, which becomes label 0.
        seed: the random seed of the choice of images.
        per_class: how many images of each class to choose. They are repeated up to
            `EPOCH` images. By default all images are taken once.
    """
    examples = [
        e for e in source.examples() if first <= int(e["label"]) < first + 5
    ]
    if per_class:
        order = np.random.default_rng(seed).permutation(len(examples))
        chosen = []
        for label in range(first, first + 5):
            of_class = [i for i in order if int(examples[i]["label"]) == label]
            chosen += of_class[:per_class]
        examples = [examples[i] for i in chosen] * (EPOCH // len(chosen))
    columns = {
        key: [e[key].numpy() for e in examples] for key in ("image", "name")
    }
    labels = np.array([int(e["label"]) - first for e in examples], np.int32)
    return dataclasses.replace(
        source,
        name=f"{source.name} {first}-{first + 4}, {per_class or 'all'} each",
        classes=source.classes[first : first + 5],
        num_examples=len(examples),
        fingerprint=f"{source.fingerprint} {first} {seed} {per_class}",
        read=lambda shuffle_seed: tf.data.Dataset.from_tensor_slices(
            {**columns, "label": labels}
        ),
    )


def train(folder, preset, source, test, seed, fine_tuning=None):
    """Trains in a new folder and returns the metrics of each epoch on `test`."""
    os.makedirs(folder)
    loop.train(
        preset, source, test, folder, seed=seed, fine_tuning=fine_tuning,
        checkpoint_minutes=1e9,
    )
    return [m for m in read_metrics(folder) if m["split"] == "eval"]


def measure(data_dir, folder):
    """Trains all runs and yields one line for the log per epoch of each.

    Args:
        data_dir: the folder of TFDS's data sets.
        folder: an existing folder for the work directories.
    """
    train_split = datasets.load("cifar10", "train", data_dir)
    test_split = datasets.load("cifar10", "test", data_dir)
    base = os.path.join(folder, "base")
    cifar10_full = presets.get("cifar10_full")
    base_preset = presets.override(cifar10_full, epochs=12, boundaries=(10, 11))
    train(base, base_preset, part(train_split, 0), part(test_split, 0), seed=0)
    preset = presets.override(
        cifar10_full, batch_size=50, epochs=15, boundaries=(11, 13)
    )
    test = part(test_split, 5)
    fine_tunings = {
        "scratch": None,
        "fine-tuned": FineTuning(base, reinit=("fc10",)),
    }
    for size in SIZES:
        for seed in SEEDS:
            source = part(train_split, 5, seed, size)
            for start in STARTS:
                path = os.path.join(folder, f"{start}-{size}-{seed}")
                for line in train(
                    path, preset, source, test, seed, fine_tunings[start]
                ):
                    yield dict(start=start, per_class=size, seed=seed, **line)


def draw(lines):
    """Plots the test error of all runs over the steps."""
    fig = figure.Figure(figsize=(10, 3.6), layout="constrained")
    axes = fig.subplots(1, len(SIZES), sharey=True)
    labels = {"scratch": "random initialization", "fine-tuned": "fine-tuned"}
    for ax, size in zip(axes, SIZES):
        for start, color in zip(STARTS, ("#D55E00", "#0072B2")):
            for seed in SEEDS:
                errors = [
                    (line["step"], 100 * line["top1_error"])
                    for line in lines
                    if (line["start"], line["per_class"], line["seed"])
                    == (start, size, seed)
                ]
                ax.plot(
                    *zip(*errors), color=color, alpha=0.8,
                    label=labels[start] if seed == SEEDS[0] else None,
                )
        ax.set(title=f"{size:,} images per class", xlabel="step")
        ax.grid(alpha=0.3)
    axes[0].set(ylabel="test error (%)", ylim=(0, 60))
    axes[0].legend()
    fig.savefig(PLOT, dpi=100)


def table(lines):
    """Returns the test errors after the last epoch as a table in Markdown."""
    last_epoch = max(line["epoch"] for line in lines)
    return tables.markdown(HEAD, [_row(lines, size, last_epoch) for size in SIZES])


def _row(lines, size, epoch):
    """Returns both errors with those of each seed, and their difference."""
    errors = {
        start: {
            line["seed"]: 100 * line["top1_error"]
            for line in lines
            if (line["start"], line["per_class"], line["epoch"])
            == (start, size, epoch)
        }
        for start in STARTS
    }
    cells = [
        f"{np.mean([*by_seed.values()]):.1f}% "
        f"({', '.join(f'{error:.1f}' for error in by_seed.values())})"
        for by_seed in errors.values()
    ]
    reductions = intervals.paired_differences(errors["fine-tuned"], errors["scratch"])
    mean, half_width = intervals.confidence_interval(reductions)
    interval = intervals.format_interval(mean, half_width)
    return f"{size:,}", *cells, f"{mean:+.1f} ({interval})"


def main(argv):
    if len(argv) > 1:
        with tempfile.TemporaryDirectory() as folder:
            lines = [*measure(argv[1], folder)]
        with open(LOG, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    with open(LOG, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    draw(lines)
    print(table(lines))


if __name__ == "__main__":
    main(sys.argv)
