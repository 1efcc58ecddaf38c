"""Calculates what it takes to train on 1, 8 and 64 GPUs.

    python -m experiments.scaling
    python -m experiments.scaling tflops=300 network=50

Prints the cost of summing gradients, and the CPU cores and the disk throughput that
the images need. The calculation combines the sizes of the network, the number of
images per second that one core prepares (measured with
`python -m alexnet_tf.benchmark --dataset=...`), and the assumptions in `Cluster`
about GPUs and their connections. Training is data-parallel as in `MirroredStrategy`:
each step sums the gradients of all n GPUs by a ring all-reduce, in which each GPU
sends and receives 2 (n - 1) / n of all gradients.
"""

import dataclasses
import sys

from alexnet_tf.models import alexnet
from alexnet_tf.training import throughput

_GPUS_PER_MACHINE = 8


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Assumptions about the hardware, which the command takes as KEY=NUMBER.

    Attributes:
        batch_size: images per GPU and step.
        tflops: the throughput of one GPU in practice, not its peak.
        link: GB/s between the 8 GPUs of a machine.
        network: GB/s between machines; 12.5 GB/s are 100 Gbit/s.
    """

    batch_size: float = 128
    tflops: float = 100
    link: float = 300
    network: float = 12.5


# Crops per second of one core for "paper", and bytes read per image, by how images
# are stored. Measured on two cores of an AMD EPYC (README, "Speed").
_CROPS_PER_CORE = {"originals": 252, "256-pixel JPEG": 757, "raw": 548}
_BYTES = {"originals": 112_000, "256-pixel JPEG": 30_000, "raw": 197_000}


def gradient_bytes(model):
    """Returns the bytes of all gradients and of the fully connected layers'.

    Gradients are float32.
    """
    sizes = {layer.name: 4 * layer.count_params() for layer in model.layers}
    dense = sum(size for name, size in sizes.items() if name.startswith("fc"))
    return sum(sizes.values()), dense


def step_seconds(gpus, operations, size, cluster):
    """Returns the seconds of arithmetic and of the all-reduce in one step.

    Args:
        gpus: the number of GPUs, of which a machine has at most 8.
        operations: arithmetic operations per image, see `throughput.operations`.
        size: the size of the gradients in bytes.
        cluster: a `Cluster`.
    """
    bandwidth = cluster.link if gpus <= _GPUS_PER_MACHINE else cluster.network
    sent = 2 * (gpus - 1) / gpus * size
    arithmetic = cluster.batch_size * operations / (cluster.tflops * 1e12)
    return arithmetic, sent / (bandwidth * 1e9)


def main(argv):
    pairs = (pair.split("=") for pair in argv[1:])
    cluster = Cluster(**{key: float(number) for key, number in pairs})
    model = alexnet.AlexNet("paper")
    _, operations = throughput.operations(model)
    size, dense = gradient_bytes(model)
    print(
        f"Training takes {operations / 1e9:.2f} billion operations per image. "
        f"Gradients have {size / 1e6:.0f} MB, {dense / 1e6:.0f} of them in fc6, fc7 "
        "and fc8.\n"
    )
    rates = _print_steps(operations, size, cluster)
    _print_input(rates)


def _print_steps(operations, size, cluster):
    """Prints the table of step times; returns {gpus: images per second}."""
    print("| GPUs | arithmetic / step | all-reduce / step | efficiency | images/s |")
    print("|---|---|---|---|---|")
    rates = {}
    for gpus in (1, 8, 64):
        arithmetic, all_reduce = step_seconds(gpus, operations, size, cluster)
        step = arithmetic + all_reduce
        rates[gpus] = gpus * cluster.batch_size / step
        print(
            f"| {gpus} | {1e3 * arithmetic:.1f} ms | {1e3 * all_reduce:.1f} ms | "
            f"{arithmetic / step:.0%} | {rates[gpus]:,.0f} |"
        )
    return rates


def _print_input(rates):
    """Prints the table of what each machine must decode and read."""
    print("\n| cores and MB/s per machine, for GPUs: | 1 | 8 | 64 |")
    print("|---|---|---|---|")
    for storage, crops_per_core in _CROPS_PER_CORE.items():
        cells = []
        for gpus, rate in rates.items():
            per_machine = rate / max(1, gpus // _GPUS_PER_MACHINE)
            cells.append(
                f"{per_machine / crops_per_core:,.0f} cores, "
                f"{per_machine * _BYTES[storage] / 1e6:,.0f} MB/s"
            )
        print(f"| {storage} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv)
