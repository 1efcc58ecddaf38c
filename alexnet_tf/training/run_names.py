"""The names of a run's work directory and of its data set."""

import os
import re

from alexnet_tf.data import datasets
from alexnet_tf.workdir import has_checkpoint
from alexnet_tf.workdir import pattern_characters
from alexnet_tf.workdir import read_flags


def default_workdir(dataset, preset_name):
    """Returns the default work directory, runs/DATASET-PRESET.

    DATASET is the last part of the name of the data set or of its path, however the
    path is spelled. Characters that Windows does not allow in file names become "-",
    as do those that `workdir.check_characters` refuses. Earlier versions kept such
    characters, and also the prefix of a path without a slash, as in "folder:images".
    If there is such a directory and it can be used, it is returned.
    """
    name = os.path.basename(dataset.rstrip("/" + os.sep))
    earlier_name = f"{name}-{preset_name}"
    if datasets.has_image_files(dataset):
        path = os.path.expanduser(dataset.partition(":")[2])
        name = os.path.basename(os.path.abspath(path))
    for earlier in (earlier_name, _without_reserved(earlier_name)):
        path = os.path.join("runs", earlier)
        if os.path.isdir(path) and not pattern_characters(path):
            return path
    return os.path.join("runs", _without_reserved(f"{name}-{preset_name}"))


def _without_reserved(name):
    """Returns a name with "-" for characters that it must not contain."""
    return re.sub(r'[<>:"|?*\[\]\\]', "-", name)


def spelling_of_run(dataset, workdir):
    """Returns the name of a data set as the run to resume has recorded it.

    Without such a run or with another data set, the canonical name is returned.
    """
    if has_checkpoint(workdir):
        recorded = read_flags(workdir).get("dataset", "")
        if datasets.is_same(dataset, recorded):
            return recorded
    return datasets.canonical_name(dataset)
