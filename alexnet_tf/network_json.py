"""network.json in the work directory of a run: the network and its classes.

The file holds the preset with all its values, the names of the classes in the order of
the outputs, and the settings of the run, see `training.run_settings`.
"""

import contextlib
import json
import os

from alexnet_tf.files import write_text
from alexnet_tf import presets
from alexnet_tf import published
from alexnet_tf.workdir import BEST_WEIGHTS_FILE

_NAME = "network.json"


def is_run(path):
    """Returns whether `path` is a directory with a network.json."""
    return os.path.exists(os.path.join(os.path.expanduser(path), _NAME))


def find_run(weights):
    """Returns the work directory of the run that weights belong to, or None.

    Args:
        weights: a directory, which is taken for that of a run; the best.safetensors of
            a run, see `workdir`; anything else gives None.
    """
    if not isinstance(weights, str | os.PathLike):
        return None
    path = os.path.expanduser(os.fspath(weights))
    if os.path.isdir(path):
        return path
    folder, name = os.path.split(path)
    is_best = name == BEST_WEIGHTS_FILE and is_run(folder)
    return (folder or os.curdir) if is_best else None


def write_network(path, preset, classes, run_settings=None):
    """Writes network.json.

    Args:
        path: the work directory.
        preset: the `presets.Preset` of the network.
        classes: the names of the classes, in the order of the outputs.
        run_settings: {name: JSON value}, further settings of the run.
    """
    network = {"preset": presets.to_dict(preset), "classes": list(classes)}
    if run_settings:
        network["settings"] = run_settings
    write_text(os.path.join(path, _NAME), json.dumps(network, indent=1))


def read_network(path):
    """Reads network.json, which `write_network` has written.

    Returns:
        (the `presets.Preset`, the names of the classes as a tuple).

    Raises:
        FileNotFoundError: if `path` is not the work directory of a run.
        ValueError: if the file is damaged.
    """
    with _reading_network(path) as network:
        return presets.from_dict(network["preset"]), tuple(network["classes"])


def read_run_settings(path):
    """Reads the settings that `write_network` has written to network.json.

    The result is empty if there are none, as in the runs of version 0.1. The errors are
    those of `read_network`.
    """
    with _reading_network(path) as network:
        return dict(network.get("settings", {}))


@contextlib.contextmanager
def _reading_network(path):
    """Yields the content of network.json, and names the file in errors."""
    json_path = os.path.join(os.path.expanduser(path), _NAME)
    if not is_run(path):
        raise FileNotFoundError(
            f"{path} is not the work directory of a run: it has no network.json."
        )
    try:
        with open(json_path, encoding="utf-8") as file:
            network = json.load(file)
        yield network
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{json_path} is damaged or was written by another version: expected a "
            f"preset and the names of the classes ({error!r})."
        ) from error


def preset_of_weights(weights, preset=None):
    """Returns the `presets.Preset` of the network that weights belong to.

    The work directory of a run contains its preset, also for its best.safetensors, and
    published weights have one, but other weights files do not name one.

    Args:
        weights: the work directory of a run, a name in `published.WEIGHTS`, or a
            weights file.
        preset: a preset for `presets.get`, required for a weights file that is not that
            of a run, and for "imagenet". Otherwise it may be None, or the preset of the
            weights.

    Raises:
        ValueError: if `preset` is missing for a weights file, is unknown, or is not
            that of the weights, or if network.json is damaged.
        FileNotFoundError: if `weights` is a directory but not that of a run, or if
            `preset` is None and there is no file of this name.
    """
    row = published.find(weights, preset)
    if row and not row.folder:
        return presets.get(row.preset)
    weights = published.locate(weights, preset)
    run = find_run(weights)
    if run is not None:
        run_preset, _ = read_network(run)
        if preset not in (None, run_preset.name):
            check_same_preset(weights, run_preset, presets.get(preset))
        return run_preset
    if preset is None:
        _check_exists(weights)
        raise ValueError(
            "Expected a preset, because a weights file does not name one. Received: "
            f"weights={weights} alone. Give preset=caffe for a file of BVLC AlexNet, "
            "or preset=owt for torchvision's file. The names "
            f"{', '.join(published.WEIGHTS)} need no preset."
        )
    return presets.get(preset)


def check_same_preset(path, run_preset, preset):
    """Raises a ValueError if a preset does not have the name of that of a run.

    Args:
        path: the work directory of the run.
        run_preset: the `presets.Preset` of the run.
        preset: a `presets.Preset`, or None, which is always accepted.
    """
    if preset is not None and preset.name != run_preset.name:
        raise ValueError(
            f"Expected the preset of the run {path}, {run_preset.name}. "
            f"Received: preset={preset.name!r}."
        )


def _check_exists(weights):
    if not os.path.exists(weights):
        raise FileNotFoundError(
            f"{weights} is neither a file, nor the directory of a run, nor the name of "
            f"published weights: {', '.join(published.WEIGHTS)}."
        )
