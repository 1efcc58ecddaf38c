"""AlexNet as the fine-tuning tutorials of 2017 wrote it: a TensorFlow 1 graph.

    python -m experiments.benchmarks.tf1_graph training|inference

Groups by splitting and concatenating, `tf.nn.local_response_normalization`, plain
gradient descent with pictures through a feed_dict, 227 pixels.
"""

import sys

from experiments.benchmarks import timing

BATCH = 128


def conv(tf, x, filters, size, stride=1, padding="SAME", groups=1):
    kernel = tf.Variable(
        tf.random.normal([size, size, int(x.shape[-1]) // groups, filters], 0, 0.01)
    )
    bias = tf.Variable(tf.zeros([filters]))
    parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1))
    maps = [tf.nn.conv2d(one, part, stride, padding) for one, part in parts]
    return tf.nn.relu(tf.nn.bias_add(tf.concat(maps, -1), bias))


def dense(tf, x, units):
    kernel = tf.Variable(tf.random.normal([int(x.shape[-1]), units], 0, 0.01))
    return tf.nn.bias_add(tf.matmul(x, kernel), tf.Variable(tf.zeros([units])))


def build(tf, x, keep):
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


def main(what):
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
        runs = {
            "training": lambda: session.run(step, {**feed, keep: 0.5}),
            "inference": lambda: session.run(logits, {**feed, keep: 1.0}),
        }
        timing.report(runs[what], BATCH)


if __name__ == "__main__":
    main(*sys.argv[1:])
