"""Makes the small trained weights that are part of the package from runs.

    python -m alexnet_tf.train
    python -m experiments.package_weights runs/textures-tiny tiny_textures
    python -m alexnet_tf.train --dataset=cifar10 --preset=cifar10_full
    python -m experiments.package_weights runs/cifar10-cifar10_full cifar10_full

Writes alexnet_tf/pretrained/NAME: the network.json, statistics.npz and flags.txt of
the run, and the weights of its newest checkpoint as weights.safetensors. The row of
`published.WEIGHTS` has to be updated by hand with the error and the commit that this
script prints.
"""

import os
import shutil
import sys

from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models.weights import save_weights
from alexnet_tf import published
from alexnet_tf.workdir import read_environments
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_metrics

_MAX_BYTES = 400_000
# The directory of the data sets is that of the machine on which the run was made.
_OMITTED_FLAGS = ("data_dir",)


def package(run, name):
    """Writes the folder of `published.WEIGHTS[name]`, and returns its size in bytes.

    Args:
        run: the work directory of the run.
        name: the name of the weights.

    Raises:
        ValueError: if the folder is larger than `_MAX_BYTES`.
    """
    folder = published.locate(name)
    os.makedirs(folder, exist_ok=True)
    for file_name in ("network.json", "statistics.npz"):
        shutil.copyfile(os.path.join(run, file_name), os.path.join(folder, file_name))
    with open(os.path.join(folder, "flags.txt"), "w", encoding="utf-8") as file:
        for flag, value in read_flags(run).items():
            if flag not in _OMITTED_FLAGS:
                file.write(f"--{flag}={value}\n")
    model = load_classifier(run).model
    save_weights(model, os.path.join(folder, "weights.safetensors"))
    size = sum(
        os.path.getsize(os.path.join(folder, file_name))
        for file_name in os.listdir(folder)
    )
    if size > _MAX_BYTES:
        raise ValueError(f"{folder} has {size:,} bytes, more than {_MAX_BYTES:,}.")
    return size


def main(run, name):
    size = package(run, name)
    last = [line for line in read_metrics(run) if line.get("split") == "eval"][-1]
    commit = read_environments(run)[0].get("commit")
    print(
        f"{name}: {size:,} bytes, top-1 error {100 * last['top1_error']:.2f}%, top-5 "
        f"error {100 * last['top5_error']:.2f}%, commit {commit}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
