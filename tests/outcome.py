"""What a run ended with, to hold it against another's."""

import tensorflow as tf

from alexnet_tf import classifier
from alexnet_tf import workdir


def weights(path):
    """[array, ...] of the network of a run."""
    return classifier.load(str(path)).model.get_weights()


def final_arrays(path):
    """{name: array} of the newest checkpoint, without its bookkeeping."""
    latest = tf.train.latest_checkpoint(str(path / "checkpoints"))
    reader = tf.train.load_checkpoint(latest)
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.endswith("VARIABLE_VALUE") and "save_counter" not in name
    }


def layers_of(path):
    """{layer: [kernel, bias]} of the newest checkpoint."""
    arrays = {}
    for name, array in sorted(final_arrays(path).items()):
        if name.startswith("layers/"):
            arrays.setdefault(name.split("/")[1], []).append(array)
    return arrays


def events(path):
    """Yields (step, value) of what a summary writer wrote to a folder."""
    (file,) = path.glob("events*")
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            yield event.step, value


def metrics(path):
    """All lines of metrics without the speed."""
    lines = workdir.read_metrics(str(path))
    return [
        {key: value for key, value in line.items() if key != "images_per_second"}
        for line in lines
    ]
