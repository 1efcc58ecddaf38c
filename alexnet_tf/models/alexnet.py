"""Builds the Keras model of a preset, and derives other models from it.

For a batch of B images, the layers of the preset `paper` have these outputs:

    input      [B, 224, 224, 3]   RGB minus the mean, about -136 to 162
    pad_conv1  [B, 227, 227, 3]   3 rows and columns of zeros, bottom and right
    conv1      [B, 55, 55, 96]    followed by relu1 and norm1
    pool1      [B, 27, 27, 96]
    conv2      [B, 27, 27, 256]   followed by relu2 and norm2
    pool2      [B, 13, 13, 256]
    conv3      [B, 13, 13, 384]   followed by relu3; conv4 has the same shape
    conv5      [B, 13, 13, 256]   followed by relu5
    pool5      [B, 6, 6, 256]     flattened in the order H, W, C: [B, 9216]
    fc6, fc7   [B, 4096]          each followed by a ReLU and a dropout layer
    fc8        [B, classes]       logits
    prob       [B, classes]       float32, sums to 1
"""

import itertools
import math
import numbers

import keras

from alexnet_tf.models.layers import GroupedConv2D
from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf.models.layers import SpatialResponseNormalization
from alexnet_tf.models import weight_checks
from alexnet_tf.models import weight_formats
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import read_shapes
from alexnet_tf.models.weights import weighted_layers
from alexnet_tf.network_json import check_same_preset
from alexnet_tf.network_json import find_run
from alexnet_tf.network_json import is_run
from alexnet_tf.network_json import preset_of_weights
from alexnet_tf.network_json import read_network
from alexnet_tf import presets
from alexnet_tf import published

# The layers are [B, H, W, C] whatever `keras.config.image_data_format` returns.
_DATA_FORMAT = "channels_last"


def AlexNet(
    preset=None,
    classes=None,
    weights=None,
    include_top=True,
    classifier_activation="softmax",
    *,
    input_shape=None,
    input_tensor=None,
    pooling=None,
    name=None,
):
    """Builds the `keras.Model` of a preset.

    The input is float32 [B, crop_size, crop_size, 3], preprocessed as the preset
    specifies. With the top, the output is float32 [B, classes]. Without the top, the
    output is the maps [B, H, W, channels] of the last layer before the top. Layers
    have Caffe's names, for example `model.get_layer("conv1")`.

        AlexNet("paper", classes=10)
        AlexNet("caffe", weights="imagenet")
        AlexNet(weights="torchvision", include_top=False)
        AlexNet(weights="runs/textures-tiny")

    Args:
        preset: a name in `presets.PRESETS`, a file with a preset as for `presets.get`,
            or a `presets.Preset`; required for a weights file, unless it is the
            best.safetensors of a run. Default: that of published weights or of a run,
            "paper" without weights. The name of a run's preset stands for the network
            of the run, without the parts that were ablated; a `Preset` is used as it
            is.
        classes: the number of outputs of the last layer; ignored without the top.
            Default: that of published weights or of a run, 1000 otherwise.
        weights: a name in `published.WEIGHTS`, or "imagenet" for the published weights
            of the preset; the path of a weights file or of a run's directory, as for
            `load_weights`; or None for the preset's random initialization. Published
            weights that are not in this package are downloaded on first use. If
            `include_top` is False, weights of the top are skipped, and so are those of
            fully connected layers that the preset does not have, such as a new head.
        include_top: whether to include the top: the fully connected layers and
            their dropout layers.
        classifier_activation: "softmax", or None for logits; without weights also the
            name of any other activation of Keras, such as "sigmoid". Ignored without
            the top.
        input_shape: (height, width, 3), or None for the preset's crop size. The
            first fully connected layer adapts to it. Without the top, height and
            width may be None.
        input_tensor: a Keras tensor [B, height, width, 3] to use as the input instead
            of a new `keras.Input`, such as the output of another model. Integers are
            converted to float32. Layers before it keep their weights.
        pooling: without the top, "avg" or "max" for the mean or the maximum of each
            map, float32 [B, channels]; None for the maps. Ignored with the top.
        name: the name of the model; None for "alexnet_" and the preset's name.

    Raises:
        ValueError: if an argument is out of range, the images are too small for a
            layer, the published weights belong to another preset, input shape or
            number of classes or need other constants than those of `preset`, or
            `preset` names another preset than that of the run.
        OSError: if the file of the preset cannot be read, or published weights cannot
            be downloaded.
        ValueError, OSError, ModuleNotFoundError: if `weights` cannot be loaded, as for
            `load_weights`.
    """
    _check_preset(preset)
    named_preset = None if preset is None else presets.get(preset)
    row = published.find(weights, named_preset)
    if weights is not None and row is None:
        weight_formats.to_path(weights)  # Raises an error for other objects.
    run_preset, run_classes = _network_of_run(weights, row)
    if not isinstance(preset, presets.Preset):
        if run_preset:
            check_same_preset(weights, run_preset, named_preset)
        elif weights is not None and named_preset is None:
            named_preset = preset_of_weights(weights)
        preset = run_preset or named_preset or presets.get("paper")
    if input_shape is not None:
        input_shape = _to_tuple(input_shape)
    if input_tensor is not None:
        input_shape = _shape_of(input_tensor, input_shape)
    if row and include_top:
        _check_published(row, preset, classes, input_shape)
    if include_top and classes is not None:
        _check_units(preset.layers[-1:], classes)
    if classes is None:
        classes = row.classes if row else run_classes or 1000
    if input_shape is None:
        size = preset.preprocessing.crop_size
        input_shape = size, size, 3
    _check_input_shape(input_shape, include_top)
    if include_top:
        _check_top(classes, classifier_activation, weights)
    else:
        _check_pooling(pooling)

    if input_tensor is None:
        inputs = x = keras.Input(input_shape, name="input")
    else:
        inputs, x = _sources(input_tensor), _as_floats(input_tensor)
    for spec in preset.layers if include_top else _without_top(preset.layers):
        if isinstance(spec, presets.Dense) and len(x.shape) == 4:
            # [B, H * W * C]
            x = keras.layers.Flatten(_DATA_FORMAT, name="flatten")(x)
        _check_pool_input(spec, x, input_shape)
        x = _apply(spec, x, classes)
    if include_top:
        # Probabilities need float32: bfloat16 has 8 bits of precision.
        x = keras.layers.Activation(
            classifier_activation or "linear", dtype="float32", name="prob"
        )(x)
    elif pooling is not None:
        x = _apply_global_pooling(pooling, x)
    model = keras.Model(inputs, x, name=name or f"alexnet_{preset.name}")
    if row is not None:
        weight_checks.check_published(row, model)
    if weights is not None:
        path = published.locate(weights, preset.name)
        skip = _layers_to_skip(model, preset, path, include_top)
        channel_order = preset.preprocessing.channel_order
        load_weights(model, path, skip=skip, channel_order=channel_order)
    return model


def _layers_to_skip(model, preset, path, include_top):
    """Returns the names of the layers that are not loaded from a file.

    They are those between the input of the model and the input tensor of the preset
    and, without the top, the layers of the top in the file. These include fully
    connected layers of other names, such as a new head.
    """
    names = {spec.name for spec in preset.layers}
    in_model = weighted_layers(model)
    preceding = {*in_model} - names
    if include_top:
        return preceding
    return preceding | {
        name
        for name, shapes in read_shapes(path, in_model).items()
        if name not in in_model
        and (name in names or len(shapes.get("kernel", ())) == 2)
    }


def _network_of_run(weights, row):
    """Returns the preset and the number of classes of a run, or None for both.

    Args:
        weights: the argument of `AlexNet`. The result is None for a weights file that
            is not that of a run, and for a directory without network.json.
        row: the `published.PublishedWeights` of this name, or None.
    """
    run = None if row else find_run(weights)
    if run is None or not is_run(run):
        return None, None
    preset, classes = read_network(run)
    return preset, len(classes)


def features(model, layer=None):
    """Returns a `keras.Model` from the input of `model` to the outputs of a layer.

    If the next layer is a ReLU or tanh, the outputs are those of this activation, as
    in Caffe and in the paper's Fig. 4: fc7 of `paper` gives float32 [B, 4096] without
    negative values.
    If a pooling or normalization layer comes first, as after conv1 of `code2012`,
    the outputs are those of the convolution, without an activation; relu1 gives
    the activations. The new model shares its weights with `model`.

    Args:
        model: a model that `AlexNet` built.
        layer: the name of the layer, or a list of names, for which the outputs are
            {name: output}. Default: `penultimate_layer`, which is fc7 for AlexNet, if
            the model has the top, and the last layer otherwise.

    Raises:
        ValueError: if `model` has no layer of this name.
    """
    if layer is None:
        layer = _default_features(model)
    if isinstance(layer, str):
        outputs, suffix = _activated_output(model, layer), layer
    else:
        outputs = {name: _activated_output(model, name) for name in layer}
        suffix = "features"
    return keras.Model(model.input, outputs, name=f"{model.name}_{suffix}")


def _default_features(model):
    last = model.layers[-1].name
    return penultimate_layer(model) if last == "prob" else last


def _activated_output(model, layer):
    """Returns the output of a layer, or of the activation that directly follows it."""
    names = [model_layer.name for model_layer in model.layers]
    if layer not in names:
        raise ValueError(
            f"Expected one of the layers {', '.join(names)}. Received: "
            f"{layer=}."
        )
    index = names.index(layer)
    if index + 1 < len(names) and is_activation(model.layers[index + 1]):
        index += 1
    return model.layers[index].output


def is_activation(layer):
    """Returns whether a layer of `AlexNet` is a ReLU or a tanh, and not the softmax."""
    return isinstance(layer, keras.layers.ReLU) or (
        isinstance(layer, keras.layers.Activation) and layer.name != "prob"
    )


def activation_names(model):
    """Returns the names to pass to `features` for the activations of each layer.

    There is one name for each convolution and fully connected layer except the last:
    the name of the layer itself, or the name of its ReLU or tanh if another layer comes
    between the two.

    Args:
        model: a model that `AlexNet` built with its top.
    """
    names, last_weighted = [], None
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            names.append(layer.name)
            last_weighted = layer
        elif last_weighted and is_activation(layer):
            if layer.input is not last_weighted.output:
                names[-1] = layer.name
            last_weighted = None  # Its activation has been found.
    return names[:-1]


def penultimate_layer(model):
    """Returns the name of the layer that precedes the last layer with weights.

    Activation, dropout and flatten layers are ignored. The result is pool3 for
    `cifar10_full`, in which only the last layer is fully connected, and fc7 for the
    other presets.

    Args:
        model: a model that `AlexNet` built with its top.
    """
    names = [
        layer.name
        for layer in model.layers
        if not is_activation(layer)
        and not isinstance(layer, keras.layers.Dropout | keras.layers.Flatten)
    ]
    return names[-3]  # names[-2] is the last layer with weights, names[-1] is prob.


def to_fully_convolutional(model):
    """Returns a fully convolutional model that takes images of any size.

    The new model maps float32 [B, H, W, 3] to [B, rows, columns, classes]. An image of
    the input size of `model` gives one row and column with the outputs of `model`.
    For each 32 more pixels (8 in `cifar10_full`), a larger image gives one more row or
    column. Padding is applied at the edges of the whole image only.

    The fully connected layers become convolutions with copies of their weights, and
    batch normalization is copied. All other layers are shared with `model`.

    Args:
        model: a model that `AlexNet` built with its top.
    """
    inputs = x = keras.Input((None, None, 3), name="input")
    flattened_shape = None
    for layer in model.layers[1:]:
        if isinstance(layer, keras.layers.Flatten):
            flattened_shape = layer.input.shape[1:]
        elif isinstance(layer, keras.layers.Dense):
            x = _apply_as_convolution(layer, flattened_shape, x)
            flattened_shape = None
        elif isinstance(layer, keras.layers.BatchNormalization):
            # A layer that has been built for [B, units] refuses maps.
            copy = type(layer).from_config(layer.get_config())
            x = copy(x)
            copy.set_weights(layer.get_weights())
        else:
            x = layer(x)
    return keras.Model(inputs, x, name=f"{model.name}_convolutional")


def first_convolution(model):
    """Returns the first convolution of a model, or None if there is none.

    It is conv1 in all presets of this package; own presets may name it differently.

    Args:
        model: a model that `AlexNet` built.
    """
    return next(iter(_convolutions(model)), None)


def _convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def rgb_kernels(model, preset):
    """Returns the kernels of the first convolution in RGB order.

    They are float32 [H, W, 3, filters].

    Args:
        model: a model that `AlexNet` built.
        preset: the `presets.Preset` of the model, which states its channel order.

    Raises:
        ValueError: if the model has no convolution.
    """
    convolution = first_convolution(model)
    if convolution is None:
        raise ValueError(
            "Expected a network with a convolution, whose kernels can be shown. "
            f"Received: {preset.name}, which has none."
        )
    kernels = convolution.kernel.numpy()
    if preset.preprocessing.channel_order == "bgr":
        return kernels[:, :, ::-1]
    return kernels


def kernel_towers(model):
    """Returns the number of towers of the kernels of the first convolution.

    Its maps belong to towers if the next convolution is grouped: the maps of a group
    are the inputs of the kernels of that group only. Without such groups, or if their
    number does not divide the number of kernels, the result is 1.

    Args:
        model: a model that `AlexNet` built.
    """
    convolutions = _convolutions(model)
    if len(convolutions) < 2:
        return 1
    towers = convolutions[1].groups
    return towers if convolutions[0].filters % towers == 0 else 1


def neurons(model):
    """Returns {layer name: number of outputs for one image}.

    The input, the convolutions and the fully connected layers are counted, as in the
    caption of the paper's Fig. 2.

    Args:
        model: a model that `AlexNet` built for images of a fixed size.
    """
    return {
        layer.name: math.prod(layer.output.shape[1:])
        for layer in model.layers
        if hasattr(layer, "kernel") or isinstance(layer, keras.layers.InputLayer)
    }


def dropout_states(model):
    """Returns the seed variables of the dropout layers, in the order of the layers."""
    return [
        layer.seed_generator.state
        for layer in model.layers
        # In Keras, a dropout layer of rate 0 has no seed generator.
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0
    ]


def _without_top(layers):
    """Returns the layers before the first dropout or fully connected layer."""
    return itertools.takewhile(
        lambda spec: not isinstance(spec, presets.Dense | presets.Dropout),
        layers,
    )


def _apply_global_pooling(pooling, x):
    layer_class = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }[pooling]
    return layer_class(_DATA_FORMAT, name=f"{pooling}_pool")(x)


def _apply(spec, x, classes):
    """Applies the Keras layer that `spec`, an entry of `Preset.layers`, describes."""
    match spec:
        case presets.Conv():
            return _apply_convolution(spec, x)
        case presets.ReLU():
            return keras.layers.ReLU(name=spec.name)(x)
        case presets.Tanh():
            return keras.layers.Activation("tanh", name=spec.name)(x)
        case presets.ResponseNorm():
            return LocalResponseNormalization(
                spec.depth_radius,
                spec.bias,
                spec.alpha,
                spec.beta,
                spec.groups,
                name=spec.name,
            )(x)
        case presets.SpatialNorm():
            return SpatialResponseNormalization(
                spec.size, spec.bias, spec.alpha, spec.beta, name=spec.name
            )(x)
        case presets.BatchNorm():
            return keras.layers.BatchNormalization(
                momentum=spec.momentum, epsilon=spec.epsilon, name=spec.name
            )(x)
        case presets.Pool():
            return _apply_pooling(spec, x)
        case presets.Dropout():
            return keras.layers.Dropout(spec.rate, name=spec.name)(x)
        case presets.Dense():
            return keras.layers.Dense(
                spec.units or int(classes),
                kernel_initializer=_kernel_initializer(spec.init),
                bias_initializer=_bias_initializer(spec, x.shape[-1]),
                name=spec.name,
            )(x)


def _apply_as_convolution(dense, flattened_shape, x):
    """Applies a fully connected layer to each window of `x`, as a convolution.

    Args:
        dense: a `keras.layers.Dense`.
        flattened_shape: the shape (height, width, channels) of the maps that are
            flattened for `dense`. The window has the same shape. None if `dense`
            follows another fully connected layer, for windows of one pixel.
        x: maps [B, H, W, C].
    """
    height, width, channels = flattened_shape or (1, 1, x.shape[-1])
    convolution = keras.layers.Conv2D(
        dense.units, (height, width), data_format=_DATA_FORMAT, name=dense.name
    )
    x = convolution(x)
    kernel, bias = dense.get_weights()
    convolution.set_weights(
        [kernel.reshape(height, width, channels, dense.units), bias]
    )
    return x


def _apply_convolution(spec, x):
    padding = spec.padding
    fan_in = spec.kernel_size**2 * x.shape[-1] // spec.groups
    if not isinstance(padding, str):
        x = keras.layers.ZeroPadding2D(
            padding, _DATA_FORMAT, name=f"pad_{spec.name}"
        )(x)
        padding = "valid"
    layer_class, groups = keras.layers.Conv2D, {}
    if spec.groups > 1:
        layer_class, groups = GroupedConv2D, {"groups": spec.groups}
    return layer_class(
        spec.filters,
        spec.kernel_size,
        spec.stride,
        padding,
        _DATA_FORMAT,
        **groups,
        kernel_initializer=_kernel_initializer(spec.init),
        bias_initializer=_bias_initializer(spec, fan_in),
        name=spec.name,
    )(x)


def _apply_pooling(spec, x):
    layer_class = {
        "max": keras.layers.MaxPooling2D,
        "average": keras.layers.AveragePooling2D,
    }[spec.kind]
    return layer_class(
        spec.size, spec.stride, spec.padding, _DATA_FORMAT, name=spec.name
    )(x)


def _kernel_initializer(init):
    if init == "torch":
        # The limit is sqrt(3 * scale / fan_in) = 1 / sqrt(fan_in).
        return keras.initializers.VarianceScaling(
            scale=1 / 3, mode="fan_in", distribution="uniform"
        )
    if init == "he":
        return keras.initializers.VarianceScaling(
            scale=2, mode="fan_in", distribution="untruncated_normal"
        )
    return keras.initializers.RandomNormal(stddev=init)


def _bias_initializer(spec, fan_in):
    if spec.init == "torch":
        limit = 1 / math.sqrt(fan_in)
        return keras.initializers.RandomUniform(-limit, limit)
    return keras.initializers.Constant(spec.bias)


def _check_pool_input(spec, x, input_shape):
    """Raises an error if the maps `x` are smaller than the pooling window."""
    if isinstance(spec, presets.Pool) and spec.padding == "valid":
        if any(side is not None and side < spec.size for side in x.shape[1:3]):
            raise ValueError(
                f"Expected images that give {spec.name} maps of at least "
                f"{spec.size} x {spec.size} pixels. Received: input_shape="
                f"{input_shape}, which gives {x.shape[1]} x {x.shape[2]} pixels. Pass "
                "a larger input_shape."
            )


def _check_published(row, preset, classes, input_shape):
    """Raises an error if a model with the top differs from its published weights."""
    if classes not in (None, row.classes):
        raise ValueError(
            f"Expected classes={row.classes} for weights={row.name!r} with the top. "
            f"Received: {classes=}. For other classes, pass include_top=False, or "
            "build the model without weights and call "
            f'load_weights(model, {row.name!r}, skip=("{preset.layers[-1].name}",)).'
        )
    size = preset.preprocessing.crop_size
    if input_shape is not None and input_shape != (size, size, 3):
        raise ValueError(
            f"Expected input_shape={(size, size, 3)} for weights={row.name!r} with the "
            f"top. Received: {input_shape=}. For another size, pass include_top=False."
        )


def _check_preset(preset):
    if isinstance(preset, bool):
        raise ValueError(
            "Expected the name of a preset as the first argument. Received: "
            f"{preset=}. Unlike in keras.applications, include_top is not the first "
            f"argument: pass include_top={preset}."
        )
    if isinstance(preset, numbers.Integral):
        raise ValueError(
            "Expected the name of a preset as the first argument. Received: "
            f"{preset=}. For {preset} classes, pass classes={preset}."
        )


def _to_tuple(input_shape):
    try:
        return tuple(input_shape)
    except TypeError as error:
        raise ValueError(
            f"Expected an input shape (height, width, 3). Received: {input_shape=}."
        ) from error


def _shape_of(input_tensor, input_shape):
    """Returns the shape of the input tensor without its batch dimension."""
    if not keras.utils.is_keras_tensor(input_tensor):
        raise ValueError(
            "Expected input_tensor to be a Keras tensor, such as "
            f"keras.Input((224, 224, 3)). Received: {type(input_tensor).__name__}. "
            "To compute the outputs for an array or another tensor, call the model "
            "with it."
        )
    shape = tuple(input_tensor.shape[1:])
    if input_shape not in (None, shape):
        raise ValueError(
            f"Expected the input shape of input_tensor, {shape}. Received: "
            f"{input_shape=}. Leave it out."
        )
    return shape


def _sources(input_tensor):
    """Returns the input that a Keras tensor was computed from, or a list of several."""
    inputs = keras.utils.get_source_inputs(input_tensor)
    return inputs[0] if len(inputs) == 1 else inputs


def _as_floats(input_tensor):
    """Returns a Keras tensor as float32 if it holds integers."""
    if keras.backend.is_float_dtype(input_tensor.dtype):
        return input_tensor
    return keras.ops.cast(input_tensor, "float32")


def _check_input_shape(input_shape, include_top):
    if len(input_shape) != 3 or input_shape[-1] != 3:
        raise ValueError(
            "Expected an input shape with 3 channels, (height, width, 3). Received: "
            f"input_shape={input_shape}. For gray images, repeat the channel three "
            "times."
        )
    for side in input_shape[:2]:
        is_size = isinstance(side, numbers.Integral) and side > 0
        if side is not None and not is_size:
            raise ValueError(
                "Expected a height and a width in pixels, positive integers or None. "
                f"Received: input_shape={input_shape}."
            )
    if include_top and None in input_shape:
        raise ValueError(
            "Expected a fixed height and width, which the fully connected "
            f"layers need. Received: input_shape={input_shape}. Pass both, or "
            "omit these layers with include_top=False."
        )


def _check_pooling(pooling):
    if pooling not in (None, "avg", "max"):
        raise ValueError(
            f'Expected pooling="avg", "max" or None. Received: {pooling=}.'
        )


def _check_units(layers, classes):
    """Raises a ValueError if the last layer has another number of units than classes.

    Args:
        layers: the last layer of a preset, in a tuple; empty if there are no layers.
        classes: the number of classes.
    """
    for layer in layers:
        if isinstance(layer, presets.Dense) and layer.units not in (None, classes):
            raise ValueError(
                f"Expected as many units in {layer.name} as there are classes. "
                f"Received: units={layer.units}, {classes=}. Give this layer of the "
                "preset units=None, for one unit per class."
            )


def _check_top(classes, activation, weights):
    is_integer = isinstance(classes, numbers.Integral) and classes is not True
    if not (is_integer and classes > 0):
        raise ValueError(
            "Expected the number of classes to be a positive integer. Received: "
            f"{classes=}."
        )
    if activation in ("softmax", None):
        return
    if weights is not None:
        raise ValueError(
            'Expected classifier_activation "softmax" or None for a model with '
            f"weights. Received: classifier_activation={activation!r}, {weights=}. "
            "Build the model without weights, and load them with load_weights."
        )
    try:
        keras.activations.get(activation)
    except (TypeError, ValueError) as error:
        raise ValueError(
            'Expected classifier_activation "softmax", None or the name of another '
            f"activation of Keras. Received: classifier_activation={activation!r}."
        ) from error
