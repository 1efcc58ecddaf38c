"""The comparisons of `confirmations`, repeated in PyTorch with more seeds.

    python -m experiments.pytorch_confirmations --output=cifar10.npz
    python -m experiments.pytorch_training cifar10.npz RESULTS.jsonl small

`pytorch_training` is a second implementation of the networks, the augmentation and the
update rule of `confirmations`. It shares no code with the package and trains all seeds
of an arm side by side on a GPU. Where PyTorch is installed, tests compare its logits
and its updates with those of the package. The questions and the t tests with Holm's
correction are those of `confirmations`, whose verdicts do not depend on these runs.

With 10,000 images, the results of the two implementations differ more than chance
explains. The mean error of the unchanged networks is 33.5% in PyTorch (40 seeds) and
33.2% in the package (20 seeds). The four arms differ by -0.3, +0.3, -0.3 and +0.4
points (package minus PyTorch, in the order of the table, the unchanged networks first).
None of these numbers is striking, but the three increases together are (Hotelling's T2,
p = .0002; this test was not planned). In the package, the increase without response
normalization is higher by 0.6 points, and that without PCA color augmentation by 0.7
points. The intervals do not cover such a difference: for these two components and
10,000 images, no sign is established. With 50,000 images and with the wide network, the
increases in the two implementations differ by at most .4 points, which their intervals
explain.

The cause is not known. A comparison of the two programs line by line found no
difference other than the order of images in the trainings with 50,000, all of which
PyTorch shuffles. With the initial weights and the batches of the package (without
dropout), PyTorch on a CPU computes the same weights; after ten steps, they differ by
less than those of float32 and float64. The trained weights of 27 runs of the package,
of all four arms, have the same test errors in both programs. With random numbers of
their own, the unchanged networks learn equally fast at first: in each of the first five
of 50 epochs, the mean training losses of 23 seeds in the package and of 20 in PyTorch
on a CPU differ by at most .004, less than one standard error (these runs were not
logged). Whether the GPU's matrix products were in float32, as by default, or in TF32
was not recorded.

The numbers of pairs were chosen before these runs, when first runs of `confirmations`
were known: 40 with 10,000 images, 16 with two hidden layers of 1,024 units, and 16 with
50,000 images, which were reduced to 8 for lack of time.

An undecided comparison still bounds the effect: the intervals of all six comparisons
for which the paper has a number exclude this number. But the package's interval for PCA
color augmentation with 10,000 images includes 1 point, and the paper measured only
response normalization on CIFAR-10, the others on ImageNet.
"""

import numpy as np

from alexnet_tf import cli
from alexnet_tf import files
from experiments import confirmations
from experiments import harness

NAME = "pytorch_confirmations"
FLAGS = [
    cli.data_dir_flag(),
    cli.path_flag("output", "cifar10.npz", "File to write the images to."),
]


def rows(log):
    """Returns the rows (claim, paper's number, measured, seeds, verdict)."""
    measured = {
        comparison: confirmations.increases(log, *comparison, key="error")
        for comparison in confirmations.COMPARISONS
    }
    verdicts = confirmations.holm_verdicts(measured)
    return [
        confirmations.row(comparison, points, len(points), verdicts[comparison])
        for comparison, points in measured.items()
    ]


def main(argv=None):
    cli.run("experiments.pytorch_confirmations", _write_images, FLAGS, argv)


def _write_images(args):
    """Writes the encoded images and the labels of CIFAR-10 into one file."""
    files.check_output("--output", args.output, ".npz")
    arrays = {}
    for split in ("train", "test"):
        source = harness.load_cifar10(split, args.data_dir)
        examples = source.take_indices(range(source.num_examples))
        encoded = [example["image"] for example in examples]
        arrays[f"{split}_bytes"] = np.frombuffer(b"".join(encoded), np.uint8)
        arrays[f"{split}_lengths"] = np.array([len(image) for image in encoded])
        arrays[f"{split}_labels"] = np.array([example["label"] for example in examples])
    np.savez(args.output, **arrays)


if __name__ == "__main__":
    main()
