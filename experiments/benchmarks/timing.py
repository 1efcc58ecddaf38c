"""Input and timing of the programs that compare.py runs."""

import json
import resource

import numpy as np

from alexnet_tf.training.step_timer import median_seconds


def random_batch(batch_size, channels_first=False):
    """Returns a batch of random images and labels.

    Args:
        batch_size: the number of images.
        channels_first: whether images are [N, 3, 224, 224] instead of
            [N, 224, 224, 3].

    Returns:
        (float32 images with mean 0 and standard deviation 50, int64 labels in
        [0, 1000)).
    """
    rng = np.random.default_rng(0)
    shape = (224, 224, 3)
    if channels_first:
        shape = (3, 224, 224)
    images = rng.normal(0, 50, (batch_size, *shape)).astype(np.float32)
    return images, rng.integers(0, 1000, batch_size)


def report(process_batch, batch_size, repeats=3):
    """Prints the throughput and the peak memory of this process as a line of JSON.

    The line has "rate", images per second, and "peak_memory", bytes.

    Args:
        process_batch: a function without arguments that processes one batch.
        batch_size: the number of images in the batch.
        repeats: the number of calls of which the median time is taken, after two
            calls to warm up.
    """
    rate = batch_size / median_seconds(process_batch, repeats)
    # Linux reports kilobytes.
    peak_memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"rate": rate, "peak_memory": peak_memory}), flush=True)
