"""Writes HDF5 files in the layouts of Keras 1, Keras 2, imgclsmob and Caffe.

The arrays are {layer: [W, b]}.
"""

import h5py
import numpy as np


def write_keras2(path, arrays, group=None, suffix=":0", backend="tensorflow"):
    """Writes the weights as Keras 2 does.

    Args:
        path: the path of the file.
        arrays: the arrays, with kernels [height, width, in, out] and [in, out].
        group: "model_weights" for the file of a whole model; None for weights only.
        suffix: ":0", which TensorFlow adds to the names of arrays, or "".
        backend: the name of the backend.
    """
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        names = ["input_1", *arrays, "flatten"]
        root.attrs["layer_names"] = np.array(names, "S")
        root.attrs["backend"] = backend.encode()
        root.attrs["keras_version"] = b"2.2.4"
        for name in names:
            parts = arrays.get(name, [])
            paths = [f"{name}/{part}{suffix}" for part in ("kernel", "bias")]
            _write_layer(root, name, dict(zip(paths, parts)))
        if group:
            file.attrs["model_config"] = b'{"class_name": "Lambda"}'
            file["optimizer_weights/Adam/m/kernel:0"] = np.zeros(3, "f4")


def write_keras1(path, arrays, suffix=":0"):
    """Writes the weights as Keras 1 does.

    Args:
        path: the path of the file.
        arrays: the arrays, which are written unchanged.
        suffix: ":0", which the backend TensorFlow adds to the names of arrays, or "" as
            for Theano.
    """
    with h5py.File(path, "w") as file:
        # h5py stores a list of bytes as strings of variable length.
        file.attrs["layer_names"] = [name.encode() for name in arrays]
        for name, parts in arrays.items():
            paths = [f"{name}_{part}{suffix}" for part in ("W", "b")]
            _write_layer(file, name, dict(zip(paths, parts)))


def write_imgclsmob(path, arrays):
    """Writes weights of `owt` as osmr/imgclsmob does for TensorFlow.

    Args:
        path: the path of the file.
        arrays: the arrays, with the rows of fc6 in the order C, H, W.
    """
    units = ["stage1/unit1", "stage2/unit1", "stage3/unit1", "stage3/unit2"]
    units.append("stage3/unit3")
    paths = dict(zip(arrays, [f"features/{unit}/conv/conv" for unit in units]))
    paths |= {"fc6": "output1/fc1/fc", "fc7": "output1/fc2/fc", "fc8": "output1/fc3"}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["features", "output1"]
        file.attrs["backend"] = "tensorflow"
        for group in ("features", "output1"):
            parts = {
                f"{paths[name]}/{part}:0": array
                for name in arrays
                if paths[name].startswith(group)
                for part, array in zip(("kernel", "bias"), arrays[name])
            }
            _write_layer(file, group, parts)


def write_caffe(path, arrays):
    """Writes the weights as Caffe does, with kernels [out, in, ...]."""
    with h5py.File(path, "w") as file:
        for name in ("data", *arrays, "prob"):
            group = file.create_group(f"data/{name}")
            for number, array in enumerate(arrays.get(name, [])):
                group[str(number)] = array


def _write_layer(root, name, parts):
    group = root.create_group(name)
    group.attrs["weight_names"] = np.array([*parts], "S") if parts else []
    for path, array in parts.items():
        group[path] = array
