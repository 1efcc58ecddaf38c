"""Flags that several commands share, one-line errors, and quiet libraries."""

import codecs
import contextlib
import functools
import io
import logging
import os
import signal
import sys
import types

from absl import app
from absl import flags
from absl import logging as absl_logging

from alexnet_tf import native_messages
from alexnet_tf import onednn
from alexnet_tf import presets
from alexnet_tf import published

# The flags of a command belong to the module of the command, not to this one.
flags.disclaim_key_flags()

WEIGHTS_HELP = (
    "Work directory of a run, a weights file (.caffemodel, .pth, .pt, .pkl, .onnx, "
    ".npy, .npz, .safetensors, .h5, .keras, .mat), or published weights: "
    f"{', '.join(published.WEIGHTS)}, or imagenet for those of --preset. tiny_textures "
    "and cifar10_full are in the package, the others are downloaded on first use."
)
PRESET_HELP = (
    f"One of {', '.join(presets.PRESETS)}; FILE.py:NAME for the variable NAME of a "
    "Python file of your own, which is executed; or FILE.json, such as the "
    "network.json of a run."
)


def _deferred(define):
    """Returns a function that describes a flag, which `run` then defines.

    A command describes its flags when it is imported, and defines them when it runs.
    If it defined them earlier, absl would raise an error when two commands with a flag
    of the same name are imported, or a command in a program with such a flag.

    Args:
        define: a function of `absl.flags` with an argument `flag_values`.
    """

    @functools.wraps(define)
    def describe(*args, **options):
        return functools.partial(define, *args, **options)

    return describe


string_flag = _deferred(flags.DEFINE_string)
integer_flag = _deferred(flags.DEFINE_integer)
float_flag = _deferred(flags.DEFINE_float)
boolean_flag = _deferred(flags.DEFINE_boolean)
enum_flag = _deferred(flags.DEFINE_enum)
list_flag = _deferred(flags.DEFINE_list)
multi_string_flag = _deferred(flags.DEFINE_multi_string)
multi_enum_flag = _deferred(flags.DEFINE_multi_enum)
check_flag = _deferred(flags.register_validator)
exclusive_flags = _deferred(flags.mark_flags_as_mutual_exclusive)


def path_flag(name, default, help, **options):
    """Describes a flag that is a path, in which ~ is the home directory.

    Shells do not expand the ~ in --workdir=~/runs. Without this kind of flag, a folder
    called ~ would be created.
    """
    return functools.partial(
        flags.DEFINE, _PathParser(), name, default, help,
        serializer=flags.ArgumentSerializer(), **options,
    )  # fmt: skip


def paths_flag(name, default, help, **options):
    """Describes a flag that is a comma-separated list of paths."""
    return functools.partial(
        flags.DEFINE, _PathsParser(), name, default, help,
        serializer=flags.CsvListSerializer(","), **options,
    )  # fmt: skip


class _PathParser(flags.ArgumentParser):
    def parse(self, argument):
        return os.path.expanduser(argument)


class _PathsParser(flags.ListParser):
    def parse(self, argument):
        return [os.path.expanduser(path) for path in super().parse(argument)]


def weights_flags(help=WEIGHTS_HELP, required=False):
    """Describes --weights, --preset and --layout, which name a trained network.

    Args:
        help: the help text of --weights.
        required: whether --weights must be given.
    """
    checks = [
        check_flag(
            "weights",
            lambda weights: weights is not None,
            "Give the work directory of a run, a weights file, or a name such as "
            "tiny_textures or torchvision.",
        )
    ]
    return [
        path_flag("weights", None, help),
        *(checks if required else []),
        string_flag(
            "preset",
            None,
            f"Preset of a weights file. {PRESET_HELP} Default: that of the run or of "
            "the published weights.",
        ),
        layout_flag(),
    ]


def layout_flag():
    """Describes --layout."""
    return enum_flag(
        "layout",
        None,
        ["caffe"],
        "Axis order of the kernels in a .npy, .npz, .pkl or .safetensors file. caffe: "
        "[out, in, ...]. Default: [..., in, out]. Other formats define the order, and "
        "so do PyTorch's names of layers.",
    )


def mean_flag():
    """Describes --mean, the mean image for weights without a mean of their own."""
    return path_flag(
        "mean",
        None,
        "Mean image of Caffe to subtract (.binaryproto or .npy). Only for weights "
        "files and published weights trained on ImageNet. Default: ImageNet's mean per "
        "channel.",
    )


def checkpoint_flag():
    """Describes --checkpoint, which selects the weights of a run."""
    return enum_flag(
        "checkpoint",
        "last",
        ["last", "best"],
        "Weights of a run. last: those of the newest checkpoint. best: those with the "
        "lowest validation error, which only runs with --keep_best have.",
    )


def data_flags(dataset_help, split_help):
    """Describes --dataset, --split, --data_dir, --image_key and --label_key.

    Without the flags, the values are those that are recorded in the run.
    """
    return [
        string_flag("dataset", None, dataset_help),
        string_flag("split", None, split_help),
        string_flag(
            "data_dir",
            None,
            "Directory of TFDS's data sets. Default: that of the run, or "
            "~/tensorflow_datasets.",
        ),
        *feature_flags("that of the run, or "),
    ]


def feature_flags(first_default=""):
    """Describes --image_key and --label_key.

    Args:
        first_default: the beginning of the list of defaults in the help texts, such as
            "that of the run, or ".
    """
    return [
        string_flag(
            "image_key",
            None,
            "Name of the feature of a TFDS data set that holds the image. Default: "
            f"{first_default}image, or the supervised key of TFDS.",
        ),
        string_flag(
            "label_key",
            None,
            "Name of the feature of a TFDS data set that holds the label, such as "
            f"coarse_label. Default: {first_default}label, or the supervised key of "
            "TFDS.",
        ),
    ]


def exif_orientation_flag(default_help):
    """Describes --exif_orientation.

    Args:
        default_help: a sentence about the default, and about images without the flag.
    """
    return boolean_flag(
        "exif_orientation",
        None,
        "Turn images upright by the EXIF orientation of their JPEG files, which "
        f"cameras and phones record. {default_help}",
    )


def data_dir_flag():
    """Describes --data_dir for commands that do not read a run."""
    return string_flag(
        "data_dir",
        None,
        "Directory of TFDS's data sets. Default: ~/tensorflow_datasets.",
    )


def run(
    command,
    work,
    descriptions,
    argv=None,
    *,
    takes_arguments=False,
    interrupt_message="interrupted.",
):
    """Runs a command and reports an error in one line.

    Args:
        command: the name of the command.
        work: a function that does the work. Its first argument is a namespace with the
            values of the flags. If `takes_arguments` is True, its second argument is
            the list of the arguments that are not flags. If the function returns
            False, the exit status is 1.
        descriptions: the flags, a list of what functions such as `string_flag` return.
        argv: the name of the program and its arguments. Default: those of this process,
            which may also contain the flags of `absl.app`, such as --helpfull.
        takes_arguments: whether there may be arguments that are not flags.
        interrupt_message: the text of the line after Ctrl-C.

    Raises:
        flags.Error: if `argv` is given and has an unknown flag or a wrong value.
        app.UsageError: if `argv` is given and has arguments that are not flags,
            although `takes_arguments` is False.
    """

    values = flags.FLAGS if argv is None else flags.FlagValues()
    names = _define(descriptions, values)
    owns_process = argv is None

    def main(argv):
        if len(argv) > 1 and not takes_arguments:
            raise app.UsageError(f"Expected flags only. Received: {argv[1:]}.")
        if owns_process and not values["verbosity"].present:
            native_messages.leave_out_notices()
        silence_libraries(values["verbosity"].present)
        arguments = [argv[1:]] if takes_arguments else []
        if work(_namespace(values, names), *arguments) is False:
            sys.stdout.flush()
            sys.exit(1)

    with one_line_errors(command, interrupt_message):
        if argv is None:
            # Otherwise, the environment or the configuration file of Keras could select
            # another backend.
            os.environ["KERAS_BACKEND"] = "tensorflow"
            onednn.enable_if_faster()
            try:
                app.run(main)
            finally:
                values.remove_flag_values(names)
        elif "--help" in argv:
            print(sys.modules[work.__module__].__doc__, values.get_help(), sep="\n")
        else:
            main(_parse(values, argv))


def parse(descriptions, argv):
    """Returns the values of the flags in `argv` as attributes of a namespace.

    Args:
        descriptions: the flags, see `run`.
        argv: the name of the program and flags.

    Raises:
        flags.Error: if a flag is unknown or its value is wrong.
    """
    values = flags.FlagValues()
    names = _define(descriptions, values)
    _parse(values, argv)
    return _namespace(values, names)


def _define(descriptions, values):
    """Defines flags in an `absl.flags.FlagValues`, and returns their names."""
    holders = [describe(flag_values=values) for describe in descriptions]
    return [holder.name for holder in holders if holder is not None]


def _parse(values, argv):
    """Parses `argv` with the flags in `values`, and returns the rest of it.

    The rest is the name of the program and the arguments that are not flags. The flags
    of the process are not changed. --verbosity is added to `values`; if it is given, it
    applies to absl's logging in this process.
    """
    flags.DEFINE_integer(
        "verbosity", None, "Verbosity of absl's logging.", flag_values=values
    )
    argv = values(argv)
    if values.verbosity is not None:
        absl_logging.set_verbosity(values.verbosity)
    return argv


def _namespace(values, names):
    return types.SimpleNamespace(**{name: values[name].value for name in names})


def silence_libraries(verbosity_given):
    """Silences TensorFlow below ERROR, and TFDS below WARNING.

    Also lets `sys.stdout` print any file name without an error. Messages that
    TensorFlow's C++ code writes while it is loaded remain, see `native_messages`. Call
    this function before TensorFlow is imported.

    Args:
        verbosity_given: whether --verbosity is on the command line. It then decides
            which messages TFDS prints.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not verbosity_given:
        absl_logging.set_verbosity(absl_logging.WARNING)
        absl_logging.get_absl_logger().addFilter(_needs_attention)
    # TFDS itself calls deprecated functions of TensorFlow.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names that are not valid UTF-8 are printed byte for byte. The encodings
        # that Windows uses for files and pipes lack many characters.
        is_utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(
            errors="surrogateescape" if is_utf8 else "backslashreplace"
        )


def _needs_attention(record):
    """Returns False for two warnings in absl's log that ask for no action.

    TFDS warns that it calls a deprecated function of its own, and that the folder it is
    about to fill has no dataset_info.json.
    """
    message = record.getMessage()
    return not (
        "`FeatureConnector.dtype` is deprecated" in message
        or ("Variant folder" in message and "has no dataset_info.json" in message)
    )


def progress():
    """Returns 1 if the output is a terminal, which can show a progress bar, else 0."""
    return int(sys.stdout.isatty())


@contextlib.contextmanager
def one_line_errors(command, interrupt_message="interrupted."):
    """Prints one line instead of a traceback for errors that a user can correct.

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
        # Windows has no SIGPIPE, which is 13 on other systems.
        sys.exit(128 + getattr(signal, "SIGPIPE", 13))
    except (
        ValueError, OSError, FloatingPointError, MemoryError, ModuleNotFoundError
    ) as error:
        absl_logging.debug("", exc_info=True)
        sys.exit(f"{command}: {str(error) or 'Out of memory.'}")
    except Exception as error:
        # TensorFlow, which defines this error, may not have been imported.
        if type(error).__name__ != "ResourceExhaustedError":
            raise
        absl_logging.debug("", exc_info=True)
        reason = str(error).partition("\n")[0]
        sys.exit(f"{command}: Out of memory, disk space or file handles: {reason}")
