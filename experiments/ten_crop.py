"""Measures the time of ten-crop evaluation, relative to the center crop.

    python -m experiments.ten_crop DATASET [DATA_DIR]

Uses preset `caffe`, random weights and 100 images of the validation or test split.
Prints the time to make the crops and the time that the network takes for crops in
memory, as medians of five measurements. The measurements of the two protocols
alternate. The results are in docs/evaluation.md.
"""

import statistics
import sys
import time

import tensorflow as tf

import alexnet_tf
from alexnet_tf.data import datasets
from alexnet_tf.data import pixel_statistics
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf.inference import evaluation
from alexnet_tf.models.labels import imagenet_classes
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf import presets

NUM_IMAGES = 100
REPEATS = 5
_BATCH_SIZE = 10


def measure_seconds(function):
    """Calls a function and returns how many seconds it took."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(argv):
    source = datasets.load(argv[1], None, *argv[2:])
    preset = presets.get("caffe")
    classifier = Classifier(
        alexnet_tf.AlexNet(preset), preset, tuple(imagenet_classes()),
        pixel_statistics.imagenet(preset.preprocessing),
    )  # fmt: skip
    side = preset.preprocessing.crop_size
    num_batches = NUM_IMAGES // _BATCH_SIZE

    @tf.function
    def predict(crops):
        with compiled_normalization():
            return classifier.model(crops, training=False)

    crop_seconds, network_seconds = {}, {}
    for _ in range(REPEATS):
        for protocol, num_crops in (("center", 1), ("ten_crop", 10)):
            batches = evaluation.batches(classifier, source, protocol, _BATCH_SIZE)
            # One row of pixels per batch is kept: all crops would take 600 MB.
            rows = batches.take(num_batches).map(lambda crops, _: crops[0, 0, 0])
            crop_seconds.setdefault(protocol, []).append(
                measure_seconds(lambda: [*rows])
            )
            crops = tf.zeros([_BATCH_SIZE * num_crops, side, side, 3])
            predict(crops)  # The first call traces the function.
            network_seconds.setdefault(protocol, []).append(
                measure_seconds(lambda: [predict(crops) for _ in range(num_batches)])
            )
    for name, seconds in (("crops", crop_seconds), ("network", network_seconds)):
        center = statistics.median(seconds["center"])
        ten_crop = statistics.median(seconds["ten_crop"])
        print(
            f"{name}: center crop {center:.2f} s, ten-crop {ten_crop:.2f} s, "
            f"{ten_crop / center:.1f} times"
        )


if __name__ == "__main__":
    main(sys.argv)
