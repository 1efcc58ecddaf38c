"""How long and how much memory `load_weights` takes, beside `numpy.load`.

    python -m experiments.loading

Writes the 60,965,224 random parameters of preset `caffe` in each format, and
then loads each five times, in turn with `numpy.load` of the .npy. Memory is
the peak of the resident set over what the process with the network took
before; both over the bytes of the arrays (244 MB). Measured on two cores of an
AMD EPYC, the files in the page cache: see README, "Measured".
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


def resident(key):
    """Bytes of this process, now (VmRSS) or at most (VmHWM)."""
    with open("/proc/self/status") as lines:
        return next(int(x.split()[1]) for x in lines if x.startswith(key)) * 1024


def measured(function):
    """(seconds, peak of memory in bytes) of a call."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # The peak begins anew.
    before, start = resident("VmRSS"), time.perf_counter()
    kept = function()
    seconds = time.perf_counter() - start
    del kept
    return seconds, resident("VmHWM") - before


def main():
    model = alexnet_tf.AlexNet("caffe")
    size = 4 * model.count_params()
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, f"caffe{e}") for e in EXTENSIONS]
        for path in paths:
            save_weights(model, path)
        rows = {path: ([], []) for path in paths}
        for _ in range(REPEATS):
            for path, (times, peaks) in rows.items():
                numpy_seconds, _ = measured(
                    lambda: np.load(paths[0], allow_pickle=True).item()
                )
                seconds, peak = measured(
                    lambda: load_weights(model, path)
                )
                times.append(seconds / numpy_seconds)
                peaks.append(peak / size)
    print("format        time / numpy.load  memory / bytes")
    for path, (times, peaks) in rows.items():
        extension = path.removeprefix(os.path.join(folder, "caffe"))
        print(
            f"{extension:13s} {statistics.median(times):8.2f} "
            f"({min(times):.2f}-{max(times):.2f}) {max(peaks):11.2f}"
        )


if __name__ == "__main__":
    main()
