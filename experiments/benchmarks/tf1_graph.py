"""AlexNet as a TensorFlow 1 graph, as in the fine-tuning tutorials of 2017.

    python -m experiments.benchmarks.tf1_graph training|inference

Grouped convolutions split and concatenate their maps, normalization is
`tf.nn.local_response_normalization`, and training is plain gradient descent with images
of 227 x 227 pixels that pass through a feed_dict.
"""

import sys

from experiments.benchmarks import timing

BATCH = 128


def conv(tf, x, filters, size, stride=1, padding="SAME", groups=1):
    """Adds a convolution with a ReLU."""
    kernel = tf.Variable(
        tf.random.normal([size, size, int(x.shape[-1]) // groups, filters], 0, 0.01)
    )
    bias = tf.Variable(tf.zeros([filters]))
    pairs = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1))
    maps = [
        tf.nn.conv2d(inputs, kernels, stride, padding) for inputs, kernels in pairs
    ]
    return tf.nn.relu(tf.nn.bias_add(tf.concat(maps, -1), bias))


def dense(tf, x, units):
    """Adds a fully connected layer without a nonlinearity."""
    kernel = tf.Variable(tf.random.normal([int(x.shape[-1]), units], 0, 0.01))
    return tf.nn.bias_add(tf.matmul(x, kernel), tf.Variable(tf.zeros([units])))


def build(tf, x, keep):
    """Adds the network to the current graph and returns its logits.

    Args:
        tf: the TensorFlow module.
        x: float32 images [N, 227, 227, 3].
        keep: the share of units that dropout keeps.
    """

    def norm(x):
        return tf.nn.local_response_normalization(x, 2, 1.0, 2e-5, 0.75)

    def pool(x):
        return tf.nn.max_pool2d(x, 3, 2, "VALID")

    x = pool(norm(conv(tf, x, 96, 11, 4, "VALID")))
    x = pool(norm(conv(tf, x, 256, 5, groups=2)))
    x = conv(tf, x, 384, 3)
    x = conv(tf, x, 384, 3, groups=2)
    x = pool(conv(tf, x, 256, 3, groups=2))
    x = tf.reshape(x, [-1, 6 * 6 * 256])
    for _ in range(2):
        x = tf.nn.relu(dense(tf, x, 4096))
        x = tf.nn.dropout(x, rate=1 - keep)
    return dense(tf, x, 1000)


def main(task):
    import numpy as np
    import tensorflow

    tf = tensorflow.compat.v1
    tf.disable_eager_execution()
    x = tf.placeholder(tf.float32, [None, 227, 227, 3])
    y = tf.placeholder(tf.int64, [None])
    keep = tf.placeholder(tf.float32, [])
    logits = build(tensorflow, x, keep)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
    )
    step = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    images, labels = timing.batch(BATCH)
    images = np.pad(images, [(0, 0), (0, 3), (0, 3), (0, 0)])
    feed = {x: images, y: labels}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        functions = {
            "training": lambda: session.run(step, {**feed, keep: 0.5}),
            "inference": lambda: session.run(logits, {**feed, keep: 1.0}),
        }
        timing.report(functions[task], BATCH)


if __name__ == "__main__":
    main(*sys.argv[1:])
