"""What each figure of a network shows: the numbers that `plots` draws.

Each is written to a path, or to a file that is open for writing bytes.
Examples are those of `Source.take_indices`.
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

_PASSES = 32  # Thinned networks that the whole one is held against.


def kernels(network, path):
    """Those of the first layer (Fig. 3).

    Args:
        network: a `Classifier`, in all figures.
        path: of the PNG, in all figures.
    """
    found = alexnet.rgb_kernels(network.model, network.preset)
    plots.kernels(found, path, "conv1")


def predictions(network, source, examples, path):
    """Images with their five most probable classes (Fig. 4, left).

    Args:
        source: a `Source` of the network's classes.
        examples: of it.

    Raises:
        ValueError: if the classes are others.
    """
    evaluation.check_fits(network, source)
    rows = []
    for example in examples:
        title, image = _shown(network, source, example)
        found = network.probabilities(example["image"])[np.newaxis]
        (named,) = decode_predictions(found, 5, network.classes)
        rows.append((title, image, named))
    plots.predictions(rows, path)


def neighbors(network, source, rows, path):
    """Images, each with those that are nearest to it (Fig. 4, right).

    Args:
        source: a `Source` of these images' classes.
        rows: of `retrieval.nearest_examples`.
    """
    images = [
        [_shown(network, source, example) for example in row] for row in rows
    ]
    plots.neighbors(images, path)


def views(network, example, count, seed, path):
    """What one image becomes in training, before the mean is subtracted.

    Args:
        example: of a source.
        count: views to draw, after the whole central square.
        seed: of the choice of views.
    """
    pixels = network.preset.preprocessing
    images = [("the central square", network.square(example["image"]))]
    for number in range(count):
        view = preprocess.training_image(
            example["image"],
            tf.constant([seed, number]),
            _visible(pixels),
            network.statistics,
        )
        images.append((f"view {number + 1}", _pixels(view)))
    places = 1
    if pixels.random_crop:
        places = pixels.image_size - pixels.crop_size + 1
    sides = 1 + pixels.flip
    # Section 4.1: 2,048, of 32 places along a side where there are 33.
    paper = f" (the paper counts {2 * 32**2:,})" if places * sides == 66 else ""
    plots.views(
        images,
        path,
        f"{count} of {places} x {places} x {sides} = {places**2 * sides:,} crops "
        f"and flips{paper}, with color noise {pixels.pca_color_std:g}",
    )


def activations(network, example, count, path):
    """What each layer makes of one image, and what its outputs see of it.

    Args:
        example: of a source.
        count: maps of each layer, those with the largest sums.
    """
    fields = {f.layer: f for f in receptive_fields.receptive_fields(network.model)}
    rows, lines = [], []
    for layer, values in internals.activations(network, example["image"]).items():
        if values.ndim == 1:
            lines.append((f"{layer}: {len(values):,} units", values))
            continue
        side, field = values.shape[0], fields[layer]
        first = field.start + side // 2 * field.stride
        best = internals.strongest(values, count)
        rows.append(
            (
                f"{layer}: {values.shape[-1]} maps, {side} x {side}\n"
                f"each output sees {field.size} pixels",
                (first, first + field.size - 1),
                np.moveaxis(values[..., best], -1, 0),
            )
        )
    # The last line is of the classes.
    _, probabilities = lines[-1]
    found = probabilities[np.newaxis]
    ((_, name, most),) = decode_predictions(found, 1, network.classes)[0]
    title = f"prob: {len(probabilities):,} classes, {name} {most:.1%}"
    lines[-1] = (title, probabilities)
    view = preprocess.evaluation_image(
        example["image"],
        _visible(network.preset.preprocessing),
        network.statistics,
    )
    plots.activations(_pixels(view), rows, lines, path)


def norms(network, seed, path):
    """How large the weights of each layer are.

    Args:
        seed: of the random start that they are held against.
    """
    found = internals.norms(network.model, network.preset, seed)
    plots.norms(found, path, network.preset.name)


def dropout(network, source, examples, seed, path):
    """Networks with half of their units, averaged, against the whole one.

    Args:
        source: a `Source` of the network's classes.
        examples: of it, which are measured.
        seed: of what is dropped.

    Raises:
        ValueError: if the network drops nothing or the classes are others.
    """
    evaluation.check_fits(network, source)
    encoded = [example["image"] for example in examples]
    truth = np.array([example["label"] for example in examples])
    each = internals.dropout_passes(network, encoded, _PASSES, seed)
    whole = np.stack([network.probabilities(one) for one in encoded])

    def error(probabilities):
        return 1 - evaluation.hits(probabilities, truth, 1).mean()

    counts = [2**power for power in range(_PASSES.bit_length())]
    errors = [(count, error(each[:count].mean(axis=0))) for count in counts]
    places = np.arange(len(truth))
    pairs = np.stack(
        [each.mean(axis=0)[places, truth], whole[places, truth]], axis=1
    )
    plots.dropout(
        errors, error(whole), pairs, path,
        f"{len(truth)} images of {source}, central view",
    )


def normalization(preset, seed, path):
    """20 values before and after response normalization, over n = 4 and 5.

    Args:
        preset: a `presets.Preset`, whose constants these are.
        seed: of the values.

    Raises:
        ValueError: if the preset has no response normalization across maps.
    """
    norms = [
        layer
        for layer in preset.layers
        if isinstance(layer, presets.ResponseNorm)
    ]
    if not norms:
        raise ValueError(
            "Expected a preset with response normalization across maps. "
            f"Received: preset={preset.name}."
        )
    norm = norms[0]
    # As large as the first layer's are on pixels, and a third shut by the ReLU.
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


def _shown(network, source, example):
    """(its class, uint8 RGB [S, S, 3]) of an example."""
    name = readable_name(source.classes[example["label"]])
    return name, network.square(example["image"])


def _visible(preprocessing):
    """The same views without what takes their pixels from 0 to 255 RGB."""
    return dataclasses.replace(
        preprocessing,
        channel_order="rgb",
        mean="channel",
        channel_mean=(0.0, 0.0, 0.0),
        divide_by_std=False,
        pca_color_divisor=1.0,
    )


def _pixels(view):
    """uint8 of a float view: color noise leads out of 0 to 255."""
    return np.rint(np.clip(view, 0, 255)).astype(np.uint8)
