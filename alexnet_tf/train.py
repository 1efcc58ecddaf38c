"""Trains AlexNet.

    python -m alexnet_tf.train
    python -m alexnet_tf.train --dataset=imagenet2012
    python -m alexnet_tf.train --dataset=folder:PATH --preset=caffe \
        --weights=bvlc_alexnet.npy --reinit=fc8

The same command resumes a run that was stopped. Flags that are not given have the value
of the preset; flags.txt in the work directory records all of them.
"""

import logging
import re
import sys

from absl import app
from absl import flags

from alexnet_tf import cli
from alexnet_tf import presets

# TensorFlow is imported in _train: --help must not wait for it.

_ENUM, _STRING = flags.DEFINE_enum, flags.DEFINE_string
_INTEGER, _FLOAT = flags.DEFINE_integer, flags.DEFINE_float
_BOOLEAN, _LIST = flags.DEFINE_boolean, flags.DEFINE_list

_RUN = [
    _STRING(
        "dataset",
        "textures",
        "Data set to train on: textures (drawn on first use), any image classification "
        "data set of TFDS (imagenet2012, cifar10:3.0.2), folder:PATH of class folders, "
        "list:FILE of `path label` lines.",
    ),
    _STRING("train_split", "train", "Split to train on, such as train[:90%]."),
    _STRING(
        "eval_split",
        None,
        "Split to measure the validation error on. Default: validation, or else test.",
    ),
    cli.define_data_dir(),
    cli.define_path(
        "workdir",
        None,
        "Work directory of the run, for checkpoints, metrics and figures. Default: "
        "runs/DATASET-PRESET.",
    ),
    _ENUM(
        "preset",
        None,
        list(presets.PRESETS),
        "Network, preprocessing and training recipe. Default: tiny for textures, paper "
        "for other data sets.",
    ),
    _ENUM(
        "precision",
        "float32",
        ["float32", "mixed_bfloat16", "mixed_float16"],
        "Data type of the computations; the weights are always float32.",
    ),
    _INTEGER(
        "seed",
        0,
        "Random seed of initialization, shuffling, augmentation and dropout.",
        lower_bound=0,
    ),
    _INTEGER(
        "shuffle_buffer",
        16384,
        "Number of encoded images in the shuffle buffer; an image of ImageNet takes "
        "about 110 KB.",
        lower_bound=1,
    ),
    _BOOLEAN(
        "cache",
        False,
        "Keep the encoded images in memory. ImageNet takes 143 GB, or 38 GB once "
        "alexnet_tf.prepare has resized it.",
    ),
    _ENUM(
        "on_bad_image",
        "error",
        ["error", "skip"],
        "error: stop at an unreadable image and name it. skip: train without it, which "
        "decodes each image twice.",
    ),
    _INTEGER(
        "max_bad_images",
        100,
        "How many unreadable images an epoch may skip before training stops.",
        lower_bound=0,
    ),
    _FLOAT(
        "checkpoint_minutes", 10.0, "Minutes between two checkpoints.", lower_bound=0
    ),
    _INTEGER(
        "log_steps",
        100,
        "Steps between two lines of metrics within an epoch.",
        lower_bound=1,
    ),
    _INTEGER(
        "num_devices",
        None,
        "Number of GPUs to use, or of virtual CPU devices if there is no GPU. Default: "
        "all GPUs, or one CPU.",
        lower_bound=1,
    ),
    _ENUM(
        "strategy",
        "mirrored",
        ["mirrored", "multi_worker"],
        "multi_worker: this process is one of several workers, which the environment "
        "variable TF_CONFIG or those of Slurm name.",
    ),
    _STRING(
        "data_service",
        None,
        "HOST:PORT of the dispatcher of alexnet_tf.serve_data, whose workers decode "
        "the images.",
    ),
]

_FINE_TUNING = [
    cli.define_path(
        "weights",
        None,
        "File of weights to start from (.npy, .npz, .safetensors, .weights.h5, .keras, "
        ".pth), or work directory of a run, which brings its preset along. The "
        "learning rate is then a tenth of the preset's, and the mean is that of the "
        "images that the weights were trained on.",
    ),
    cli.define_layout(),
    _LIST("reinit", None, "Layers to initialize at random instead: fc8."),
    _LIST("freeze", None, "Layers that are not trained: conv1,conv2."),
    _LIST("train_layers", None, "The only layers that are trained: fc6,fc7,fc8."),
    _LIST(
        "lr_mult",
        None,
        "Learning rate of a layer relative to that of the others: fc8:10.",
    ),
    _BOOLEAN(
        "cache_features",
        False,
        "Compute the outputs of the frozen convolutions once, for the center crop: no "
        "random crops, flips or PCA color augmentation. Takes 80 KB of memory for each "
        "image.",
    ),
]

_PRESET = [
    _INTEGER(
        "batch_size", None, "Number of images in a step, over all devices.",
        lower_bound=1,
    ),
    _FLOAT(
        "learning_rate", None, "Learning rate of the first step.", lower_bound=0
    ),
    _FLOAT(
        "momentum", None, "Momentum of the update rule.", lower_bound=0, upper_bound=1
    ),
    _FLOAT(
        "weight_decay", None, "Weight decay of the kernels in the update rule.",
        lower_bound=0,
    ),
    _FLOAT(
        "bias_lr_multiplier",
        None,
        "Learning rate of the biases relative to that of the kernels.",
        lower_bound=0,
    ),
    _ENUM(
        "schedule",
        None,
        ["plateau", "step", "stepped_exponential", "constant"],
        "How the learning rate decreases. plateau: divided by 10 when the validation "
        "error has not improved for --patience epochs; training ends at the fourth "
        "time. step: divided by 10 before each of the epochs --boundaries. "
        "stepped_exponential: four levels, the last of which is a 250th of the first. "
        "constant: not at all.",
    ),
    _LIST("boundaries", None, "Epochs for --schedule=step, such as 25,51."),
    _INTEGER(
        "patience", None, "Number of epochs for --schedule=plateau.", lower_bound=1
    ),
    _INTEGER("epochs", None, "Maximum number of epochs.", lower_bound=1),
    _INTEGER(
        "image_size", None, "Pixels of the short side after resizing.", lower_bound=1
    ),
    _INTEGER(
        "crop_size", None, "Side of the network's input in pixels.", lower_bound=1
    ),
    _ENUM(
        "resize",
        None,
        ["short_side", "squash"],
        "short_side: keep the aspect ratio and take the center square. squash: resize "
        "both sides.",
    ),
    _ENUM(
        "mean",
        None,
        ["image", "channel"],
        "Whether to subtract the mean image of the training split, or its mean per "
        "channel.",
    ),
    _BOOLEAN(
        "divide_by_std", None, "Divide by the standard deviation per channel."
    ),
    _BOOLEAN(
        "random_crop", None, "Train on random crops instead of the center crop."
    ),
    _BOOLEAN("flip", None, "Mirror half of the training images."),
    _FLOAT(
        "pca_color_std",
        None,
        "Standard deviation of the factors of the principal components of the RGB "
        "values that training adds (PCA color augmentation).",
        lower_bound=0,
    ),
    _FLOAT(
        "pca_color_divisor",
        None,
        "Number by which training divides after adding them; 1.1 in the 2012 code.",
        lower_bound=0.01,
    ),
    _INTEGER(
        "pca_color_epochs",
        None,
        "Number of epochs with PCA color augmentation, counted from the first.",
        lower_bound=0,
    ),
    _LIST(
        "ablate",
        None,
        "Parts to remove, to measure their effect: norm (response normalization), "
        "overlap (of the pooling windows), tower (one of the two, except in conv5 and "
        "the fully connected layers), or names of convolutions other than the first.",
    ),
    _ENUM(
        "init",
        None,
        ["he", "torch"],
        "Initialization of all kernels instead of the preset's. Biases are initialized "
        "to 0, with torch they are drawn too.",
    ),
    _FLOAT(
        "dropout", None, "Dropout rate of all dropout layers.",
        lower_bound=0, upper_bound=0.99,
    ),
]  # fmt: skip

flags.register_validator(
    "boundaries",
    lambda epochs: all(epoch.isdecimal() for epoch in epochs or ()),
    "must be epochs, whole numbers separated by commas",
)
flags.register_validator(
    "lr_mult",
    lambda pairs: all(re.fullmatch(r"\w+:\d*\.?\d+", p) for p in pairs or ())
    and len({pair.split(":")[0] for pair in pairs or ()}) == len(pairs or ()),
    "must be layers and numbers, such as fc8:10,fc7:2.5, each layer once",
)
flags.mark_flags_as_mutual_exclusive(["freeze", "train_layers"])


def _arguments():
    """Returns the arguments of `train_dataset` that the flags give."""
    arguments = {flag.name: flag.value for flag in _RUN + _FINE_TUNING + _PRESET}
    for name in ("reinit", "freeze", "train_layers"):
        if arguments[name] is None:
            arguments[name] = ()
    if arguments["lr_mult"]:
        pairs = (pair.split(":") for pair in arguments["lr_mult"])
        arguments["lr_mult"] = {layer: float(number) for layer, number in pairs}
    if arguments["boundaries"] is not None:
        arguments["boundaries"] = tuple(map(int, arguments["boundaries"]))
    return arguments


def _train():
    from alexnet_tf.training.loop import TrainingInterrupted
    from alexnet_tf.training.run import train_dataset

    try:
        train_dataset(**_arguments())
    except TrainingInterrupted as interrupted:
        print(interrupted, file=sys.stderr)
        sys.exit(128 + interrupted.signum)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only. Received: {argv[1:]}.")
    cli.silence_libraries(flags.FLAGS["verbosity"].present)
    logging.getLogger("alexnet_tf").setLevel(logging.INFO)
    # Reported before the loop, which saves when it is interrupted, has begun, or at
    # the second Ctrl-C.
    interrupted = (
        "interrupted, nothing saved; the same command resumes from the last "
        "checkpoint, if there is one."
    )
    with cli.one_line_errors("alexnet_tf.train", interrupted):
        _train()


if __name__ == "__main__":
    app.run(main)
