"""Preset `paper` of alexnet_tf, with the training step of its training loop.

    python -m experiments.benchmarks.ours training|inference [PRECISION]

PRECISION is float32 or mixed_bfloat16.
"""

import sys

from alexnet_tf import onednn
from experiments.benchmarks import timing

BATCH_SIZE = 128


def main(task, precision="float32"):
    onednn.enable_if_faster()
    from alexnet_tf import presets
    from alexnet_tf.training import throughput

    network = throughput.build(presets.get("paper"), precision, BATCH_SIZE)
    predict = network.make_inference()
    functions = {
        "training": network.make_step(),
        "inference": lambda: predict().numpy(),
    }
    timing.report(functions[task], BATCH_SIZE)


if __name__ == "__main__":
    main(*sys.argv[1:])
