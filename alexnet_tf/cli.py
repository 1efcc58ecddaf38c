"""Flags that several commands share, one-line errors, and quiet libraries."""

import contextlib
import io
import logging
import os
import signal
import sys

from absl import app
from absl import flags
from absl import logging as absl_logging

from alexnet_tf import presets
from alexnet_tf import published

# A flag that a function below defines counts as a flag of the calling command.
flags.disclaim_key_flags()

WEIGHTS_HELP = (
    "Work directory of a run, a weights file of any format (.caffemodel, .pth, .onnx, "
    ".npy, .npz, .safetensors, .h5, .keras, .mat), or published weights: "
    f"{', '.join(published.WEIGHTS)}, or imagenet for those of --preset. Published "
    "weights are downloaded on first use."
)


def define_weights(help=WEIGHTS_HELP, **options):
    """Defines --weights, --preset and --layout, which name a trained network.

    Args:
        help: the help text of --weights.
        **options: for `absl.flags.DEFINE`, such as `required=True`.
    """
    return [
        define_path("weights", None, help, **options),
        flags.DEFINE_enum(
            "preset",
            None,
            list(presets.PRESETS),
            "Preset of a weights file. Default: that of the run or of the published "
            "weights.",
        ),
        define_layout(),
    ]


def define_layout():
    """Defines --layout."""
    return flags.DEFINE_enum(
        "layout",
        None,
        ["caffe"],
        "Axis order of the kernels in a file of .npy, .npz or .safetensors. caffe: "
        "[out, in, ...]. Default: [..., in, out]. Other formats define the order.",
    )


def define_mean():
    """Defines --mean, the mean image for weights without a mean of their own."""
    return define_path(
        "mean",
        None,
        "Mean image to subtract, a file of Caffe (.binaryproto or .npy). Only for weights "
        "files and published weights of ImageNet. Default: ImageNet's mean per channel.",
    )


def define_data(dataset_help, split_help):
    """Defines --dataset, --split and --data_dir, whose defaults come from a run."""
    return [
        flags.DEFINE_string("dataset", None, dataset_help),
        flags.DEFINE_string("split", None, split_help),
        flags.DEFINE_string(
            "data_dir",
            None,
            "Directory of TFDS's data sets. Default: that of the run, or "
            "~/tensorflow_datasets.",
        ),
    ]


def define_data_dir():
    """Defines --data_dir for commands that do not look at a run."""
    return flags.DEFINE_string(
        "data_dir",
        None,
        "Directory of TFDS's data sets. Default: ~/tensorflow_datasets.",
    )


def define_path(name, default, help, **options):
    """Defines a flag that is a path, in which ~ is the home directory.

    Shells do not expand the ~ of --workdir=~/runs, which would create a folder
    called ~.
    """
    return flags.DEFINE(
        _PathParser(), name, default, help,
        serializer=flags.ArgumentSerializer(), **options,
    )  # fmt: skip


def define_paths(name, default, help, **options):
    """Defines a flag that is a comma-separated list of paths."""
    return flags.DEFINE(
        _PathsParser(), name, default, help,
        serializer=flags.CsvListSerializer(","), **options,
    )  # fmt: skip


class _PathParser(flags.ArgumentParser):
    def parse(self, argument):
        return os.path.expanduser(argument)


class _PathsParser(flags.ListParser):
    def parse(self, argument):
        return [os.path.expanduser(path) for path in super().parse(argument)]


def run(command, work, argv):
    """Runs a command that takes only flags, and reports an error in one line.

    Args:
        command: the name of the command.
        work: a function without arguments that does the work.
        argv: the arguments of `absl.app.run`'s main function.

    Raises:
        app.UsageError: if there are arguments that are not flags.
    """
    if len(argv) > 1:
        raise app.UsageError(f"Expected flags only. Received: {argv[1:]}.")
    silence_libraries(flags.FLAGS["verbosity"].present)
    with one_line_errors(command):
        work()


def silence_libraries(verbosity_given):
    """Silences TensorFlow and TFDS below ERROR.

    Messages that libraries print while they are loaded remain, as does an error of
    cuInit on machines without a GPU (github.com/tensorflow/tensorflow/issues/100442).

    Call it before TensorFlow is imported.

    Args:
        verbosity_given: whether --verbosity is on the command line. It then decides
            which messages TFDS prints.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not verbosity_given:
        absl_logging.set_verbosity(absl_logging.WARNING)
    # TFDS itself calls deprecated functions of TensorFlow.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names that are not valid UTF-8 are printed byte for byte.
        sys.stdout.reconfigure(errors="surrogateescape")


def progress():
    """Returns 1 if the output is a terminal, which can show a progress bar, else 0."""
    return int(sys.stdout.isatty())


@contextlib.contextmanager
def one_line_errors(command, interrupt_message="interrupted."):
    """Reports errors that a user can correct in one line instead of a traceback.

    The exit status is 1. After Ctrl-C, or if the reader of the output has exited, it is
    the status that shells expect, 128 plus the number of the signal.

    Args:
        command: the name of the command, with which the line begins.
        interrupt_message: the text of the line after Ctrl-C.
    """
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{command}: {interrupt_message}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # Python flushes the output when it exits. On the closed pipe that would fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (
        ValueError, OSError, FloatingPointError, ModuleNotFoundError
    ) as error:
        absl_logging.debug("", exc_info=True)
        sys.exit(f"{command}: {error}")
