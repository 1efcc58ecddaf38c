"""Presets in files: FILE.py:NAME, FILE.json, and the dict that JSON files contain."""

import dataclasses
import json
import os
import re
import runpy
import traceback
import typing

from alexnet_tf.preset_types import Layer
from alexnet_tf.preset_types import Preprocessing
from alexnet_tf.preset_types import Preset
from alexnet_tf.preset_types import Recipe

# {name or value in the network.json of version 0.1: the current name or value}.
_RENAMED = {
    "colour_noise": "pca_color_std",  # word: kept
    "colour_noise_divisor": "pca_color_divisor",  # word: kept
    "colour_noise_epochs": "pca_color_epochs",  # word: kept
    "centre": "center",  # word: kept
    "drops": "boundaries",
    "bias_lr_falls": "bias_lr_follows_schedule",
    "layer_rates": "layer_lr_multipliers",
    "dexp": "stepped_exponential",
    "cifar10_quick": "cifar10_full",
}
_PYTHON_FILE = re.compile(r"(.+\.py):(\w+)", re.DOTALL)


def is_file(preset):
    """Returns whether the name of a preset is that of a file, which may not exist."""
    return isinstance(preset, str) and (
        preset.endswith((".json", ".py")) or bool(_PYTHON_FILE.fullmatch(preset))
    )


def read(preset):
    """Returns what a file contains: a variable of a Python file, or a dict from JSON.

    Args:
        preset: "FILE.py:NAME" or "FILE.json". The dict is the file's object "preset" if
            it has one, as network.json in the directory of a run has.

    Raises:
        ValueError: if the name of the variable is missing, the Python code raises an
            error, or the JSON file has no object.
        OSError: if the file does not exist or cannot be read.
    """
    path = os.path.expanduser(preset)
    if path.endswith(".json"):
        _check_exists(path)
        return _read_json(path)
    match = _PYTHON_FILE.fullmatch(path)
    if match is None:
        raise ValueError(
            "Expected a Python file with the name of one of its variables, such as "
            f"{preset}:NAME. Received: {preset=}."
        )
    _check_exists(match[1])
    return _read_python(*match.groups())


def _check_exists(path):
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"The preset file {path} does not exist. A run that began with it can be "
            "resumed without it, with the same preset and its --workdir."
        )


def _read_json(path):
    with open(path, encoding="utf-8") as file:
        try:
            content = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a JSON file: {error}.") from error
    if isinstance(content, dict):
        content = content.get("preset", content)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} contains no preset: expected an object with its name and layers."
        )
    return content


def _read_python(path, name):
    with open(path, "rb"):
        pass  # Otherwise, `run_path` runs the __main__.py of a folder.
    try:
        variables = runpy.run_path(path)
    except (Exception, SystemExit) as error:
        raise ValueError(_describe(error, path)) from error
    if name not in variables:
        raise ValueError(f"{path} defines no variable {name}.")
    return variables[name]


def _describe(error, path):
    """Returns one line about an error in a Python file, with its line number."""
    summary = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, SyntaxError):
        number = error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        number = lines[-1] if lines else None
    position = f", line {number}" if number else ""
    return f"The code in {path}{position} fails: {' '.join(summary.split())}"


def to_dict(preset: Preset) -> dict:
    """Returns a preset as a dict that can be written as JSON."""
    layers = [
        {"type": type(layer).__name__, **dataclasses.asdict(layer)}
        for layer in preset.layers
    ]
    return {**dataclasses.asdict(preset), "layers": layers}


def from_dict(content: dict) -> Preset:
    """Returns the `Preset` for a dict that `to_dict` returned.

    Names and values of version 0.1 are converted to the current ones.
    Preprocessing and recipe may be missing: all their fields have defaults.

    Args:
        content: the dict, which may have been written as JSON and read again.

    Raises:
        KeyError, TypeError: if a field or a layer type is missing or unknown.
    """
    layer_types = {kind.__name__: kind for kind in typing.get_args(Layer)}
    layers = []
    for fields in content["layers"]:
        fields = dict(fields)
        layers.append(layer_types[fields.pop("type")](**with_tuples(fields)))
    name = content["name"]
    parts = content.get("preprocessing", {}), content.get("recipe", {})
    if any(key in _RENAMED for part in parts for key in part):
        name, parts = _renamed(name), map(_with_present_names, parts)
    preprocessing, recipe = map(with_tuples, parts)
    return Preset(
        name, tuple(layers), Preprocessing(**preprocessing), Recipe(**recipe)
    )


def _with_present_names(fields):
    return {_renamed(key): _renamed(value) for key, value in fields.items()}


def _renamed(value):
    return _RENAMED.get(value, value) if isinstance(value, str) else value


def with_tuples(value):
    """Returns a value from JSON with tuples in place of lists."""
    if isinstance(value, dict):
        return {key: with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(with_tuples(item) for item in value)
    return value
