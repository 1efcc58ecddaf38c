"""AlexNet as a TensorFlow 1 graph, as in the fine-tuning tutorials of 2017.

    python -m experiments.benchmarks.tf1_graph training|inference

A grouped convolution splits the maps, applies one convolution to each group, and
concatenates the results. Response normalization is
`tf.nn.local_response_normalization`. The optimizer is plain gradient descent, and the
images, 227 x 227 pixels, are passed by a feed_dict. The precision is float32.
"""

import sys

from experiments.benchmarks import timing

BATCH_SIZE = 128


def conv(inputs, filters, size, stride=1, padding="SAME", groups=1):
    """Adds a convolution with a ReLU to the graph and returns its outputs.

    Args:
        inputs: [N, H, W, C].
        filters: the number of output maps.
        size: the width and height of the kernel.
        stride, padding: see `tf.nn.conv2d`.
        groups: the number of groups that the maps are split into.
    """
    import tensorflow as tf

    channels = int(inputs.shape[-1]) // groups
    kernel = tf.Variable(tf.random.normal([size, size, channels, filters], 0, 0.01))
    bias = tf.Variable(tf.zeros([filters]))
    pairs = zip(tf.split(inputs, groups, -1), tf.split(kernel, groups, -1))
    maps = [
        tf.nn.conv2d(group_inputs, group_kernel, stride, padding)
        for group_inputs, group_kernel in pairs
    ]
    return tf.nn.relu(tf.nn.bias_add(tf.concat(maps, -1), bias))


def dense(inputs, units):
    """Adds a fully connected layer without a nonlinearity; returns its outputs."""
    import tensorflow as tf

    kernel = tf.Variable(tf.random.normal([int(inputs.shape[-1]), units], 0, 0.01))
    bias = tf.Variable(tf.zeros([units]))
    return tf.nn.bias_add(tf.matmul(inputs, kernel), bias)


def build(images, keep_prob):
    """Adds the network to the current graph and returns its logits.

    Args:
        images: float32 [N, 227, 227, 3].
        keep_prob: the probability that dropout keeps a unit.
    """
    import tensorflow as tf

    def norm(maps):
        return tf.nn.local_response_normalization(
            maps, depth_radius=2, bias=1.0, alpha=2e-5, beta=0.75
        )

    def pool(maps):
        return tf.nn.max_pool2d(maps, 3, 2, "VALID")

    x = pool(norm(conv(images, 96, 11, 4, "VALID")))
    x = pool(norm(conv(x, 256, 5, groups=2)))
    x = conv(x, 384, 3)
    x = conv(x, 384, 3, groups=2)
    x = pool(conv(x, 256, 3, groups=2))
    x = tf.reshape(x, [-1, 6 * 6 * 256])
    for _ in range(2):
        x = tf.nn.relu(dense(x, 4096))
        x = tf.nn.dropout(x, rate=1 - keep_prob)
    return dense(x, 1000)


def main(task):
    import numpy as np
    import tensorflow as tf

    tf.compat.v1.disable_eager_execution()
    images = tf.compat.v1.placeholder(tf.float32, [None, 227, 227, 3])
    labels = tf.compat.v1.placeholder(tf.int64, [None])
    keep_prob = tf.compat.v1.placeholder(tf.float32, [])
    logits = build(images, keep_prob)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    train_op = tf.compat.v1.train.GradientDescentOptimizer(0.01).minimize(loss)
    pixels, classes = timing.random_batch(BATCH_SIZE)
    pixels = np.pad(pixels, [(0, 0), (0, 3), (0, 3), (0, 0)])
    feed = {images: pixels, labels: classes}
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        functions = {
            "training": lambda: session.run(train_op, {**feed, keep_prob: 0.5}),
            "inference": lambda: session.run(logits, {**feed, keep_prob: 1.0}),
        }
        timing.report(functions[task], BATCH_SIZE)


if __name__ == "__main__":
    main(*sys.argv[1:])
