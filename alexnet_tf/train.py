"""Trains AlexNet.

    python -m alexnet_tf.train
    python -m alexnet_tf.train --dataset=imagenet2012
    python -m alexnet_tf.train --dataset=folder:PATH --preset=caffe \
        --weights=bvlc_alexnet.npy --reinit=fc8

The same command goes on where it was stopped. Flags that are not given keep
the value of the preset; the work directory's flags.txt says which that was.
"""

import contextlib
import dataclasses
import logging
import os
import re
import sys

from absl import app
from absl import flags

from alexnet_tf import cli
from alexnet_tf.data import data_service
from alexnet_tf import presets
from alexnet_tf.workdir import has_checkpoint
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_network

# TensorFlow is imported in _run: --help must not wait for it.

_ENUM, _STRING = flags.DEFINE_enum, flags.DEFINE_string
_INTEGER, _FLOAT = flags.DEFINE_integer, flags.DEFINE_float
_BOOLEAN, _LIST = flags.DEFINE_boolean, flags.DEFINE_list
_WHAT = [
    _STRING(
        "dataset",
        "textures",
        "What to train on: textures (embedded, drawn on first use), any image "
        "classification data set of TFDS (imagenet2012, cifar10:3.0.2), "
        "folder:PATH of class folders, list:FILE of `path label` lines.",
    ),
    _STRING("train_split", "train", "Split to train on, such as train[:90%]."),
    _STRING(
        "eval_split",
        None,
        "Split to measure the validation error on. Default: validation, else "
        "test.",
    ),
    _ENUM(
        "preset",
        None,
        list(presets.PRESETS),
        "Network, preprocessing and recipe. Default: tiny on textures, paper "
        "elsewhere.",
    ),
    _ENUM(
        "precision",
        "float32",
        ["float32", "mixed_bfloat16", "mixed_float16"],
        "Type of the arithmetic; the weights are always float32.",
    ),
    _INTEGER(
        "seed",
        0,
        "Of the start, the order, the crops and the dropout.",
        lower_bound=0,
    ),
    _INTEGER(
        "shuffle_buffer",
        16384,
        "Images, still encoded, to draw the next one from; of ImageNet about "
        "110 KB each.",
        lower_bound=1,
    ),
    _BOOLEAN(
        "cache",
        False,
        "Keep the images in memory, encoded: of ImageNet 143 GB, or 38 once "
        "alexnet_tf.prepare has resized them.",
    ),
    _ENUM(
        "on_bad_image",
        "error",
        ["error", "skip"],
        "error: name it and stop. skip: train without it; each image is decoded "
        "twice.",
    ),
    _INTEGER(
        "max_bad_images",
        100,
        "That may be skipped in an epoch.",
        lower_bound=0,
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
        "GPUs to use; without any, virtual CPU devices. Default: all GPUs, or "
        "one CPU.",
        lower_bound=1,
    ),
    _ENUM(
        "strategy",
        "mirrored",
        ["mirrored", "multi_worker"],
        "multi_worker: this process is one of several, on machines of their own, "
        "that TF_CONFIG or Slurm's variables name.",
    ),
]
_WHERE = [
    _STRING(
        "data_dir",
        None,
        "Folder of TFDS's data sets. Default: ~/tensorflow_datasets.",
    ),
    cli.define_path(
        "workdir",
        None,
        "Folder of the run: checkpoints, metrics, images. Default: "
        "runs/DATASET-PRESET.",
    ),
    _STRING(
        "data_service",
        None,
        "HOST:PORT of the dispatcher of alexnet_tf.serve_data, whose workers "
        "decode the images.",
    ),
    _FLOAT(
        "checkpoint_minutes",
        10.0,
        "Minutes between two checkpoints.",
        lower_bound=0,
    ),
]
_FINE_TUNING = [
    cli.define_path(
        "weights",
        None,
        "File of weights to start from (.npy, .npz, .safetensors, .weights.h5, "
        ".keras, .pth), or the directory of a run, whose preset it brings "
        "along. The learning rate is then a tenth of the preset's, and the "
        "mean is that of the weights' images.",
    ),
    _ENUM(
        "layout",
        None,
        ["caffe"],
        "Order of axes in a file, if it is Caffe's own: [out, in, ...].",
    ),
    _LIST("reinit", None, "Layers that start at random all the same: fc8."),
    _LIST("freeze", None, "Layers that do not move: conv1,conv2."),
    _LIST("train_layers", None, "The only layers that move: fc6,fc7,fc8."),
    _LIST(
        "lr_mult", None, "A layer's learning rate over the others': fc8:10."
    ),
    _BOOLEAN(
        "cache_features",
        False,
        "Compute the outputs of the frozen convolutions once, of one central "
        "view: no crops, flips or color noise, 80 KB of memory an image.",
    ),
]
_PRESET = [
    _INTEGER("batch_size", None, "Images a step.", lower_bound=1),
    _FLOAT("learning_rate", None, "Of the first step.", lower_bound=0),
    _FLOAT(
        "momentum", None, "What is left of the velocity.",
        lower_bound=0, upper_bound=1,
    ),
    _FLOAT(
        "weight_decay", None, "Of the update rule, on kernels.", lower_bound=0
    ),
    _FLOAT(
        "bias_lr_multiplier",
        None,
        "The biases' learning rate over the kernels'.",
        lower_bound=0,
    ),
    _ENUM(
        "schedule",
        None,
        ["plateau", "step", "stepped_exponential", "constant"],
        "How the learning rate falls: divided by 10 when the validation error "
        "has not fallen for --patience epochs, at the fourth time ended; "
        "divided by 10 before the epochs --boundaries; in four levels down to a "
        "250th; not at all.",
    ),
    _LIST("boundaries", None, "Epochs, for --schedule=step."),
    _INTEGER("patience", None, "Epochs, for --schedule=plateau.", lower_bound=1),
    _INTEGER(
        "epochs", None, "Passes over the training split, at most.",
        lower_bound=1,
    ),
    _INTEGER(
        "image_size", None, "Pixels of the short side once resized.",
        lower_bound=1,
    ),
    _INTEGER(
        "crop_size", None, "Pixels of a side of the network's input.",
        lower_bound=1,
    ),
    _ENUM(
        "resize",
        None,
        ["short_side", "squash"],
        "Resize keeping the aspect ratio and take the center, or squash.",
    ),
    _ENUM(
        "mean",
        None,
        ["image", "channel"],
        "Subtract the training split's mean image, or its mean per channel.",
    ),
    _BOOLEAN(
        "divide_by_std", None, "Divide by the standard deviation per channel."
    ),
    _BOOLEAN(
        "random_crop", None, "Train on crops anywhere, not on the central one."
    ),
    _BOOLEAN("flip", None, "Mirror half of the training images."),
    _FLOAT(
        "pca_color_std",
        None,
        "Standard deviation of the multiples of the RGB values' principal "
        "components that are added in training.",
        lower_bound=0,
    ),
    _FLOAT(
        "pca_color_divisor",
        None,
        "What training divides by after adding them; 1.1 in the 2012 code.",
        lower_bound=0.01,
    ),
    _INTEGER(
        "pca_color_epochs",
        None,
        "Epochs with color noise, from the first on.",
        lower_bound=0,
    ),
    _LIST(
        "ablate",
        None,
        "What to leave out, to see its worth: norm (response normalization), "
        "overlap (of the pooling windows), tower (one of the two, but of conv5 "
        "and the fully connected layers), or convolutions behind the first one.",
    ),
    _ENUM(
        "init",
        None,
        ["he", "torch"],
        "Start of all kernels in place of the preset's; biases start at 0, or with "
        "torch are drawn too.",
    ),
    _FLOAT(
        "dropout", None, "Rate of all dropout layers.",
        lower_bound=0, upper_bound=0.99,
    ),
]
flags.register_validator(
    "boundaries",
    lambda epochs: all(epoch.isdecimal() for epoch in epochs or ()),
    "must be epochs, whole numbers with commas between them",
)
flags.register_validator(
    "lr_mult",
    lambda pairs: all(re.fullmatch(r"\w+:\d*\.?\d+", p) for p in pairs or ())
    and len({pair.split(":")[0] for pair in pairs or ()}) == len(pairs or ()),
    "must be layers and numbers, such as fc8:10,fc7:2.5, each layer once",
)
flags.mark_flags_as_mutual_exclusive(["freeze", "train_layers"])


def _base_preset():
    """The preset before flags change it: asked for, the weights', the data's."""
    args = flags.FLAGS
    run = args.weights
    if _goes_on():
        run = args.workdir  # The weights may be gone.
    elif run and not os.path.isdir(run) and args.preset is None:
        raise ValueError(
            "Expected a preset, which a file of weights does not say. Received: "
            f"weights={run} alone. Give --preset=caffe for bvlc_alexnet.npy, owt for "
            "torchvision's."
        )
    if run and os.path.isdir(run):
        preset, _ = read_network(run)
        if args.preset not in (None, preset.name):
            raise ValueError(
                f"Expected the preset of the run {run}, {preset.name}. "
                f"Received: preset={args.preset}."
            )
        # How that run was trained is not how this one is.
        return dataclasses.replace(
            preset, recipe=presets.get(preset.name).recipe
        )
    textures = args.dataset == "textures"
    return presets.get(args.preset or ("tiny" if textures else "paper"))


def _goes_on():
    """Whether it is a run from weights, stopped before."""
    args = flags.FLAGS
    return bool(
        args.weights and args.workdir and has_checkpoint(args.workdir)
    )


def _preset():
    """The preset with the values that flags give."""
    preset = _base_preset()
    values = {flag.name: flag.value for flag in _PRESET}
    if _goes_on():
        values["ablate"] = None  # What is left out, the run's own has not.
    if values["boundaries"] is not None:
        values["boundaries"] = tuple(int(epoch) for epoch in values["boundaries"])
    if flags.FLAGS.weights and values["learning_rate"] is None:
        # At .01 pretrained networks fall apart; those who fine-tuned
        # bvlc_alexnet.npy settled on .001.
        values["learning_rate"] = preset.recipe.learning_rate / 10
    return presets.override(preset, **values)


def _fitting(preset, source, strategy, path):
    """With batches no larger than the data set, unless they were asked for."""
    replicas = strategy.num_replicas_in_sync
    most = source.num_examples // replicas * replicas
    if flags.FLAGS.batch_size or preset.recipe.batch_size <= most or not most:
        return preset
    if has_checkpoint(path):
        # It may have begun on fewer devices, which share other batches.
        most = int(read_flags(path).get("batch_size", most))
    logging.getLogger("alexnet_tf").info(
        "Batches of %d in place of %d: there are no more images.",
        most, preset.recipe.batch_size,
    )
    return presets.override(preset, batch_size=most)


def _fine_tuning(preset):
    from alexnet_tf import presets
    from alexnet_tf.training.fine_tuning import FineTuning

    args = flags.FLAGS
    for name in ("weights", "reinit", "freeze", "train_layers", "lr_mult"):
        if args[name].value is not None and not args[name].value:
            raise ValueError(f"Expected a value. Received: an empty --{name}.")
    if args.reinit and not args.weights:
        raise ValueError(
            f"Expected weights. Received: reinit={','.join(args.reinit)} alone. "
            "Without weights all layers start at random."
        )
    frozen = args.freeze or ()
    if args.train_layers:
        names = [
            spec.name
            for spec in preset.layers
            if isinstance(spec, presets.Conv | presets.Dense)
        ]
        unknown = [n for n in args.train_layers if n not in names]
        if unknown:
            raise ValueError(
                f"Expected in train_layers some of {', '.join(names)}. "
                f"Received: {', '.join(unknown)}."
            )
        frozen = [name for name in names if name not in args.train_layers]
    pairs = (pair.split(":") for pair in args.lr_mult or ())
    return FineTuning(
        args.weights,
        tuple(args.reinit or ()),
        tuple(frozen),
        {layer: float(number) for layer, number in pairs},
        args.cache_features,
        args.layout,
    )


def _settings(preset, eval_split):
    """{flag: value} of all that define the run, for flags.txt."""
    given = {flag.name: flag.value for flag in _WHAT + _FINE_TUNING}
    parts = vars(preset.recipe) | vars(preset.preprocessing)
    for flag in _PRESET:
        given[flag.name] = parts.get(flag.name, flag.value)
    return given | {
        "preset": preset.name,
        "eval_split": eval_split,
        "data_dir": flags.FLAGS.data_dir,
    }


def _refuse_both(flag, names, why):
    for name in names:
        if flags.FLAGS[name].value:
            raise ValueError(
                f"Expected --{flag} or --{name}. Received: both. {why}"
            )


def _check_data_service(args):
    if args.data_service is None:
        return
    _refuse_both(
        "data_service",
        ("cache", "cache_features"),
        "What is kept in memory needs nobody to decode it.",
    )
    data_service.check(args.data_service)


def _strategy(args):
    from alexnet_tf.training import distribution

    if args.strategy == "mirrored":
        return distribution.make_strategy(args.num_devices)
    _refuse_both(
        "strategy=multi_worker",
        ("num_devices", "data_service"),
        "A worker uses all GPUs that it sees (CUDA_VISIBLE_DEVICES), and decodes "
        "its own share of the images.",
    )
    return distribution.make_multi_worker_strategy()


def _run():
    from alexnet_tf.data import datasets
    from alexnet_tf.training import distribution
    from alexnet_tf.training import loop
    from alexnet_tf.workdir import create_or_verify
    from alexnet_tf.workdir import locked

    args = flags.FLAGS
    _check_data_service(args)
    preset = _preset()
    path = args.workdir or os.path.join(
        "runs",
        f"{os.path.basename(args.dataset.rstrip('/'))}-{preset.name}",
    )
    strategy = _strategy(args)
    with distribution.chief_first(strategy):  # It may have to prepare them.
        source = datasets.load(args.dataset, args.train_split, args.data_dir)
        eval_source = datasets.load(args.dataset, args.eval_split, args.data_dir)
    preset = _fitting(preset, source, strategy, path)
    if args.on_bad_image == "skip":
        source, eval_source = source.allow_bad_images(), eval_source.allow_bad_images()
    if args.cache:
        source, eval_source = source.in_memory(), eval_source.in_memory()
    settings = _settings(preset, eval_source.split)
    try:
        with contextlib.ExitStack() as stack:
            if distribution.is_chief(strategy):
                stack.enter_context(locked(path))
                free = ("num_devices", "strategy", "data_dir")
                create_or_verify(path, settings, free)
            result = loop.train(
                preset,
                source,
                eval_source,
                path,
                fine_tuning=_fine_tuning(preset),
                seed=args.seed,
                strategy=strategy,
                precision=args.precision,
                shuffle_buffer=args.shuffle_buffer,
                data_service=args.data_service,
                checkpoint_minutes=args.checkpoint_minutes,
                log_steps=args.log_steps,
                max_bad_images=args.max_bad_images,
            )
    except loop.TrainingInterrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(128 + stopped.signum)
    if not distribution.is_chief(strategy):
        return
    print(
        f"Validation error: top-1 {result['top1_error']:.2%}, top-5 "
        f"{result['top5_error']:.2%} (central view, {eval_source.num_examples} "
        "images)."
    )
    for name in ("curves.png", "conv1.png", "metrics.jsonl", "checkpoints"):
        print(os.path.join(path, name))


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only. Received: {argv[1:]}.")
    cli.silence_libraries(flags.FLAGS["verbosity"].present)
    logging.getLogger("alexnet_tf").setLevel(logging.INFO)
    # Before the loop, which saves, or the second time, not to wait for it.
    interrupted = (
        "interrupted, nothing saved; the same command goes on from the last "
        "checkpoint, if there is one."
    )
    with cli.one_line_errors("alexnet_tf.train", interrupted):
        _run()


if __name__ == "__main__":
    app.run(main)
