"""Errors about the names and folders of data sets of TFDS, and their ways out."""

import difflib
import glob
import os
import re

import tensorflow_datasets as tfds

# A data set is in NAME/VERSION or NAME/CONFIGURATION/VERSION.
_INFO_PATTERNS = ("*/dataset_info.json", "*/*/dataset_info.json")


def check_data_dir(name, data_dir):
    """Checks that a data set was not missed because `data_dir` is one of its folders.

    Otherwise TFDS would download the data set into its own folder.

    Args:
        name: the name of the data set, with its version and configuration.
        data_dir: the directory of TFDS's data sets, or None.

    Raises:
        FileNotFoundError: if `data_dir` is the folder of the prepared data set, or is
            in that folder.
    """
    folder = os.path.abspath(os.path.expanduser(data_dir)) if data_dir else ""
    # The folder NAME of the data set may be `data_dir` itself, or be one or two levels
    # above it.
    for _ in range(3):
        parent, last = os.path.split(folder)
        if last == _base_name(name) and _prepared(folder):
            raise FileNotFoundError(
                f"{name} is not in {data_dir}, which is a folder of the data set "
                "itself. data_dir is the folder that contains the folders of all data "
                f"sets. Did you mean the parent, --data_dir={parent}?"
            )
        folder = parent


def prepared_names(base, data_dir):
    """Returns names with a version, such as "imagenet2012:5.1.0", of prepared data.

    Args:
        base: the name of the data set without its version and configuration.
        data_dir: the directory of TFDS's data sets.
    """
    paths = _prepared(os.path.join(data_dir, base))
    return [":".join(f"{base}/{path}".rsplit(os.sep, 1)) for path in paths]


def unknown_data_set_error(name, data_dir, error):
    """Returns the `ValueError` for a data set that TFDS does not have.

    Args:
        name, data_dir: as in `check_data_dir`.
        error: the exception of TFDS.
    """
    return ValueError(
        "Expected textures, folder:PATH, list:FILE, huggingface:NAME or the name of a "
        f"data set of TFDS. Received: dataset={name!r} "
        f"({_reason(name, data_dir, error)})."
    )


def _reason(name, data_dir, error):
    """Returns why TFDS does not have a data set, and similar names, in one line."""
    base, message = _base_name(name), str(error).strip()
    folder = os.path.join(os.path.expanduser(data_dir or ""), base)
    prepared = _prepared(folder) if data_dir and base else []
    if prepared:
        return f"{data_dir} contains {', '.join(f'{base}/{p}' for p in prepared[:5])}"
    if base in tfds.list_builders():
        return _describe_builder(name, base, message)
    similar = difflib.get_close_matches(base, tfds.list_builders(), n=3)
    if similar:
        return f"TFDS has no {base!r}, but {', '.join(similar)}"
    return message.splitlines()[0] if message else type(error).__name__


def _describe_builder(name, base, message):
    """Returns which versions or configurations of a data set there are.

    Args:
        name, base: the name of the data set with and without its version and
            configuration.
        message: the message of TFDS's exception.
    """
    versions = re.search(r"version (\S+), only: (.*)", message)
    if versions:
        return f"its version is not {versions[1]}, but {versions[2].rstrip('.')}"
    configs = list(tfds.builder_cls(base).builder_configs)
    if "BuilderConfig" not in message or not configs:
        return message.splitlines()[-1]
    config = name.partition("/")[2].partition(":")[0]
    close = difflib.get_close_matches(config, configs, n=5, cutoff=0) or configs[:5]
    return (
        f"it has no configuration {config!r}; {len(configs)} others, such as "
        f"{', '.join(f'{base}/{config}' for config in close)}"
    )


def _base_name(name):
    """Returns the name of a data set without its version and configuration."""
    return re.split("[/:]", name)[0]


def _prepared(folder):
    """Returns the sorted versions in the folder of a data set, as relative paths."""
    paths = [
        path
        for pattern in _INFO_PATTERNS
        for path in glob.glob(os.path.join(glob.escape(folder), pattern))
    ]
    return sorted(os.path.relpath(os.path.dirname(path), folder) for path in paths)
