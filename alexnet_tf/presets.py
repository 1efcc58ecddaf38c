"""The table of presets: variants of AlexNet with their preprocessing and recipe.

A preset binds an architecture, its preprocessing and its training recipe, so that one
name selects all three. The layers have Caffe's names and are listed in the order in
which they are applied.

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
import re
import typing
from typing import Literal

from alexnet_tf import preset_files
from alexnet_tf import settings

# The distribution of initial kernels. A number is the standard deviation of a Gaussian
# with mean 0. "he" is a Gaussian with mean 0 and variance 2 / fan_in (He et al. 2015,
# arXiv:1502.01852). "torch" is PyTorch's default, a uniform distribution between
# -1 / sqrt(fan_in) and 1 / sqrt(fan_in), from which the biases are drawn too.
Init = float | Literal["he", "torch"]


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution without an activation.

    Attributes:
        padding: "valid", "same", or the numbers of rows and columns of zeros to add,
            ((top, bottom), (left, right)).
        groups: the number of towers; the filters of a tower are applied to the maps of
            the same tower only.
        init: the distribution of the initial kernel.
        bias: the initial value of all biases; not used if `init` is "torch".
    """

    name: str
    filters: int
    kernel_size: int
    stride: int = 1
    padding: (
        Literal["valid", "same"] | tuple[tuple[int, int], tuple[int, int]]
    ) = "same"
    groups: int = 1
    init: Init = 0.01
    bias: float = 0.0


@dataclasses.dataclass(frozen=True)
class ReLU:
    """The activation max(x, 0) (PAPER 3.1)."""

    name: str


@dataclasses.dataclass(frozen=True)
class Tanh:
    """The activation with which the ReLU is compared (PAPER 3.1, Fig. 1)."""

    name: str


@dataclasses.dataclass(frozen=True)
class ResponseNorm:
    """The normalization x / (bias + alpha * sum of squares)^beta across maps.

    The sum is over 2 * depth_radius + 1 maps. `alpha` multiplies the sum itself, as in
    the paper and TensorFlow. Caffe and the original source specify n times this value,
    where n is the number of maps in the sum, and divide it by n (CHM layer.py:1183;
    CAFFE src/caffe/layers/lrn_layer.cpp:114-140).
    """

    name: str
    bias: float
    alpha: float
    beta: float = 0.75
    depth_radius: int = 2
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class SpatialNorm:
    """The normalization x / (bias + alpha * sum of squares)^beta within each map.

    The sum is over a window of size x size pixels.
    """

    name: str
    size: int
    alpha: float
    bias: float = 1.0
    beta: float = 0.75


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """Batch normalization of each map or unit (Ioffe, Szegedy 2015, arXiv:1502.03167).

    No preset of this module has it: it is newer than the paper.

    Attributes:
        momentum: the factor of the moving averages of mean and variance in each step.
            They need about 5 / (1 - momentum) steps: in shorter runs, the validation
            error is far too high.
        epsilon: the constant that is added to the variance.
    """

    name: str
    momentum: float = 0.99
    epsilon: float = 0.001


@dataclasses.dataclass(frozen=True)
class Pool:
    """A pooling layer with square windows, which overlap by default (PAPER 3.4)."""

    name: str
    size: int = 3
    stride: int = 2
    kind: Literal["max", "average"] = "max"
    padding: Literal["valid", "same"] = "valid"


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Dropout, where `rate` is the fraction of inputs that are set to 0."""

    name: str
    rate: float = 0.5


@dataclasses.dataclass(frozen=True)
class Dense:
    """A fully connected layer without an activation.

    Attributes:
        units: the number of outputs; None for one output for each class.
        init: the distribution of the initial kernel.
        bias: the initial value of all biases; not used if `init` is "torch".
    """

    name: str
    units: int | None
    init: Init = 0.01
    bias: float = 0.0


Layer = (
    Conv | ReLU | Tanh | ResponseNorm | SpatialNorm | BatchNorm | Pool | Dropout | Dense
)
LAYER_NAMES = ", ".join(kind.__name__ for kind in typing.get_args(Layer))


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The computation of the network's input from an image.

    Attributes:
        image_size: the side, in pixels, of the square that is cropped from the center
            of the resized image (PAPER 2).
        crop_size: the side of the network's input in pixels.
        resize: "short_side" resizes the short side to `image_size` and keeps the
            aspect ratio; "squash" resizes both sides to `image_size`.
        channel_order: the channel order of the network's input.
        mean: the mean of the training split that is subtracted: the mean of each pixel
            ("image") or of each channel ("channel").
        mean_position: the part of the mean image that is subtracted: the center for
            all crops ("center"), or the part at the position of the crop ("crop").
        divide_by_std: whether to divide by the standard deviation of each channel.
        channel_mean: published means of the channels, RGB on the 0-255 scale; None for
            the means of the training split.
        channel_std: published standard deviations of the channels, RGB on the 0-255
            scale; None for the standard deviations of the training split.
        imagenet_mean: the means of the channels of ILSVRC-2012 under the preprocessing
            of published weights, RGB on the 0-255 scale. They are used with published
            weights, for which there is no training split.
        random_crop: whether training uses crops at random positions instead of the
            center crop.
        flip: whether training mirrors half of the images.
        pca_color_std: the standard deviation of the random factors of PCA color
            augmentation. In training, the principal components of the RGB values are
            multiplied by these factors and added to the pixels (PAPER 4.1).
        pca_color_divisor: the number by which training divides the pixels after PCA
            color augmentation.
        pca_color_epochs: the number of epochs with PCA color augmentation, counted
            from the first; None for all epochs.
        exif_orientation: whether images are turned upright according to the EXIF
            orientation in their JPEG files. `training.train_dataset` sets it to its own
            argument of this name.
    """

    image_size: int = 256
    crop_size: int = 224
    resize: Literal["short_side", "squash"] = "short_side"
    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: Literal["image", "channel"] = "image"
    # The paper does not state the position; CHM convdata_jpeg.py:95,209-211 does.
    mean_position: Literal["center", "crop"] = "center"
    divide_by_std: bool = False
    channel_mean: tuple[float, float, float] | None = None
    channel_std: tuple[float, float, float] | None = None
    # The values are data_mean of CC2 make-data/input_meta.
    imagenet_mean: tuple[float, float, float] = (127.3049, 119.7154, 104.9126)
    random_crop: bool = True
    flip: bool = True
    pca_color_std: float = 0.1
    pca_color_divisor: float = 1.0
    pca_color_epochs: int | None = None
    # All authors use the images of ILSVRC-2012 as they are stored.
    exif_orientation: bool = False


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The hyperparameters of training.

    The defaults are those of PAPER 5, except `patience`: the authors lowered the
    learning rate by hand when the validation error stopped improving.

    Attributes:
        batch_size: the number of images in a step, over all devices.
        learning_rate: the learning rate of the first step.
        momentum: the momentum of the update rule in `optimizers.MomentumSGD`.
        weight_decay: the weight decay of the same update rule.
        bias_lr_multiplier: the learning rate of the biases relative to that of the
            kernels.
        bias_lr_follows_schedule: whether the learning rate of the biases follows the
            schedule; otherwise it is constant.
        schedule: the name of a schedule of the learning rate, which
            `optimizers.learning_rate` describes.
        boundaries: the epochs before which "step" divides the learning rate by 10.
        patience: the number of evaluations without a lower validation error after
            which "plateau" divides the learning rate by 10.
        epochs: the maximum number of epochs.
        layer_lr_multipliers: tuples of (layer name, epoch, factor). From this epoch on,
            the learning rate of the layer is multiplied by the factor, and no longer by
            that of an earlier epoch. A layer with factor 0 is not updated at all.
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
    """An architecture with its preprocessing and its training recipe.

    Attributes:
        name: the name of the preset.
        layers: the layers in the order in which they are applied.
        preprocessing: the preprocessing of the images.
        recipe: the hyperparameters of training.
    """

    name: str
    layers: tuple[Layer, ...]
    preprocessing: Preprocessing = Preprocessing()
    recipe: Recipe = Recipe()

    @property
    def weighted_layers(self) -> tuple[str, ...]:
        """The names of the layers with weights."""
        kinds = Conv | BatchNorm | Dense
        return tuple(layer.name for layer in self.layers if isinstance(layer, kinds))


# An input side of 224 pixels gives 55 outputs only if the last window of conv1 extends
# beyond the image: the original source computes 1 + ceil((224 - 11) / 4) = 55 windows
# (CHM layer.py:1004) and reads zeros beyond the right and the bottom edge.
OVERHANG = ((0, 3), (0, 3))
PAPER_NORM = dict(bias=2.0, alpha=1e-4)  # PAPER 3.3: k = 2, alpha = 1e-4

# CHM layer-params-145.cfg:137-155: minDiv is 2, and scale is 1e-4, which is divided by
# the size of 5. Each of the two towers is normalized separately.
CODE_NORM = dict(bias=2.0, alpha=1e-4 / 5, groups=2)

# CAFFE models/bvlc_alexnet/train_val.prototxt: alpha is 1e-4, which is divided by
# local_size, 5; k is 1 by default (src/caffe/proto/caffe.proto:879-888).
CAFFE_NORM = dict(bias=1.0, alpha=1e-4 / 5)


def _convolutions(
    *,
    norm,
    widths=(96, 256, 384, 384, 256),
    groups=2,
    conv1_padding=OVERHANG,
    conv2_init=0.01,
    deep_init=0.01,
    hidden_bias=1.0,
):
    """Returns the layers conv1 to pool5 in the paper's order (PAPER 3.1-3.5, 5).

    Args:
        norm: the constants of norm1 and norm2, as arguments of `ResponseNorm`.
        widths: the numbers of filters of the five convolutions.
        groups: the number of towers, to which the connections of conv2, conv4 and
            conv5 are restricted.
        conv1_padding: the padding of conv1.
        conv2_init: the initialization of the kernels of conv2. That of conv1 is .01.
        deep_init: the initialization of the kernels of conv3, conv4 and conv5.
        hidden_bias: the initial biases of conv2, conv4 and conv5, which are 1 in the
            paper. The initial biases of conv1 and conv3 are 0.
    """
    width1, width2, width3, width4, width5 = widths
    return (
        Conv("conv1", width1, 11, 4, conv1_padding),
        ReLU("relu1"),
        ResponseNorm("norm1", **norm),
        Pool("pool1"),
        Conv("conv2", width2, 5, groups=groups, init=conv2_init, bias=hidden_bias),
        ReLU("relu2"),
        ResponseNorm("norm2", **norm),
        Pool("pool2"),
        Conv("conv3", width3, 3, init=deep_init),
        ReLU("relu3"),
        Conv("conv4", width4, 3, groups=groups, init=deep_init, bias=hidden_bias),
        ReLU("relu4"),
        Conv("conv5", width5, 3, groups=groups, init=deep_init, bias=hidden_bias),
        ReLU("relu5"),
        Pool("pool5"),
    )


def _classifier(
    *, units=4096, hidden_init=0.01, init=0.01, hidden_bias=1.0, dropout=0.5
):
    """Returns the layers fc6 to fc8 in the paper's order (PAPER 3.5, 4.2, 5).

    Args:
        units: the number of units of fc6 and of fc7.
        hidden_init: the initialization of the kernels of fc6 and fc7.
        init: the initialization of the kernel of fc8.
        hidden_bias: the initial biases of fc6 and fc7. The initial biases of fc8 are 0.
        dropout: the dropout rate of the outputs of fc6 and of fc7.
    """
    return (
        Dense("fc6", units, init=hidden_init, bias=hidden_bias),
        ReLU("relu6"),
        Dropout("drop6", dropout),
        Dense("fc7", units, init=hidden_init, bias=hidden_bias),
        ReLU("relu7"),
        Dropout("drop7", dropout),
        Dense("fc8", None, init=init),
    )


def _reorder(layers, *names):
    """Returns the layers, with the layers called `names` in the order of `names`.

    The other layers keep their positions.
    """
    by_name = {layer.name: layer for layer in layers}
    ordered_names = iter(names)
    return tuple(
        by_name[next(ordered_names)] if layer.name in names else layer
        for layer in layers
    )


def _insert_after(name, layers, *new_layers):
    """Returns the layers with `new_layers` inserted after the layer called `name`."""
    index = [layer.name for layer in layers].index(name) + 1
    return (*layers[:index], *new_layers, *layers[index:])


_PAPER_CONVOLUTIONS = _convolutions(norm=PAPER_NORM)

# The authors changed the learning rate manually: it was .01 and was divided by 10 at
# epochs 25, 51 and 79. The learning rate of conv1 was also divided by 10 at epoch 67,
# and conv1 was frozen from epoch 72. Training was stopped at epoch 91 (CHM
# layer-params-145.cfg:169-181).
_CODE_RECIPE = Recipe(
    # At the beginning of the run, the learning rate of the kernels, epsW, was .01, and
    # the learning rate of the biases, epsB, was .02 (CHM layer-params-153.cfg). At the
    # end of the run, epsB was still .02 (CHM layer-params-145.cfg:17-119).
    bias_lr_multiplier=2.0,
    bias_lr_follows_schedule=False,
    schedule="step",
    boundaries=(25, 51, 79),
    epochs=91,
    layer_lr_multipliers=(("conv1", 67, 0.1), ("conv1", 72, 0.0)),
)

# The crops are those of CAFFE models/bvlc_alexnet/train_val.prototxt:10-36. Images are
# squashed (examples/imagenet/readme.md:36), and the mean at the position of the crop is
# subtracted (src/caffe/data_transformer.cpp:101,113-115). There is no PCA color
# augmentation (models/bvlc_alexnet/readme.md).
_CAFFE_PREPROCESSING = Preprocessing(
    crop_size=227,
    resize="squash",
    channel_order="bgr",
    mean_position="crop",
    # These are the means of CAFFE's ilsvrc_2012_mean.npy, which has the order B, G, R.
    imagenet_mean=(122.67891434, 116.66876762, 104.00698793),
    pca_color_std=0.0,
)

# In CAFFE models/bvlc_alexnet/solver.prototxt, training has 450,000 iterations of 256
# images, which are 89.9 epochs, and the learning rate is divided every 100,000
# iterations, which are 19.98 epochs. For biases, lr_mult is 2 and decay_mult is 0
# (models/bvlc_alexnet/train_val.prototxt).
_CAFFE_RECIPE = Recipe(
    batch_size=256,
    bias_lr_multiplier=2.0,
    schedule="step",
    boundaries=(20, 40, 60, 80),
)

# The schedule, the batch size and the learning rates are those of the one-GPU example
# in LearningRates.md of the wiki of CC2.
_OWT_RECIPE = Recipe(schedule="stepped_exponential", bias_lr_multiplier=2.0)


def _with_cnorm2(layers):
    """Returns the layers with the original source's normalization within each map.

    The paper does not mention this layer. It is defined in CHM layers-145.cfg:107-117;
    its scale is .001 (CHM layer-params-145.cfg:157-163), which is divided by 5 * 5
    (CHM layer.py:1183).
    """
    cnorm2 = SpatialNorm("cnorm2", size=5, alpha=0.001 / 25)
    return _insert_after("norm2", layers, cnorm2)


_CODE_CONVOLUTIONS = _reorder(
    # The first normalization precedes its ReLU, and the ReLUs of conv1 and conv5 follow
    # the pooling (CHM layers-145.cfg:9-63,192-236). The standard deviation of the
    # initial kernels of conv3 to conv5 is .03 (CHM layers-145.cfg:135-218).
    _reorder(
        _with_cnorm2(_convolutions(norm=CODE_NORM, deep_init=0.03)),
        "norm1", "pool1", "relu1",
    ),
    "pool5", "relu5",
)

_CAFFE_LAYERS = (
    # In CAFFE models/bvlc_alexnet/train_val.prototxt:40-367, biases other than 0 are
    # initialized to .1, and the standard deviation is .005 in fc6 and fc7.
    *_convolutions(
        norm=CAFFE_NORM, conv1_padding="valid", hidden_bias=0.1
    ),
    *_classifier(hidden_init=0.005, hidden_bias=0.1),
)

_CAFFENET_LAYERS = _reorder(
    # In CAFFE models/bvlc_reference_caffenet/train_val.prototxt, pooling precedes
    # normalization, and biases other than 0 are initialized to 1.
    _reorder(
        (
            *_convolutions(norm=CAFFE_NORM, conv1_padding="valid"),
            *_classifier(hidden_init=0.005),
        ),
        "pool1", "norm1",
    ),
    "pool2", "norm2",
)

# In TV, conv1 pads by 2 on each side, nothing is normalized, and dropout precedes fc6
# and fc7.
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

# In CHM layers-146-2012-2011.cfg, conv6 follows pool5 and is connected to the maps of
# both towers.
_CONV6 = (Conv("conv6", 256, 3, init=0.03, bias=1.0), ReLU("relu_conv6"))

# This is the network of CHM example-layers/layers-18pct.cfg in the form of CAFFE
# examples/cifar10/cifar10_full_train_test.prototxt. The pooling windows extend beyond
# the right and the bottom edge (32 -> 16 -> 8 -> 4); for an even side, "same" has this
# effect. Version 0.1 called the preset cifar10_quick, but Caffe's cifar10_quick is
# another network.
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
        # Batches are divided by 1 + 0.1 after the augmentation (CHM
        # convdata_jpeg.py:156-159), which ends 24 epochs before the end of the run
        # (CHM layer-params-145.cfg:169-181).
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
        # These are the constants of the weights in TV, which are preprocessed by
        # ImageClassification(crop_size=224).
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
        (*_insert_after("pool5", _PAPER_CONVOLUTIONS, *_CONV6), *_classifier()),
    ),
    Preset(
        "cifar10_full",
        _CIFAR10_LAYERS,
        Preprocessing(image_size=32, crop_size=32, pca_color_std=0.0),
        # The weight decay is Caffe's. The schedule resembles Caffe's, in which the
        # learning rate is constant and is divided twice at the end of training, but
        # this recipe has a sixth of the epochs and twice the learning rate.
        Recipe(
            learning_rate=0.002,
            weight_decay=0.004,
            bias_lr_multiplier=2.0,
            schedule="step",
            boundaries=(17, 19),
            epochs=20,
        ),
    ),
    # `tiny` has the layers of the paper with fewer filters and units, for small images.
    # Its recipe is made for a demonstration of two minutes, not for comparisons:
    # - The kernels of conv1 and fc8 are initialized as in the paper, with a standard
    #   deviation of .01. In conv1, He initialization has a standard deviation of
    #   .074, which remains visible as noise beside the learned kernels of about .1. The
    #   kernels of the other layers have He initialization: with that of the paper in
    #   all layers, the loss stays at ln(classes) for 1,000 steps. The biases are
    #   initialized to 0, because Caffe reports that the loss stays there with the
    #   paper's biases of 1 too (CAFFE models/bvlc_alexnet/readme.md).
    # - The dropout rate is .3. At the paper's .5, half of 128 units are too few, and
    #   one run in three had not separated the last two classes after 26 epochs.
    # - The learning rate stays at the paper's .01 for three quarters of the epochs: if
    #   it decreased early, conv1 would not outgrow its initialization.
    Preset(
        "tiny",
        (
            *_convolutions(
                norm=PAPER_NORM,
                widths=(16, 32, 48, 48, 32),
                conv2_init="he",
                deep_init="he",
                hidden_bias=0.0,
            ),
            *_classifier(units=128, hidden_init="he", hidden_bias=0.0, dropout=0.3),
        ),
        Preprocessing(
            image_size=73, crop_size=64, mean="channel", divide_by_std=True
        ),
        Recipe(batch_size=32, schedule="step", boundaries=(13, 16), epochs=17),
    ),
)

PRESETS = {preset.name: preset for preset in _ALL}

# The types of the arguments of `override`.
_OVERRIDE_TYPES = {
    "init": Literal["he", "torch"],
    "dropout": float,
    **{
        field.name: field.type
        for part in (Preprocessing, Recipe)
        for field in dataclasses.fields(part)
    },
}

# The arguments of `override` that must not be 0.
_POSITIVE = (
    "batch_size", "epochs", "image_size", "crop_size", "patience", "pca_color_divisor"
)  # fmt: skip

# The arguments of `override` that are also flags of `alexnet_tf.train`.
OVERRIDES = (
    "batch_size", "learning_rate", "momentum", "weight_decay", "bias_lr_multiplier",
    "schedule", "boundaries", "patience", "epochs",
    "image_size", "crop_size", "resize", "mean", "divide_by_std", "random_crop", "flip",
    "pca_color_std", "pca_color_divisor", "pca_color_epochs",
    "ablate", "init", "dropout",
)  # fmt: skip


# {name or value in the network.json of version 0.1: the current name or value}.
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


def get(preset: str | Preset) -> Preset:
    """Returns the preset that a name or a file stands for.

    A Python file is executed. It contains, for example:

        import dataclasses
        from alexnet_tf import presets
        tiny = presets.get("tiny")
        WIDE = dataclasses.replace(tiny, name="wide", layers=(...))

    Args:
        preset: a name in `PRESETS`; "FILE.py:NAME" for the variable NAME of a Python
            file; "FILE.json" for a dict from `to_dict` or the network.json of a run;
            or a `Preset`, which is returned unchanged.

    Raises:
        ValueError: if there is no preset of this name, the file has no valid preset,
            see `check`, the code in a Python file raises an error, or a preset in a
            Python file has the name of a different preset in `PRESETS`.
        OSError: if the file cannot be read.
    """
    if isinstance(preset, Preset):
        return preset
    if isinstance(preset, str) and preset in PRESETS:
        return PRESETS[preset]
    if preset_files.is_file(preset):
        return _from_file(preset)
    raise ValueError(
        f"Expected one of the presets {', '.join(PRESETS)}, or a file, FILE.py:NAME or "
        f"FILE.json. Received: {preset=}."
    )


def _from_file(path):
    """Returns the checked preset of a file, see `get`."""
    content = preset_files.read(path)
    try:
        if isinstance(content, dict) and path.endswith(".json"):
            content = from_dict(content)
        elif PRESETS.get(getattr(content, "name", None), content) != content:
            raise ValueError(
                "Expected a name that no other preset has. Received: "
                f"{content.name!r}. Give the preset a name of its own."
            )
        return check(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = error if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"The preset in {path} is not valid: {reason}") from error


def check(preset: Preset) -> Preset:
    """Returns a preset unchanged if its name, its fields and its layers are valid.

    Raises:
        ValueError: if the name contains other characters than letters, digits and
            "_.-", a field has the wrong type or is none of its choices, a number of
            the recipe or of the preprocessing is out of range, two layers have the same
            name, the last layer is not `Dense(name, None)`, or `layer_lr_multipliers`
            names anything but a layer with weights.
    """
    if not isinstance(preset, Preset):
        raise ValueError(f"Expected a presets.Preset. Received: {preset!r:.80}.")
    if not (isinstance(preset.name, str) and re.fullmatch(r"[\w.-]+", preset.name)):
        raise ValueError(
            "Expected the name of a preset to consist of letters, digits, _, . and -. "
            f"Received: name={preset.name!r}."
        )
    _check_layers(preset.layers)
    for part, kind in ((preset.preprocessing, Preprocessing), (preset.recipe, Recipe)):
        if not isinstance(part, kind):
            raise ValueError(f"Expected a presets.{kind.__name__}. Received: {part!r}.")
        _check_fields(part, kind.__name__)
        _check_values(vars(part))
    _check_crop(preset.preprocessing)
    _check_layer_lr_multipliers(preset)
    return preset


def _check_layers(layers):
    for layer in layers:
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Expected layers that are one of {LAYER_NAMES}. Received: {layer!r}."
            )
        _check_fields(layer, f"{type(layer).__name__} {layer.name}")
    names = [layer.name for layer in layers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            "Expected layers with different names. Received more than once: "
            f"{', '.join(repeated)}."
        )
    if not (layers and isinstance(layers[-1], Dense) and layers[-1].units is None):
        raise ValueError(
            "Expected a last layer Dense(name, None), with one output for each class. "
            f"Received: {layers[-1] if layers else layers!r}."
        )


def _check_fields(part, description):
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        _check_type(field.name, value, field.type, f" of {description}")


def _check_type(name, value, kind, owner=""):
    if not _has_type(value, kind):
        *others, last = _type_names(kind)
        expected = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(
            f"Expected {name}{owner} to be {expected}. Received: {name}={value!r}."
        )


def _has_type(value, kind):
    """Returns whether a value has a type that can be written as JSON.

    Args:
        value: the value.
        kind: a plain type, or a union, Literal or tuple of such types. An integer is a
            float, too, but a boolean is no number.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments
        if arguments[-1] is Ellipsis:
            kinds = arguments[:1] * len(value)
        return len(value) == len(kinds) and all(map(_has_type, value, kinds))
    if arguments:  # This is a union.
        return any(_has_type(value, argument) for argument in arguments)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _type_names(kind):
    """Returns the names of the types of a union, or of a single type, for an error."""
    if kind is type(None):
        return ["None"]
    arguments = typing.get_args(kind)
    if not arguments:
        return [f"of type {kind.__name__}"]
    if typing.get_origin(kind) is tuple:
        return [f"of type {kind}"]
    if typing.get_origin(kind) is Literal:
        return [f'"{choice}"' for choice in arguments]
    return [name for argument in arguments for name in _type_names(argument)]


def _check_layer_lr_multipliers(preset):
    names = preset.weighted_layers
    for name, _, factor in preset.recipe.layer_lr_multipliers:
        if factor < 0:
            raise ValueError(
                "Expected layer_lr_multipliers of Recipe to have factors of at least "
                f"0. Received: {factor} for {name}."
            )
        if name not in names:
            raise ValueError(
                "Expected layer_lr_multipliers of Recipe to name some of the layers "
                f"{', '.join(names)}. Received: {name!r}."
            )


def _check_crop(preprocessing):
    if preprocessing.crop_size > preprocessing.image_size:
        raise ValueError(
            "Expected a crop no larger than the image. Received: crop_size="
            f"{preprocessing.crop_size}, image_size={preprocessing.image_size}."
        )


def to_dict(preset: Preset) -> dict:
    """Returns a preset as a dict that can be written as JSON."""
    layers = [
        {"type": type(layer).__name__, **dataclasses.asdict(layer)}
        for layer in preset.layers
    ]
    return {**dataclasses.asdict(preset), "layers": layers}


def from_dict(content: dict) -> Preset:
    """Returns the `Preset` for a dict that `to_dict` returned.

    Names and values of version 0.1 are converted to the current ones.
    Preprocessing and recipe may be missing: all their fields have defaults.

    Args:
        content: the dict, which may have been written as JSON and read again.

    Raises:
        KeyError, TypeError: if a field or a layer type is missing or unknown.
    """
    layer_types = {kind.__name__: kind for kind in typing.get_args(Layer)}
    layers = []
    for fields in content["layers"]:
        fields = dict(fields)
        layers.append(layer_types[fields.pop("type")](**_with_tuples(fields)))
    preprocessing, recipe = (
        {_RENAMED.get(key, key): _renamed_value(value) for key, value in part.items()}
        for part in (content.get("preprocessing", {}), content.get("recipe", {}))
    )
    return Preset(
        _renamed_value(content["name"]),
        tuple(layers),
        Preprocessing(**_with_tuples(preprocessing)),
        Recipe(**_with_tuples(recipe)),
    )


def _renamed_value(value):
    return _RENAMED.get(value, value) if isinstance(value, str) else value


def _with_tuples(value):
    """Returns a value from JSON with tuples in place of lists."""
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    return value


def override(preset: Preset, **values) -> Preset:
    """Returns a copy of a preset in which single values are replaced.

    Args:
        preset: the `Preset` to start from.
        **values: new values by name, where None leaves the preset's value unchanged.
            The names are the fields of `Recipe` and `Preprocessing`, and
            init: the initialization of all kernels, "he" or "torch". With "he", the
                biases are initialized to 0; with "torch", they are random too.
            dropout: the dropout rate of all dropout layers.
            ablate: the part or parts to remove, as for the function `ablate`.

    Raises:
        ValueError: if a name or a choice is unknown, a value has the wrong type, a
            number is negative or not finite, a size or a divisor is 0, the dropout rate
            is not less than 1, the crop is larger than the image, or the preset does
            not have a part to remove.
    """
    values = {
        name: _with_tuples(value) for name, value in values.items() if value is not None
    }
    for name, value in values.items():
        if name in _OVERRIDE_TYPES:
            _check_type(name, value, _OVERRIDE_TYPES[name])
    _check_values(values)
    given = dict(values)
    init, dropout = values.pop("init", None), values.pop("dropout", None)
    preset = ablate(preset, *settings.as_names(values.pop("ablate", None)))
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
        raise ValueError(
            "Expected fields of Recipe or Preprocessing, init, dropout or ablate. "
            f"Received: {values}."
        )
    _check_crop(preprocessing)
    _check_schedule(recipe, preset.recipe, given)
    layers = preset.layers
    if init is not None:
        layers = _replace(layers, Conv | Dense, init=init, bias=0.0)
    if dropout is not None:
        layers = _replace(layers, Dropout, rate=dropout)
    return Preset(preset.name, layers, preprocessing, recipe)


def ablate(preset: Preset, *parts: str) -> Preset:
    """Returns a copy of a preset without parts that the paper or its authors ablated.

    Args:
        preset: the `Preset` to start from.
        *parts: the parts to remove:
            "norm": all response normalization layers (PAPER 3.3; CHM layers-148.cfg).
            "overlap": the overlap of pooling windows, whose side becomes 2. In networks
                with conv5, conv2 pads by 1 and conv5 does not pad (PAPER 3.4; CHM
                layers-147.cfg).
            "tower": one of the two towers. conv5 and the fully connected layers keep
                their size (PAPER 3.2; CHM layers-145-half.cfg).
            The name of a convolution other than the first: the convolution and the
                batch normalization and activation that directly follow it (PAPER 7).

    Raises:
        ValueError: if the preset does not have one of the parts.
    """
    layers = preset.layers
    for part in parts:
        previous_layers, layers = layers, _without_part(layers, part)
        if layers == previous_layers:
            removable = ", ".join(_removable_parts(layers))
            raise ValueError(
                f"Expected some of {removable}, the parts of {preset.name} that can be "
                f"removed. Received: {part!r}."
                if removable
                else f"Expected no part to remove: {preset.name} has none. Received: "
                f"{part!r}."
            )
    return dataclasses.replace(preset, layers=layers)


def _without_part(layers, part):
    """Returns the layers without a part, or the same layers if they do not have it."""
    if part == "norm":
        norms = ResponseNorm | SpatialNorm
        return tuple(layer for layer in layers if not isinstance(layer, norms))
    if part == "overlap":
        return _without_overlap(layers)
    if part == "tower":
        return _without_tower(layers)
    return _without_convolution(layers, part)


def _removable_parts(layers):
    """Returns the parts that `ablate` can remove."""
    convolutions = [layer.name for layer in layers if isinstance(layer, Conv)]
    candidates = ("norm", "overlap", "tower", *convolutions[1:])
    return [part for part in candidates if _without_part(layers, part) != layers]


def _without_overlap(layers):
    layers = _replace(layers, Pool, size=2, padding="same")
    # The sides of the maps are 55 (conv1), 28 (pool1), 26 (conv2), 13 (pool2), 13
    # (conv3, conv4), 11 (conv5) and 6 (pool5). For the odd sides, pooling windows have
    # to extend beyond the edge, as with "same".
    smaller_paddings = {"conv2": ((1, 1), (1, 1)), "conv5": "valid"}
    has_conv5 = any(layer.name == "conv5" for layer in layers)
    return tuple(
        dataclasses.replace(layer, padding=smaller_paddings[layer.name])
        if has_conv5 and layer.name in smaller_paddings
        else layer
        for layer in layers
    )


def _without_tower(layers):
    if all(layer.groups == 1 for layer in layers if isinstance(layer, Conv)):
        return layers
    layers = _replace(layers, Conv | ResponseNorm, groups=1)
    return tuple(
        dataclasses.replace(layer, filters=layer.filters // 2)
        if isinstance(layer, Conv) and layer.name != "conv5"
        else layer
        for layer in layers
    )


def _without_convolution(layers, name):
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, Conv)]
    for index in convolutions[1:]:
        if layers[index].name == name:
            end = index + 1
            for kinds in (BatchNorm, ReLU | Tanh):
                end += isinstance(layers[end], kinds)
            return (*layers[:index], *layers[end:])
    return layers


def _check_values(values):
    for name, value in values.items():
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError(
                f"Expected {name} to be a finite number of at least 0. Received: "
                f"{name}={value}."
            )
    for name in _POSITIVE:
        if values.get(name) == 0:
            raise ValueError(
                f"Expected {name} to be greater than 0. Received: {name}=0."
            )
    for name in ("dropout", "momentum"):
        if values.get(name, 0) >= 1:
            raise ValueError(
                f"Expected {name} to be less than 1. Received: {name}={values[name]}."
            )


def _check_schedule(recipe, previous, values):
    """Raises a ValueError if a new value is not used by the schedule.

    Args:
        recipe: the `Recipe` with the new values.
        previous: the `Recipe` before.
        values: the arguments of `override`.
    """
    for name, schedule in (("boundaries", "step"), ("patience", "plateau")):
        # flags.txt, which can be given as a flagfile, has all values of the preset.
        is_new = name in values and values[name] != getattr(previous, name)
        if is_new and recipe.schedule != schedule:
            raise ValueError(
                f"Expected schedule={schedule} for {name}. Received: "
                f"{name}={values[name]}, schedule={recipe.schedule}, which does not "
                f"use it. Give schedule={schedule}, or leave {name} out."
            )
    if recipe.schedule == "step" and not recipe.boundaries and "schedule" in values:
        raise ValueError(
            "Expected boundaries for schedule=step, the epochs before which the "
            "learning rate is divided by 10. Received: none. Give boundaries, or "
            "schedule=constant."
        )


def _replace(layers, kind, **values):
    """Returns the layers, with new field values in the layers of the class `kind`."""
    return tuple(
        dataclasses.replace(layer, **values)
        if isinstance(layer, kind)
        else layer
        for layer in layers
    )
