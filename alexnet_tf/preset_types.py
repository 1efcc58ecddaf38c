"""The parts of a preset: layers, preprocessing and recipe.

The sources are cited by the abbreviations of `presets`.
"""

import dataclasses
from typing import Literal

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
        init: the distribution of the initial kernel: a number is the standard deviation
            of a Gaussian with mean 0, "he" is the one by He et al., and "torch" that of
            PyTorch.
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
    """A pooling layer with square windows, which overlap by default (PAPER 3.4).

    Attributes:
        size: the side of a window in pixels.
        stride: the distance between two windows in pixels.
        kind: "max" or "average".
        padding: "valid", or "same" for windows that extend beyond the edge.
    """

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
        init: the distribution of the initial kernel: a number is the standard deviation
            of a Gaussian with mean 0, "he" is the one by He et al., and "torch" that of
            PyTorch.
        bias: the initial value of all biases; not used if `init` is "torch".
    """

    name: str
    units: int | None
    init: Init = 0.01
    bias: float = 0.0


Layer = (
    Conv | ReLU | Tanh | ResponseNorm | SpatialNorm | BatchNorm | Pool | Dropout | Dense
)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """The computation of the network's input from an image.

    Attributes:
        image_size: the side, in pixels, of the square that is cropped from the center
            of the resized image (PAPER 2).
        crop_size: the side of the network's input in pixels.
        resize: "short_side" resizes the short side to `image_size` and keeps the
            aspect ratio; "squash" resizes both sides to `image_size`.
        channel_order: the channel order of the network's input, "rgb" or "bgr".
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
        schedule: the schedule of the learning rate, "plateau", "step",
            "stepped_exponential" or "constant", see `optimizers.learning_rate`.
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
