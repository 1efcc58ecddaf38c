"""Times one program of the comparison and prints the result as a line of JSON."""

import json
import resource

import numpy as np

from alexnet_tf.training.step_timer import median_seconds


def batch(size, channels_first=False):
    """Returns a batch of random images and labels.

    Args:
        size: the number of images.
        channels_first: whether images are [N, 3, 224, 224], not [N, 224, 224, 3].

    Returns:
        (float32 images with standard deviation 50, int64 labels in [0, 1000)).
    """
    random = np.random.default_rng(0)
    shape = (size, 3, 224, 224) if channels_first else (size, 224, 224, 3)
    images = random.normal(0, 50, shape).astype(np.float32)
    return images, random.integers(0, 1000, size)


def report(run, images, repeats=3):
    """Prints the throughput and the peak memory of this process.

    Args:
        run: a function that processes one batch.
        images: the number of images in the batch.
        repeats: the number of calls, after two to warm up, whose median counts.
    """
    rate = images / median_seconds(run, repeats)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"rate": rate, "peak_memory": peak}), flush=True)
