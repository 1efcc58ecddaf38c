"""Estimates the throughput of training `paper` on 1, 8 and 64 GPUs.

    python -m experiments.scaling
    python -m experiments.scaling tflops=300 network=50

Prints the time of the arithmetic and of the all-reduce in each step, and the CPU cores
and the disk throughput that are needed to prepare the images. The estimates combine the
arithmetic and the gradients of the network, the number of crops per second of one core
(measured with `python -m alexnet_tf.benchmark --dataset=...`), and the assumptions in
`Cluster` about the hardware. Training is data-parallel as in `MirroredStrategy`: each
step sums the gradients of all n GPUs by a ring all-reduce, in which each GPU sends and
receives 2 (n - 1) / n times the size of the gradients.
"""

import dataclasses
import sys

from alexnet_tf.models import alexnet
from alexnet_tf.training import throughput

_GPUS_PER_MACHINE = 8


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Assumptions about the hardware, given on the command line as KEY=NUMBER.

    Attributes:
        batch_size: images per GPU and step.
        tflops: the throughput of one GPU in training in TFLOPS, not its peak.
        link: the bandwidth between the 8 GPUs of a machine in GB/s.
        network: the bandwidth between machines in GB/s; 12.5 GB/s are 100 Gbit/s.
    """

    batch_size: float = 128
    tflops: float = 100
    link: float = 300
    network: float = 12.5


# Crops per second of one core for `paper`, and bytes read per image, by the storage of
# the images. Each number of crops is half of the number measured in shuffled batches on
# two cores of an AMD EPYC (docs/performance.md).
_CROPS_PER_CORE = {"originals": 252, "256-pixel JPEG": 757, "raw": 548}
_BYTES = {"originals": 112_000, "256-pixel JPEG": 30_000, "raw": 197_000}


def gradient_bytes(model):
    """Returns the bytes of all gradients and of the fully connected layers' gradients.

    Gradients are float32.
    """
    sizes = {layer.name: 4 * layer.count_params() for layer in model.layers}
    dense = sum(size for name, size in sizes.items() if name.startswith("fc"))
    return sum(sizes.values()), dense


def step_seconds(num_gpus, operations, size, cluster):
    """Returns the seconds of arithmetic and of the all-reduce in one step.

    Args:
        num_gpus: the number of GPUs, of which a machine has at most 8.
        operations: arithmetic operations per image, see `throughput.operations`.
        size: the size of the gradients in bytes.
        cluster: a `Cluster`.
    """
    bandwidth = cluster.link if num_gpus <= _GPUS_PER_MACHINE else cluster.network
    sent_bytes = 2 * (num_gpus - 1) / num_gpus * size
    arithmetic = cluster.batch_size * operations / (cluster.tflops * 1e12)
    return arithmetic, sent_bytes / (bandwidth * 1e9)


def main(argv):
    cluster = _parse_cluster(argv[1:])
    model = alexnet.AlexNet("paper")
    _, operations = throughput.operations(model)
    size, dense = gradient_bytes(model)
    print(
        f"Training takes {operations / 1e9:.2f} billion operations per image. "
        f"The gradients take {size / 1e6:.0f} MB, {dense / 1e6:.0f} of them in fc6, "
        "fc7 and fc8.\n"
    )
    images_per_second = _print_steps(operations, size, cluster)
    _print_input(images_per_second)


def _parse_cluster(arguments):
    """Returns the `Cluster` of arguments "KEY=NUMBER"."""
    names = [field.name for field in dataclasses.fields(Cluster)]
    values = {}
    for argument in arguments:
        key, _, number = argument.partition("=")
        try:
            values[key] = float(number)
        except ValueError:
            key = None
        if key not in names:
            sys.exit(
                f"Expected KEY=NUMBER, where KEY is one of {', '.join(names)}. "
                f"Received: {argument}."
            )
    return Cluster(**values)


def _print_steps(operations, size, cluster):
    """Prints the table of step times; returns {number of GPUs: images per second}."""
    print("| GPUs | arithmetic / step | all-reduce / step | efficiency | images/s |")
    print("|---|---|---|---|---|")
    images_per_second = {}
    for num_gpus in (1, 8, 64):
        arithmetic, all_reduce = step_seconds(num_gpus, operations, size, cluster)
        step = arithmetic + all_reduce
        images_per_second[num_gpus] = num_gpus * cluster.batch_size / step
        print(
            f"| {num_gpus} | {1e3 * arithmetic:.1f} ms | {1e3 * all_reduce:.1f} ms | "
            f"{arithmetic / step:.0%} | {images_per_second[num_gpus]:,.0f} |"
        )
    return images_per_second


def _print_input(images_per_second):
    """Prints the cores and the disk throughput that each machine needs.

    Args:
        images_per_second: {number of GPUs: images per second of all machines}.
    """
    print("\n| cores and MB/s per machine, for GPUs: | 1 | 8 | 64 |")
    print("|---|---|---|---|")
    for storage, crops_per_core in _CROPS_PER_CORE.items():
        cells = []
        for num_gpus, throughput_of_all in images_per_second.items():
            num_machines = max(1, num_gpus // _GPUS_PER_MACHINE)
            per_machine = throughput_of_all / num_machines
            cells.append(
                f"{per_machine / crops_per_core:,.0f} cores, "
                f"{per_machine * _BYTES[storage] / 1e6:,.0f} MB/s"
            )
        print(f"| {storage} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv)
