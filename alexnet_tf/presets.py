"""The table of presets: every network called AlexNet, with preprocessing and recipe.

A preset binds an architecture, its preprocessing and its training recipe, so that one
name selects all three. The layers are listed in the order in which they are applied,
under Caffe's names, and the lists show how the presets differ.

The sources are cited by these abbreviations:
  PAPER  Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep
         Convolutional Neural Networks, NIPS 2012 (by section)
  CHM    the original source of 2012, computerhistory/AlexNet-Source-Code at
         2f8b81f (by file and line)
  CC2    its successor of 2014, akrizhevsky/cuda-convnet2 at 3238bf0
  CAFFE  BVLC/caffe at 9b89154
  TV     pytorch/vision, torchvision/models/alexnet.py
"""

import dataclasses
import math
import typing
from typing import Literal

# A number is the standard deviation of a Gaussian with mean 0. "he" is a Gaussian of
# variance 2 / fan_in (He et al. 2015, arXiv:1502.01852). "torch" is PyTorch's default,
# uniform within 1 / sqrt(fan_in), for the biases too.
Init = float | Literal["he", "torch"]


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution; `padding` may be ((top, bottom), (left, right)) zeros."""

    name: str
    filters: int
    kernel_size: int
    stride: int = 1
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "same"
    groups: int = 1
    init: Init = 0.01
    bias: float = 0.0


@dataclasses.dataclass(frozen=True)
class ReLU:
    name: str


@dataclasses.dataclass(frozen=True)
class Tanh:
    """The activation that the ReLU is compared with (PAPER 3.1, Fig. 1)."""

    name: str


@dataclasses.dataclass(frozen=True)
class ResponseNorm:
    """x / (bias + alpha * sum of squares over 2 * depth_radius + 1 maps)^beta.

    `alpha` multiplies the sum, as in the paper and TensorFlow. Caffe and the original
    source specify `alpha * n` and divide it by n (CHM layer.py:1183; CAFFE
    src/caffe/layers/lrn_layer.cpp:114-140).
    """

    name: str
    bias: float
    alpha: float
    beta: float = 0.75
    depth_radius: int = 2
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class SpatialNorm:
    """x / (bias + alpha * sum over size x size pixels of its map)^beta."""

    name: str
    size: int
    alpha: float
    bias: float = 1.0
    beta: float = 0.75


@dataclasses.dataclass(frozen=True)
class Pool:
    name: str
    size: int = 3
    stride: int = 2
    kind: Literal["max", "average"] = "max"
    padding: Literal["valid", "same"] = "valid"


@dataclasses.dataclass(frozen=True)
class Dropout:
    name: str
    rate: float = 0.5


@dataclasses.dataclass(frozen=True)
class Dense:
    """A fully connected layer; `units=None` means one unit for each class."""

    name: str
    units: int | None
    init: Init = 0.01
    bias: float = 0.0


Layer = (
    Conv | ReLU | Tanh | ResponseNorm | SpatialNorm | Pool | Dropout | Dense
)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images become the input of the network.

    Attributes:
        image_size: side in pixels of the center square that is kept after resizing
            (PAPER 2).
        crop_size: side in pixels of the network's input.
        resize: "short_side" resizes the short side to `image_size` and keeps the
            aspect ratio; "squash" resizes both sides to `image_size`.
        channel_order: channel order of the network's input.
        mean: whether the mean image of the training split is subtracted, or its mean
            per channel.
        mean_position: the part of the mean image that is subtracted: its center for
            all crops ("center"), or the part at the position of the crop ("crop").
        divide_by_std: whether to divide by the standard deviation per channel.
        channel_mean, channel_std: RGB on the 0-255 scale, published values that
            replace those of the training split.
        imagenet_mean: RGB on the 0-255 scale, the mean per channel of ILSVRC-2012
            under the preprocessing of the published weights. It is used with these
            weights when there is no training split.
        random_crop: whether training uses crops at random positions instead of the
            center crop.
        flip: whether training mirrors half of the images.
        pca_color_std: standard deviation of the factors by which the principal
            components of the RGB values are scaled and added in training (PAPER 4.1).
        pca_color_divisor: the number by which training divides after adding them.
        pca_color_epochs: the number of epochs with PCA color augmentation, counted
            from the first; None for all epochs.
    """

    image_size: int = 256
    crop_size: int = 224
    resize: Literal["short_side", "squash"] = "short_side"
    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: Literal["image", "channel"] = "image"
    # CHM convdata_jpeg.py:95,209-211. The paper does not say.
    mean_position: Literal["center", "crop"] = "center"
    divide_by_std: bool = False
    channel_mean: tuple[float, float, float] | None = None
    channel_std: tuple[float, float, float] | None = None
    # CC2 make-data/input_meta, data_mean.
    imagenet_mean: tuple[float, float, float] = (127.3049, 119.7154, 104.9126)
    random_crop: bool = True
    flip: bool = True
    pca_color_std: float = 0.1
    pca_color_divisor: float = 1.0
    pca_color_epochs: int | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How the network is trained.

    Attributes:
        batch_size: the number of images in a step, over all devices.
        learning_rate: the learning rate of the first step.
        momentum, weight_decay: constants of the update rule, see
            `optimizers.MomentumSGD`.
        bias_lr_multiplier: learning rate of the biases relative to that of the
            kernels.
        bias_lr_follows_schedule: whether the learning rate of the biases follows the
            schedule, or stays constant.
        schedule: how the learning rate decreases, see `optimizers.learning_rate`.
        boundaries: the epochs before which "step" divides the learning rate by 10.
        patience: the number of epochs without a lower validation error after which
            "plateau" divides the learning rate by 10.
        epochs: the maximum number of epochs.
        layer_lr_multipliers: (layer, epoch, factor): from that epoch on, the learning
            rate of the layer relative to that of the others. A layer with factor 0
            is not updated at all.
    """

    batch_size: int = 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0005
    bias_lr_multiplier: float = 1.0
    bias_lr_follows_schedule: bool = True
    schedule: Literal["plateau", "step", "stepped_exponential", "constant"] = "plateau"
    boundaries: tuple[int, ...] = ()
    patience: int = 5
    epochs: int = 90
    layer_lr_multipliers: tuple[tuple[str, int, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Preset:
    name: str
    layers: tuple[Layer, ...]
    preprocessing: Preprocessing = Preprocessing()
    recipe: Recipe = Recipe()


# An input of 224 pixels gives 55 outputs only if the last window of conv1 extends
# beyond the image: the original source computes 1 + ceil((224 - 11) / 4) = 55 windows
# (CHM layer.py:1004) and reads zeros beyond the right and the bottom edge.
OVERHANG = ((0, 3), (0, 3))
PAPER_NORM = dict(bias=2.0, alpha=1e-4)  # PAPER 3.3: k = 2, alpha = 1e-4

# layer-params-145.cfg:137-155: minDiv 2, scale 1e-4, divided by size 5.
CODE_NORM = dict(bias=2.0, alpha=1e-4 / 5, groups=2)

# CAFFE models/bvlc_alexnet/train_val.prototxt: alpha 1e-4, local_size 5; k
# defaults to 1 (src/caffe/proto/caffe.proto:879-888).
CAFFE_NORM = dict(bias=1.0, alpha=1e-4 / 5)


def _convolutions(
    *,
    norm,
    widths=(96, 256, 384, 384, 256),
    groups=2,
    conv1_padding=OVERHANG,
    init=0.01,
    deep_init=0.01,
    hidden_bias=1.0,
):
    """Returns the layers conv1 to pool5 in the paper's order (PAPER 3.1-3.5, 5).

    conv2, conv4 and conv5 are connected to the maps of their own tower only. Their
    biases and those of the hidden fully connected layers are initialized to 1, those
    of conv1 and conv3 to 0 (PAPER 5).
    """
    one, two, three, four, five = widths
    return (
        Conv("conv1", one, 11, 4, conv1_padding, init=init),
        ReLU("relu1"),
        ResponseNorm("norm1", **norm),
        Pool("pool1"),
        Conv("conv2", two, 5, groups=groups, init=init, bias=hidden_bias),
        ReLU("relu2"),
        ResponseNorm("norm2", **norm),
        Pool("pool2"),
        Conv("conv3", three, 3, init=deep_init),
        ReLU("relu3"),
        Conv("conv4", four, 3, groups=groups, init=deep_init, bias=hidden_bias),
        ReLU("relu4"),
        Conv("conv5", five, 3, groups=groups, init=deep_init, bias=hidden_bias),
        ReLU("relu5"),
        Pool("pool5"),
    )


def _classifier(*, units=4096, hidden_init=0.01, init=0.01, hidden_bias=1.0):
    """Returns the layers fc6 to fc8 (PAPER 3.5, 4.2, 5)."""
    return (
        Dense("fc6", units, init=hidden_init, bias=hidden_bias),
        ReLU("relu6"),
        Dropout("drop6"),
        Dense("fc7", units, init=hidden_init, bias=hidden_bias),
        ReLU("relu7"),
        Dropout("drop7"),
        Dense("fc8", None, init=init),
    )


def _order(layers, *names):
    """Returns the layers with those of the given names in the given order."""
    by_name = {layer.name: layer for layer in layers}
    ordered = iter(names)
    return tuple(
        by_name[next(ordered)] if layer.name in names else layer for layer in layers
    )


def _insert(layers, after, *new):
    """Returns the layers with `new` inserted after the layer called `after`."""
    index = [layer.name for layer in layers].index(after) + 1
    return (*layers[:index], *new, *layers[index:])


_PAPER_CONVOLUTIONS = _convolutions(norm=PAPER_NORM)

# The authors' manual schedule: .01, divided by 10 at epochs 25, 51 and 79; conv1 is
# divided earlier, at 67, and frozen from 72; stopped at 91
# (layer-params-145.cfg:169-181).
_CODE_RECIPE = Recipe(
    # epsW .01 and epsB .02 at the start of the run (layer-params-153.cfg), epsB still
    # .02 at its end (layer-params-145.cfg:17-119).
    bias_lr_multiplier=2.0,
    bias_lr_follows_schedule=False,
    schedule="step",
    boundaries=(25, 51, 79),
    epochs=91,
    layer_lr_multipliers=(("conv1", 67, 0.1), ("conv1", 72, 0.0)),
)

# CAFFE models/bvlc_alexnet/train_val.prototxt:10-36; images are squashed
# (examples/imagenet/readme.md:36), the mean is the one under the crop
# (src/caffe/data_transformer.cpp:101,113-115), no PCA color augmentation (readme.md).
_CAFFE_PREPROCESSING = Preprocessing(
    crop_size=227,
    resize="squash",
    channel_order="bgr",
    mean_position="crop",
    # The means of CAFFE's ilsvrc_2012_mean.npy, which is in the order B, G, R.
    imagenet_mean=(122.67891434, 116.66876762, 104.00698793),
    pca_color_std=0.0,
)

# CAFFE models/bvlc_alexnet/solver.prototxt: 450,000 iterations of 256 images
# are 89.9 epochs, and a step of 100,000 iterations is 19.98 epochs; lr_mult 2 and
# decay_mult 0 for biases (train_val.prototxt).
_CAFFE_RECIPE = Recipe(
    batch_size=256,
    bias_lr_multiplier=2.0,
    schedule="step",
    boundaries=(20, 40, 60, 80),
)

# CC2wiki LearningRates.md; batch size and learning rates of its one-GPU example.
_OWT_RECIPE = Recipe(schedule="stepped_exponential", bias_lr_multiplier=2.0)


def _with_cnorm2(layers):
    """Returns the layers with the original source's normalization within each map.

    The paper does not mention it: layers-145.cfg:107-117 with scale .001
    (layer-params-145.cfg:157-163), divided by 5 * 5 (CHM layer.py:1183).
    """
    cnorm2 = SpatialNorm("cnorm2", size=5, alpha=0.001 / 25)
    return _insert(layers, "norm2", cnorm2)


_CODE_CONVOLUTIONS = _order(
    # Layer 1 normalizes before the ReLU, and the ReLUs of layers 1 and 5 follow the
    # pooling (layers-145.cfg:9-63,192-236). The standard deviation of the initial
    # kernels of conv3 to conv5 is .03 (layers-145.cfg:135-218).
    _order(
        _with_cnorm2(_convolutions(norm=CODE_NORM, deep_init=0.03)),
        "norm1", "pool1", "relu1",
    ),
    "pool5", "relu5",
)

_CAFFE_LAYERS = (
    # train_val.prototxt:40-367: bias fillers .1, standard deviation .005 in fc6, fc7.
    *_convolutions(
        norm=CAFFE_NORM, conv1_padding="valid", hidden_bias=0.1
    ),
    *_classifier(hidden_init=0.005, hidden_bias=0.1),
)

_CAFFENET_LAYERS = _order(
    # CAFFE models/bvlc_reference_caffenet/train_val.prototxt: pooling before
    # normalization, bias fillers 1.
    _order(
        (
            *_convolutions(norm=CAFFE_NORM, conv1_padding="valid"),
            *_classifier(hidden_init=0.005),
        ),
        "pool1", "norm1",
    ),
    "pool2", "norm2",
)

# TV: padding 2 on each side, no normalization, dropout before fc6 and fc7.
_OWT_LAYERS = (
    Conv("conv1", 64, 11, 4, ((2, 2), (2, 2)), init="torch"),
    ReLU("relu1"),
    Pool("pool1"),
    Conv("conv2", 192, 5, init="torch"),
    ReLU("relu2"),
    Pool("pool2"),
    Conv("conv3", 384, 3, init="torch"),
    ReLU("relu3"),
    Conv("conv4", 256, 3, init="torch"),
    ReLU("relu4"),
    Conv("conv5", 256, 3, init="torch"),
    ReLU("relu5"),
    Pool("pool5"),
    Dropout("drop5"),
    Dense("fc6", 4096, init="torch"),
    ReLU("relu6"),
    Dropout("drop6"),
    Dense("fc7", 4096, init="torch"),
    ReLU("relu7"),
    Dense("fc8", None, init="torch"),
)

# CHM layers-146-2012-2011.cfg: after pool5, connected to the maps of both towers.
_CONV6 = (Conv("conv6", 256, 3, init=0.03, bias=1.0), ReLU("relu_conv6"))

# CHM example-layers/layers-18pct.cfg, as CAFFE
# examples/cifar10/cifar10_full_train_test.prototxt has it. Its pooling windows extend
# beyond the right and the bottom edge (32 -> 16 -> 8 -> 4), which for an even side is
# what "same" does. (The preset was called cifar10_quick until 0.1; Caffe's
# cifar10_quick is another network.)
_CIFAR10_LAYERS = (
    Conv("conv1", 32, 5, init=0.0001),
    Pool("pool1", padding="same"),
    ReLU("relu1"),
    SpatialNorm("norm1", size=3, alpha=5e-5 / 9),
    Conv("conv2", 32, 5, init=0.01),
    ReLU("relu2"),
    Pool("pool2", kind="average", padding="same"),
    SpatialNorm("norm2", size=3, alpha=5e-5 / 9),
    Conv("conv3", 64, 5, init=0.01),
    ReLU("relu3"),
    Pool("pool3", kind="average", padding="same"),
    Dense("fc10", None, init=0.01),
)

_ALL = (
    Preset("paper", (*_PAPER_CONVOLUTIONS, *_classifier())),
    Preset(
        "code2012",
        (*_CODE_CONVOLUTIONS, *_classifier()),
        # CHM convdata_jpeg.py:156-159: batches are divided by 1 + 0.1.
        # The augmentation ends 24 epochs before the run
        # (layer-params-145.cfg:169-181).
        Preprocessing(pca_color_divisor=1.1, pca_color_epochs=67),
        _CODE_RECIPE,
    ),
    Preset("caffe", _CAFFE_LAYERS, _CAFFE_PREPROCESSING, _CAFFE_RECIPE),
    Preset("caffenet", _CAFFENET_LAYERS, _CAFFE_PREPROCESSING, _CAFFE_RECIPE),
    Preset(
        "single_tower",
        (*_convolutions(norm=PAPER_NORM, groups=1), *_classifier()),
    ),
    Preset(
        "owt",
        _OWT_LAYERS,
        # TV ImageClassification(crop_size=224): the constants of its weights.
        Preprocessing(
            mean="channel",
            divide_by_std=True,
            channel_mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
            channel_std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
        ),
        _OWT_RECIPE,
    ),
    Preset(
        "paper_conv6",
        (*_insert(_PAPER_CONVOLUTIONS, "pool5", *_CONV6), *_classifier()),
    ),
    Preset(
        "cifar10_full",
        _CIFAR10_LAYERS,
        Preprocessing(image_size=32, crop_size=32, pca_color_std=0.0),
        # The shape of Caffe's schedule (constant, divided twice at the very end) and
        # its weight decay, with a sixth of its epochs and twice its learning rate.
        Recipe(
            learning_rate=0.002,
            weight_decay=0.004,
            bias_lr_multiplier=2.0,
            schedule="step",
            boundaries=(17, 19),
            epochs=20,
        ),
    ),
    # The paper's layers, narrow and on small images, with an initialization and a
    # scaling of pixels that learn immediately (README, "The demonstration").
    Preset(
        "tiny",
        (
            *_convolutions(
                norm=PAPER_NORM,
                widths=(16, 32, 48, 48, 32),
                init="he",
                deep_init="he",
                hidden_bias=0.0,
            ),
            *_classifier(units=128, hidden_init="he", hidden_bias=0.0),
        ),
        Preprocessing(
            image_size=73, crop_size=64, mean="channel", divide_by_std=True
        ),
        Recipe(batch_size=32, schedule="stepped_exponential", epochs=40),
    ),
)

PRESETS = {preset.name: preset for preset in _ALL}

# The values of a preset that `override` replaces and that are flags of
# `alexnet_tf.train`.
OVERRIDES = (
    "batch_size", "learning_rate", "momentum", "weight_decay", "bias_lr_multiplier",
    "schedule", "boundaries", "patience", "epochs",
    "image_size", "crop_size", "resize", "mean", "divide_by_std", "random_crop", "flip",
    "pca_color_std", "pca_color_divisor", "pca_color_epochs",
    "ablate", "init", "dropout",
)  # fmt: skip

# Names and values in network.json of version 0.1, and today's.
_RENAMED = {
    "colour_noise": "pca_color_std",  # word: kept
    "colour_noise_divisor": "pca_color_divisor",  # word: kept
    "colour_noise_epochs": "pca_color_epochs",  # word: kept
    "centre": "center",  # word: kept
    "drops": "boundaries",
    "bias_lr_falls": "bias_lr_follows_schedule",
    "layer_rates": "layer_lr_multipliers",
    "dexp": "stepped_exponential",
    "cifar10_quick": "cifar10_full",
}


def get(name: str) -> Preset:
    """Returns the preset of a name.

    Raises:
        ValueError: if there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(
            f"Expected one of the presets {', '.join(PRESETS)}. "
            f"Received: preset={name!r}."
        )
    return PRESETS[name]


def to_dict(preset: Preset) -> dict:
    """Returns a preset as numbers, strings, lists and dictionaries, for JSON."""
    layers = [
        {"type": type(layer).__name__, **dataclasses.asdict(layer)}
        for layer in preset.layers
    ]
    return {**dataclasses.asdict(preset), "layers": layers}


def from_dict(content: dict) -> Preset:
    """Returns the `Preset` that `to_dict` was given, from its JSON.

    Names and values of version 0.1 are understood too.

    Raises:
        KeyError, TypeError: if something is missing or unknown.
    """
    types = {each.__name__: each for each in typing.get_args(Layer)}
    layers = []
    for values in content["layers"]:
        values = dict(values)
        layers.append(types[values.pop("type")](**_tuples(values)))
    preprocessing, recipe = (
        {_RENAMED.get(key, key): _renamed_value(value) for key, value in part.items()}
        for part in (content["preprocessing"], content["recipe"])
    )
    return Preset(
        _renamed_value(content["name"]),
        tuple(layers),
        Preprocessing(**_tuples(preprocessing)),
        Recipe(**_tuples(recipe)),
    )


def _renamed_value(value):
    return _RENAMED.get(value, value) if isinstance(value, str) else value


def _tuples(value):
    """Returns a value with tuples in place of JSON's lists."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(each) for each in value)
    return value


def override(preset: Preset, **values) -> Preset:
    """Returns a preset with single values replaced; None leaves a value as it is.

    Args:
        preset: the `Preset` to start from.
        **values: fields of `Recipe` and `Preprocessing` by their names; `init`, the
            initialization of all kernels, with which biases are initialized to 0
            ("he") or drawn too ("torch"); `dropout`, the dropout rate of all dropout
            layers; and `ablate`, a sequence of parts for the function `ablate`.

    Raises:
        ValueError: if a value is negative or unknown, a dropout rate is not below 1,
            or the crop is larger than the image.
    """
    values = {k: v for k, v in values.items() if v is not None}
    _check_values(values)
    init, dropout = values.pop("init", None), values.pop("dropout", None)
    preset = ablate(preset, *values.pop("ablate", ()))
    recipe, preprocessing = (
        dataclasses.replace(
            part,
            **{
                field.name: values.pop(field.name)
                for field in dataclasses.fields(part)
                if field.name in values
            },
        )
        for part in (preset.recipe, preset.preprocessing)
    )
    if values:
        raise ValueError(f"Expected fields of a preset. Received: {values}.")
    if preprocessing.crop_size > preprocessing.image_size:
        raise ValueError(
            "Expected a crop no larger than the image. Received: crop_size="
            f"{preprocessing.crop_size}, image_size={preprocessing.image_size}."
        )
    layers = preset.layers
    if init is not None:
        layers = _replace(layers, Conv | Dense, init=init, bias=0.0)
    if dropout is not None:
        layers = _replace(layers, Dropout, rate=dropout)
    return Preset(preset.name, layers, preprocessing, recipe)


def ablate(preset: Preset, *parts: str) -> Preset:
    """Returns a preset without parts whose effect the paper or its authors measured.

    Args:
        preset: the `Preset` to start from.
        *parts: each of them one of
            "norm": all response normalization (PAPER 3.3; CHM layers-148.cfg);
            "overlap": pooling windows of 2 instead of 3, with which conv2 pads by 1
                and conv5 does not pad (PAPER 3.4; CHM layers-147.cfg);
            "tower": one of the two towers; conv5 and the fully connected layers keep
                their size (PAPER 3.2; CHM layers-145-half.cfg);
            or the name of a convolution other than the first, which is removed with
                its ReLU (PAPER 7).

    Raises:
        ValueError: if the preset has no such part.
    """
    layers = preset.layers
    for part in parts:
        before = layers
        if part == "norm":
            kinds = ResponseNorm | SpatialNorm
            layers = tuple(each for each in layers if not isinstance(each, kinds))
        elif part == "overlap":
            layers = _without_overlap(layers)
        elif part == "tower":
            layers = _without_tower(layers)
        else:
            layers = _without_convolution(layers, part)
        if layers == before:
            names = [each.name for each in layers if isinstance(each, Conv)][1:]
            raise ValueError(
                f"Expected parts that {preset.name} has, of norm, overlap, tower, "
                f"{', '.join(names)}. Received: {part!r}."
            )
    return dataclasses.replace(preset, layers=layers)


def _without_overlap(layers):
    layers = _replace(layers, Pool, size=2, padding="same")
    # The sides of the maps are 55 - 28 - 26 - 13 - 13 - 11 - 6: with "same", windows
    # may extend beyond the edge.
    smaller = {"conv2": ((1, 1), (1, 1)), "conv5": "valid"}
    deep = any(layer.name == "conv5" for layer in layers)
    return tuple(
        dataclasses.replace(layer, padding=smaller[layer.name])
        if deep and layer.name in smaller
        else layer
        for layer in layers
    )


def _without_tower(layers):
    if all(layer.groups == 1 for layer in layers if isinstance(layer, Conv)):
        return layers
    halves = _replace(layers, Conv, groups=1)
    return tuple(
        dataclasses.replace(layer, filters=layer.filters // 2)
        if isinstance(layer, Conv) and layer.name != "conv5"
        else dataclasses.replace(layer, groups=1)
        if isinstance(layer, ResponseNorm)
        else layer
        for layer in halves
    )


def _without_convolution(layers, name):
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, Conv)]
    for index in convolutions[1:]:
        if layers[index].name == name:
            end = index + 1
            end += isinstance(layers[end], ReLU)
            return (*layers[:index], *layers[end:])
    return layers


def _check_values(values):
    for name, value in values.items():
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError(
                f"Expected {name} to be a finite number of at least 0. Received: "
                f"{name}={value}."
            )
    if values.get("dropout", 0) >= 1:
        raise ValueError(
            "Expected a dropout rate below 1. Received: dropout="
            f"{values['dropout']}."
        )
    if values.get("init", "he") not in ("he", "torch"):
        raise ValueError(
            f'Expected init "he" or "torch". Received: init={values["init"]!r}.'
        )


def _replace(layers, kind, **values):
    return tuple(
        dataclasses.replace(layer, **values)
        if isinstance(layer, kind)
        else layer
        for layer in layers
    )
