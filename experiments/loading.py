"""Measures the time and memory of `load_weights`, relative to `numpy.load`.

    python -m experiments.loading

Writes the 60,965,224 random parameters of preset `caffe` in each format, then loads
each file five times, alternating with `numpy.load` of the .npy file. Memory is the
peak of the resident set minus what the process with the network took before, divided
by the size of the arrays (244 MB). The results on two cores of an AMD EPYC, with the
files in the page cache, are in the section "Measured" of the README.
"""

import os
import statistics
import tempfile
import time

import numpy as np

import alexnet_tf
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import save_weights

EXTENSIONS = (".npy", ".npz", ".safetensors", ".weights.h5", ".keras")
REPEATS = 5


def resident_bytes(key):
    """Returns the resident set of this process in bytes, on Linux.

    Args:
        key: "VmRSS" for the current size, "VmHWM" for the peak.
    """
    with open("/proc/self/status") as lines:
        kilobytes = next(int(x.split()[1]) for x in lines if x.startswith(key))
    return 1024 * kilobytes


def measure(function):
    """Calls a function and returns (seconds, bytes of memory at the peak)."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # Resets the peak.
    before, start = resident_bytes("VmRSS"), time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    del result  # Kept until here: freeing it is not part of the time.
    return seconds, resident_bytes("VmHWM") - before


def main():
    model = alexnet_tf.AlexNet("caffe")
    size = 4 * model.count_params()
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"caffe{e}") for e in EXTENSIONS]
        for path in paths:
            save_weights(model, path)
        results = {path: ([], []) for path in paths}
        for _ in range(REPEATS):
            for path, (ratios, peaks) in results.items():
                numpy_seconds, _ = measure(
                    lambda: np.load(paths[0], allow_pickle=True).item()
                )
                seconds, peak = measure(lambda: load_weights(model, path))
                ratios.append(seconds / numpy_seconds)
                peaks.append(peak / size)
    print("format        time / numpy.load  memory / bytes")
    for path, (ratios, peaks) in results.items():
        extension = path.removeprefix(os.path.join(folder, "caffe"))
        print(
            f"{extension:13s} {statistics.median(ratios):8.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f}) {max(peaks):11.2f}"
        )


if __name__ == "__main__":
    main()
