"""One table: each network called AlexNet, with its pixels and its recipe.

A preset binds architecture, preprocessing and training recipe, so that naming
it names all three. Layers are listed in the order in which they are applied,
under Caffe's names; what differs between the presets can be read off the
lists.

Sources, cited by these letters:
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

# A number is the standard deviation of a plain Gaussian with mean 0. "he" is
# a Gaussian of variance 2 / fan_in (He et al. 2015, arXiv:1502.01852). "torch"
# is PyTorch's default, uniform within 1 / sqrt(fan_in), for the biases too.
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
    """What the ReLU is compared with (PAPER 3.1, Fig. 1)."""

    name: str


@dataclasses.dataclass(frozen=True)
class ResponseNorm:
    """x / (bias + alpha * sum of squares over 2 * depth_radius + 1 maps)^beta.

    `alpha` multiplies the plain sum, as in the paper and TensorFlow; Caffe
    and the original source print `alpha * n` and divide by n (CHM
    layer.py:1183; CAFFE src/caffe/layers/lrn_layer.cpp:114-140).
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
    """A fully connected layer; `units=None` stands for the classes."""

    name: str
    units: int | None
    init: Init = 0.01
    bias: float = 0.0


Layer = (
    Conv | ReLU | Tanh | ResponseNorm | SpatialNorm | Pool | Dropout | Dense
)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How pictures become the input of the network.

    Attributes:
        image_size: pixels of the short side after resizing, of which the
            central square is kept (PAPER 2).
        crop_size: pixels of a side of what the network sees.
        resize: "short_side" keeps the aspect ratio, "squash" resizes both
            sides to `image_size`.
        channel_order: of the network's input.
        mean: what is subtracted: the mean image of the training split, or
            its mean per channel.
        mean_position: which part of the mean image: its centre, wherever the
            crop was, or the part under the crop.
        divide_by_std: whether to divide by the standard deviation per
            channel.
        channel_mean, channel_std: RGB on the 0-255 scale; published figures
            in place of those of the training split.
        imagenet_mean: RGB on the 0-255 scale; ILSVRC-2012's mean per channel
            in the pixels of the published weights, which serves where they do
            and no training split is at hand.
        random_crop: whether training takes crops anywhere, or the central one.
        flip: whether training mirrors half of the pictures.
        pca_color_std: standard deviation of the multiples of the principal
            components of the RGB values that training adds (PAPER 4.1).
        pca_color_divisor: what training divides by after adding them.
        pca_color_epochs: epochs with them, from the first on; None for all.
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
        batch_size: images a step, over all devices.
        learning_rate: of the first step.
        momentum, weight_decay: of the update rule in optimizer.py.
        bias_lr_multiplier: the biases' learning rate over the kernels'.
        bias_lr_follows_schedule: whether it falls as theirs does, or stays.
        schedule: how the learning rate falls, see optimizer.py.
        drops: epochs before which "step" divides the learning rate by 10.
        patience: epochs without a better validation error after which
            "plateau" divides the learning rate by 10.
        epochs: passes over the training split, at most.
        layer_lr_multipliers: (layer, epoch, factor): from that epoch on its learning
            rate over the others'; at 0 it does not move at all.
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


# 224 pixels and 55 maps meet only if conv1's last window hangs over: the
# original counts windows by 1 + ceil((224 - 11) / 4) = 55 (CHM
# layer.py:1004) and reads zeros beyond the right and the bottom edge.
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
    """Layers conv1 to pool5 in the paper's order (PAPER 3.1-3.5, 5).

    conv2, conv4 and conv5 see their own tower's maps only; they and the
    hidden fully connected layers start at bias 1, conv1 and conv3 at 0
    (PAPER 5).
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
    """Layers fc6 to fc8 (PAPER 3.5, 4.2, 5)."""
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
    """The same layers with those named put in the order named."""
    by_name = {layer.name: layer for layer in layers}
    places = iter(names)
    return tuple(
        by_name[next(places)] if layer.name in names else layer
        for layer in layers
    )


def _insert(layers, after, *new):
    """The same layers with `new` behind the layer called `after`."""
    place = [layer.name for layer in layers].index(after) + 1
    return (*layers[:place], *new, *layers[place:])


_PAPER_CONVOLUTIONS = _convolutions(norm=PAPER_NORM)

# The last hand-made schedule: .01, divided at epochs 25, 51 and 79, conv1 a
# drop ahead at 67 and still from 72, stopped at 91 (layer-params-145.cfg:169-181).
_CODE_RECIPE = Recipe(
    # Start of the run: epsW .01, epsB .02 (layer-params-153.cfg); .02 still at
    # its end (layer-params-145.cfg:17-119).
    bias_lr_multiplier=2.0,
    bias_lr_follows_schedule=False,
    schedule="step",
    boundaries=(25, 51, 79),
    epochs=91,
    layer_lr_multipliers=(("conv1", 67, 0.1), ("conv1", 72, 0.0)),
)

# CAFFE models/bvlc_alexnet/train_val.prototxt:10-36; images are squashed
# (examples/imagenet/readme.md:36), the mean is the one under the crop
# (src/caffe/data_transformer.cpp:101,113-115), no colour noise (readme.md).
_CAFFE_PREPROCESSING = Preprocessing(
    crop_size=227,
    resize="squash",
    channel_order="bgr",
    mean_position="crop",
    # Of CAFFE's ilsvrc_2012_mean.npy, which holds them as B, G, R.
    imagenet_mean=(122.67891434, 116.66876762, 104.00698793),
    pca_color_std=0.0,
)

# CAFFE models/bvlc_alexnet/solver.prototxt: 450,000 iterations of 256 images
# are 89.9 epochs, a drop every 100,000 is one every 19.98; lr_mult 2 and
# decay_mult 0 for biases (train_val.prototxt).
_CAFFE_RECIPE = Recipe(
    batch_size=256,
    bias_lr_multiplier=2.0,
    schedule="step",
    boundaries=(20, 40, 60, 80),
)

# CC2wiki LearningRates.md; the batch and the rates of its one-GPU example.
_OWT_RECIPE = Recipe(schedule="stepped_exponential", bias_lr_multiplier=2.0)


def _with_cnorm2(layers):
    """The original's undocumented normalisation within each map.

    layers-145.cfg:107-117 with scale .001 (layer-params-145.cfg:157-163),
    divided by 5 * 5 (CHM layer.py:1183).
    """
    cnorm2 = SpatialNorm("cnorm2", size=5, alpha=0.001 / 25)
    return _insert(layers, "norm2", cnorm2)


_CODE_CONVOLUTIONS = _order(
    # Layer 1 normalises before the ReLU, which follows the pooling; so does
    # layer 5's ReLU (layers-145.cfg:9-63,192-236). conv3 to conv5 start at
    # .03 (layers-145.cfg:135-218).
    _order(
        _with_cnorm2(_convolutions(norm=CODE_NORM, deep_init=0.03)),
        "norm1", "pool1", "relu1",
    ),
    "pool5", "relu5",
)
_CAFFE_LAYERS = (
    # train_val.prototxt:40-367: bias fillers .1, fc6 and fc7 at .005.
    *_convolutions(
        norm=CAFFE_NORM, conv1_padding="valid", hidden_bias=0.1
    ),
    *_classifier(hidden_init=0.005, hidden_bias=0.1),
)
_CAFFENET_LAYERS = _order(
    # CAFFE models/bvlc_reference_caffenet/train_val.prototxt: pooling before
    # normalisation, bias fillers 1.
    _order(
        (
            *_convolutions(norm=CAFFE_NORM, conv1_padding="valid"),
            *_classifier(hidden_init=0.005),
        ),
        "pool1", "norm1",
    ),
    "pool2", "norm2",
)

# TV: padding 2 on each side, no normalisation, dropout before fc6 and fc7.
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

# CHM layers-146-2012-2011.cfg: over pool5, seeing both towers' maps.
_CONV6 = (Conv("conv6", 256, 3, init=0.03, bias=1.0), ReLU("relu_conv6"))

# CHM example-layers/layers-18pct.cfg, as CAFFE
# examples/cifar10/cifar10_full_train_test.prototxt spells it out. Its pooling
# windows hang over the right and the bottom edge (32 -> 16 -> 8 -> 4), which
# is "same" for an even side.
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
        # Switched off for the last 24 epochs (layer-params-145.cfg:169-181).
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
        # TV ImageClassification(crop_size=224): the figures of its weights.
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
        # Caffe's shape of schedule (constant, two drops at the very end) and
        # decay, in a sixth of its epochs at twice its rate.
        Recipe(
            learning_rate=0.002,
            weight_decay=0.004,
            bias_lr_multiplier=2.0,
            schedule="step",
            boundaries=(17, 19),
            epochs=20,
        ),
    ),
    # The paper's layers, narrow and on small pictures, with the start and the
    # pixels that learn at once (README, "The demonstration").
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


def get(name: str) -> Preset:
    """The preset called `name`.

    Raises:
        ValueError: if there is none.
    """
    if name not in PRESETS:
        raise ValueError(
            f"Expected one of the presets {', '.join(PRESETS)}. "
            f"Received: preset={name!r}."
        )
    return PRESETS[name]


def to_dict(preset: Preset) -> dict:
    """`preset` as numbers, strings, lists and dictionaries, for a JSON file."""
    layers = [
        {"type": type(layer).__name__, **dataclasses.asdict(layer)}
        for layer in preset.layers
    ]
    return {**dataclasses.asdict(preset), "layers": layers}


def from_dict(content: dict) -> Preset:
    """The `Preset` that `to_dict` was given, from its JSON.

    Raises:
        KeyError, TypeError: if something is missing or unknown.
    """
    types = {each.__name__: each for each in typing.get_args(Layer)}
    layers = []
    for values in content["layers"]:
        values = dict(values)
        layers.append(types[values.pop("type")](**_tuples(values)))
    return Preset(
        content["name"],
        tuple(layers),
        Preprocessing(**_tuples(content["preprocessing"])),
        Recipe(**_tuples(content["recipe"])),
    )


def _tuples(value):
    """With tuples in place of JSON's lists."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(each) for each in value)
    return value


def override(preset: Preset, **values) -> Preset:
    """`preset` with single values replaced; None leaves one as it is.

    Args:
        preset: the `Preset` to start from.
        **values: fields of `Recipe` and `Preprocessing` by their names;
            `init`, for all kernels, with which biases start at 0 ("he") or
            are drawn too ("torch"); `dropout`, the rate of all dropout
            layers; and `without`, see there.

    Raises:
        ValueError: if a value is negative, a rate of dropout not below 1, the
            crop larger than the picture, or the start or a name unknown.
    """
    values = {k: v for k, v in values.items() if v is not None}
    _check_values(values)
    init, dropout = values.pop("init", None), values.pop("dropout", None)
    preset = without(preset, *values.pop("ablate", ()))
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
            "Expected a crop no larger than the picture. Received: crop_size="
            f"{preprocessing.crop_size}, image_size={preprocessing.image_size}."
        )
    layers = preset.layers
    if init is not None:
        layers = _replace(layers, Conv | Dense, init=init, bias=0.0)
    if dropout is not None:
        layers = _replace(layers, Dropout, rate=dropout)
    return Preset(preset.name, layers, preprocessing, recipe)


def without(preset: Preset, *parts: str) -> Preset:
    """`preset` less what the paper and its authors took away to see its worth.

    Args:
        preset: the `Preset` to start from.
        *parts: of
            "norm": all response normalisation (PAPER 3.3; CHM
                layers-148.cfg);
            "overlap": pooling windows of 2 in place of 3, with which conv2
                pads by 1 and conv5 not at all (PAPER 3.4; CHM
                layers-147.cfg);
            "tower": one of the two; conv5 and the fully connected layers keep
                their size (PAPER 3.2; CHM layers-145-half.cfg);
            and the name of any convolution behind the first one, whose ReLU
            goes along (PAPER 7).

    Raises:
        ValueError: if it has no such part.
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
    # 55 - 28 - 26 - 13 - 13 - 11 - 6: windows hang over the edge, as "same"
    # lets them.
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
    places = [i for i, each in enumerate(layers) if isinstance(each, Conv)][1:]
    for place in places:
        if layers[place].name == name:
            behind = place + 1
            behind += isinstance(layers[behind], ReLU)
            return (*layers[:place], *layers[behind:])
    return layers


def _check_values(values):
    for name, value in values.items():
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError(
                f"Expected {name} to be a number from 0 on. Received: "
                f"{name}={value}."
            )
    if values.get("dropout", 0) >= 1:
        raise ValueError(
            "Expected a rate of dropout below 1. Received: dropout="
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
