"""What the paper's ten views cost over the central one.

    python -m experiments.ten_crop DATASET [DATA_DIR]

Preset `caffe`, random weights, 100 pictures of the evaluation split, medians
of five in turn: seconds to make the views, and seconds of the network on
views that are there. Measured: see README, "Evaluating".
"""

import statistics as median_of
import sys
import time

import tensorflow as tf

import alexnet_tf
from alexnet_tf.data import datasets
from alexnet_tf.data import pixel_statistics
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf.inference import evaluation
from alexnet_tf.models.labels import imagenet_classes
from alexnet_tf import presets

PICTURES = 100
REPEATS = 5


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(argv):
    source = datasets.load(argv[1], None, *argv[2:])
    preset = presets.get("caffe")
    network = Classifier(
        alexnet_tf.AlexNet(preset), preset, tuple(imagenet_classes()),
        pixel_statistics.imagenet(preset.preprocessing),
    )  # fmt: skip
    side = preset.preprocessing.crop_size
    model = tf.function(lambda images: network.model(images, training=False))
    making, running = {}, {}
    for _ in range(REPEATS):
        for protocol, views in (("center", 1), ("ten_crop", 10)):
            batches = evaluation.batches(network, source, protocol, 10)
            batches = batches.take(PICTURES // 10)
            making.setdefault(protocol, []).append(
                seconds(lambda: [*batches.map(lambda views, _: views[0, 0, 0])])
            )
            images = tf.zeros([10 * views, side, side, 3])
            model(images)
            running.setdefault(protocol, []).append(
                seconds(lambda: [model(images) for _ in range(PICTURES // 10)])
            )
    for name, times in (("views", making), ("network", running)):
        one, ten = (median_of.median(times[p]) for p in ("center", "ten_crop"))
        print(f"{name}: {one:.2f} s, ten views {ten:.2f} s, {ten / one:.1f} times")


if __name__ == "__main__":
    main(sys.argv)
