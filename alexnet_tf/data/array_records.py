"""Reads data sets that TFDS has prepared in the file format ArrayRecord.

TFDS itself reads them only through Python objects with random access.
"""

import errno
import importlib.util
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

# A call from `tf.data` to Python reads this number of records.
_BLOCK_SIZE = 64


def is_array_record(builder):
    """Returns whether a prepared data set of TFDS has the file format ArrayRecord.

    Args:
        builder: the TFDS builder of the data set.
    """
    return builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD


def check_installed(builder):
    """Checks that the package array_record is installed.

    TFDS requires the package only on Linux.

    Args:
        builder: the TFDS builder of a data set in this format.

    Raises:
        ModuleNotFoundError: if it is not.
    """
    if importlib.util.find_spec("array_record") is None:
        folder, full_name = str(builder.data_path), builder.info.full_name
        data_dir = folder.removesuffix(full_name).rstrip("/" + os.sep)
        raise ModuleNotFoundError(
            f"{builder.name} was prepared in the file format ArrayRecord, which needs "
            "the Python package array_record: pip install array_record. If pip does "
            "not find it, convert the data set on a machine with the packages "
            "array_record and apache_beam: tfds convert_format "
            f"--dataset_version_dir={folder} --out_file_format=tfrecord "
            f"--out_dir={data_dir}_tfrecord/{full_name}"
        )


def as_dataset(builder, split, decoders, shuffle_seed=None, position=0):
    """Returns the examples of a split as `builder.as_dataset` does for other formats.

    The examples have the key "tfds_id": the name of the file and the position in it.

    Args:
        builder: the TFDS builder of a prepared data set in this format.
        split: the split in TFDS's notation.
        decoders: a `tfds.decode.PartialDecoding` that selects features.
        shuffle_seed: the random seed of the order of all examples; None for TFDS's
            order.
        position: the number of examples to leave out at the beginning.

    Raises:
        tf.errors.UnknownError: when the dataset is read, if a file is missing or
            damaged. The message ends with the system's text for an I/O error, by which
            `bad_images.diagnose` recognizes such errors.
    """
    # The package need not be installed for other formats, see `check_installed`.
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    instructions = builder.info.splits[split].file_instructions
    records = ArrayRecordDataSource(instructions)
    order = np.arange(len(records))
    if shuffle_seed is not None:
        order = np.random.default_rng(shuffle_seed).permutation(order)
    features = decoders.extract_features(builder.info.features)

    def read_block(positions):
        try:
            block = records.__getitems__(positions.tolist())
        except Exception as error:  # The package raises errors of many types.
            reason = " ".join(str(error).split())
            raise OSError(f"{reason}; {os.strerror(errno.EIO)}") from None
        return np.array(block, object), _names(instructions, positions)

    def parse(record, name):
        example = features.deserialize_example(record, decoders=decoders.decoders)
        return example | {"tfds_id": name}

    return (
        tf.data.Dataset.from_tensor_slices(order[position:])
        .batch(_BLOCK_SIZE)
        .map(lambda block: _call(read_block, block))
        .unbatch()
        .map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    )


def _call(read_block, positions):
    """Returns the records and the names at some positions, two string [N]."""
    outputs = tf.numpy_function(read_block, [positions], [tf.string, tf.string])
    return tuple(tf.ensure_shape(output, [None]) for output in outputs)


def _names(instructions, positions):
    """Returns the names of examples, in the format of TFDS's "tfds_id".

    Args:
        instructions: TFDS's `FileInstruction`s, the parts of files that make up a
            split.
        positions: int64 [N], positions in the split.
    """
    ends = np.cumsum([part.take for part in instructions])
    names = []
    for position, index in zip(positions, np.searchsorted(ends, positions, "right")):
        part = instructions[index]
        first = ends[index] - part.take
        file_name = os.path.basename(part.filename)
        names.append(f"{file_name}__{part.skip + position - first}".encode())
    return np.array(names, object)
