"""What feeds 1, 8 and 64 GPUs, and what their gradients cost on the way.

    python -m experiments.scaling

A calculation, of the network's own sizes, of pictures a second that one core
prepares here (`python -m alexnet_tf.benchmark --dataset=...`), and of what the
flags assume of GPUs and their connections. Data parallel, as
`MirroredStrategy` has it: each step sums the gradients of all parameters by a
ring, in which each GPU sends and receives 2 (n - 1) / n of them.
"""

from absl import app
from absl import flags

from alexnet_tf import models
from alexnet_tf import benchmarking

_FLAGS = [
    flags.DEFINE_integer("batch_size", 128, "Pictures a GPU and step."),
    flags.DEFINE_float("tflops", 100, "Of a GPU at work, not at its best."),
    flags.DEFINE_float("link", 300, "GB/s between the 8 GPUs of a machine."),
    flags.DEFINE_float("network", 12.5, "GB/s between machines: 100 Gbit/s."),
]

# Of "paper" on two cores of an AMD EPYC: README, "Speed".
_VIEWS_A_CORE = {"originals": 260, "256-pixel JPEG": 1120, "raw": 1450}
_BYTES = {"originals": 112_000, "256-pixel JPEG": 30_000, "raw": 197_000}


def gradient_bytes(model):
    """(of all layers, of the fully connected ones), in float32."""
    sizes = {layer.name: 4 * layer.count_params() for layer in model.layers}
    dense = sum(size for name, size in sizes.items() if name.startswith("fc"))
    return sum(sizes.values()), dense


def step_seconds(gpus, operations, size, *, batch_size, tflops, link, network):
    """(arithmetic, sum of the gradients) of one step.

    Args:
        gpus: 8 at most in each machine.
        operations: for one picture, see `benchmarking.operations`.
        size: of the gradients, in bytes.
        batch_size, tflops, link, network: see the flags.
    """
    slowest = link if gpus <= 8 else network
    sent = 2 * (gpus - 1) / gpus * size
    return batch_size * operations / (tflops * 1e12), sent / (slowest * 1e9)


def main(argv):
    del argv
    settings = {flag.name: flag.value for flag in _FLAGS}
    model = models.AlexNet("paper")
    _, operations = benchmarking.operations(model)
    size, dense = gradient_bytes(model)
    print(
        f"{operations / 1e9:.2f} billion operations a picture; gradients of "
        f"{size / 1e6:.0f} MB, {dense / 1e6:.0f} of them of fc6, fc7 and fc8.\n"
    )
    print("| GPUs | step: arithmetic | sum of gradients | of the ideal | pictures/s |")
    print("|---|---|---|---|---|")
    rates = {}
    for gpus in (1, 8, 64):
        work, sums = step_seconds(gpus, operations, size, **settings)
        rates[gpus] = gpus * settings["batch_size"] / (work + sums)
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
    app.run(main)
