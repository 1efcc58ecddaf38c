"""Builds the Keras model of a preset, and derives other models from it.

The outputs of the layers of `paper` for a batch of B images:

    input      [B, 224, 224, 3]   RGB minus the mean, about -136 to 162
    pad_conv1  [B, 227, 227, 3]   3 rows and columns of zeros, bottom and right
    conv1      [B, 55, 55, 96]    followed by relu1 and norm1
    pool1      [B, 27, 27, 96]
    conv2      [B, 27, 27, 256]   followed by relu2 and norm2
    pool2      [B, 13, 13, 256]
    conv3      [B, 13, 13, 384]   conv4 likewise
    conv5      [B, 13, 13, 256]
    pool5      [B, 6, 6, 256]     flattened in the order H, W, C: [B, 9216]
    fc6, fc7   [B, 4096]          each followed by its ReLU and dropout
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
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import read_shapes
from alexnet_tf import presets


def AlexNet(
    preset="paper",
    classes=1000,
    weights=None,
    include_top=True,
    classifier_activation="softmax",
    *,
    input_shape=None,
    name=None,
):
    """Builds the `keras.Model` of a preset.

    The input is float32 [B, S, S, 3], preprocessed for the preset. The output is
    float32 [B, classes]; without the top, it is the maps that fc6 would take.
    Layers have Caffe's names: `model.get_layer("conv1")`.

    Args:
        preset: a name in `presets.PRESETS`, or a `presets.Preset`.
        classes: the number of outputs of the last layer; ignored without the top.
        weights: the path of a file or of a run's directory, as for
            `load_weights`; None for the preset's random initialization. Without
            the top, the file may hold the top's weights all the same.
        include_top: whether to include the fully connected layers.
        classifier_activation: "softmax", or None for logits.
        input_shape: (height, width, 3), if it differs from the preset's; the
            fully connected layers adapt to it. Without the top, height and width
            may be None.
        name: the name of the model; by default "alexnet_" and the preset's name.

    Raises:
        ValueError: if an argument is out of range.
    """
    if not isinstance(preset, presets.Preset):
        preset = presets.get(preset)
    size = preset.preprocessing.crop_size
    input_shape = tuple(input_shape or (size, size, 3))
    _check_arguments(input_shape, classes, include_top, classifier_activation)

    inputs = x = keras.Input(input_shape, name="input")
    for spec in preset.layers if include_top else _without_top(preset.layers):
        if isinstance(spec, presets.Dense) and len(x.shape) == 4:
            x = keras.layers.Flatten(name="flatten")(x)  # [B, H * W * C]
        _check_not_shrunk(spec, x, input_shape)
        x = _apply(spec, x, classes)
    if include_top:
        # Probabilities need float32: bfloat16 has 8 bits of precision.
        x = keras.layers.Activation(
            classifier_activation or "linear", dtype="float32", name="prob"
        )(x)
    model = keras.Model(inputs, x, name=name or f"alexnet_{preset.name}")
    if weights is not None:
        top = {spec.name for spec in preset.layers} - {
            layer.name for layer in model.layers
        }
        # The file may hold the top's layers or not.
        skip = top and top & read_shapes(weights).keys()
        load_weights(model, weights, skip=skip)
    return model


def features(model, layer="fc7"):
    """Returns a `keras.Model` from the input of `model` to the outputs of a layer.

    If a ReLU or tanh follows the layer immediately, these are its outputs, as in
    Caffe and in the paper's Fig. 4: fc7 gives float32 [B, 4096] of at least 0. If
    a pooling or a normalization comes between, as after conv1 of `code2012`, they
    are the sums before it; ask for relu1 to get the inputs of the next layer. The
    new model shares its weights with `model`.

    Args:
        model: a model that `AlexNet` built.
        layer: the name of the layer.

    Raises:
        ValueError: if there is no such layer.
    """
    names = [model_layer.name for model_layer in model.layers]
    if layer not in names:
        raise ValueError(
            f"Expected one of the layers {', '.join(names)}. Received: "
            f"{layer=}."
        )
    index = names.index(layer)
    following = model.layers[index + 1 : index + 2]
    if following and is_activation(following[0]):
        index += 1
    return keras.Model(
        model.input, model.layers[index].output, name=f"{model.name}_{layer}"
    )


def is_activation(layer):
    """Returns whether the layer is a ReLU or a tanh; the softmax does not count."""
    return isinstance(layer, keras.layers.ReLU) or (
        isinstance(layer, keras.layers.Activation) and layer.name != "prob"
    )


def activation_names(model):
    """Returns the names to pass to `features` for the activations of each layer.

    There is one for each layer with weights, except the last: the name of that
    layer, or of its ReLU if a pooling or a normalization comes between.
    """
    names, pending = [], None  # The layer whose activation is still to come.
    for layer in model.layers:
        if layer.weights:
            names.append(layer.name)
            pending = layer
        elif pending and is_activation(layer):
            if layer.input is not pending.output:
                names[-1] = layer.name
            pending = None
    return names[:-1]


def penultimate_layer(model):
    """Returns the name of the layer whose outputs feed the last layer with weights.

    Activations, dropout and flattening do not count. It is fc7 in AlexNet, and a
    pooling where only the last layer is fully connected.
    """
    names = [
        layer.name
        for layer in model.layers
        if not is_activation(layer)
        and not isinstance(layer, keras.layers.Dropout | keras.layers.Flatten)
    ]
    return names[-3]  # Before the last layer and its activation.


def to_fully_convolutional(model):
    """Converts `model` to a fully convolutional one: [B, H, W, 3] to [B, h, w, C].

    The fully connected layers become convolutions with copies of their weights.
    An image of the model's input size gives one position with the same outputs; a
    larger image gives one for each window of fc6 that fits into its maps, every 32
    pixels. Padding is applied at the edges of the whole image only.

    Args:
        model: a model that `AlexNet` built with its top.
    """
    inputs = x = keras.Input((None, None, 3), name="input")
    window = None
    for layer in model.layers[1:]:
        if isinstance(layer, keras.layers.Flatten):
            window = layer.input.shape[1:]
        elif isinstance(layer, keras.layers.Dense):
            x, window = _as_convolution(layer, window, x), None
        else:
            x = layer(x)
    return keras.Model(inputs, x, name=f"{model.name}_convolutional")


def rgb_kernels(model, preset):
    """Returns the kernels of conv1, float32 [H, W, 3, filters], in RGB order."""
    kernels = model.get_layer("conv1").kernel.numpy()
    if preset.preprocessing.channel_order == "bgr":
        return kernels[:, :, ::-1]
    return kernels


def neurons(model):
    """Returns {layer name: number of outputs for one image}.

    It covers the input and the layers with weights, which Fig. 2 of the paper
    counts.
    """
    return {
        layer.name: math.prod(layer.output.shape[1:])
        for layer in model.layers
        if layer.weights or isinstance(layer, keras.layers.InputLayer)
    }


def dropout_states(model):
    """Returns the seed variables of the dropout layers, in the layers' order."""
    return [
        layer.seed_generator.state
        for layer in model.layers
        # In Keras, a dropout layer of rate 0 has no seed generator.
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0
    ]


def _without_top(layers):
    """Returns the layers up to the first dropout or fully connected layer."""
    return itertools.takewhile(
        lambda spec: not isinstance(spec, presets.Dense | presets.Dropout),
        layers,
    )


def _apply(spec, x, classes):
    """Applies the Keras layer that `spec`, an entry of `Preset.layers`, describes."""
    match spec:
        case presets.Conv():
            return _convolution(spec, x)
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
        case presets.Pool():
            return _pooling(spec, x)
        case presets.Dropout():
            return keras.layers.Dropout(spec.rate, name=spec.name)(x)
        case presets.Dense():
            return keras.layers.Dense(
                spec.units or int(classes),
                kernel_initializer=_kernel_initializer(spec.init),
                bias_initializer=_bias_initializer(spec, x.shape[-1]),
                name=spec.name,
            )(x)


def _as_convolution(dense, window, x):
    """Applies a `Dense` layer at each position: [B, h, w, units].

    Args:
        dense: the `keras.layers.Dense`.
        window: (height, width, channels) of the maps that were flattened for it;
            None if it follows another `Dense` layer.
        x: [B, H, W, C].
    """
    height, width, channels = window or (1, 1, x.shape[-1])
    convolution = keras.layers.Conv2D(
        dense.units, (height, width), name=dense.name
    )
    x = convolution(x)
    kernel, bias = dense.get_weights()
    convolution.set_weights(
        [kernel.reshape(height, width, channels, dense.units), bias]
    )
    return x


def _convolution(spec, x):
    padding = spec.padding
    fan_in = spec.kernel_size**2 * x.shape[-1] // spec.groups
    if not isinstance(padding, str):
        x = keras.layers.ZeroPadding2D(padding, name=f"pad_{spec.name}")(x)
        padding = "valid"
    return GroupedConv2D(
        spec.filters,
        spec.kernel_size,
        spec.stride,
        padding,
        groups=spec.groups,
        kernel_initializer=_kernel_initializer(spec.init),
        bias_initializer=_bias_initializer(spec, fan_in),
        name=spec.name,
    )(x)


def _pooling(spec, x):
    pooling = {
        "max": keras.layers.MaxPooling2D,
        "average": keras.layers.AveragePooling2D,
    }[spec.kind]
    return pooling(spec.size, spec.stride, spec.padding, name=spec.name)(x)


def _kernel_initializer(init):
    if init == "torch":
        # Uniform within sqrt(3 * scale / fan_in) = 1 / sqrt(fan_in).
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


def _check_not_shrunk(spec, x, input_shape):
    if isinstance(spec, presets.Pool) and spec.padding == "valid":
        if any(side is not None and side < spec.size for side in x.shape[1:3]):
            raise ValueError(
                f"Expected images large enough to leave {spec.name} at least "
                f"{spec.size} x {spec.size} maps. Received: input_shape="
                f"{input_shape}, which leaves {x.shape[1]} x {x.shape[2]}."
            )


def _check_arguments(input_shape, classes, include_top, activation):
    if len(input_shape) != 3 or input_shape[-1] != 3:
        raise ValueError(
            "Expected images of 3 channels, (height, width, 3). Received: "
            f"input_shape={input_shape}. Repeat the channel of gray images three "
            "times."
        )
    if include_top and None in input_shape:
        raise ValueError(
            "Expected a fixed height and width, which the fully connected "
            f"layers need. Received: input_shape={input_shape}. Give both, or "
            "omit these layers with include_top=False."
        )
    is_integer = isinstance(classes, numbers.Integral) and classes is not True
    if include_top and not (is_integer and classes > 0):
        raise ValueError(
            f"Expected a positive number of classes. Received: {classes=}."
        )
    if activation not in ("softmax", None):
        raise ValueError(
            'Expected classifier_activation "softmax" or None. '
            f"Received: classifier_activation={activation!r}."
        )
