"""Trains AlexNet.

    python -m alexnet_tf.train
    python -m alexnet_tf.train --dataset=imagenet2012
    python -m alexnet_tf.train --dataset=folder:PATH --preset=caffe \\
        --weights=imagenet --reinit=fc8

The same command resumes a run that was stopped. With a larger --epochs it continues a
run that has ended, unless its schedule is stepped_exponential. Flags that replace a
value of the preset have that value by default; flags.txt in the work directory records
the values used.
"""

import logging
import re
import sys

from alexnet_tf import cli

# TensorFlow is imported in _train: --help must not wait for it.

_MULTIPLIER = r"[^:]+:(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"

_RUN_FLAGS = [
    cli.string_flag(
        "dataset",
        "textures",
        "Data set to train on: textures (generated on first use), any image "
        "classification data set of TFDS (imagenet2012, cifar10:3.0.2), "
        "huggingface:NAME, folder:PATH (one folder for each class), or list:FILE "
        "(lines of `path label`).",
    ),
    cli.string_flag(
        "train_split",
        None,
        "Split to train on, such as train[:90%]. Default: train, or 80% of it if a "
        "folder or list has no split to evaluate on.",
    ),
    cli.string_flag(
        "eval_split",
        None,
        "Split to measure the validation error on. Default: validation, or test, or, "
        "for a folder or list without either, the other 20% of train.",
    ),
    cli.data_dir_flag(),
    *cli.feature_flags(),
    cli.exif_orientation_flag("Default: only for folder: and list: data sets."),
    cli.path_flag(
        "workdir",
        None,
        "Work directory of the run, for checkpoints, metrics and figures. Default: "
        "runs/DATASET-PRESET.",
    ),
    cli.string_flag(
        "preset",
        None,
        f"Network, preprocessing and training recipe. {cli.PRESET_HELP} Default: tiny "
        "for textures, paper for other data sets.",
    ),
    cli.enum_flag(
        "precision",
        "float32",
        ["float32", "mixed_bfloat16", "mixed_float16"],
        "Data type of the computations; the weights are always float32.",
    ),
    cli.integer_flag(
        "seed",
        0,
        "Random seed of initialization, shuffling, augmentation and dropout.",
        lower_bound=0,
    ),
    cli.integer_flag(
        "shuffle_buffer",
        16384,
        "Number of encoded images in the shuffle buffer; an image of ImageNet takes "
        "about 110 KB.",
        lower_bound=1,
    ),
    cli.boolean_flag(
        "cache",
        False,
        "Keep the encoded images in memory. ImageNet takes 143 GB, or 38 GB once "
        "alexnet_tf.prepare has resized it.",
    ),
    cli.enum_flag(
        "on_bad_image",
        "error",
        ["error", "skip"],
        "error: stop at an unreadable image and name it. skip: train without it, which "
        "decodes each image twice. A stopped run can be resumed with the other value.",
    ),
    cli.integer_flag(
        "max_bad_images",
        100,
        "How many unreadable images an epoch may skip before training stops.",
        lower_bound=0,
    ),
    cli.float_flag(
        "checkpoint_minutes", 10.0, "Minutes between two checkpoints.", lower_bound=0
    ),
    cli.boolean_flag(
        "keep_best",
        False,
        "Keep the weights with the lowest validation error, too. alexnet_tf.evaluate, "
        "alexnet_tf.predict and alexnet_tf.export use them with --checkpoint=best.",
    ),
    cli.integer_flag(
        "eval_every",
        1,
        "Epochs between two evaluations. The last epoch is always evaluated.",
        lower_bound=1,
    ),
    cli.integer_flag(
        "early_stopping_patience",
        None,
        "End training after this many evaluations in a row without a lower top-1 "
        "validation error. Not for --schedule=plateau, which ends by itself.",
        lower_bound=1,
    ),
    cli.integer_flag(
        "warmup_epochs",
        0,
        "Number of epochs at the beginning in which the learning rate increases "
        "linearly, from nearly 0, with each step.",
        lower_bound=0,
    ),
    cli.integer_flag(
        "reference_batch_size",
        None,
        "Multiply the learning rate by --batch_size and divide it by this number, the "
        "batch size that the learning rate is for.",
        lower_bound=1,
    ),
    cli.enum_flag(
        "class_weights",
        None,
        ["balanced"],
        "balanced: weight the loss of an image by the number of images, divided by the "
        "number of classes and by the number of images of its class.",
    ),
    cli.integer_flag(
        "log_steps",
        100,
        "Steps between two lines of metrics within an epoch.",
        lower_bound=1,
    ),
    cli.integer_flag(
        "num_devices",
        None,
        "Number of GPUs to use, or of virtual CPU devices if there is no GPU. Default: "
        "all GPUs, or one CPU.",
        lower_bound=1,
    ),
    cli.enum_flag(
        "strategy",
        "mirrored",
        ["mirrored", "multi_worker"],
        "mirrored: all devices of this machine. multi_worker: this process is one of "
        "several workers, as described by the environment variable TF_CONFIG or by "
        "those of Slurm.",
    ),
    cli.enum_flag(
        "parallelism",
        "data",
        ["data", "towers"],
        "data: each device computes the whole network, for a share of the batch. "
        "towers: each of two devices computes one tower of the network, for the whole "
        "batch, as in the paper. A run can be resumed with the other value.",
    ),
    cli.string_flag(
        "data_service",
        None,
        "HOST:PORT of the dispatcher of alexnet_tf.serve_data, whose workers decode "
        "the images.",
    ),
]

_FINE_TUNING_FLAGS = [
    cli.path_flag(
        "weights",
        None,
        f"Weights to start from. {cli.WEIGHTS_HELP} The preset of a run or of "
        "published weights is used. The learning rate is a tenth of the preset's "
        "unless it is given, and the mean is that of the images that the weights were "
        "trained on.",
    ),
    cli.layout_flag(),
    cli.list_flag(
        "reinit",
        None,
        "Layers to initialize at random instead of loading them, such as fc8.",
    ),
    cli.list_flag(
        "freeze", None, "Layers that are not trained, such as conv1,conv2."
    ),
    cli.list_flag(
        "train_layers", None, "The only layers that are trained, such as fc6,fc7,fc8."
    ),
    cli.list_flag(
        "lr_mult",
        None,
        "Learning rates of layers relative to that of the others, such as fc8:10.",
    ),
    cli.boolean_flag(
        "cache_features",
        False,
        "Compute the outputs of the frozen convolutions once, for the center crop, "
        "without random crops, flips and PCA color augmentation. Outputs of pool5 take "
        "80 KB of memory for each image.",
    ),
    cli.check_flag(
        "lr_mult",
        lambda pairs: all(re.fullmatch(_MULTIPLIER, pair) for pair in pairs or ())
        and len({pair.split(":")[0] for pair in pairs or ()}) == len(pairs or ()),
        "must be layers and numbers, such as fc8:10,fc7:2.5, each layer once",
    ),
    cli.exclusive_flags(["freeze", "train_layers"]),
]

_PRESET_FLAGS = [
    cli.integer_flag(
        "batch_size",
        None,
        "Number of images in a step, over all devices. Default: the preset's, or a "
        "tenth of the training images if an epoch would have fewer than ten steps, "
        "rounded down to a number that the devices can share equally.",
        lower_bound=1,
    ),
    cli.float_flag(
        "learning_rate",
        None,
        "Learning rate of the first step. Default: the preset's; multiplied by the "
        "square root of the ratio of the batch sizes if the default of --batch_size is "
        "not the preset's.",
        lower_bound=0,
    ),
    cli.float_flag(
        "momentum", None, "Momentum of the update rule.",
        lower_bound=0, upper_bound=1,
    ),
    cli.float_flag(
        "weight_decay", None, "Weight decay of the kernels in the update rule.",
        lower_bound=0,
    ),
    cli.float_flag(
        "bias_lr_multiplier",
        None,
        "Learning rate of the biases relative to that of the kernels.",
        lower_bound=0,
    ),
    cli.enum_flag(
        "schedule",
        None,
        ["plateau", "step", "stepped_exponential", "constant"],
        "How the learning rate decreases. plateau: divided by 10 when the validation "
        "error has not improved for --patience evaluations; training ends at the "
        "fourth such plateau. step: divided by 10 before each epoch in --boundaries. "
        "stepped_exponential: four levels, the last of which is a 250th of the first. "
        "constant: not at all.",
    ),
    cli.list_flag("boundaries", None, "Epochs for --schedule=step, such as 25,51."),
    cli.integer_flag(
        "patience",
        None,
        "Evaluations without a lower validation error that make a plateau; there is "
        "one after each epoch, unless --eval_every is given.",
        lower_bound=1,
    ),
    cli.integer_flag(
        "epochs",
        None,
        "Maximum number of epochs. A larger number continues a run, unless its "
        "schedule is stepped_exponential.",
        lower_bound=1,
    ),
    cli.integer_flag(
        "image_size", None, "Pixels of the short side after resizing.", lower_bound=1
    ),
    cli.integer_flag(
        "crop_size", None, "Side of the network's input in pixels.", lower_bound=1
    ),
    cli.enum_flag(
        "resize",
        None,
        ["short_side", "squash"],
        "short_side: keep the aspect ratio and take the center square. squash: resize "
        "both sides.",
    ),
    cli.path_flag(
        "mean",
        None,
        "Mean to subtract: image for the mean image of the training split, or channel "
        "for its mean per channel. With --weights, the mean is that of the weights, "
        "and a weights file also takes a mean image of Caffe (.binaryproto or .npy).",
    ),
    cli.boolean_flag(
        "divide_by_std",
        None,
        "Divide the pixels by the standard deviation of their channel.",
    ),
    cli.boolean_flag(
        "random_crop", None, "Train on random crops instead of the center crop."
    ),
    cli.boolean_flag("flip", None, "Mirror half of the training images."),
    cli.float_flag(
        "pca_color_std",
        None,
        "Strength of PCA color augmentation: standard deviation of the random "
        "factors of the principal components of the RGB values.",
        lower_bound=0,
    ),
    cli.float_flag(
        "pca_color_divisor",
        None,
        "Divisor of the pixels after PCA color augmentation; 1.1 in the 2012 code.",
        lower_bound=0.01,
    ),
    cli.integer_flag(
        "pca_color_epochs",
        None,
        "Number of epochs with PCA color augmentation, counted from the first.",
        lower_bound=0,
    ),
    cli.list_flag(
        "ablate",
        None,
        "Parts to remove, to measure their effect: norm (response normalization), "
        "overlap (of the pooling windows), tower (one of the two, except in conv5 and "
        "the fully connected layers), or names of convolutions other than the first.",
    ),
    cli.enum_flag(
        "init",
        None,
        ["he", "torch"],
        "Initialization of all kernels instead of the preset's. he initializes biases "
        "to 0, torch at random.",
    ),
    cli.float_flag(
        "dropout", None, "Dropout rate of all dropout layers.",
        lower_bound=0, upper_bound=0.99,
    ),
    cli.check_flag(
        "boundaries",
        lambda epochs: all(epoch.isdecimal() for epoch in epochs or ()),
        "must be whole numbers of epochs, separated by commas",
    ),
]  # fmt: skip

FLAGS = _RUN_FLAGS + _FINE_TUNING_FLAGS + _PRESET_FLAGS


def arguments_of(args):
    """Returns the arguments of `train_dataset` for the values of the flags.

    Args:
        args: a namespace, see `cli.parse`.
    """
    arguments = dict(vars(args))
    for name in ("reinit", "freeze", "train_layers"):
        if arguments[name] is None:
            arguments[name] = ()
    if arguments["lr_mult"]:
        pairs = (pair.split(":") for pair in arguments["lr_mult"])
        arguments["lr_mult"] = {layer: float(number) for layer, number in pairs}
    if arguments["boundaries"] is not None:
        arguments["boundaries"] = tuple(map(int, arguments["boundaries"]))
    return arguments


def _train(args):
    from alexnet_tf.data.bad_images import BadImageError
    from alexnet_tf.training import environment
    from alexnet_tf.training.loop import TrainingInterrupted
    from alexnet_tf.training.run import train_dataset

    logging.getLogger("alexnet_tf").setLevel(logging.INFO)
    try:
        train_dataset(**arguments_of(args))
    except TrainingInterrupted as interrupted:
        if sys.stdout.isatty():
            print()  # The progress bar has not ended its line.
        print(interrupted, file=sys.stderr)
        sys.exit(128 + interrupted.signum)
    except BadImageError as error:
        raise ValueError(
            f"{error.fault} {error.advice} and run the same command again, or go on "
            f"without unreadable images: {environment.command('--on_bad_image=skip')}"
        ) from error


def main(argv=None):
    """Runs the command with the arguments `argv`, see `cli.run`."""
    # This message is printed for Ctrl-C before the training loop starts and for a
    # second Ctrl-C during it. The first Ctrl-C in the loop saves a checkpoint instead.
    interrupt_message = (
        "interrupted, nothing saved; the same command resumes from the last "
        "checkpoint, if there is one."
    )
    cli.run(
        "alexnet_tf.train", _train, FLAGS, argv, interrupt_message=interrupt_message
    )


if __name__ == "__main__":
    main()
