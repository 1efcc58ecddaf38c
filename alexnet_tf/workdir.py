"""The work directory of a run: what it is, and what it has measured.

    flags.txt       the resolved flags, one a line, usable as an absl flagfile
    metrics.jsonl   one JSON object a line
    network.json    what the weights are of: the preset with all its values, and
                    the classes
    data.json       how many pictures the run is of
    environment.jsonl   the machine and the versions, a line for each start
    statistics.npz  the mean image and the colours' covariance that it is fed
                    with, see `statistics`
"""

import contextlib
import fcntl
import json
import os

from alexnet_tf.files import write_text
from alexnet_tf import presets

STATISTICS_FILE = "statistics.npz"


def create_or_verify(path, settings, free=()):
    """Makes `path` the work directory of a run with these settings.

    Args:
        path: of the directory; made if need be.
        settings: {flag: value}, all that define the run.
        free: flags that may change when a run is resumed.

    Raises:
        ValueError: if it holds a checkpoint of a run with other settings.
        PermissionError: if it can't be written to.
    """
    lines = [_line(*item) for item in settings.items() if item[1] is not None]
    flags = os.path.join(path, "flags.txt")
    try:
        os.makedirs(path, exist_ok=True)
        # A run that never saved anything binds nobody.
        if has_checkpoint(path):
            with open(flags, encoding="utf-8") as file:
                _check_same(path, file.read().splitlines(), lines, free)
        write_text(flags, "".join(line + "\n" for line in lines))
    except OSError as error:
        raise _unwritable(path, error) from error


@contextlib.contextmanager
def locked(path):
    """The work directory is this run's while it lasts.

    The system gives it back however the run ends.

    Raises:
        ValueError: if another run has it.
        PermissionError: if it can't be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
        folder = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Expected a work directory of no other run. Received: workdir="
                f"{path}, in which one is going on. Wait for it, or give another "
                "--workdir."
            ) from error
        except OSError:
            pass  # A file system without locks.
        yield
    finally:
        os.close(folder)


def has_checkpoint(path):
    return os.path.exists(os.path.join(path, "checkpoints", "checkpoint"))


def write_network(path, preset, classes):
    """Writes network.json: a `presets.Preset` and the names of the classes."""
    network = {"preset": presets.to_dict(preset), "classes": list(classes)}
    write_text(os.path.join(path, "network.json"), json.dumps(network, indent=1))


def read_network(path):
    """(`presets.Preset`, names of the classes) of a run.

    Raises:
        FileNotFoundError: if `path` is no directory of a run.
        ValueError: if the file is damaged.
    """
    file = os.path.join(path, "network.json")
    if not os.path.exists(file):
        raise FileNotFoundError(
            "Expected the directory of a run, with a network.json. Received: "
            f"{path}, which has none."
        )
    with open(file, encoding="utf-8") as lines:
        text = lines.read()
    try:
        content = json.loads(text)
        return presets.from_dict(content["preset"]), tuple(content["classes"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "Expected a preset and its classes. Received: "
            f"{file}, which is damaged or of another version ({error!r})."
        ) from error


def write_data(path, pictures):
    """Writes data.json: {a source's name: how many it has}."""
    write_text(os.path.join(path, "data.json"), json.dumps(pictures))


def check_data(path, pictures):
    """Refuses to go on with other pictures than `write_data` was given.

    How far a run has come is known by the steps done, and how many of them make an
    epoch by the pictures.

    Raises:
        ValueError: if there are more now, or fewer.
        OSError: if there is no such file.
    """
    with open(os.path.join(path, "data.json"), encoding="utf-8") as file:
        before = file.read()
    now = json.dumps(pictures)
    if before != now:
        raise ValueError(
            f"Expected the pictures that the run in {path} began with: {before}. "
            f"Received: {now}. Put them back, or give another --workdir to start a "
            "new run."
        )


def append_metrics(path, **values):
    """Adds a line to metrics.jsonl."""
    _append(_metrics(path), values)


def read_metrics(path):
    """The lines of metrics.jsonl as dictionaries, in order."""
    return _read(_metrics(path))


def append_environment(path, **values):
    """Adds a line to environment.jsonl."""
    _append(os.path.join(path, "environment.jsonl"), values)


def read_environments(path):
    """The lines of environment.jsonl as dictionaries, in order."""
    return _read(os.path.join(path, "environment.jsonl"))


def read_flags(path):
    """{flag: value as a string} of flags.txt; empty if there is none.

    Raises:
        ValueError: if a line is none of --flag=value.
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
                    f"{line.rstrip()!r}. Put back what was there, or remove it."
                )
            values[name[2:]] = value
    return values


def truncate_metrics(path, step, epochs):
    """Takes back what was measured after a step, which is to be run again.

    Args:
        path: of the directory.
        step: lines of metrics.jsonl up to here are kept.
        epochs: done, whose lines of metrics.csv are kept.
    """
    kept = [
        line
        for line in read_metrics(path)
        if line["step"] <= step
        # An epoch's last step may be saved and its evaluation not.
        and (line.get("split") != "eval" or line["epoch"] <= epochs)
    ]
    write_text(_metrics(path), "".join(json.dumps(line) + "\n" for line in kept))
    table = os.path.join(path, "metrics.csv")
    if os.path.exists(table):
        with open(table, encoding="utf-8") as file:
            write_text(table, "".join(file.readlines()[: 1 + epochs]))


def _unwritable(path, error):
    return PermissionError(
        f"Expected a directory that can be written to. Received: workdir="
        f"{path} ({error.strerror}). Give another --workdir."
    )


def _metrics(path):
    return os.path.join(path, "metrics.jsonl")


def _append(path, values):
    """
    Raises:
        OSError: if there is no room for the line, or it can't be written.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
    except OSError as error:
        raise OSError(
            f"Expected to add a line to {path}. Received: {error.strerror}. Make room "
            "and run the same command again: it goes on from the last checkpoint."
        ) from error


def _read(path):
    """Whole lines alone: a kill may have cut the last one short."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line for line in file if line.endswith("\n")]
    return [_parsed(path, number, line) for number, line in enumerate(lines, 1)]


def _parsed(path, number, line):
    try:
        values = json.loads(line)
        if isinstance(values, dict):
            return values
    except ValueError:
        pass  # Said below.
    raise ValueError(
        f"Expected a JSON object in line {number} of {path}. Received: "
        f"{line.strip()[:60]!r}. Take the line out."
    )


def _line(name, value):
    if isinstance(value, (tuple, list)):
        value = ",".join(str(item) for item in value)
    return f"--{name}={value}"


def _check_same(path, old, new, free):
    def fixed(lines):
        return {line for line in lines if line[2:].split("=")[0] not in free}

    differing = sorted(fixed(old) ^ fixed(new))
    if differing:
        before = [line for line in old if line in differing]
        now = [line for line in new if line in differing]
        raise ValueError(
            f"Expected the flags of the run in {path}: {' '.join(before)}. "
            f"Received: {' '.join(now)}. Give the same flags to resume it, or "
            "another --workdir to start a new run."
        )
