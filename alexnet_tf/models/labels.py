"""Names of classes, and readable predictions."""

import functools
import importlib.resources

import numpy as np


@functools.cache
def imagenet_classes():
    """Returns {WordNet id: name} of the 1000 classes of ILSVRC-2012, in order.

    They are sorted by WordNet id, as are the outputs of Caffe's, torchvision's and
    Keras' models and the labels of TFDS; the development kit of the challenge uses
    another order. The name is the first one of the synonym set. Two names belong to
    two classes each: crane (134, 517) and maillot (638, 639). Source:
    imagenet_classes.txt.
    """
    path = importlib.resources.files("alexnet_tf.models") / "imagenet_classes.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" ", 1) for line in lines if line[0] != "#"]
    return {wnid: words.split(", ")[0] for wnid, words in pairs}


def readable_name(name):
    """Returns the name of the class if `name` is its WordNet id, else `name`."""
    return imagenet_classes().get(name, name)


def decode_predictions(probabilities, top=5, classes=None):
    """Returns the most probable classes of each image, in descending order.

    Args:
        probabilities: float [B, classes].
        top: the number of classes per image; all classes if there are fewer.
        classes: the names of the classes in order, such as `Source.classes`; None
            for the 1000 of ImageNet. Names that are WordNet ids of ImageNet's
            classes are replaced by readable ones.

    Returns:
        [[(id, name, probability), ...], ...], where `id` is the WordNet id of an
        ImageNet class, and the index of any other class.

    Raises:
        ValueError: if the number of names is not the number of columns, or `top`
            is less than 1.
    """
    probabilities = np.asarray(probabilities)
    names = list(imagenet_classes() if classes is None else classes)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(names):
        raise ValueError(
            f"Expected probabilities of shape [B, {len(names)}]. Received: shape "
            f"{list(probabilities.shape)}. Pass the names of its classes."
        )
    if top < 1:
        raise ValueError(f"Expected top to be at least 1. Received: {top=}.")
    # A stable sort keeps tied classes in their order.
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        [(*_id_and_name(names, int(i)), float(row[i])) for i in indices]
        for row, indices in zip(probabilities, order)
    ]


def _id_and_name(names, index):
    name = names[index]
    return (name if name in imagenet_classes() else index), readable_name(name)
