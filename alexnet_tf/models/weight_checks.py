"""Checks that weights belong to a model, with errors that say what to do."""

from alexnet_tf.models.readers.stored import printable
from alexnet_tf.models.readers.stored import printable_list
from alexnet_tf import presets

# A file may have any number of names, of any length and with control characters, so
# that errors contain only a part of them.
_MAX_NAMES = 19
_MAX_NAME_LENGTH = 40
_MAX_PARTS = 5
# The constants of normalization layers.
_CONSTANTS = ("bias", "alpha", "beta", "depth_radius", "size", "groups")


def transpose_shape(shape):
    """Returns the shape [..., in, out] of a kernel [out, in, ...]."""
    outputs, inputs, *window = shape
    return (*window, inputs, outputs)


def check_network(network, model):
    """Raises an error if a file of AlexNet is loaded into CaffeNet, or vice versa.

    The two have weights of the same shapes, but CaffeNet pools before it normalizes.

    Args:
        network: the name of the network in the file, or None.
        model: the model into which the weights are loaded.
    """
    names = [layer.name for layer in model.layers]
    if network not in ("AlexNet", "CaffeNet") or not {"norm1", "pool1"} <= {*names}:
        return
    pools_first = names.index("pool1") < names.index("norm1")
    if pools_first != (network == "CaffeNet"):
        raise ValueError(
            f"it holds the weights of {network}, and {model.name} "
            f"{'pools before' if pools_first else 'pools after'} it normalizes. Choose "
            f"the preset {network.lower().replace('alexnet', 'caffe')}"
        )


def check_published(row, model, skip=()):
    """Raises an error if a model computes something else than published weights need.

    Some presets have kernels of the same shapes, and differ in the constants of the
    normalization and in the padding of the first convolution. Only layers that the
    model has are compared, because some may have been left out on purpose.

    Args:
        row: the `published.PublishedWeights`.
        model: the model into which the weights are loaded.
        skip: the names of layers that are not compared.

    Raises:
        ValueError: if a constant or the padding differs.
    """
    layers = {layer.name: layer for layer in model.layers}
    specs = presets.PRESETS[row.preset].layers
    first = next(spec for spec in specs if isinstance(spec, presets.Conv))
    for spec in specs:
        if spec.name not in layers or spec.name in skip:
            continue
        expected, received = _settings(spec, layers, spec is first)
        if received != expected:
            raise ValueError(
                f"Expected {spec.name} with {_as_text(expected)} for the weights "
                f"{row.name}. Received: {model.name}, with {_as_text(received)}. Build "
                f"the model of the preset {row.preset}, or pass the path "
                f"alexnet_tf.download({row.name!r}) to load the weights all the same."
            )


def _settings(spec, layers, is_first):
    """Returns the settings that a preset and a model have for a layer, two dicts.

    Args:
        spec: the layer of the preset.
        layers: {name: layer} of the model.
        is_first: whether `spec` is the first convolution.
    """
    layer = layers[spec.name]
    if is_first:
        padding_layer = layers.get(f"pad_{spec.name}", layer)
        received = getattr(padding_layer, "padding", None)
        return {"padding": spec.padding}, {"padding": received}
    if not isinstance(spec, presets.ResponseNorm | presets.SpatialNorm):
        return {}, {}
    # A layer of another class may have other attributes.
    keys = [key for key in _CONSTANTS if key in vars(spec) and hasattr(layer, key)]
    return (
        {key: vars(spec)[key] for key in keys},
        {key: getattr(layer, key) for key in keys},
    )


def _as_text(settings):
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def check_layers_match(model_shapes, file_shapes, model_name, path, layout, options):
    """Raises an error that lists the differing layers of a model and a file.

    Args:
        model_shapes: {layer: {part: shape}} of the model.
        file_shapes: {layer: {part: shape}} of the file.
        model_name: the name of the model.
        path: the path of the file.
        layout: the layout of the kernels of the file; None if it is not known.
        options: {argument of `load_weights`: value} that the file needs.
    """
    differing = _differing(model_shapes, file_shapes)
    if not differing:
        return
    rows = [("layer", "model", "file")]
    for name in differing[:_MAX_NAMES]:
        short_name = printable(name, _MAX_NAME_LENGTH)
        rows.append(
            (short_name, _describe(model_shapes, name), _describe(file_shapes, name))
        )
    table = "\n".join("  {:10s} {:42s} {}".format(*row) for row in rows)
    raise ValueError(
        f"The weights file does not have the layers of {model_name}: {path} differs "
        f"in {len(differing)}:\n{table}\n"
        f"{_advice(model_shapes, file_shapes, path, layout, options)}"
    )


def _differing(model_shapes, file_shapes):
    """Returns the names of the layers whose shapes differ, or that only one has."""
    return [
        name
        for name in {**model_shapes, **file_shapes}
        if model_shapes.get(name) != file_shapes.get(name)
    ]


def _describe(layers, name):
    if name not in layers:
        return "missing"
    parts = [*layers[name].items()]
    described = [
        f"{printable(part, _MAX_NAME_LENGTH)} {'x'.join(map(str, shape))}"
        for part, shape in parts[:_MAX_PARTS]
    ]
    if len(parts) > _MAX_PARTS:
        described.append(f"and {len(parts) - _MAX_PARTS:,} more")
    return "  ".join(described)


def _advice(model_shapes, file_shapes, path, layout, options):
    """Returns sentences that say how a file with differing layers can be loaded."""
    advice = ""
    if layout is None:
        transposed = _transpose_kernels(file_shapes)
        count = len(_differing(model_shapes, file_shapes))
        if len(_differing(model_shapes, transposed)) < count:
            options = {"layout": "caffe", **options}
            advice = (
                "The kernels fit in the order [out, in, ...]: build the model without "
                f"weights and call {_call(path, options)}."
            )
            file_shapes = transposed
    differing = _differing(model_shapes, file_shapes)
    *_, last = model_shapes or [None]
    if differing == [last] and file_shapes.get(last, {}).get("kernel"):
        classes = file_shapes[last]["kernel"][-1]
        advice += (
            f" Only the last layer differs. Build the model with classes={classes}, or "
            f"keep {last} as it is: build the model without weights and call "
            f"{_call(path, {'skip': last, **options})}. The command `python -m "
            f"alexnet_tf.train` has the flag --reinit={last}."
        )
    elif names := _presets_with(file_shapes):
        advice += f" The file has the layers of the preset {' or '.join(names)}."
    elif differing:
        advice += (
            " Choose the preset and the number of classes of the file, or build the "
            f"model without weights and call {_call(path, {'skip': ..., **options})} "
            "with the names of the layers to leave out."
        )
    return advice.strip()


def _call(path, options):
    """Returns the text of a call of `load_weights`.

    Args:
        path: the path of the file.
        options: {argument: value}, where ... stands for several names.
    """
    arguments = "".join(
        f", {name}={'(...)' if value is ... else repr(value)}"
        for name, value in options.items()
    )
    return f"load_weights(model, {str(path)!r}{arguments})"


def _transpose_kernels(shapes):
    """Returns {layer: {part: shape}} for kernels [out, in, ...]."""
    return {
        name: {
            part: transpose_shape(shape)
            if part == "kernel" and len(shape) > 1
            else shape
            for part, shape in parts.items()
        }
        for name, parts in shapes.items()
    }


def _presets_with(shapes):
    """Returns the names of the presets that have kernels of these shapes."""
    kernels = {name: parts.get("kernel", ()) for name, parts in shapes.items()}
    return [
        preset.name
        for preset in presets.PRESETS.values()
        if kernels.keys() == {*preset.weighted_layers}
        and _has_kernels(preset.layers, kernels)
    ]


def _has_kernels(layers, kernels):
    """Returns whether kernels belong to the layers of a preset.

    Any number of classes is accepted, and any number of positions in the maps that are
    flattened, which depends on the size of the images.
    """
    outputs, are_maps = 3, True
    for spec in layers:
        kernel = kernels.get(spec.name)
        if isinstance(spec, presets.Conv):
            side, inputs = spec.kernel_size, outputs // spec.groups
            if kernel != (side, side, inputs, spec.filters):
                return False
        elif isinstance(spec, presets.Dense):
            if len(kernel) != 2 or spec.units not in (None, kernel[1]):
                return False
            if kernel[0] % outputs or not are_maps and kernel[0] != outputs:
                return False
            are_maps = False
        outputs = kernel[-1] if kernel else outputs
    return True


def resolve_skip(skip, model_names, stored_names, file_names):
    """Returns the names of the layers to skip, as the model has them.

    Args:
        skip: names of layers in the model or in the file.
        model_names: the names of the layers of the model.
        stored_names: the names of the layers of the file, renamed for the model.
        file_names: {name in the file: renamed}.

    Raises:
        ValueError: if neither the model nor the file has a layer of a name.
    """
    known = {*model_names, *stored_names}
    resolved = tuple(
        name if name in known else file_names.get(name) for name in skip
    )
    if None in resolved:
        raise ValueError(
            "Expected skip to name layers of the model or the file. The model has "
            f"{', '.join(model_names)}. The file has "
            f"{printable_list(file_names)}. Received: {skip=}."
        )
    return resolved
