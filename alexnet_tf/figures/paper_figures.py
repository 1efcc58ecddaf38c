"""Figures 3 and 4 of the paper and others, each for a loaded network.

`classifier` is a `Classifier`, and `path` the PNG file to write, or a file that is open
for writing bytes. Examples come from `Source.take_indices`. The module `draw` has the
same figures for those who give the names of files and data sets.
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

_PASSES = 32  # Networks that `dropout` averages, a power of 2.


def kernels(classifier, path):
    """Draws the kernels of the first layer (Fig. 3)."""
    weights = alexnet.rgb_kernels(classifier.model, classifier.preset)
    plots.kernels(weights, path, "conv1")


def predictions(classifier, source, examples, path):
    """Draws images with their five most probable classes (Fig. 4, left).

    Args:
        classifier, path: see the module.
        source: a `Source` with the classes of the network.
        examples: examples of the source.

    Raises:
        ValueError: if the classes differ.
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
        classifier, path: see the module.
        source: a `Source` with the classes of these images.
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
        classifier, path: see the module.
        example: an example of a source.
        count: the number of crops, which follow the whole center square.
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
    # Section 4.1 counts 2,048 with 32 positions along a side, where there are 33.
    paper = f" (the paper counts {2 * 32**2:,})" if positions * flips == 66 else ""
    plots.crops(
        images,
        path,
        f"{count} of {positions} x {positions} x {flips} = "
        f"{positions**2 * flips:,} crops and flips{paper}, with PCA color "
        f"augmentation {preprocessing.pca_color_std:g}",
    )


def activations(classifier, example, count, path):
    """Draws the activations of each layer for one image, with receptive fields.

    Args:
        classifier, path: see the module.
        example: an example of a source.
        count: the number of maps of each layer, those with the largest sums.
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
            convolutions.append(_strongest_maps(fields[layer], values, count))
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
    """Draws how large the weights of each layer are.

    Args:
        classifier, path: see the module.
        seed: the random seed of the initialization to compare with.
    """
    layers = internals.norms(classifier.model, classifier.preset, seed)
    plots.norms(layers, path, classifier.preset.name)


def dropout(classifier, source, examples, seed, path):
    """Draws averages over networks sampled by dropout, beside the full network.

    Args:
        classifier, path: see the module.
        source: a `Source` with the classes of the network.
        examples: examples of the source, on which the errors are measured.
        seed: the random seed of dropout.

    Raises:
        ValueError: if the network has no dropout, or the classes differ.
    """
    evaluation.check_fits(classifier, source)
    encoded = [example["image"] for example in examples]
    labels = np.array([example["label"] for example in examples])
    passes = internals.dropout_passes(classifier, encoded, _PASSES, seed)
    full = np.stack([classifier.probabilities(image) for image in encoded])

    def error(probabilities):
        return 1 - evaluation.hits(probabilities, labels, 1).mean()

    counts = [2**power for power in range(_PASSES.bit_length())]
    errors = [(count, error(passes[:count].mean(axis=0))) for count in counts]
    true_classes = np.arange(len(labels)), labels
    pairs = np.stack([passes.mean(axis=0)[true_classes], full[true_classes]], axis=1)
    plots.dropout(
        errors, error(full), pairs, path,
        f"{len(labels)} images of {source}, center crop",
    )


def normalization(preset, seed, path):
    """Draws 20 values before and after response normalization, for n = 4 and n = 5.

    Args:
        preset: a `presets.Preset`, whose constants are used.
        seed: the random seed of the values.
        path: see the module.

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
    # The size is that of the first layer's outputs. The ReLU sets a third to zero.
    random = np.random.default_rng(seed)
    before = np.maximum(random.normal(60, 120, 20), 0)
    constants = norm.bias, norm.alpha, norm.beta
    afters = [
        (f"n = {n}", internals.normalized(before, n, *constants))
        for n in (4, 2 * norm.depth_radius + 1)
    ]
    plots.normalization(
        before, afters, path,
        f"{preset.name}: k = {norm.bias:g}, alpha = {norm.alpha:g} on the plain "
        f"sum, beta = {norm.beta:g}",
    )


def _title_and_image(classifier, source, example):
    """Returns the name of an example's class, and uint8 RGB [S, S, 3]."""
    name = readable_name(source.classes[example["label"]])
    return name, classifier.center_square(example["image"])


def _strongest_maps(field, values, count):
    """Returns what `plots.activations` takes for one convolutional layer.

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
    """Returns a preprocessing with the same crops, as RGB from 0 to 255."""
    return dataclasses.replace(
        preprocessing,
        channel_order="rgb",
        mean="channel",
        channel_mean=(0.0, 0.0, 0.0),
        divide_by_std=False,
        pca_color_divisor=1.0,
    )


def _to_uint8(image):
    """Rounds float pixels; PCA color augmentation can leave the range 0 to 255."""
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)
