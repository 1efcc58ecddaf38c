"""Data sets by name, as streams of encoded images and labels.

A name is that of an image classification data set of TFDS ("imagenet2012",
"cifar10:3.0.2"), "textures" (drawn by this package), "folder:PATH" for class folders,
or "list:FILE" for lines of `path label`. Splits are selected as in TFDS, for instance
"train[:90%]".
"""

from alexnet_tf.data import file_source
from alexnet_tf.data import tfds_source


def load(name, split, data_dir=None):
    """Loads one split of a data set as a `Source`.

    Args:
        name: the name of the data set, see the module's docstring.
        split: a split in TFDS's notation, such as "train" or "train[:90%]". None
            selects the split to evaluate on: validation if there is one, else
            test.
        data_dir: the directory of TFDS's data sets, "~/tensorflow_datasets" by
            default.

    Raises:
        ValueError: if the name or the split is unknown, or the split is empty.
        OSError: if the data is missing and cannot be prepared.
    """
    if name.startswith(file_source.PREFIXES):
        return file_source.load(name, split)
    return tfds_source.load(name, split, data_dir)


def split_names(name, data_dir=None):
    """Lists the splits of a data set; arguments and errors as in `load`."""
    if name.startswith(file_source.PREFIXES):
        return file_source.split_names(name)
    return tfds_source.split_names(name, data_dir)
