"""Loads weights from files into a model, and saves them."""

import dataclasses
import os
import shutil
import zipfile

import keras
import numpy as np

from alexnet_tf import files
from alexnet_tf.models import weight_formats

# torchvision/models/alexnet.py: the positions of the layers in its Sequentials.
_TORCHVISION = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3",
    "features.8": "conv4",
    "features.10": "conv5",
    "classifier.1": "fc6",
    "classifier.4": "fc7",
    "classifier.6": "fc8",
}
_EXTENSIONS = (".npy", ".npz", ".safetensors", ".weights.h5", ".keras")


@dataclasses.dataclass(frozen=True)
class Report:
    """A summary of what `load_weights` has assigned.

    Attributes:
        path: the path of the file or directory.
        loaded: {layer name: number of parameters} of the layers assigned to.
        skipped: the names of skipped layers, whether of the model or of the file.
        arrays: the number of arrays assigned.
    """

    path: str
    loaded: dict[str, int]
    skipped: tuple[str, ...]
    arrays: int

    def __str__(self):
        return (
            f"{self.path}: {self.arrays} arrays, "
            f"{sum(self.loaded.values()):,} parameters, into "
            f"{', '.join(self.loaded) or 'no layer'}; skipped: "
            f"{', '.join(self.skipped) or 'none'}."
        )


def load_weights(model, path, skip=(), layout=None):
    """Assigns the arrays of a file to the layers that have their names.

    Either all of them are assigned or none: names, shapes and values are checked
    first. Compared with `numpy.load` of the same 60,965,224 parameters from a .npy
    file, loading took 0.6 times as long from .npy, 1.5 from .npz, 1.6 from
    .safetensors, 0.9 from .weights.h5 and .keras (medians of five runs), and used
    1.5 to 1.8 times the size of the arrays in memory, besides the model itself
    (experiments/loading.py, two CPU cores).

    Args:
        model: a `keras.Model` whose layers have Caffe's names.
        path: a file, or the directory of a run; `weight_formats` lists the
            formats. A state dict of torchvision's AlexNet is recognized by its
            names, and fits preset `owt`.
        skip: names of layers to skip, such as ("fc8",) for other classes.
        layout: None for kernels [height, width, in, out] and [in, out], with
            fc6's rows in the order H, W, C; "caffe" for Caffe's kernels [out, in,
            height, width] and [out, in], with fc6's columns in the order C, H, W.

    Returns:
        A `Report`.

    Raises:
        FileNotFoundError: if there is no such file or directory.
        ValueError: if the layers of the file are not those of the model, a value
            is not finite, or the file is damaged or malicious.
    """
    if layout not in (None, "caffe"):
        raise ValueError(
            f'Expected layout None or "caffe". Received: {layout=}.'
        )
    targets = _variables(model)
    with weight_formats.open_arrays(path) as stored:
        stored = _to_keras_layout(stored, layout, model)
        _check_skip(skip, targets, stored)
        skipped = {name: None for name in (*targets, *stored) if name in skip}
        for name in skipped:
            targets.pop(name, None)
            stored.pop(name, None)
        _check_layers_match(targets, stored, model, path, layout)
        with weight_formats.errors_naming(path):
            arrays = {
                name: {part: _read(name, stored[name][part]) for part in parts}
                for name, parts in targets.items()
            }
        for name, parts in targets.items():
            for part, variable in parts.items():
                variable.assign(arrays[name][part])
    return Report(
        os.fspath(path),
        {
            name: sum(array.size for array in parts.values())
            for name, parts in arrays.items()
        },
        tuple(skipped),
        sum(len(parts) for parts in arrays.values()),
    )


def save_weights(model, path):
    """Writes the weights of `model`, in the format of the path's extension.

    An existing file is replaced only after everything has been written.

    Args:
        model: a `keras.Model`.
        path: a path that ends in .npy (the layout of bvlc_alexnet.npy), .npz,
            .safetensors, .weights.h5 or .keras.

    Raises:
        ValueError: if the path has another extension.
        OSError: if the file cannot be written.
    """
    path = os.fspath(path)
    if not path.endswith(_EXTENSIONS):
        raise ValueError(
            f"Expected a path that ends in one of {' '.join(_EXTENSIONS)}. "
            f"Received: {path=}."
        )
    try:
        with files.atomic_write(path) as temporary:
            _write(model, temporary)
    except OSError as error:
        raise OSError(
            f"The weights could not be written to {path}: "
            f"{error.strerror or error}. Check that the folder exists and has room "
            f"for {model.count_params() * 4:,} bytes."
        ) from error


def read_shapes(path):
    """Returns {layer: {"kernel": shape, "bias": shape}} of a file.

    The axes have the order of the file. The argument and the errors are those of
    `load_weights`.
    """
    with weight_formats.open_arrays(path) as stored:
        return {
            _TORCHVISION.get(name, name): {
                part: array.shape for part, array in parts.items()
            }
            for name, parts in stored.items()
        }


def _variables(model):
    """Returns {layer: {part: variable}} of all layers that have weights."""
    return {
        layer.name: {variable.name: variable for variable in layer.weights}
        for layer in model.layers
        if layer.weights
    }


def _to_keras_layout(stored, layout, model):
    """Converts names and axes of Caffe and torchvision to those of our models."""
    if _TORCHVISION.keys() & stored.keys():
        stored = {_TORCHVISION.get(name, name): p for name, p in stored.items()}
        layout = "caffe"
    if layout is None:
        return dict(stored)
    maps = {
        following.name: layer.input.shape[1:]
        for layer, following in zip(model.layers, model.layers[1:])
        if isinstance(layer, keras.layers.Flatten)
    }
    return {
        name: {
            part: _transposed(array, maps.get(name))
            if len(array.shape) > 1
            else array
            for part, array in parts.items()
        }
        for name, parts in stored.items()
    }


def _transposed(kernel, maps):
    """Returns the `StoredArray` [..., in, out] of a kernel [out, in, ...].

    Args:
        kernel: a `StoredArray`.
        maps: the shape of the maps that are flattened for this layer, or None.
    """

    def read():
        array = kernel.read()
        if array.ndim == 4:
            return array.transpose(2, 3, 1, 0)
        if maps is not None:
            height, width, channels = maps
            array = array.reshape(-1, channels, height, width)
            array = array.transpose(0, 2, 3, 1).reshape(kernel.shape)
        return array.T

    return weight_formats.StoredArray(_transposed_shape(kernel.shape), read)


def _transposed_shape(shape):
    outputs, inputs, *window = shape
    return (*window, inputs, outputs)


def _read(name, stored):
    array = stored.read()
    if array.dtype.kind != "f" or array.shape != stored.shape:
        raise ValueError(f"{name} does not have the type or shape that the file states")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return array


def _write(model, path):
    if path.endswith(".weights.h5"):
        # Keras creates the same file in memory for its archives. Writing it with
        # HDF5's library is not safe on a full disk: the library keeps the file half
        # open, and crashes the process when another file is closed.
        model.save(f"{path}.keras")
        with zipfile.ZipFile(f"{path}.keras") as archive:
            with archive.open("model.weights.h5") as member:
                with open(path, "wb") as file:
                    shutil.copyfileobj(member, file)
    elif path.endswith(".keras"):
        model.save(path)
    else:
        weight_formats.write(
            path,
            {
                name: {part: v.numpy() for part, v in parts.items()}
                for name, parts in _variables(model).items()
            },
        )


def _check_skip(skip, targets, stored):
    unknown = [name for name in skip if name not in {*targets, *stored}]
    if isinstance(skip, str) or unknown:
        raise ValueError(
            f"Expected skip to be a tuple of layer names out of "
            f"{', '.join(targets)}. Received: {skip=}."
        )


def _check_layers_match(targets, stored, model, path, layout):
    """Raises an error with both sides of each layer that differs."""
    model_shapes, file_shapes = (
        {
            name: {part: tuple(array.shape) for part, array in parts.items()}
            for name, parts in layers.items()
        }
        for layers in (targets, stored)
    )
    if model_shapes == file_shapes:
        return
    rows = [("layer", "model", "file")]
    for name in {**model_shapes, **file_shapes}:
        if model_shapes.get(name) != file_shapes.get(name):
            # Names in a file may hold anything, such as control characters.
            printable = repr(name)[1:-1][:40]
            rows.append(
                (printable, _describe(model_shapes, name), _describe(file_shapes, name))
            )
    table = "\n".join("  {:10s} {:42s} {}".format(*row) for row in rows[:20])
    raise ValueError(
        f"Expected the layers of {model.name}. Received: {path}, which differs "
        f"in {len(rows) - 1}:\n{table}\nChoose the preset and the number of "
        "classes that the file was made for, or name layers to be skipped in skip."
        f"{'' if layout else _hint(model_shapes, file_shapes)}"
    )


def _describe(layers, name):
    if name not in layers:
        return "missing"
    return "  ".join(
        f"{part} {'x'.join(map(str, shape))}"
        for part, shape in layers[name].items()
    )


def _hint(model_shapes, file_shapes):
    for name in model_shapes.keys() & file_shapes.keys():
        shape = file_shapes[name].get("kernel", ())
        kernel = model_shapes[name].get("kernel")
        if len(shape) > 1 and kernel == _transposed_shape(shape):
            return ' Kernels would fit as [out, in, ...] with layout="caffe".'
    return ""
