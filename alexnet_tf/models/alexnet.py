"""A preset becomes a Keras model.

A photograph on its way through `paper` (B pictures at a time):

    input    [B, 224, 224, 3]   RGB minus the mean, about -136 to 162
    overhang [B, 227, 227, 3]   3 rows and columns of zeros, bottom and right
    conv1    [B, 55, 55, 96]    then relu1, norm1
    pool1    [B, 27, 27, 96]
    conv2    [B, 27, 27, 256]   then relu2, norm2
    pool2    [B, 13, 13, 256]
    conv3    [B, 13, 13, 384]   conv4 likewise
    conv5    [B, 13, 13, 256]
    pool5    [B, 6, 6, 256]     flattened in the order H, W, C: [B, 9216]
    fc6, fc7 [B, 4096]          each followed by its ReLU and dropout
    fc8      [B, classes]       logits
    prob     [B, classes]       float32, sums to 1
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
    """A `keras.Model` of the network that `preset` names.

    Its input is float32 [B, S, S, 3], preprocessed for the preset; its output
    is float32 [B, classes], or without the top the maps that fc6 would take.
    Layers have Caffe's names: `model.get_layer("conv1")`.

    Args:
        preset: a name in `presets.PRESETS`, or a `presets.Preset`.
        classes: outputs of the last layer; ignored without the top.
        weights: path of a file or a run for `load_weights`, of the
            whole network even without the top; None for the preset's random
            start.
        include_top: whether to include the fully connected layers.
        classifier_activation: "softmax", or None for logits.
        input_shape: (height, width, 3) in place of the preset's; the fully
            connected layers fit themselves to it. Without the top, height and
            width may be None.
        name: of the model; "alexnet_" and the preset's by default.

    Raises:
        ValueError: if an argument is out of range.
    """
    if not isinstance(preset, presets.Preset):
        preset = presets.get(preset)
    size = preset.preprocessing.crop_size
    input_shape = tuple(input_shape or (size, size, 3))
    _check_arguments(input_shape, classes, include_top, classifier_activation)

    inputs = x = keras.Input(input_shape, name="input")
    for spec in preset.layers if include_top else _features(preset.layers):
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
        # A file need not hold the top that is left out.
        skip = top and top & read_shapes(weights).keys()
        load_weights(model, weights, skip=skip)
    return model


def features(model, layer="fc7"):
    """A `keras.Model` from the input of `model` to the outputs of a layer.

    Taken after the ReLU or tanh that follows at once, as Caffe's are and as
    the paper's Fig. 4 takes them: fc7 gives float32 [B, 4096], 0 and up. Where
    a pooling or a normalisation comes between, as behind conv1 of `code2012`,
    these are the sums before it, and relu1 names what the next layer gets. It
    shares its weights with `model`.

    Raises:
        ValueError: if there is no such layer.
    """
    names = [each.name for each in model.layers]
    if layer not in names:
        raise ValueError(
            f"Expected one of the layers {', '.join(names)}. Received: "
            f"{layer=}."
        )
    place = names.index(layer)
    after = model.layers[place + 1 : place + 2]
    if after and is_activation(after[0]):
        place += 1
    return keras.Model(
        model.input, model.layers[place].output, name=f"{model.name}_{layer}"
    )


def is_activation(layer):
    """Whether it is a ReLU or a tanh, not the softmax."""
    return isinstance(layer, keras.layers.ReLU) or (
        isinstance(layer, keras.layers.Activation) and layer.name != "prob"
    )


def activation_names(model):
    """Names for `features` that give what each layer with weights passes on.

    Those layers' own, but for one whose ReLU comes behind a pooling: the name
    of that ReLU. Without the last layer.
    """
    names, waiting = [], False
    for layer in model.layers:
        if layer.weights:
            names.append(layer.name)
            waiting, before = True, layer
        elif waiting and is_activation(layer):
            if layer.input is not before.output:
                names[-1] = layer.name
            waiting = False
    return names[:-1]


def penultimate_layer(model):
    """The name of the layer whose outputs the last one with weights takes.

    fc7 in AlexNet; a pooling where nothing but the classes is fully connected.
    """
    names = [
        layer.name
        for layer in model.layers
        if not is_activation(layer)
        and not isinstance(layer, keras.layers.Dropout | keras.layers.Flatten)
    ]
    return names[-3]  # Before the last layer and its activation.


def to_fully_convolutional(model):
    """`model` at all places of a larger picture: [B, H, W, 3] to [B, h, w, C].

    Its fully connected layers become convolutions of the maps that they took,
    with copies of their weights, so that a picture of the network's own size
    gives one place with the same outputs, and a larger one as many as the
    windows of fc6 that its maps hold, every 32 pixels. Padding is at the edges
    of the whole picture.

    Args:
        model: of `AlexNet` with its top.
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
    """The kernels of conv1, float32 [H, W, 3, filters] with R, G, B in order."""
    kernels = model.get_layer("conv1").kernel.numpy()
    if preset.preprocessing.channel_order == "bgr":
        return kernels[:, :, ::-1]
    return kernels


def neurons(model):
    """{layer name: number of outputs for one picture}, of input and weights.

    Those are the layers that Fig. 2 of the paper counts.
    """
    return {
        layer.name: math.prod(layer.output.shape[1:])
        for layer in model.layers
        if layer.weights or isinstance(layer, keras.layers.InputLayer)
    }


def dropout_states(model):
    """The seed variables of the dropout layers, in the layers' order."""
    return [
        layer.seed_generator.state
        for layer in model.layers
        # Keras gives a dropout of rate 0 no seed.
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0
    ]


def _features(layers):
    """The layers up to the last pooling, before any dropout."""
    return itertools.takewhile(
        lambda spec: not isinstance(spec, presets.Dense | presets.Dropout),
        layers,
    )


def _apply(spec, x, classes):
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
    """A `Dense` layer applied at each place: [B, h, w, units]."""
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
                f"Expected pictures large enough to leave {spec.name} at least "
                f"{spec.size} x {spec.size} maps. Received: input_shape="
                f"{input_shape}, which leaves {x.shape[1]} x {x.shape[2]}."
            )


def _check_arguments(input_shape, classes, include_top, activation):
    if len(input_shape) != 3 or input_shape[-1] != 3:
        raise ValueError(
            "Expected pictures of 3 channels, (height, width, 3): repeat a "
            f"grey channel three times. Received: input_shape={input_shape}."
        )
    if include_top and None in input_shape:
        raise ValueError(
            "Expected a fixed height and width, which the fully connected "
            "layers need: give them, or leave the top out with "
            f"include_top=False. Received: input_shape={input_shape}."
        )
    whole = isinstance(classes, numbers.Integral) and classes is not True
    if include_top and not (whole and classes > 0):
        raise ValueError(
            f"Expected a positive number of classes. Received: {classes=}."
        )
    if activation not in ("softmax", None):
        raise ValueError(
            'Expected classifier_activation "softmax" or None. '
            f"Received: classifier_activation={activation!r}."
        )
