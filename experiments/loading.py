"""Measures the time and the peak memory of `load_weights` for each file format.

    python -m experiments.loading
    python -m experiments.loading caffe=bvlc_alexnet.caffemodel owt=torchvision

Writes the 60,965,224 random parameters of preset `caffe` in each format that
`save_weights` writes, then loads each file, and each of the weights that are given as
PRESET=WEIGHTS, five times, alternating with `numpy.load` of the .npy file. Prints the
time relative to that of `numpy.load`, as the median and the range of the five ratios.
Also prints the largest of the five memory peaks, relative to the size of the arrays
(244 MB). A memory peak is the largest resident set while the file is loaded, minus the
resident set before, which contains the network. The results on two cores of an Intel
processor are in docs/performance.md.
"""

import os
import statistics
import sys
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
        kilobytes = next(
            int(line.split()[1]) for line in lines if line.startswith(key)
        )
    return 1024 * kilobytes


def measure(function):
    """Calls a function and returns (seconds, peak of the memory added, in bytes)."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # This resets the peak of the resident set.
    bytes_before, start = resident_bytes("VmRSS"), time.perf_counter()
    result = function()
    seconds = time.perf_counter() - start
    del result  # The time does not include the release of the memory.
    return seconds, resident_bytes("VmHWM") - bytes_before


def main(*arguments):
    model = alexnet_tf.AlexNet("caffe")
    array_bytes = 4 * model.count_params()
    with tempfile.TemporaryDirectory() as folder:
        cases = {}
        for extension in EXTENSIONS:
            path = os.path.join(folder, f"caffe{extension}")
            save_weights(model, path)
            cases[extension] = model, path
        for argument in arguments:
            preset, weights = argument.split("=", 1)
            cases[os.path.basename(weights)] = alexnet_tf.AlexNet(preset), weights
        npy_path = cases[".npy"][1]
        results = {name: ([], []) for name in cases}
        for _ in range(REPEATS):
            for name, (ratios, peaks) in results.items():
                numpy_seconds, _ = measure(
                    lambda: np.load(npy_path, allow_pickle=True).item()
                )
                seconds, peak = measure(
                    lambda: load_weights(*cases[name], channel_order="bgr")
                )
                ratios.append(seconds / numpy_seconds)
                peaks.append(peak / array_bytes)
    print("format               time / numpy.load  peak memory / array size")
    for name, (ratios, peaks) in results.items():
        print(
            f"{name:20s} {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f}) {max(peaks):13.2f}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
