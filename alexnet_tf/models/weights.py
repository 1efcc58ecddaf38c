"""Loads the weights of a model from a file, and saves them to a file."""

import dataclasses
import shutil
import zipfile

import keras
import numpy as np

from alexnet_tf import files
from alexnet_tf.models import flattened_maps
from alexnet_tf.models.layer_names import to_caffe_names
from alexnet_tf.models.readers.stored import printable_list
from alexnet_tf.models.readers.stored import StoredArray
from alexnet_tf.models.readers.stored import transpose_matrix
from alexnet_tf.models import torch_layout
from alexnet_tf.models import weight_checks
from alexnet_tf.models import weight_formats
from alexnet_tf import published
from alexnet_tf import settings

_EXTENSIONS = (".npy", ".npz", ".safetensors", ".weights.h5", ".keras")
_TORCH_EXTENSIONS = (".safetensors", ".npz")


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of `load_weights`.

    Attributes:
        path: the path of the file or directory.
        loaded: {layer name: number of parameters} of the layers that were loaded.
        skipped: the names of the layers that were skipped. Each of them is in the
            model, in the file or in both.
        arrays: the number of arrays that were loaded.
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


def load_weights(model, path, skip=(), layout=None, *, channel_order=None):
    """Loads the weights of a model from a file, by layer name.

    Names, shapes and values are checked before any weight of the model is changed.

    Relative to `numpy.load` of 60,965,224 parameters in a .npy file, loading took 1.2
    to 1.5 times as long from .npy, .safetensors and the formats of Keras, 2.6 times
    from .npz, and 2.5 to 4.5 times from formats whose kernels have to be transposed. In
    addition to the model, it used 1.5 to 3.1 times the size of the arrays in memory
    (medians of five runs of experiments/loading.py on two CPU cores).

    Args:
        model: a `keras.Model` whose layers have Caffe's names.
        path: a weights file, the directory of a run, or a name in `published.WEIGHTS`,
            for which the normalization and the first convolution of `model` have to be
            those of the weights' preset. `weight_formats` lists the formats,
            `layer_names` the names of layers that are recognized.
        skip: the name or names of layers to skip, such as "fc8" if the model has other
            classes than the file. The file's own names are accepted too, such as
            "classifier.6" for files of PyTorch. A layer with several weights of the
            same name, such as `keras.layers.MultiHeadAttention`, has to be skipped.
        layout: None for kernels [height, width, in, out] and [in, out], with the rows
            of fc6 in the order H, W, C; "caffe" for kernels [out, in, height, width]
            and [out, in], with the columns of fc6 in the order C, H, W. The argument is
            ignored if the layout is known: for runs, for files of Caffe, Caffe2,
            PyTorch, ONNX, Keras and MatConvNet, and for layers with PyTorch's names.
        channel_order: "rgb" or "bgr", the order of the channels in the inputs of
            `model`. It is required for files of MatConvNet, and ignored for all others.

    Returns:
        A `Report`.

    Raises:
        FileNotFoundError: if there is no such file or directory, or the directory has
            no checkpoint.
        ModuleNotFoundError: if the format requires a package that is not installed.
        OSError: if published weights cannot be downloaded.
        ValueError: if `layout`, a name in `skip` or the format is unknown,
            `channel_order` is required and not given, two weights of a layer that is
            not skipped have the same name, the layers of the file and of the model
            differ, one of the two is CaffeNet and the other is AlexNet, the model
            has other constants than published weights need, the order of the inputs of
            a fully connected layer cannot be found, a value is not finite, or the file
            cannot be read, is damaged or malicious.
    """
    if layout not in (None, "caffe"):
        raise ValueError(
            f'Expected layout None or "caffe". Received: {layout=}.'
        )
    skip = settings.as_names(skip)
    targets = _variables(model, skip)
    path = _locate(path, model, skip)
    file = weight_formats.open_weights(path)
    options = _needed_options(file, layout, channel_order)
    with weight_formats.errors_naming(path):
        weight_checks.check_network(file.network, model)
        stored, layout, names = _rename(file, layout, targets)
        stored = _match_channels(stored, file.channel_order, channel_order)
    stored = _name_numbered_parts(stored, targets)
    skip = weight_checks.resolve_skip(skip, targets, stored, names)
    skipped = {name: None for name in (*targets, *stored) if name in skip}
    for name in skipped:
        targets.pop(name, None)
        stored.pop(name, None)
    if layout == "caffe":
        stored = _to_keras_layout(stored, model, targets)
    weight_checks.check_layers_match(
        _shapes(targets), _shapes(stored), model.name, path, layout, options
    )
    with weight_formats.errors_naming(path):
        arrays = {
            name: {
                part: _read(name, stored[name][part], variable.dtype)
                for part, variable in parts.items()
            }
            for name, parts in targets.items()
        }
    for name, parts in targets.items():
        for part, variable in parts.items():
            variable.assign(arrays[name][part])
    return Report(
        path,
        {
            name: sum(array.size for array in parts.values())
            for name, parts in arrays.items()
        },
        tuple(skipped),
        sum(len(parts) for parts in arrays.values()),
    )


def save_weights(model, path, layout=None):
    """Writes the weights of `model`, in the format of the path's extension.

    An existing file is replaced only after everything has been written. The name of a
    layer in a nested model or in a wrapper follows that of the model or wrapper, as in
    base/conv1. Everything that is written can be read by `load_weights`; bfloat16 is
    written as float32.

    Args:
        model: a `keras.Model`.
        path: a path that ends in .npy (for the layout of bvlc_alexnet.npy), .npz,
            .safetensors, .weights.h5 or .keras.
        layout: "torch" for the names and the axis order of torchvision's AlexNet, whose
            `load_state_dict` takes what `safetensors.torch.load_file` reads. Only for a
            model of the preset `owt` and a path that ends in .safetensors or .npz.

    Raises:
        ValueError: if the path has another extension, the model has other layers than
            torchvision's although this layout is given, or it has weights that could
            not be read again: integers, two weights of a layer with the same name, or,
            in the formats of Keras, bfloat16.
        OSError: if the file cannot be written.
    """
    settings.check_choice("layout", layout, (None, "torch"))
    path = weight_formats.to_path(path)
    extensions = _TORCH_EXTENSIONS if layout == "torch" else _EXTENSIONS
    if not path.endswith(extensions):
        raise ValueError(
            f"Expected a path that ends in one of {' '.join(extensions)}. "
            f"Received: {path=}."
        )
    _check_can_be_read(model, path)
    try:
        with files.atomic_write(path) as temporary:
            if layout == "torch":
                weight_formats.write_arrays(temporary, torch_layout.state_dict(model))
            else:
                _write(model, temporary)
                _check_written(model, temporary, path)
    except OSError as error:
        raise OSError(
            f"The weights could not be written to {path}: "
            f"{error.strerror or error}. Check that the folder exists and has room "
            f"for {model.count_params() * 4:,} bytes."
        ) from error


def read_shapes(path, kept_names=()):
    """Returns {layer: {"kernel": shape, "bias": shape}} of a weights file.

    The axes are in the order of the file; layers have Caffe's names if their names are
    recognized.

    Args:
        path: see `load_weights`.
        kept_names: the names of layers of a model, which stay as they are.

    Raises:
        FileNotFoundError: if there is no such file or directory, or the directory has
            no checkpoint.
        ModuleNotFoundError: if the format requires a package that is not installed.
        OSError: if published weights cannot be downloaded.
        ValueError: if the format is unknown, or the file cannot be read, is damaged or
            malicious.
    """
    path = _locate(path)
    file = weight_formats.open_weights(path)
    with weight_formats.errors_naming(path):
        stored, _, _ = _rename(file, None, kept_names)
    return {
        name: {part: array.shape for part, array in parts.items()}
        for name, parts in stored.items()
    }


def _locate(weights, model=None, skip=()):
    """Returns the path of weights.

    Args:
        weights: the argument `path` of `load_weights`.
        model: the model into which published weights are loaded, which is compared
            with their preset; None to compare nothing.
        skip: the names of layers that are not compared.

    Raises:
        ValueError: if the weights are published ones and the model does not fit, or if
            they are "imagenet", which means other weights for each preset.
    """
    if isinstance(weights, str) and weights == "imagenet":
        rows = [
            row
            for row in published.WEIGHTS.values()
            if row.dataset == "imagenet2012"
        ]
        raise ValueError(
            "Expected the name of one set of weights, such as "
            f"{', '.join(f'{row.name} for {row.preset}' for row in rows)}. Received: "
            "'imagenet', which depends on the preset. Pass one of these names, or "
            f'build the model by AlexNet("{rows[0].preset}", weights="imagenet").'
        )
    row = published.find(weights)
    if row is not None and model is not None:
        weight_checks.check_published(row, model, skip)
    return weight_formats.to_path(published.locate(weights))


def weighted_layers(model):
    """Returns the names of the layers with weights, as in `load_weights`.

    The name of a layer in a nested model or in a wrapper follows that of the model or
    wrapper, as in base/conv1.
    """
    return [name for name, layer in _leaf_layers(model) if layer.weights]


def _variables(model, skip=None):
    """Returns {layer: {part: variable}} of all layers that have weights.

    Args:
        model: a `keras.Model`.
        skip: the names of layers that are not loaded, and may therefore have weights of
            the same name; None to save the weights.

    Raises:
        ValueError: if two weights of another layer have the same name.
    """
    variables = {}
    for name, layer in _leaf_layers(model):
        for variable in layer.weights:
            parts = variables.setdefault(name, {})
            if variable.name in parts and name not in (skip or ()):
                raise ValueError(
                    "Expected weights with different names in each layer. Received: "
                    f"two called {variable.name} in {name} "
                    f"({type(layer).__name__}). {_advice_on_equal_names(name, skip)}"
                )
            parts[variable.name] = variable
    return variables


def _advice_on_equal_names(name, skip):
    if skip is None:
        return "Use `model.save_weights`, which numbers them."
    return (
        f"Add {name!r} to skip, or load a file that `model.save_weights` wrote with "
        "`model.load_weights`."
    )


def _needed_options(file, layout, channel_order):
    """Returns those options of `load_weights` that a file needs to be loaded again.

    Args:
        file: a `stored.StoredWeights`.
        layout, channel_order: the arguments of `load_weights`.
    """
    options = {} if file.layout or layout is None else {"layout": layout}
    if file.channel_order is not None:
        options["channel_order"] = channel_order
    return options


def _leaf_layers(model, prefix=""):
    """Yields (name, layer) of all layers, including those in models and wrappers."""
    for layer in model.layers:
        name = prefix + layer.name
        if isinstance(layer, keras.Model):
            yield from _leaf_layers(layer, f"{name}/")
        elif isinstance(layer, keras.layers.Wrapper) and isinstance(
            layer.layer, keras.Model
        ):
            yield from _leaf_layers(layer.layer, f"{name}/{layer.layer.name}/")
        elif isinstance(layer, keras.layers.Wrapper):
            yield f"{name}/{layer.layer.name}", layer
        else:
            yield name, layer


def _check_can_be_read(model, path):
    """Raises an error if weights could not be loaded again from the file `path`."""
    is_keras_format = path.endswith((".weights.h5", ".keras"))
    for name, parts in _variables(model).items():
        for part, variable in parts.items():
            dtype = keras.backend.standardize_dtype(variable.dtype)
            if not dtype.startswith(("float", "bfloat")):
                raise ValueError(
                    "Expected weights of a floating-point type. Received: "
                    f"{name}/{part} of type {dtype}. Use `model.save_weights`."
                )
            if dtype == "bfloat16" and is_keras_format:
                raise ValueError(
                    "Expected weights in float32 for the formats of Keras. Received: "
                    f"{name}/{part} of type bfloat16. Save .safetensors instead."
                )


def _rename(file, layout, kept_names):
    """Returns stored layers under the names of Caffe, their layout, and the names.

    The names are {name in the file: name of Caffe}.

    Args:
        file: a `stored.StoredWeights`.
        layout: the argument of `load_weights`.
        kept_names: the names of the layers of the model, which are not changed.
    """
    foreign = {
        name: parts for name, parts in file.layers.items() if name not in kept_names
    }
    names, is_torch = to_caffe_names(foreign, file.layers.keys() - foreign.keys())
    names = {name: names.get(name, name) for name in file.layers}
    if len({*names.values()}) < len(names):
        raise ValueError(
            "it has layers under the names of this model and under other names that "
            f"stand for the same layers: {printable_list(names)}"
        )
    if is_torch:
        layout = "caffe"
    layers = {names[name]: parts for name, parts in file.layers.items()}
    return layers, file.layout or layout, names


def _match_channels(stored, file_order, channel_order):
    """Reverses the input channels of conv1 if they are RGB and the model's are BGR."""
    if file_order is None or "conv1" not in stored:
        return stored
    if channel_order not in ("rgb", "bgr"):
        raise ValueError(
            "its conv1 takes RGB images, and the channel order of the model is not "
            'known. Pass channel_order="bgr" for the presets caffe and caffenet, '
            'or "rgb" for the others'
        )
    if channel_order == file_order:
        return stored
    kernel = stored["conv1"]["kernel"]
    reversed_kernel = StoredArray(kernel.shape, lambda: kernel.read()[:, :, ::-1])
    return stored | {"conv1": stored["conv1"] | {"kernel": reversed_kernel}}


def _to_keras_layout(stored, model, targets):
    """Returns stored arrays with the order of axes of `model`.

    Args:
        stored: {layer: {part: `StoredArray`}} with kernels [out, in, ...].
        model: the model into which the arrays are loaded.
        targets: {layer: {part: variable}} of the layers of `model` to be loaded.

    Raises:
        ValueError: if the order of the inputs of a fully connected layer is not known.
    """
    maps_shapes = _find_maps_shapes(stored, model, targets)
    return {
        name: {
            part: _transpose(array, maps_shapes.get(name))
            if len(array.shape) > 1
            else array
            for part, array in parts.items()
        }
        for name, parts in stored.items()
    }


def _find_maps_shapes(stored, model, targets):
    """Returns {layer: shape of the maps that are flattened for it, or None}.

    Only layers whose kernels have two axes and fit the kernels of the file are in the
    result; others are rejected later.
    """
    outer_inputs = flattened_maps.find_outer_inputs(model)
    shapes, num_outputs = {}, None
    for name, layer in _leaf_layers(model):
        previous_outputs = num_outputs
        if hasattr(layer, "kernel"):
            num_outputs = layer.kernel.shape[-1]
        kernel = stored.get(name, {}).get("kernel")
        variable = targets.get(name, {}).get("kernel")
        if kernel is None or variable is None or len(kernel.shape) != 2:
            continue
        if tuple(variable.shape) == weight_checks.transpose_shape(kernel.shape):
            try:
                shapes[name] = flattened_maps.find_shape(
                    layer, kernel.shape[1], outer_inputs, previous_outputs
                )
            except flattened_maps.UnknownOrder as reason:
                raise ValueError(
                    f"Expected Flatten or Reshape between the maps and {name}, so that "
                    "the inputs of its kernel can be put in the order of "
                    f"{model.name}. Received: {reason}. Load the file into a model of "
                    "AlexNet, write it with save_weights and load that file, which has "
                    "the order height, width, channel."
                ) from None
    return shapes


def _transpose(kernel, flattened_shape):
    """Returns a `StoredArray` [..., in, out] for a kernel [out, in, ...].

    Args:
        kernel: a `StoredArray`.
        flattened_shape: the shape (height, width, channels) of the maps that are
            flattened for the kernel's layer; None if its inputs are not flattened.
    """

    def read():
        array = kernel.read()
        if array.ndim == 4:
            return array.transpose(2, 3, 1, 0)
        return transpose_matrix(array, flattened_shape)

    return StoredArray(weight_checks.transpose_shape(kernel.shape), read)


def _read(name, stored, dtype):
    """Reads a `StoredArray` of the layer `name` for a variable of type `dtype`.

    The result is in float64 for float64, and in float32 for all other types.
    """
    array = stored.read()
    if array.dtype.kind != "f" or array.shape != stored.shape:
        raise ValueError(f"{name} does not have the type or shape that the file states")
    with np.errstate(over="ignore"):
        array = array.astype(
            np.float64 if dtype == "float64" else np.float32, copy=False
        )
    # The minimum and the maximum need less memory than a boolean for each element.
    if array.size and not np.isfinite([array.min(), array.max()]).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return array


def _write(model, path):
    if path.endswith(".weights.h5"):
        # The file is copied from a .keras archive, for which Keras creates it in
        # memory. Writing it with HDF5's library is not safe on a full disk: the library
        # keeps the file half open, and crashes the process when another file is closed.
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
                name: {part: _to_array(variable) for part, variable in parts.items()}
                for name, parts in _variables(model).items()
            },
        )


def _check_written(model, path, final_path):
    """Raises an error if `load_weights` would not find all weights in the file `path`.

    Args:
        model: the model whose weights have been written.
        path: the path of the file, which is a temporary one.
        final_path: the path of the file in the error message.
    """
    file = weight_formats.open_weights(path)
    stored = _name_numbered_parts(file.layers, _variables(model))
    if _shapes(stored) != _shapes(_variables(model)):
        raise ValueError(
            f"Expected a model whose weights can all be read again from {final_path}. "
            f"Received: {model.name}, of which some weights are missing in the file or "
            "have other names there. Use `model.save_weights`, or another format."
        )


def _to_array(variable):
    """Returns the value of a variable, in float32 if it is bfloat16."""
    array = variable.numpy()
    return array.astype(np.float32) if variable.dtype == "bfloat16" else array


def _name_numbered_parts(stored, targets):
    """Gives numbered arrays the names of the model's variables, in the same order."""
    renamed = {}
    for name, parts in stored.items():
        names = [*targets.get(name, {})]
        if len(names) == len(parts) and [*parts] == [*map(str, range(len(parts)))]:
            parts = dict(zip(names, parts.values()))
        renamed[name] = parts
    return renamed


def _shapes(layers):
    """Returns {layer: {part: shape}} of variables or of `StoredArray`s."""
    return {
        name: {part: tuple(array.shape) for part, array in parts.items()}
        for name, parts in layers.items()
    }
