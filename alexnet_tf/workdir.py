"""The work directory of a training run: its settings, its metrics and its lock.

    flags.txt          the resolved flags, one per line, usable as an absl flagfile
    metrics.jsonl      the metrics of training steps and of evaluations, one JSON object
                       per line
    metrics.csv        the metrics of each epoch (those of training are means over its
                       steps), from Keras' `CSVLogger`, which counts epochs from 0
    network.json       the preset with all its values, the names of the classes, and
                       the settings of the run, see `network_json`
    best.safetensors   the weights with the lowest validation error, with --keep_best
    data.json          the number of images of each split
    label_counts.json  the number of images of each class, with --class_weights
    environment.jsonl  the machine and the software versions, one JSON object per launch
    statistics.npz     the mean image and the RGB covariance used by preprocessing,
                       see `pixel_statistics`
    checkpoints/       the model, the optimizer and the progress, see `checkpoints`
    kernels/           the kernels of the first layer over the epochs, see
                       `kernel_history`
"""

import contextlib
import decimal
import glob
import json
import os
import shlex

from alexnet_tf.files import lock_folder
from alexnet_tf.files import write_text
from alexnet_tf import settings

STATISTICS_FILE = "statistics.npz"
BEST_WEIGHTS_FILE = "best.safetensors"

# Flags and values in a flags.txt of version 0.1, with their present names.
_RENAMED_FLAGS = {
    "colour_noise": "pca_color_std",  # word: kept
    "colour_noise_divisor": "pca_color_divisor",  # word: kept
    "colour_noise_epochs": "pca_color_epochs",  # word: kept
    "drops": "boundaries",
    "without": "ablate",
}
_RENAMED_VALUES = {
    ("preset", "cifar10_quick"): "cifar10_full",
    ("schedule", "dexp"): "stepped_exponential",
}


class WorkDirectoryInUse(ValueError):
    """The work directory is locked by another training run."""


def create_or_verify(path, flags, may_change=(), resolved=(), check=None):
    """Makes `path` the work directory of a run with these flags.

    Without a checkpoint there is nothing to resume, so the flags may change.

    Args:
        path: the directory; it is created if it does not exist.
        flags: {flag: value}, all flags that define the run. Flags with the value None
            are omitted from flags.txt.
        may_change: names of flags that may change when a run is resumed.
        resolved: names of flags that the user has not given: their values are defaults
            or those of the preset.
        check: a function without arguments that raises an error if the run cannot be
            resumed for other reasons. It is called only if there is a checkpoint.

    Raises:
        ValueError: if the directory holds a checkpoint of a run with other flags, or
            if flags.txt is damaged. If flags that the user has given have changed, the
            error names only these.
        PermissionError: if the directory cannot be written to.
    """
    formatted_flags = {
        name: _format_flag(value)
        for name, value in flags.items()
        if value is not None
    }
    if has_checkpoint(path):
        _check_same_flags(path, read_flags(path), formatted_flags, may_change, resolved)
        if check:
            check()
    lines = [f"--{name}={value}\n" for name, value in formatted_flags.items()]
    try:
        os.makedirs(path, exist_ok=True)
        write_text(os.path.join(path, "flags.txt"), "".join(lines))
    except OSError as error:
        raise _not_writable_error(path, error.strerror) from error


def _check_same_flags(path, before, now, may_change, resolved):
    """Raises a ValueError if flags have changed; see `create_or_verify`."""
    changed = [
        name
        for name in {**before, **now}
        # A flag that is missing is false: later versions have added some.
        if name not in may_change
        and not _is_same_value(before.get(name, "False"), now.get(name, "False"))
    ]
    given = [name for name in changed if name not in resolved]
    # A new data set, preset or weights changes many defaults, so only these three are
    # named. If they are unchanged, the flags that differ were given when the run began,
    # and are missing now.
    deciding = [name for name in changed if name in ("dataset", "preset", "weights")]
    named = given or deciding if deciding else changed
    expected, received = (
        {f"--{name}": shlex.quote(values[name]) for name in named if name in values}
        for values in (before, now)
    )
    for name in received:
        if name.removeprefix("--") not in given:
            received[name] += " (default)"
    flags_path = shlex.quote(os.path.join(path, "flags.txt"))
    settings.check_same(
        expected, received, f"the settings of the run in {path}",
        f"Give the same flags to resume it, which --flagfile={flags_path} does, or "
        "another --workdir to start a new run.",
    )


def _is_same_value(before, now):
    """Returns whether two values of a flag are the same text or the same number."""
    try:
        return before == now or decimal.Decimal(before) == decimal.Decimal(now)
    except decimal.InvalidOperation:
        return False


def pattern_characters(path):
    r"""Returns the characters of a path that TensorFlow reads as a pattern.

    TensorFlow restores the checkpoints that match a path as a pattern, so it does not
    find those below a directory "a[1]". A backslash is such a character, too, except on
    Windows. See https://github.com/tensorflow/tensorflow/issues/34290.
    """
    special = "[]*?" if os.sep == "\\" else "[]*?\\"
    return "".join(character for character in special if character in path)


def check_characters(path):
    """Raises a ValueError if a run in a work directory could never be resumed.

    Args:
        path: the directory, with a character of `pattern_characters` or without.
    """
    characters = pattern_characters(path)
    if characters:
        raise ValueError(
            f"Expected a work directory without {' and '.join(characters)} in its "
            f"path. Received: workdir={path}, where TensorFlow would not find its "
            "checkpoints again. Give another --workdir."
        )


def check_writable(path):
    """Checks a work directory before any work is done.

    Args:
        path: the directory, which may not exist.

    Raises:
        ValueError: if its path has a character that `check_characters` refuses.
        PermissionError: if it cannot be created or written to.
    """
    check_characters(path)
    folder = os.path.abspath(path)
    # A drive of Windows that does not exist is its own parent.
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise _not_writable_error(
            path, f"{folder} is not a directory that may be written to"
        )


@contextlib.contextmanager
def locked(path):
    """Locks the work directory for this run until the body ends.

    The operating system releases the lock when the process ends, even if it is killed.
    On a file system without locks, nothing is locked.

    Args:
        path: the directory; it is created if it does not exist.

    Raises:
        WorkDirectoryInUse: if another run has locked the directory.
        PermissionError: if the directory cannot be created or opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(path, exist_ok=True)
            stack.enter_context(lock_folder(path))
        except BlockingIOError as error:
            raise WorkDirectoryInUse(
                "Expected a work directory that no other run uses. Received: "
                f"workdir={path}, in which a run is in progress. Wait until that run "
                "ends, or give another --workdir."
            ) from error
        except OSError as error:
            raise _not_writable_error(path, error.strerror) from error
        yield


def has_checkpoint(path):
    """Returns whether a run has saved a checkpoint in `path`.

    The files of a checkpoint suffice: the list in the file `checkpoint` may be missing
    in a copy, or after a kill.
    """
    folder = os.path.join(path, "checkpoints")
    return os.path.exists(os.path.join(folder, "checkpoint")) or bool(
        glob.glob(os.path.join(glob.escape(folder), "ckpt-*.index"))
    )


def write_image_counts(path, counts):
    """Writes data.json.

    Args:
        path: the work directory.
        counts: {name of a data set and its split: its number of images}.
    """
    write_text(os.path.join(path, "data.json"), json.dumps(counts))


def verify_image_counts(path, counts):
    """Checks that the data sets of a run to resume have neither grown nor shrunk.

    A checkpoint stores the position in the data as a number of steps, and the number
    of images determines how many steps make an epoch.

    Args:
        path: the work directory.
        counts: the present numbers of images, as for `write_image_counts`.

    Raises:
        ValueError: if a number of images differs, or if data.json is damaged.
        FileNotFoundError: if there is no data.json.
    """
    json_path = os.path.join(path, "data.json")
    try:
        with open(json_path, encoding="utf-8") as file:
            before = dict(json.load(file))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{json_path} is damaged: expected the number of images of each split "
            f"({error!r}). Give another --workdir to start a new run."
        ) from error
    settings.check_same(
        before, counts, f"the numbers of images of the run in {path}",
        "Restore the images, or give another --workdir to start a new run.",
    )


def append_metrics(path, **values):
    """Appends one line to metrics.jsonl.

    Raises:
        OSError: if the disk is full or the file cannot be written to.
    """
    _append_line(_metrics_path(path), values)


def read_metrics(path):
    """Reads the lines of metrics.jsonl as dictionaries, in order.

    An incomplete last line is ignored. If the file does not exist, the list is empty.

    Raises:
        ValueError: if a line is not a JSON object.
    """
    return _read_lines(_metrics_path(path))


def append_environment(path, **values):
    """Appends one line to environment.jsonl.

    Raises:
        OSError: as in `append_metrics`.
    """
    _append_line(os.path.join(path, "environment.jsonl"), values)


def read_environments(path):
    """Reads the lines of environment.jsonl, as `read_metrics` does."""
    return _read_lines(os.path.join(path, "environment.jsonl"))


def read_flags(path):
    """Reads flags.txt as {flag: value as text}.

    If the file does not exist, the result is empty. Names of files that are not UTF-8
    are returned as Python represents them, with surrogates. Flags and values of version
    0.1 are returned under their present names.

    Raises:
        ValueError: if a line does not have the form --flag=value.
    """
    flags_path = os.path.join(path, "flags.txt")
    if not os.path.exists(flags_path):
        return {}
    values = {}
    with open(flags_path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            name, equals, value = line.rstrip("\n").partition("=")
            if not equals or not name.startswith("--"):
                raise ValueError(
                    f"{flags_path} is damaged: the line {line.rstrip()!r} is not of "
                    "the form --flag=value. Restore the line, or remove it."
                )
            name = _RENAMED_FLAGS.get(name[2:], name[2:])
            values[name] = _RENAMED_VALUES.get((name, value), value)
    return values


def truncate_metrics(path, step, errors):
    """Removes the metrics after a step, because a resumed run will write them again.

    Args:
        path: the work directory.
        step: the last step whose lines in metrics.jsonl are kept.
        errors: the validation errors of the completed epochs, None for an epoch
            without an evaluation. The evaluations of the other completed epochs are
            kept, as are the lines of all completed epochs in metrics.csv.
    """
    # A checkpoint may have been saved after the last step of an epoch, but before its
    # evaluation.
    evaluated = {epoch for epoch, error in enumerate(errors, 1) if error is not None}
    kept_lines = [
        line
        for line in read_metrics(path)
        if line["step"] <= step
        and (line.get("split") != "eval" or line["epoch"] in evaluated)
    ]
    write_text(
        _metrics_path(path), "".join(json.dumps(line) + "\n" for line in kept_lines)
    )
    csv_path = os.path.join(path, "metrics.csv")
    if os.path.exists(csv_path):
        # Keras ends lines with "\r\n", and on Windows with "\r\r\n", which reads as an
        # additional empty line.
        with open(csv_path, encoding="utf-8") as file:
            csv_lines = [line.rstrip() + "\r\n" for line in file if line.strip()]
        write_text(csv_path, "".join(csv_lines[: 1 + len(errors)]))


def _format_flag(value):
    """Formats a flag's value in the syntax that absl parses."""
    if isinstance(value, dict):
        value = [f"{name}:{_format_number(number)}" for name, number in value.items()]
    if isinstance(value, (tuple, list)):
        return ",".join(str(item) for item in value)
    return str(value)


def _format_number(number):
    """Formats a number in the shortest way that keeps its value."""
    text = f"{number:g}"
    return text if float(text) == number else repr(float(number))


def _not_writable_error(path, reason):
    return PermissionError(
        f"The work directory {path} cannot be written to ({reason}). Give another "
        "--workdir."
    )


def _metrics_path(path):
    return os.path.join(path, "metrics.jsonl")


def _append_line(path, values):
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
    except OSError as error:
        raise OSError(
            f"A line could not be appended to {path}: {error.strerror}. Make sure that "
            "the file is writable and the disk has free space, and run the same "
            "command again: it resumes from the last checkpoint."
        ) from error


def _read_lines(path):
    """Reads complete lines only, because a kill may have cut off the last one."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line for line in file if line.endswith("\n")]
    return [_parse_line(path, number, line) for number, line in enumerate(lines, 1)]


def _parse_line(path, number, line):
    try:
        values = json.loads(line)
        if isinstance(values, dict):
            return values
    except ValueError:
        pass  # Reported below.
    raise ValueError(
        f"Line {number} of {path} is damaged: {line.strip()[:60]!r} is not a JSON "
        "object. Remove the line."
    )
