"""Measures the cost of ten-crop evaluation, relative to the center crop.

    python -m experiments.ten_crop DATASET [DATA_DIR]

Uses preset `caffe`, random weights and 100 images of the evaluation split. Prints the
seconds to make the crops and the seconds that the network takes for existing crops,
as medians of five alternating measurements. The results are in the section
"Evaluating" of the README.
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
from alexnet_tf import presets

IMAGES = 100
REPEATS = 5
_BATCH = 10


def seconds(function):
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
    predict = tf.function(lambda crops: classifier.model(crops, training=False))
    cropping, inference = {}, {}
    for _ in range(REPEATS):
        for protocol, num_crops in (("center", 1), ("ten_crop", 10)):
            batches = evaluation.batches(classifier, source, protocol, _BATCH)
            batches = batches.take(IMAGES // _BATCH)
            cropping.setdefault(protocol, []).append(
                seconds(lambda: [*batches.map(lambda crops, _: crops[0, 0, 0])])
            )
            crops = tf.zeros([_BATCH * num_crops, side, side, 3])
            predict(crops)  # The first call traces the function.
            inference.setdefault(protocol, []).append(
                seconds(lambda: [predict(crops) for _ in range(IMAGES // _BATCH)])
            )
    for name, times in (("crops", cropping), ("network", inference)):
        center, ten = (statistics.median(times[p]) for p in ("center", "ten_crop"))
        print(
            f"{name}: center crop {center:.2f} s, ten-crop {ten:.2f} s, "
            f"{ten / center:.1f} times"
        )


if __name__ == "__main__":
    main(sys.argv)
