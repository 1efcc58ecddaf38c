"""Draws Figures 3 and 4 of the paper, and others, for a loaded network.

`classifier` is a `Classifier`; `path` is the PNG file to write, or a file object that
is open for writing bytes. Examples come from `Source.take_indices`. The module `draw`
draws the same figures from the names of files and data sets.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.figures import internals
from alexnet_tf.inference import evaluation
from alexnet_tf.models import alexnet
from alexnet_tf.models.labels import decode_predictions
from alexnet_tf.models.labels import readable_name
from alexnet_tf.models import receptive_fields
from alexnet_tf import plots
from alexnet_tf import presets

# Number of networks that `dropout` samples and averages; a power of 2.
_NUM_PASSES = 32


def kernels(classifier, path):
    """Draws the kernels of the first layer (Fig. 3).

    Args:
        classifier, path: see the module docstring.
    """
    weights = alexnet.rgb_kernels(classifier.model, classifier.preset)
    plots.kernels(weights, path, "conv1")


def predictions(classifier, source, examples, path):
    """Draws images with their five most probable classes (Fig. 4, left).

    Args:
        classifier, path: see the module docstring.
        source: a `Source` with the classes of the network.
        examples: examples of the source.

    Raises:
        ValueError: if the source does not fit, see `evaluation.check_fits`.
    """
    evaluation.check_fits(classifier, source)
    rows = []
    for example in examples:
        title, image = _title_and_image(classifier, source, example)
        rows.append((title, image, classifier.predict(example["image"])))
    plots.predictions(rows, path)


def neighbors(classifier, source, rows, path):
    """Draws images, each followed by its nearest neighbors (Fig. 4, right).

    Args:
        classifier, path: see the module docstring.
        source: a `Source` with the classes of the images.
        rows: the result of `retrieval.nearest_examples`.
    """
    images = [
        [_title_and_image(classifier, source, example) for example in row]
        for row in rows
    ]
    plots.neighbors(images, path)


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
    plots.crops(
        images,
        path,
        f"{count} of {positions} x {positions} x {flips} = "
        f"{positions**2 * flips:,} crops and flips{paper_count}, with PCA color "
        f"augmentation {preprocessing.pca_color_std:g}",
    )


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
    top = decode_predictions(probabilities[np.newaxis], 1, classifier.classes)
    ((_, name, probability),) = top[0]
    title = f"prob: {len(probabilities):,} classes, {name} {probability:.1%}"
    dense_layers.append((title, probabilities))
    crop = preprocess.evaluation_image(
        example["image"],
        _without_normalization(classifier.preset.preprocessing),
        classifier.statistics,
    )
    plots.activations(_to_uint8(crop), convolutions, dense_layers, path)


def norms(classifier, seed, path):
    """Draws the magnitudes of the weights of each layer.

    Args:
        classifier, path: see the module docstring.
        seed: the random seed of the initialization to compare with.
    """
    layers = internals.norms(classifier.model, classifier.preset, seed)
    plots.norms(layers, path, classifier.preset.name)


def dropout(classifier, source, examples, seed, path):
    """Compares averages over networks sampled by dropout with the full network.

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
    passes = internals.dropout_passes(classifier, encoded, _NUM_PASSES, seed)
    full = np.stack([classifier.probabilities(image) for image in encoded])

    def error(probabilities):
        return 1 - evaluation.hits(probabilities, labels, 1).mean()

    counts = [2**power for power in range(_NUM_PASSES.bit_length())]
    errors = [(count, error(passes[:count].mean(axis=0))) for count in counts]
    true_classes = np.arange(len(labels)), labels
    pairs = np.stack([passes.mean(axis=0)[true_classes], full[true_classes]], axis=1)
    plots.dropout(
        errors, error(full), pairs, path,
        f"{len(labels)} images of {source}, center crop",
    )


def normalization(preset, seed, path):
    """Draws 20 values before and after response normalization.

    The values are normalized with n = 4 and with the preset's own n.

    Args:
        preset: the `presets.Preset` whose constants are used.
        seed: the random seed of the values.
        path: see the module docstring.

    Raises:
        ValueError: if the preset has no response normalization across maps.
    """
    norm_layers = [
        layer for layer in preset.layers if isinstance(layer, presets.ResponseNorm)
    ]
    if not norm_layers:
        raise ValueError(
            "Expected a preset with response normalization across maps. "
            f"Received: preset={preset.name}."
        )
    norm = norm_layers[0]
    # The values are as large as the outputs of the first layer. As after its ReLU,
    # about a third of them are zero.
    rng = np.random.default_rng(seed)
    before = np.maximum(rng.normal(60, 120, 20), 0)
    constants = norm.bias, norm.alpha, norm.beta
    afters = [
        (f"n = {n}", internals.response_normalization(before, n, *constants))
        for n in (4, 2 * norm.depth_radius + 1)
    ]
    plots.normalization(
        before, afters, path,
        f"{preset.name}: k = {norm.bias:g}, alpha = {norm.alpha:g} on the plain "
        f"sum, beta = {norm.beta:g}",
    )


def _title_and_image(classifier, source, example):
    """Returns an example's class name and its center square, uint8 RGB."""
    name = readable_name(source.classes[example["label"]])
    return name, classifier.center_square(example["image"])


def _convolution_row(field, values, count):
    """Returns an element of `convolutions` for `plots.activations`.

    Args:
        field: the layer's `ReceptiveField`.
        values: float [H, W, C].
        count: the number of maps.
    """
    side = values.shape[0]
    first = field.start + side // 2 * field.stride
    title = (
        f"{field.layer}: {values.shape[-1]} maps, {side} x {side}\n"
        f"each output sees {field.size} pixels"
    )
    maps = values[..., internals.strongest(values, count)]
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
