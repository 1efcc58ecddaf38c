"""What feeds 1, 8 and 64 GPUs, and what their gradients cost on the way.

    python -m experiments.scaling
    python -m experiments.scaling tflops=300 network=50

A calculation, of the network's own sizes, of pictures a second that one core
prepares here (`python -m alexnet_tf.benchmark --dataset=...`), and of what
`Cluster` assumes of GPUs and their connections. Data parallel, as
`MirroredStrategy` has it: each step sums the gradients of all parameters by a
ring, in which each GPU sends and receives 2 (n - 1) / n of them.
"""

import dataclasses
import sys

from alexnet_tf.models import alexnet
from alexnet_tf.training import throughput


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What is assumed, and may be given as KEY=NUMBER.

    Attributes:
        batch_size: pictures a GPU and step.
        tflops: of a GPU at work, not at its best.
        link: GB/s between the 8 GPUs of a machine.
        network: GB/s between machines; 12.5 are 100 Gbit/s.
    """

    batch_size: float = 128
    tflops: float = 100
    link: float = 300
    network: float = 12.5


# Of "paper" on two cores of an AMD EPYC: README, "Speed".
_VIEWS_A_CORE = {"originals": 252, "256-pixel JPEG": 757, "raw": 548}
_BYTES = {"originals": 112_000, "256-pixel JPEG": 30_000, "raw": 197_000}


def gradient_bytes(model):
    """(of all layers, of the fully connected ones), in float32."""
    sizes = {layer.name: 4 * layer.count_params() for layer in model.layers}
    dense = sum(size for name, size in sizes.items() if name.startswith("fc"))
    return sum(sizes.values()), dense


def step_seconds(gpus, operations, size, cluster):
    """(arithmetic, sum of the gradients) of one step.

    Args:
        gpus: 8 at most in each machine.
        operations: for one picture, see `throughput.operations`.
        size: of the gradients, in bytes.
        cluster: a `Cluster`.
    """
    slowest = cluster.link if gpus <= 8 else cluster.network
    sent = 2 * (gpus - 1) / gpus * size
    work = cluster.batch_size * operations / (cluster.tflops * 1e12)
    return work, sent / (slowest * 1e9)


def main(argv):
    pairs = (pair.split("=") for pair in argv[1:])
    cluster = Cluster(**{key: float(number) for key, number in pairs})
    model = alexnet.AlexNet("paper")
    _, operations = throughput.operations(model)
    size, dense = gradient_bytes(model)
    print(
        f"{operations / 1e9:.2f} billion operations a picture; gradients of "
        f"{size / 1e6:.0f} MB, {dense / 1e6:.0f} of them of fc6, fc7 and fc8.\n"
    )
    print("| GPUs | step: arithmetic | sum of gradients | of the ideal | pictures/s |")
    print("|---|---|---|---|---|")
    rates = {}
    for gpus in (1, 8, 64):
        work, sums = step_seconds(gpus, operations, size, cluster)
        rates[gpus] = gpus * cluster.batch_size / (work + sums)
        print(
            f"| {gpus} | {1e3 * work:.1f} ms | {1e3 * sums:.1f} ms | "
            f"{work / (work + sums):.0%} | {rates[gpus]:,.0f} |"
        )
    print("\n| cores a machine of 8 GPUs (of 1), and MB/s read | 1 | 8 | 64 |")
    print("|---|---|---|---|")
    for source, views in _VIEWS_A_CORE.items():
        cells = []
        for gpus, rate in rates.items():
            each = rate / max(1, gpus // 8)
            cells.append(
                f"{each / views:,.0f} cores, {each * _BYTES[source] / 1e6:,.0f} MB/s"
            )
        print(f"| {source} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv)
