"""The work directory of a training run: what it trains, and what it has measured.

    flags.txt          the resolved flags, one per line, usable as an absl flagfile
    metrics.jsonl      one JSON object per line
    network.json       the preset with all its values, and the names of the classes
    data.json          the number of images of each split
    environment.jsonl  the machine and the versions, one line per launch
    statistics.npz     the mean image and the RGB covariance used by preprocessing,
                       see `pixel_statistics`
    checkpoints/       see `checkpoints`
"""

import contextlib
import fcntl
import json
import os

from alexnet_tf.files import write_text
from alexnet_tf import presets
from alexnet_tf import settings

STATISTICS_FILE = "statistics.npz"

# The names that flags.txt of version 0.1 has for today's flags and values.
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
    """Another process trains in the work directory."""


def create_or_verify(path, flags, may_change=()):
    """Makes `path` the work directory of a run with these flags.

    Without a checkpoint there is nothing to resume, so the flags may change.

    Args:
        path: the directory; it is created if it does not exist.
        flags: {flag: value}, all flags that define the run.
        may_change: names of flags that may change when a run is resumed.

    Raises:
        ValueError: if it holds a checkpoint of a run with other flags.
        PermissionError: if it cannot be written to.
    """
    texts = {
        name: _flag_text(value) for name, value in flags.items() if value is not None
    }
    try:
        os.makedirs(path, exist_ok=True)
        if has_checkpoint(path):
            before, now = (
                {f"--{name}": text for name, text in each.items()
                 if name not in may_change}
                for each in (read_flags(path), texts)
            )
            settings.check_same(
                before, now, f"the run in {path}",
                "Give the same flags to resume it, or another --workdir to start a "
                "new run.",
            )
        lines = [f"--{name}={text}\n" for name, text in texts.items()]
        write_text(os.path.join(path, "flags.txt"), "".join(lines))
    except OSError as error:
        raise _not_writable_error(path, error) from error


@contextlib.contextmanager
def locked(path):
    """Reserves the work directory for this process until the body ends.

    The operating system releases the lock however the process ends.

    Args:
        path: the directory; it is created if it does not exist.

    Raises:
        WorkDirectoryInUse: if another process holds it.
        PermissionError: if it cannot be created.
    """
    try:
        os.makedirs(path, exist_ok=True)
        folder = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise _not_writable_error(path, error) from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WorkDirectoryInUse(
                "Expected a work directory that no other run uses. Received: "
                f"workdir={path}, in which a run is in progress. Wait for its end, or "
                "give another --workdir."
            ) from error
        except OSError:
            pass  # The file system has no locks.
        yield
    finally:
        os.close(folder)


def has_checkpoint(path):
    """Returns whether a run has saved a checkpoint in `path`."""
    return os.path.exists(os.path.join(path, "checkpoints", "checkpoint"))


def write_network(path, preset, classes):
    """Writes network.json: a `presets.Preset` and the names of the classes."""
    network = {"preset": presets.to_dict(preset), "classes": list(classes)}
    write_text(os.path.join(path, "network.json"), json.dumps(network, indent=1))


def read_network(path):
    """Reads network.json of a run: (`presets.Preset`, names of the classes).

    Raises:
        FileNotFoundError: if `path` is not the work directory of a run.
        ValueError: if the file is damaged.
    """
    file = os.path.join(path, "network.json")
    if not os.path.exists(file):
        raise FileNotFoundError(
            f"{path} is not the work directory of a run: it has no network.json."
        )
    with open(file, encoding="utf-8") as lines:
        text = lines.read()
    try:
        content = json.loads(text)
        return presets.from_dict(content["preset"]), tuple(content["classes"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is damaged or was written by another version: expected a preset "
            f"and its classes ({error!r})."
        ) from error


def preset_of_weights(weights, preset=None):
    """Returns the `presets.Preset` of the network that weights belong to.

    The work directory of a run says which that is; a file does not.

    Args:
        weights: the work directory of a run, or a weights file.
        preset: the name of a preset; None for the run's own.

    Raises:
        ValueError: if no preset is given for a file, or another one for a run.
        FileNotFoundError: if the directory is not that of a run.
    """
    if os.path.isdir(weights):
        found, _ = read_network(weights)
        if preset not in (None, found.name):
            raise ValueError(
                f"Expected the preset of the run {weights}, {found.name}. Received: "
                f"preset={preset!r}."
            )
        return found
    if preset is None:
        raise ValueError(
            "Expected a preset, which a weights file does not name. Received: "
            f"weights={weights} alone. Give preset=caffe for bvlc_alexnet.npy, "
            "preset=owt for torchvision's file."
        )
    return presets.get(preset)


def write_image_counts(path, counts):
    """Writes data.json: {the name of a data set and split: its number of images}."""
    write_text(os.path.join(path, "data.json"), json.dumps(counts))


def verify_image_counts(path, counts):
    """Refuses to resume a run whose data sets have grown or shrunk.

    A checkpoint knows its position in the data as a number of steps, and the number
    of images says how many steps make an epoch.

    Args:
        path: the work directory.
        counts: the present numbers, as for `write_image_counts`.

    Raises:
        ValueError: if a number differs.
        FileNotFoundError: if there is no data.json.
    """
    with open(os.path.join(path, "data.json"), encoding="utf-8") as file:
        before = json.load(file)
    settings.check_same(
        before, counts, f"the run in {path}, which are its numbers of images",
        "Restore the images, or give another --workdir to start a new run.",
    )


def append_metrics(path, **values):
    """Appends one line to metrics.jsonl."""
    _append(_metrics_file(path), values)


def read_metrics(path):
    """Reads the lines of metrics.jsonl as dictionaries, in order."""
    return _read(_metrics_file(path))


def append_environment(path, **values):
    """Appends one line to environment.jsonl."""
    _append(os.path.join(path, "environment.jsonl"), values)


def read_environments(path):
    """Reads the lines of environment.jsonl as dictionaries, in order."""
    return _read(os.path.join(path, "environment.jsonl"))


def read_flags(path):
    """Reads flags.txt as {flag: value as text}; empty if there is no such file.

    Flags and values of version 0.1 come under their present names.

    Raises:
        ValueError: if a line does not have the form --flag=value.
    """
    file = os.path.join(path, "flags.txt")
    if not os.path.exists(file):
        return {}
    values = {}
    with open(file, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, equals, value = line.rstrip("\n").partition("=")
            if not equals or not name.startswith("--"):
                raise ValueError(
                    f"Expected lines of --flag=value in {file}. Received: "
                    f"{line.rstrip()!r}. Restore the line, or remove it."
                )
            name = _RENAMED_FLAGS.get(name[2:], name[2:])
            values[name] = _RENAMED_VALUES.get((name, value), value)
    return values


def truncate_metrics(path, step, epochs):
    """Removes what was measured after a step, which will be measured again.

    Args:
        path: the work directory.
        step: the last step whose lines in metrics.jsonl are kept.
        epochs: the number of completed epochs, whose lines in metrics.csv are kept.
    """
    kept = [
        line
        for line in read_metrics(path)
        if line["step"] <= step
        # The last step of an epoch may have been saved, but not its evaluation.
        and (line.get("split") != "eval" or line["epoch"] <= epochs)
    ]
    write_text(_metrics_file(path), "".join(json.dumps(line) + "\n" for line in kept))
    table = os.path.join(path, "metrics.csv")
    if os.path.exists(table):
        with open(table, encoding="utf-8") as file:
            lines = file.readlines()
        write_text(table, "".join(lines[: 1 + epochs]))


def _flag_text(value):
    if isinstance(value, dict):
        value = [f"{name}:{number:g}" for name, number in value.items()]
    if isinstance(value, (tuple, list)):
        return ",".join(str(item) for item in value)
    return str(value)


def _not_writable_error(path, error):
    return PermissionError(
        f"The work directory {path} cannot be written to ({error.strerror}). Give "
        "another --workdir."
    )


def _metrics_file(path):
    return os.path.join(path, "metrics.jsonl")


def _append(path, values):
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
    except OSError as error:
        raise OSError(
            f"A line could not be appended to {path}: {error.strerror}. Free some "
            "space and run the same command again: it resumes from the last "
            "checkpoint."
        ) from error


def _read(path):
    """Reads whole lines only: a kill may have cut the last one short."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line for line in file if line.endswith("\n")]
    return [_parse(path, number, line) for number, line in enumerate(lines, 1)]


def _parse(path, number, line):
    try:
        values = json.loads(line)
        if isinstance(values, dict):
            return values
    except ValueError:
        pass  # Reported below.
    raise ValueError(
        f"Expected a JSON object in line {number} of {path}. Received: "
        f"{line.strip()[:60]!r}. Remove the line."
    )
