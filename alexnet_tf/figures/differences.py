"""The differences of this package from the paper and from the presets' other sources.

`python -m experiments.reproduce --table` writes them to docs/differences.md.
"""

import dataclasses
from typing import Callable

from alexnet_tf import presets


def _has_layer(kind):
    """Returns a function of a preset: whether it has a layer of this class."""
    return lambda preset: any(isinstance(layer, kind) for layer in preset.layers)


def _is_one_of(*names):
    """Returns a function of a preset: whether it has one of these names."""
    return lambda preset: preset.name in names


def _has_towers(preset):
    return any(getattr(layer, "groups", 1) > 1 for layer in preset.layers)


def _has_conv1_of_paper(preset):
    """Returns whether the input is padded by 3 pixels, or has 227 already."""
    return preset.preprocessing.crop_size == 227 or any(
        getattr(layer, "padding", None) == presets.OVERHANG for layer in preset.layers
    )


def _replaces_manual_schedule(preset):
    """Returns whether the schedule stands for the manual one of the paper."""
    return preset.recipe.schedule == "plateau" or preset.name == "code2012"


def _is_for_imagenet(preset):
    return preset.preprocessing.crop_size > 200


def _has_batch_size_for_other_images(preset):
    """Returns False for the batch size of `tiny`, which is for small data sets."""
    return preset.recipe.batch_size != presets.get("tiny").recipe.batch_size


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference, described in Markdown.

    Attributes:
        number: the label by which code and experiments refer to it, such as "D1".
        source: what the paper, or the source of another preset, does.
        here: what this package does instead.
        where: the functions, classes or constants that implement the difference, in
            backticks; empty if there is no single place.
        concerns: a function that returns whether the row concerns a preset. Default:
            it concerns all presets.
    """

    number: str
    source: str
    here: str
    where: str = ""
    concerns: Callable[[presets.Preset], bool] = lambda preset: True


FROM_PAPER = (
    Difference(
        "D1",
        "Two GPUs each hold half of the kernels.",
        "Grouped convolutions have the same connections. Any number of GPUs can be "
        "used; each holds the whole network and takes a share of the batch. With "
        "`--parallelism=towers`, two devices each hold half, as in the paper.",
        "`layers.GroupedConv2D`, `distribution.make_strategy`, `towers.Towers`",
        concerns=_has_towers,
    ),
    Difference(
        "D2",
        "The input has 224 x 224 pixels, which do not give the 55 x 55 maps of conv1 "
        "in the drawing of Fig. 2.",
        "3 rows and columns of zeros are added at the bottom and on the right, as the "
        "authors' code counts windows. `caffe` and `caffenet` take 227 pixels.",
        "`presets.OVERHANG`",
        concerns=_has_conv1_of_paper,
    ),
    Difference(
        "D3",
        "alpha is 10^-4; the code divides it by n = 5.",
        "`paper` follows the text and normalizes across all maps of a layer; "
        "`code2012` follows the code and normalizes within each tower.",
        "`presets.PAPER_NORM`, `presets.CODE_NORM`",
        concerns=_has_layer(presets.ResponseNorm),
    ),
    Difference(
        "D4",
        "Testing multiplies activations by .5.",
        "Training multiplies them by 1 / (1 - rate), as Keras does, which is 2 for the "
        "paper's rate of .5. Both networks compute the same function if their weights "
        "are scaled accordingly, but training them from the same initialization gives "
        "different functions.",
        "`alexnet.AlexNet`",
        concerns=_has_layer(presets.Dropout),
    ),
    Difference(
        "D5",
        "The learning rate is lowered manually.",
        "It is divided by 10 after 5 epochs without a better validation error, three "
        "times; the fourth time ends training. `code2012` has the epochs of the "
        "authors' run, biases that keep their initial learning rate, and a conv1 that "
        "is frozen early.",
        "`optimizers.learning_rate`",
        concerns=_replaces_manual_schedule,
    ),
    Difference(
        "D6",
        "The color augmentation is scaled by the eigenvalues.",
        "It is scaled by their square roots, as in the code; the eigenvalues would add "
        "about 1,500 gray levels.",
        "`preprocess.pca_color_shift`",
        concerns=lambda preset: preset.preprocessing.pca_color_std > 0,
    ),
    Difference(
        "D7",
        "There are 2,048 crops and flips of an image; the code draws one crop for 32 "
        "images.",
        "There are 33 x 33 x 2 = 2,178, drawn for each image.",
        "`preprocess.random_offset`",
        concerns=lambda preset: (
            _is_for_imagenet(preset) and preset.preprocessing.random_crop
        ),
    ),
    Difference(
        "D8",
        "Images are resized once and stored (in the later code as JPEG, enlarged by "
        "cubic interpolation).",
        "They are resized on the fly, or once by `prepare`. Sampling positions are "
        "exact to 1/120 pixel for nine in ten of the sizes up to 3,000 pixels, and to "
        "1/17 for all of these. Images are enlarged by linear interpolation and "
        "rounded to 8 bits.",
        "`preprocess.decode_crop`",
    ),
    Difference(
        "D9",
        "The mean activity is subtracted; its position is not given.",
        "The center of the mean image is subtracted from every crop, as in the code. "
        "`caffe` and `caffenet` subtract the part at the position of the crop.",
        "`preprocess.mean_pixels`",
        concerns=lambda preset: preset.preprocessing.mean == "image",
    ),
    Difference(
        "D10",
        "Each cycle uses all images.",
        "Only full batches are used. With the paper's batch size, 15 of the 1,281,167 "
        "images are left for another epoch.",
        "`input_pipeline.training_batches`",
    ),
    Difference(
        "D11",
        "Shuffling is not described.",
        "The files are shuffled, then a buffer of 16,384 images (`--shuffle_buffer`).",
        "`input_pipeline.shuffled`",
    ),
    Difference(
        "D12",
        "In the authors' code, labels have the order of the challenge's development "
        "kit.",
        "They have the order of the sorted WordNet ids, as in TFDS, Caffe and Keras.",
        "`datasets`",
        concerns=_is_for_imagenet,
    ),
    Difference(
        "D21",
        "The filter that resizes images is not described; the later code shrinks with "
        "OpenCV's `INTER_AREA`, an average over the area of the new pixel.",
        "The filter is a triangle, whose weights decrease linearly up to a distance of "
        "one new pixel (antialiased bilinear interpolation). On two photographs, "
        "shrunk from 427 to 256 rows, the mean absolute difference to averages over "
        "areas is 1.8 and .6 gray levels.",
        "`preprocess.decode_crop`, `resample.resample`",
    ),
    Difference(
        "D22",
        "Weight decay is a part of the update rule of all weights.",
        "It applies to kernels only, and not to biases, as in the authors' code and in "
        "Caffe.",
        "`optimizers.MomentumSGD`",
        concerns=lambda preset: preset.recipe.weight_decay > 0,
    ),
)

FROM_OTHER_SOURCES = (
    Difference(
        "D13",
        "`code2012`: the file has the final learning rates and notes of the epochs; it "
        "does not say when the biases of conv1 were frozen.",
        "The biases of conv1 follow its kernels: a tenth of the learning rate from "
        "epoch 67, and frozen from epoch 72.",
        concerns=_is_one_of("code2012"),
    ),
    Difference(
        "D14",
        "`caffe`, `caffenet`: the learning rate drops every 100,000 iterations of 256 "
        "images (19.98 epochs).",
        "It drops every 20 epochs. The mean image is computed from the training split, "
        "not read from the published file.",
        concerns=_is_one_of("caffe", "caffenet"),
    ),
    Difference(
        "D15",
        "`owt`: torchvision pools pool5 to 6 x 6 for any input size, and CC2 gives the "
        "biases their own schedule.",
        "fc6 adapts to the input size, and the biases follow the schedule at twice the "
        "learning rate.",
        concerns=_is_one_of("owt"),
    ),
    Difference(
        "D16",
        "`paper_conv6`: the paper does not say how conv6 is initialized.",
        "Its standard deviation is .03 and its bias 1, from the authors' code; the "
        "other layers follow the text.",
        concerns=_is_one_of("paper_conv6"),
    ),
    Difference(
        "D17",
        "`owt`: torchvision trains on crops of random size.",
        "Training uses the paper's crops and PCA color augmentation, with "
        "torchvision's normalization of pixels.",
        concerns=_is_one_of("owt"),
    ),
    Difference(
        "D18",
        "`cifar10_full`: Caffe trains for 140 epochs without flips, with a learning "
        "rate of .001 and 250 times the weight decay on fc10.",
        "Training takes 20 epochs with flips, a learning rate of .002 and the same "
        "weight decay for all layers.",
        concerns=_is_one_of("cifar10_full"),
    ),
    Difference(
        "D19",
        "`caffe`, `caffenet` with weights from a file: Caffe subtracts its mean image.",
        "The mean of that image per channel is subtracted, 122.68, 116.67, 104.01 "
        "(RGB), in all commands and in `preprocess_input`. `--mean` subtracts the "
        "image, in all commands but `visualize`.",
        concerns=_is_one_of("caffe", "caffenet"),
    ),
    Difference(
        "D20",
        "All presets but `tiny`: the batch size is for the images of ImageNet or "
        "CIFAR-10.",
        "With fewer than ten such batches in the training split, a batch is a tenth of "
        "the split, and the learning rate is multiplied by the square root of the "
        "ratio of the batch sizes. `--batch_size` and `--learning_rate` set others.",
        concerns=_has_batch_size_for_other_images,
    ),
    Difference(
        "D23",
        "`caffe`, `caffenet`: before training, Caffe's instructions resize images with "
        "ImageMagick's `convert`, which stores them as JPEG again, or with OpenCV's "
        "bilinear interpolation without antialiasing.",
        "Images are resized on the fly by the filter of all presets, see D21.",
        concerns=_is_one_of("caffe", "caffenet"),
    ),
)


def concerning(preset):
    """Returns a list of the differences that concern a preset.

    Args:
        preset: a `presets.Preset`.
    """
    rows = (*FROM_PAPER, *FROM_OTHER_SOURCES)
    return [row for row in rows if row.concerns(preset)]
