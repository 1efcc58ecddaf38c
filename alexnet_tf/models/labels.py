"""Numbers of classes become names."""

import functools
import importlib.resources

import numpy as np


@functools.cache
def imagenet_classes():
    """{WordNet id: name} of the 1000 classes of ILSVRC-2012, in their order.

    That is the order of the outputs of Caffe's, torchvision's and Keras'
    networks, and of TFDS's labels: by WordNet id. The challenge's own kit has
    another. The name is the first of the synonym set; two are of two classes
    each, crane (134, 517) and maillot (638, 639). Source:
    imagenet_classes.txt.
    """
    path = importlib.resources.files("alexnet_tf.models") / "imagenet_classes.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" ", 1) for line in lines if line[0] != "#"]
    return {wnid: words.split(", ")[0] for wnid, words in pairs}


def readable_name(name):
    """The name of a class, where it is the WordNet id of one of ImageNet's."""
    return imagenet_classes().get(name, name)


def decode_predictions(probabilities, top=5, classes=None):
    """The most probable classes of each picture, the first one first.

    [[(id, name, probability), ...], ...], where the id is the WordNet id of
    an ImageNet class and the number of any other.

    Args:
        probabilities: float [B, classes].
        top: how many to name; all classes if they are fewer.
        classes: their names in order, such as `Source.classes`; None
            for the 1000 of ImageNet. Names that are WordNet ids of ImageNet
            are read as such.

    Raises:
        ValueError: if there is not one name for each column.
    """
    probabilities = np.asarray(probabilities)
    names = list(imagenet_classes() if classes is None else classes)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(names):
        raise ValueError(
            f"Expected probabilities [B, {len(names)}]. Received: an array of "
            f"shape {list(probabilities.shape)}. Give the names of its classes."
        )
    if top < 1:
        raise ValueError(f"Expected at least 1 class to name. Received: {top=}.")
    # Stable, so that classes which tie come in their order.
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        [(*_named(names, int(i)), float(row[i])) for i in places]
        for row, places in zip(probabilities, order)
    ]


def _named(names, number):
    name = names[number]
    return (name if name in imagenet_classes() else number), readable_name(name)
