"""What a run ended with, to hold it against another's."""

from alexnet_tf import classifier
from alexnet_tf import workdir


def weights(path):
    """[array, ...] of the network of a run."""
    return classifier.load(str(path)).model.get_weights()


def metrics(path):
    """All lines of metrics without the speed."""
    lines = workdir.read_metrics(str(path))
    return [
        {key: value for key, value in line.items() if key != "images_per_second"}
        for line in lines
    ]
