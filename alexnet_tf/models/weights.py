"""Weights from files into a network, and back."""

import dataclasses
import os
import shutil
import tempfile
import zipfile

import keras
import numpy as np

from alexnet_tf.models import weight_formats

# torchvision/models/alexnet.py: the places of the layers in its Sequentials.
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
_OWN = (".npy", ".npz", ".safetensors")
_KERAS = (".weights.h5", ".keras")


@dataclasses.dataclass(frozen=True)
class Report:
    """What `load_weights` has done.

    Attributes:
        path: of the file.
        loaded: {layer: its parameters' number}, as assigned.
        skipped: layers of the network or the file that were left alone.
        arrays: how many were assigned.
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
    """Assigns the arrays of a file to the layers of their names.

    All or nothing: names, shapes and numbers are checked before the first is
    assigned. Over `numpy.load` of the same 60,965,224 parameters from a .npy,
    a .npy took 0.6 times as long, .npz 1.5, .safetensors 1.6, .weights.h5 and
    .keras 0.9 (medians of five), and 1.5 to 1.8 times their bytes of memory
    beside the network's own (experiments/loading.py, two CPU cores).

    Args:
        model: a `keras.Model` whose layers have Caffe's names.
        path: see `weight_files`, which says what is read how. A state dict of
            torchvision's AlexNet is recognised by its names, and goes into
            preset `owt`.
        skip: layers to leave alone, such as ("fc8",) for other classes.
        layout: None for kernels [height, width, in, out] and [in, out], with
            fc6's rows in the order H, W, C; "caffe" for Caffe's own, [out, in,
            height, width] and [out, in], with fc6's columns in the order C, H,
            W.

    Returns:
        A `Report`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the layers of the file are not those of the network, or
            a number is not finite, or the file is damaged or hostile.
    """
    if layout not in (None, "caffe"):
        raise ValueError(
            f'Expected layout None or "caffe". Received: {layout=}.'
        )
    targets = _targets(model)
    with weight_formats.opened(path) as stored:
        stored = _to_keras_layout(stored, layout, model)
        _check_skip(skip, targets, stored)
        skipped = {name: None for name in (*targets, *stored) if name in skip}
        for name in skipped:
            targets.pop(name, None), stored.pop(name, None)
        _check_same(targets, stored, model, path, layout)
        with weight_formats.refused(path):
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
    """Writes the weights of `model`, in the format that the name ends in.

    .npy is the layout of bvlc_alexnet.npy. A file of that name is replaced as
    a whole or, if anything goes wrong, left as it was.

    Raises:
        ValueError: if the name ends otherwise.
        OSError: if it can't be written.
    """
    path = os.fspath(path)
    if not path.endswith(_OWN + _KERAS):
        raise ValueError(
            f"Expected a name that ends in one of {' '.join(_OWN + _KERAS)}. "
            f"Received: {path}."
        )
    folder, name = os.path.split(os.path.abspath(path))
    try:
        with tempfile.TemporaryDirectory(prefix="tmp-", dir=folder) as aside:
            _write(model, os.path.join(aside, name))
            os.replace(os.path.join(aside, name), path)
    except OSError as error:
        raise OSError(
            f"Expected a folder that can be written to, with room for "
            f"{model.count_params() * 4:,} bytes. Received: {path} "
            f"({error.strerror or error})."
        ) from error


def read_shapes(path):
    """{layer: {"kernel": shape, "bias": shape}} of a file, as it has them.

    Args and errors as in `load_weights`.
    """
    with weight_formats.opened(path) as stored:
        return {
            _TORCHVISION.get(name, name): {
                part: array.shape for part, array in parts.items()
            }
            for name, parts in stored.items()
        }


def _targets(model):
    """{layer: {part: variable}} of all layers that have weights."""
    return {
        layer.name: {variable.name: variable for variable in layer.weights}
        for layer in model.layers
        if layer.weights
    }


def _to_keras_layout(stored, layout, model):
    """Our names and our order of axes for those of Caffe and torchvision."""
    if _TORCHVISION.keys() & stored.keys():
        stored = {_TORCHVISION.get(name, name): p for name, p in stored.items()}
        layout = "caffe"
    if layout is None:
        return dict(stored)
    maps = {
        after.name: before.input.shape[1:]
        for before, after in zip(model.layers, model.layers[1:])
        if isinstance(before, keras.layers.Flatten)
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
    """From [out, in, ...] to [..., in, out]; `maps` is the shape flattened."""

    def read():
        array = kernel.read()
        if array.ndim == 4:
            return array.transpose(2, 3, 1, 0)
        if maps is not None:
            height, width, channels = maps
            array = array.reshape(-1, channels, height, width)
            array = array.transpose(0, 2, 3, 1).reshape(kernel.shape)
        return array.T

    return weight_formats.Stored(_turned(kernel.shape), read)


def _turned(shape):
    outputs, inputs, *window = shape
    return (*window, inputs, outputs)


def _read(name, stored):
    array = stored.read()
    if array.dtype.kind != "f" or array.shape != stored.shape:
        raise ValueError(f"{name} is not what the file said it was")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return array


def _write(model, path):
    if path.endswith(".weights.h5"):
        # Keras makes the same file in memory for its archives. On a full disk
        # HDF5's library would keep its file half open, and crash the process
        # at another one's closing.
        model.save(f"{path}.keras")
        with zipfile.ZipFile(f"{path}.keras") as archive:
            with archive.open("model.weights.h5") as inside:
                with open(path, "wb") as file:
                    shutil.copyfileobj(inside, file)
    elif path.endswith(".keras"):
        model.save(path)
    else:
        weight_formats.write(
            path,
            {
                name: {part: v.numpy() for part, v in parts.items()}
                for name, parts in _targets(model).items()
            },
        )


def _check_skip(skip, targets, stored):
    unknown = [name for name in skip if name not in {*targets, *stored}]
    if isinstance(skip, str) or unknown:
        raise ValueError(
            f"Expected in skip some of the layers {', '.join(targets)}. "
            f"Received: {skip=}."
        )


def _check_same(targets, stored, model, path, layout):
    """The layers of the network and of the file, side by side if they differ."""
    ours, theirs = (
        {
            name: {part: tuple(array.shape) for part, array in parts.items()}
            for name, parts in layers.items()
        }
        for layers in (targets, stored)
    )
    if ours == theirs:
        return
    rows = [("layer", "the network's", "the file's")]
    for name in {**ours, **theirs}:
        if ours.get(name) != theirs.get(name):
            # The file's names are anybody's.
            shown = repr(name)[1:-1][:40]
            rows.append((shown, _shown(ours, name), _shown(theirs, name)))
    table = "\n".join("  {:10s} {:42s} {}".format(*row) for row in rows[:20])
    raise ValueError(
        f"Expected the layers of {model.name}. Received: {path}, which differs "
        f"in {len(rows) - 1}:\n{table}\nChoose the preset and the number of "
        f"classes that the file is of, or name in skip what is to be left "
        f"out.{'' if layout else _hint(ours, theirs)}"
    )


def _shown(layers, name):
    if name not in layers:
        return "missing"
    return "  ".join(
        f"{part} {'x'.join(map(str, shape))}"
        for part, shape in layers[name].items()
    )


def _hint(ours, theirs):
    for name in ours.keys() & theirs.keys():
        shape = theirs[name].get("kernel", ())
        if len(shape) > 1 and ours[name].get("kernel") == _turned(shape):
            return ' Kernels would fit as [out, in, ...] with layout="caffe".'
    return ""
