"""The `paper` network of this package, by the steps of its trainer.

    python -m experiments.benchmarks.ours training|inference [mixed_bfloat16]
"""

import sys

from experiments.benchmarks import timing

BATCH = 128


def main(what, precision="float32"):
    import tensorflow as tf

    from alexnet_tf import presets
    from alexnet_tf.training import throughput

    network = throughput.build(presets.get("paper"), precision, BATCH)
    infer = tf.function(lambda: network.model(network.images, training=False))
    runs = {"training": network.step(), "inference": lambda: infer().numpy()}
    timing.report(runs[what], BATCH)


if __name__ == "__main__":
    main(*sys.argv[1:])
