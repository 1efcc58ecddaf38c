"""Presets in files of the user: FILE.py:NAME, and FILE.json."""

import json
import os
import re
import runpy
import traceback

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
        OSError: if the file cannot be read.
    """
    path = os.path.expanduser(preset)
    if path.endswith(".json"):
        return _read_json(path)
    match = _PYTHON_FILE.fullmatch(path)
    if match is None:
        raise ValueError(
            "Expected a Python file with the name of one of its variables, such as "
            f"{preset}:NAME. Received: {preset=}."
        )
    return _read_python(*match.groups())


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
