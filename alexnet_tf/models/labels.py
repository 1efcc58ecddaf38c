"""Names of the ImageNet classes, and readable predictions."""

import difflib
import functools
import importlib.resources
import numbers
import warnings

import numpy as np


@functools.cache
def imagenet_classes():
    """Returns {WordNet id: name} of the 1000 classes of ILSVRC-2012.

    The classes are sorted by WordNet id, like the outputs of the models of Caffe,
    torchvision and Keras and the labels of TFDS; the development kit of the
    challenge uses another order. The name is the first synonym in
    imagenet_classes.txt, which states its sources. Two names belong to two classes
    each: crane (indices 134 and 517) and maillot (indices 638 and 639).
    """
    path = importlib.resources.files("alexnet_tf.models") / "imagenet_classes.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" ", 1) for line in lines if line[0] != "#"]
    return {wnid: synonyms.split(", ")[0] for wnid, synonyms in pairs}


def readable_name(name):
    """Returns the class name for the WordNet id of an ImageNet class, else `name`."""
    return imagenet_classes().get(name, name)


def find_class(name, classes):
    """Returns the index of a class.

    Args:
        name: the name of the class, its WordNet id, or its index as an int or a str. A
            name takes precedence over an index.
        classes: the names of the classes in the order of the outputs.

    Raises:
        ValueError: if there is no such class, or two classes have this name.
    """
    text = str(name)
    matches = [
        index
        for index, class_name in enumerate(classes)
        if text in (class_name, readable_name(class_name))
    ]
    if not matches and text.isdecimal() and int(text) < len(classes):
        return int(text)
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(
            f"Expected the name of one class. Received: {text}, the name of the "
            f"classes {', '.join(map(str, matches))}. Give one of these indices."
        )
    names = [readable_name(class_name) for class_name in classes]
    similar = difflib.get_close_matches(text, names, n=3, cutoff=0.5) or names[:3]
    raise ValueError(
        f"Expected the name of a class of the network, such as {', '.join(similar)}, "
        f"or its index from 0 to {len(names) - 1}. Received: {text}."
    )


def decode_predictions(probabilities, top=5, classes=None):
    """Returns the most probable classes of each image, in descending order.

    Warns about values that cannot be probabilities, such as logits.

    Args:
        probabilities: float [B, classes].
        top: the number of classes per image, at least 1; if there are fewer classes,
            all of them are returned.
        classes: the names of the classes in the order of the columns, such as
            `Source.classes`; None for the 1000 classes of ImageNet. WordNet ids of
            ImageNet classes are replaced by readable names.

    Returns:
        One list of (id, name, probability) for each image. The id is the WordNet id
        for an ImageNet class, and the index of the column for any other class.

    Raises:
        ValueError: if `probabilities` is not a matrix with one column for each class
            or contains NaN, or `top` is not an integer of at least 1.
    """
    probabilities = np.asarray(probabilities)
    names = list(imagenet_classes() if classes is None else classes)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(names):
        raise ValueError(
            f"Expected probabilities of shape [B, {len(names)}]. Received: shape "
            f"{list(probabilities.shape)}. Pass one class name for each column."
        )
    if not (isinstance(top, numbers.Integral) and top >= 1):
        raise ValueError(
            f"Expected top to be an integer of at least 1. Received: {top=}."
        )
    _check_probabilities(probabilities)
    # A stable sort keeps tied classes in their order.
    top_indices = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        [(*_id_and_name(names, int(i)), float(row[i])) for i in indices]
        for row, indices in zip(probabilities, top_indices)
    ]


def _check_probabilities(probabilities):
    """Raises an error about NaN, and warns about values that are not probabilities."""
    if np.isnan(probabilities).any():
        raise ValueError(
            "Expected probabilities. Received: NaN, which a network computes if its "
            "weights or its inputs contain NaN or infinity."
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    # Rounding to half precision changes the sum by less than a hundredth.
    if (probabilities < 0).any() or (np.abs(sums - 1) > 0.1).any():
        warnings.warn(
            "Expected probabilities, which are not negative and sum to 1 for each "
            f"image. Received: values from {probabilities.min():.3g} to "
            f"{probabilities.max():.3g}. For logits, apply keras.ops.softmax first.",
            stacklevel=3,
        )


def _id_and_name(names, index):
    name = names[index]
    return (name if name in imagenet_classes() else index), readable_name(name)
