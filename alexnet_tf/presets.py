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

import os

from alexnet_tf.preset_changes import ablate
from alexnet_tf.preset_changes import check_used
from alexnet_tf.preset_changes import override
from alexnet_tf.preset_changes import OVERRIDES
from alexnet_tf.preset_checks import check
from alexnet_tf.preset_checks import check_fields
from alexnet_tf import preset_files
from alexnet_tf.preset_files import from_dict
from alexnet_tf.preset_files import to_dict
from alexnet_tf.preset_types import BatchNorm
from alexnet_tf.preset_types import Conv
from alexnet_tf.preset_types import Dense
from alexnet_tf.preset_types import Dropout
from alexnet_tf.preset_types import Layer
from alexnet_tf.preset_types import Pool
from alexnet_tf.preset_types import Preprocessing
from alexnet_tf.preset_types import Preset
from alexnet_tf.preset_types import Recipe
from alexnet_tf.preset_types import ReLU
from alexnet_tf.preset_types import ResponseNorm
from alexnet_tf.preset_types import SpatialNorm
from alexnet_tf.preset_types import Tanh
from alexnet_tf import published
from alexnet_tf import settings

# Own presets are written with these names.
__all__ = (
    "BatchNorm", "Conv", "Dense", "Dropout", "Layer", "Pool", "Preprocessing", "Preset",
    "Recipe", "ReLU", "ResponseNorm", "SpatialNorm", "Tanh",
    "PRESETS", "OVERRIDES", "ablate", "check", "check_fields", "check_used",
    "from_dict", "get", "override", "to_dict",
)  # fmt: skip

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

# The batch size and, for the kernels, the schedule and the learning rates are those of
# the one-GPU example in LearningRates.md of the wiki of CC2. The biases have another
# schedule there.
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

def get(preset: str | os.PathLike | Preset) -> Preset:
    """Returns the preset that a name or a file stands for.

    A Python file is executed. It contains, for example:

        import dataclasses
        from alexnet_tf import presets
        tiny = presets.get("tiny")
        WIDE = dataclasses.replace(tiny, name="wide", layers=(...))

    Args:
        preset: a name in `PRESETS`; "FILE.py:NAME" for the variable NAME of a Python
            file; "FILE.json" for a dict from `to_dict` or the network.json of a run;
            or a `Preset`, which is returned unless it has fields that are not valid,
            see `check_fields`.

    Raises:
        ValueError: if there is no preset of this name, the preset is not valid, see
            `check`, the code in a Python file raises an error, or a preset in a
            Python file has the name of a different preset in `PRESETS`.
        OSError: if the file cannot be read.
    """
    if isinstance(preset, os.PathLike):
        preset = os.fspath(preset)
    if isinstance(preset, Preset):
        return check_fields(preset)
    if isinstance(preset, str) and preset in PRESETS:
        return PRESETS[preset]
    if preset_files.is_file(preset):
        return _from_file(preset)
    hint = settings.suggest(preset, PRESETS)
    if row := isinstance(preset, str) and published.WEIGHTS.get(preset):
        hint = f" These are weights; their preset is {row.preset}."
    raise ValueError(
        f"Expected one of the presets {', '.join(PRESETS)}, or a file, FILE.py:NAME or "
        f"FILE.json. Received: {preset=}.{hint}"
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
