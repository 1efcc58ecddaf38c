"""Draws Figures 3 and 4 of the paper, and others, for a loaded network.

`classifier` is a `Classifier`; `path` is the PNG file to write, or a file object that
is open for writing bytes. Examples are dictionaries as `Source.take_indices` returns
them; the label of an image without a class is `PADDING_LABEL`. The module `draw` draws
the same figures from the names of files and data sets.
"""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.data.source import PADDING_LABEL
from alexnet_tf.figures import internals
from alexnet_tf.inference import evaluation
from alexnet_tf.models import alexnet
from alexnet_tf.models.labels import decode_predictions
from alexnet_tf.models.labels import readable_name
from alexnet_tf.models import receptive_fields
from alexnet_tf import plots

# Number of networks that `dropout` samples and averages; a power of 2.
_NUM_PASSES = 32
# Number of times that `dropout` repeats each average, for the error bars.
_REPETITIONS = 5
_MAX_BARS = 10  # Classes that `activations` shows.
_DISTANCES = {"l2": "Euclidean", "cosine": "cosine"}
_GROUPS = ("right, the surest first", "wrong, the surest first", "the least sure")


def kernels(classifier, path):
    """Draws the kernels of the first convolution (Fig. 3).

    Args:
        classifier, path: see the module docstring.

    Raises:
        ValueError: if the network has no convolution.
    """
    weights = alexnet.rgb_kernels(classifier.model, classifier.preset)
    convolution = alexnet.first_convolution(classifier.model)
    plots.kernels(
        weights,
        path,
        f"{convolution.name} of {classifier.preset.name}",
        alexnet.kernel_towers(classifier.model),
    )


def predictions(classifier, source, examples, path):
    """Draws images with their five most probable classes (Fig. 4, left).

    Args:
        classifier, path: see the module docstring.
        source: a `Source` with the classes of the network.
        examples: examples of the source, or of image files without classes.

    Raises:
        ValueError: if the source does not fit, see `evaluation.check_fits`.
    """
    _check_labeled_fit(classifier, source, examples)
    rows = [_prediction_row(classifier, source, example) for example in examples]
    plots.predictions([("", rows)], path, _predictions_title(classifier))


def predictions_by_confidence(
    classifier, source, probabilities, labels, count, path
):
    """Draws the most confident correct and wrong, and the least confident predictions.

    Args:
        classifier, path: see the module docstring.
        source: a `Source` with the classes of the network.
        probabilities, labels: what `evaluation.probabilities` returns for the source.
        count: the number of images to draw, a third of them in each group.
    """
    groups = []
    chosen = internals.by_confidence(probabilities, labels, count)
    for name, indices in zip(_GROUPS, chosen):
        rows = [
            _prediction_row(classifier, source, example)
            for example in source.take_indices(indices)
        ]
        groups.append((name if rows else f"{name}: no image", rows))
    hits = (probabilities.argmax(axis=1) == labels).sum()
    title = (
        f"{_predictions_title(classifier)}\n"
        f"{hits:,} of {len(labels):,} images are right ({source})."
    )
    plots.predictions(groups, path, title)


def neighbors(classifier, source, rows, path, layer=None, metric="l2"):
    """Draws images, each followed by its nearest neighbors (Fig. 4, right).

    Args:
        classifier, path: see the module docstring.
        source: a `Source` with the classes of the images.
        rows: the result of `retrieval.nearest_examples`.
        layer, metric: the layer whose features were compared and their distance, see
            `retrieval.search`; only for the title.
    """
    images = []
    for query, *nearest in rows:
        images.append([(*title_and_image(classifier, source, query), "query")])
        for example in nearest:
            kind = _kind_of_neighbor(query, example)
            images[-1].append((*title_and_image(classifier, source, example), kind))
    features = f"the features of {layer}" if layer else "the features"
    title = (
        f"Images (left) and their {len(images[0]) - 1} nearest neighbors among the "
        f"training images of {source.name}, by {features} of {classifier.preset.name} "
        f"({_DISTANCES[metric]} distance)"
    )
    plots.neighbors(images, path, title)


def crops(classifier, example, count, seed, path):
    """Draws the crops that training makes of one image, before the mean is subtracted.

    Args:
        classifier, path: see the module docstring.
        example: an example of a source.
        count: the number of crops, which are drawn after the center square.
        seed: the random seed of the crops.
    """
    preprocessing = classifier.preset.preprocessing
    images = [("center square", classifier.center_square(example["image"]))]
    for index in range(count):
        crop = preprocess.training_image(
            example["image"],
            tf.constant([seed, index]),
            _without_normalization(preprocessing),
            classifier.statistics,
        )
        images.append((f"crop {index + 1}", _to_uint8(crop)))
    positions = 1
    if preprocessing.random_crop:
        positions = preprocessing.image_size - preprocessing.crop_size + 1
    flips = 1 + preprocessing.flip
    # Section 4.1 counts 32 positions along a side of 256 pixels, where there are 33.
    paper_count = (
        f" (the paper counts {2 * 32**2:,})" if (positions, flips) == (33, 2) else ""
    )
    color_augmentation = "There is no PCA color augmentation"
    if preprocessing.pca_color_std:
        color_augmentation = (
            "The standard deviation of the PCA color augmentation is "
            f"{preprocessing.pca_color_std:g}"
        )
    title = (
        f"{count} training crop{'s' if count > 1 else ''} of one image for "
        f"{classifier.preset.name}\n"
        f"There are {positions} x {positions} x {flips} = {positions**2 * flips:,} "
        f"crops and flips{paper_count}. {color_augmentation}."
    )
    plots.crops(images, path, title)


def activations(classifier, example, count, path):
    """Draws the activations of each layer for one image, with receptive fields.

    Args:
        classifier, path: see the module docstring.
        example: an example of a source.
        count: the number of maps to draw of each layer. The maps with the largest sums
            are drawn.
    """
    fields = {
        field.layer: field
        for field in receptive_fields.receptive_fields(classifier.model)
    }
    convolutions, dense_layers = [], []
    outputs = internals.activations(classifier, example["image"])
    probabilities = outputs.pop("prob")
    for layer, values in outputs.items():
        if values.ndim == 1:
            dense_layers.append((f"{layer}: {len(values):,} units", values))
        else:
            convolutions.append(_convolution_row(fields[layer], values, count))
    (classes,) = decode_predictions(
        probabilities[np.newaxis], _MAX_BARS, classifier.classes
    )
    title = (
        f"Activations of {classifier.preset.name} for one image\n"
        "All maps of a layer have the same scale. The square on the image is what the "
        "central output of the layer sees."
    )
    crop = _crop_to_show(classifier, example)
    plots.activations(crop, convolutions, dense_layers, classes, path, title)


def norms(classifier, seed, path):
    """Draws the magnitudes of the weights of each layer.

    Args:
        classifier, path: see the module docstring.
        seed: the random seed of the initialization to compare with.
    """
    layers = internals.norms(classifier.model, classifier.preset, seed)
    title = f"Magnitudes of the weights of {classifier.preset.name}, without biases"
    plots.norms(layers, path, title)


def dropout(classifier, source, examples, seed, path):
    """Compares averages over networks sampled by dropout with the full network.

    The averages are arithmetic and geometric means of the probabilities. According to
    the paper, the full network approximates the geometric mean (section 4.2).

    Args:
        classifier, path: see the module docstring.
        source: a `Source` with the classes of the network.
        examples: examples of the source, on which the errors are measured.
        seed: the random seed of dropout.

    Raises:
        ValueError: if the network has no dropout, or the source does not fit, see
            `evaluation.check_fits`.
    """
    evaluation.check_fits(classifier, source)
    encoded = [example["image"] for example in examples]
    labels = np.array([example["label"] for example in examples])
    passes = internals.dropout_passes(
        classifier, encoded, _REPETITIONS * _NUM_PASSES, seed
    )
    # [repetitions, networks of an average, images, classes]
    passes = passes.reshape(_REPETITIONS, _NUM_PASSES, *passes.shape[1:])
    full = np.stack([classifier.probabilities(image) for image in encoded])

    def error(probabilities):
        return evaluation.mean_error(evaluation.hits(probabilities, labels, 1))

    counts = [2**power for power in range(_NUM_PASSES.bit_length())]
    errors = {
        name: {
            count: [error(average(networks[:count])) for networks in passes]
            for count in counts
        }
        for name, average in internals.AVERAGES.items()
    }
    true_classes = np.arange(len(labels)), labels
    averages = internals.geometric_mean(passes[0])
    pairs = np.stack([averages[true_classes], full[true_classes]], axis=1)
    title = f"Averages of networks that dropout samples from {classifier.preset.name}"
    note = (
        f"{len(labels)} images of {source}, center crop; one image is "
        f"{100 / len(labels):.2g}%. Error bars: one standard deviation over n = "
        f"{_REPETITIONS} repetitions with new random masks."
    )
    plots.dropout(errors, error(full), pairs, path, title, note)


def normalization(classifier, example, path):
    """Draws activations of neighboring maps before and after response normalization.

    Args:
        classifier, path: see the module docstring.
        example: an example of a source.

    Raises:
        ValueError: if the network has no response normalization across maps.
    """
    pixel = internals.normalized_pixel(classifier, example["image"])
    layer = pixel.layer
    smallest = layer.bias**layer.beta
    title = f"Response normalization {layer.name} of {classifier.preset.name}"
    note = (
        f"{len(pixel.maps)} neighboring maps for one image at row {pixel.row}, column "
        f"{pixel.column}.\n"
        "divisor = (k + alpha * sum of the squares of n maps)^beta\n"
        f"k = {layer.bias:g}, n = {2 * layer.depth_radius + 1}, "
        f"alpha = {layer.alpha:g}, beta = {layer.beta:g}; "
        f"the divisor is at least {smallest:.3g}."
    )
    increases = pixel.divisors / smallest - 1
    plots.normalization(
        pixel.maps, pixel.before, pixel.after, increases, path, title, note
    )


def draw_receptive_fields(classifier, path, example=None):
    """Draws the receptive fields of the central outputs of convolutions and poolings.

    Args:
        classifier, path: see the module docstring.
        example: an example of a source to draw the fields on. Default: gray.

    Raises:
        ValueError: if no layer sees more than one pixel.
    """
    rows, size = [], None
    for field in receptive_fields.receptive_fields(classifier.model):
        # Activations and normalizations across maps see what their input sees.
        if field.size not in (1, size):
            first = field.start + field.side // 2 * field.stride
            label = f"{field.layer}: {field.size} x {field.size}"
            rows.append((label, first, first + field.size - 1))
        size = field.size
    if not rows:
        raise ValueError(
            "Expected a network with a convolution or a pooling over more than one "
            f"pixel. Received: {classifier.preset.name}, which has none."
        )
    side = classifier.model.input.shape[1]
    title = (
        f"Pixels that the central output of a layer of {classifier.preset.name} sees\n"
        f"The input has {side} x {side} pixels."
    )
    crop = None if example is None else _crop_to_show(classifier, example)
    plots.receptive_fields(rows, side, path, title, crop)


def title_and_image(classifier, source, example):
    """Returns the class name and the center square, uint8 RGB, of an example.

    Without a class, the name is that of the file.

    Args:
        classifier: see the module docstring.
        source: a `Source` with the class of the example.
        example: an example.
    """
    if example["label"] == PADDING_LABEL:
        name = os.path.basename(os.fsdecode(example["name"]))
    else:
        name = readable_name(source.classes[example["label"]])
    return name, classifier.center_square(example["image"])


def _check_labeled_fit(classifier, source, examples):
    """Calls `evaluation.check_fits` unless no example has a label."""
    if any(example["label"] != PADDING_LABEL for example in examples):
        evaluation.check_fits(classifier, source)


def _predictions_title(classifier):
    return f"Predictions of {classifier.preset.name}: the most probable classes"


def _prediction_row(classifier, source, example):
    """Returns a row of an image for `plots.predictions`."""
    title, image = title_and_image(classifier, source, example)
    true_name = None if example["label"] == PADDING_LABEL else title
    return title, image, classifier.predict(example["image"]), true_name


def _kind_of_neighbor(query, example):
    """Returns the kind of a neighbor for `plots.neighbors`."""
    if query["label"] == PADDING_LABEL:
        return "neighbor"
    return "same class" if example["label"] == query["label"] else "other class"


def _crop_to_show(classifier, example):
    """Returns the center crop of an example before normalization, uint8 RGB."""
    crop = preprocess.evaluation_image(
        example["image"],
        _without_normalization(classifier.preset.preprocessing),
        classifier.statistics,
    )
    return _to_uint8(crop)


def _convolution_row(field, values, count):
    """Returns an element of `convolutions` for `plots.activations`.

    Args:
        field: the layer's `ReceptiveField`.
        values: float [H, W, C].
        count: the number of maps.
    """
    side = values.shape[0]
    first = field.start + side // 2 * field.stride
    maps = values[..., internals.strongest(values, count)]
    title = (
        f"{field.layer}: {maps.shape[-1]} strongest of {values.shape[-1]} maps, "
        f"{side} x {side}; an output sees {field.size} x {field.size} pixels"
    )
    return title, (first, first + field.size - 1), np.moveaxis(maps, -1, 0)


def _without_normalization(preprocessing):
    """Returns a preprocessing that makes the same crops in RGB from 0 to 255."""
    return dataclasses.replace(
        preprocessing,
        channel_order="rgb",
        mean="channel",
        channel_mean=(0.0, 0.0, 0.0),
        divide_by_std=False,
        pca_color_divisor=1.0,
    )


def _to_uint8(image):
    """Rounds pixels, and clips those that augmentation has moved out of [0, 255]."""
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)
