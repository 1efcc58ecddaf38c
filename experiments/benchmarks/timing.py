"""One figure of one program, on one line of JSON."""

import json
import resource

import numpy as np

from alexnet_tf.training.step_timer import median_seconds


def batch(size, channels_first=False):
    """(float32 pictures of 224 x 224, int64 labels), noise."""
    random = np.random.default_rng(0)
    shape = (size, 3, 224, 224) if channels_first else (size, 224, 224, 3)
    images = random.normal(0, 50, shape).astype(np.float32)
    return images, random.integers(0, 1000, size)


def report(run, pictures, repeats=3):
    """Prints pictures a second, the median after two runs, and peak memory."""
    rate = pictures / median_seconds(run, repeats)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"rate": rate, "peak_memory": peak}), flush=True)
