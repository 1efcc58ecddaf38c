"""The preset `paper` of this package, with the steps of its training loop.

    python -m experiments.benchmarks.ours training|inference [mixed_bfloat16]
"""

import sys

from experiments.benchmarks import timing

BATCH = 128


def main(task, precision="float32"):
    import tensorflow as tf

    from alexnet_tf import presets
    from alexnet_tf.training import throughput

    network = throughput.build(presets.get("paper"), precision, BATCH)
    infer = tf.function(lambda: network.model(network.images, training=False))
    functions = {"training": network.make_step(), "inference": lambda: infer().numpy()}
    timing.report(functions[task], BATCH)


if __name__ == "__main__":
    main(*sys.argv[1:])
