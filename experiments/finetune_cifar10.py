"""Fine-tuning against starting at random, on pictures that are few.

    python -m experiments.finetune_cifar10 DATA_DIR

The four-layer CIFAR-10 network learns five classes (airplane to deer) from
25,000 pictures, and with these weights the other five (dog to truck) from 50,
200 and 1,000 pictures of each, its last layer starting anew. Beside it the
same network learns them from its random start: the same pictures, the same
1,500 steps of 50, the same recipe. Three seeds, each with its own choice of
pictures, from one network that had learned the first five. Errors are those of
all test pictures of the five classes, central view, after the last step; nothing
was chosen by them.

Writes experiments/logs/finetune_cifar10.jsonl, a line for each epoch of each
run, and from it experiments/finetune_cifar10.png; without DATA_DIR it only
draws what the log holds. 22 minutes on two CPU cores. Measured: see README,
"Fine-tuning".
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
from experiments import harness
from experiments import table as tables

SIZES = (50, 200, 1000)
SEEDS = (0, 1, 2)
STARTS = ("scratch", "fine-tuned")
EPOCH = 5000  # views between two measurements, whatever the pictures' number
HEAD = ("pictures of each class", "from the random start", "fine-tuned", "points less")
LOG = "experiments/logs/finetune_cifar10.jsonl"
PICTURE = "experiments/finetune_cifar10.png"


def part(source, first, seed=0, per_class=None):
    """Five classes of CIFAR-10 from `first` on, as a `Source`.

    Of `per_class` pictures each, drawn by `seed` and repeated to `EPOCH`
    views; all of them once if it is None.
    """
    pictures = [
        e for e in source.examples() if first <= int(e["label"]) < first + 5
    ]
    if per_class:
        order = np.random.default_rng(seed).permutation(len(pictures))
        chosen = []
        for label in range(first, first + 5):
            of_it = [i for i in order if int(pictures[i]["label"]) == label]
            chosen += of_it[:per_class]
        pictures = [pictures[i] for i in chosen] * (EPOCH // len(chosen))
    columns = {
        key: [e[key].numpy() for e in pictures] for key in ("image", "name")
    }
    labels = np.array([int(e["label"]) - first for e in pictures], np.int32)
    return dataclasses.replace(
        source,
        name=f"{source.name} {first}-{first + 4}, {per_class or 'all'} each",
        classes=source.classes[first : first + 5],
        num_examples=len(pictures),
        fingerprint=f"{source.fingerprint} {first} {seed} {per_class}",
        read=lambda shuffle_seed: tf.data.Dataset.from_tensor_slices(
            {**columns, "label": labels}
        ),
    )


def train(folder, preset, source, test, seed, plan=None):
    os.makedirs(folder)
    loop.train(
        preset, source, test, folder, seed=seed, fine_tuning=plan,
        checkpoint_minutes=1e9,
    )
    return [m for m in read_metrics(folder) if m["split"] == "eval"]


def measure(data_dir, folder):
    """All runs; yields a line of the log for each epoch of each."""
    train_split = datasets.load("cifar10", "train", data_dir)
    test_split = datasets.load("cifar10", "test", data_dir)
    base = os.path.join(folder, "base")
    whole = presets.override(
        presets.get("cifar10_full"), epochs=12, boundaries=(10, 11)
    )
    train(base, whole, part(train_split, 0), part(test_split, 0), seed=0)
    preset = presets.override(
        presets.get("cifar10_full"), batch_size=50, epochs=15, boundaries=(11, 13)
    )
    test = part(test_split, 5)
    plans = {
        "scratch": None,
        "fine-tuned": FineTuning(base, reinit=("fc10",)),
    }
    for size in SIZES:
        for seed in SEEDS:
            source = part(train_split, 5, seed, size)
            for start in STARTS:
                path = os.path.join(folder, f"{start}-{size}-{seed}")
                plan = plans[start]
                for line in train(path, preset, source, test, seed, plan):
                    yield dict(start=start, per_class=size, seed=seed, **line)


def draw(lines):
    fig = figure.Figure(figsize=(10, 3.6), layout="constrained")
    axes = fig.subplots(1, len(SIZES), sharey=True)
    for ax, size in zip(axes, SIZES):
        for start, colour in zip(STARTS, ("#D55E00", "#0072B2")):
            for seed in SEEDS:
                errors = [
                    (line["step"], 100 * line["top1_error"])
                    for line in lines
                    if (line["start"], line["per_class"], line["seed"])
                    == (start, size, seed)
                ]
                ax.plot(
                    *zip(*errors), color=colour, alpha=0.8,
                    label=start if seed == SEEDS[0] else None,
                )
        ax.set(title=f"{size} pictures of each class", xlabel="step")
        ax.grid(alpha=0.3)
    axes[0].set(ylabel="test error (%)", ylim=(0, 60))
    axes[0].legend()
    fig.savefig(PICTURE, dpi=100)


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


def table(lines):
    """In Markdown: test errors after the last epoch, and by how much they fall."""
    last = max(line["epoch"] for line in lines)
    rows = []
    for size in SIZES:
        errors = {
            start: {
                line["seed"]: 100 * line["top1_error"]
                for line in lines
                if (line["start"], line["per_class"], line["epoch"])
                == (start, size, last)
            }
            for start in STARTS
        }
        cells = [
            f"{np.mean([*found.values()]):.1f}% "
            f"({', '.join(f'{error:.1f}' for error in found.values())})"
            for found in errors.values()
        ]
        gains = harness.differences(errors["fine-tuned"], errors["scratch"])
        mean, half = harness.interval(gains)
        rows.append((f"{size:,}", *cells, f"{mean:+.1f} ({harness.between(mean, half)})"))
    return tables.markdown(HEAD, rows)


if __name__ == "__main__":
    main(sys.argv)
