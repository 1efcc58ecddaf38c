"""Draws the figures of `paper_figures` from the names of weights and data sets.

    from alexnet_tf.figures import draw
    draw.draw("kernels", "kernels.png", weights="runs/textures-tiny")
"""

import os
import tempfile

import numpy as np

from alexnet_tf.figures import paper_figures
from alexnet_tf import files
from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference import retrieval
from alexnet_tf.models import alexnet
from alexnet_tf.models import receptive_fields
from alexnet_tf import presets

FIGURES = (
    "kernels",
    "predictions",
    "neighbors",
    "crops",
    "activations",
    "norms",
    "dropout",
    "normalization",
)
_DEFAULT_COUNT = 8
_DEFAULT_DROPOUT_COUNT = 200


def draw(
    figure,
    output,
    *,
    weights=None,
    preset=None,
    layout=None,
    dataset=None,
    split=None,
    data_dir=None,
    image_key=None,
    label_key=None,
    count=None,
    seed=0,
    layer=None,
    metric="l2",
    index=None,
    index_output=None,
    verbose=0,
):
    """Draws one figure of a network, as `python -m alexnet_tf.visualize` does.

    Args:
        figure: one of `FIGURES`, each a function of `paper_figures`.
        output: the PNG file to write.
        weights, preset, layout: the network, see `load_classifier`. The figure
            "normalization" ignores the weights, and its default preset is "paper".
        dataset, split, data_dir, image_key, label_key: the data, see `datasets.load`.
            Default: those of the run; the data set "textures" for a weights file.
        count: the number of images, of crops of one image, or of maps of a layer.
            Default: 8; 200 for "dropout", which measures errors on these images.
        seed: the random seed of the choice of images, of crops, of dropout, of the
            initialization to compare with, and of the values to normalize.
        layer: the layer whose features define the nearest neighbors; "input" for
            pixels. Default: the penultimate layer. This argument and the next three
            are used by "neighbors" only.
        metric: the distance between features, see `retrieval.search`.
        index: the path of a retrieval index of the training split, see
            `retrieval.build_index`. Default: the index is computed.
        index_output: the file (.npz) to write the computed index to. Default: the
            index is not kept.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if an argument is invalid, the data has other classes than the
            network, the index does not fit, or an image is unreadable.
        OSError: if the weights, the data, the index or the folder of an output are
            missing.
    """
    _check_arguments(figure, output, weights, count, index, index_output)
    retrieval.check_metric(metric)
    if figure == "normalization":
        paper_figures.normalization(presets.get(preset or "paper"), seed, output)
        return
    classifier = load_classifier(weights, preset, layout)
    if figure == "kernels":
        paper_figures.kernels(classifier, output)
        return
    if figure == "norms":
        paper_figures.norms(classifier, seed, output)
        return
    data = find_run_data(
        weights, dataset, split, data_dir, "textures",
        image_key=image_key, label_key=label_key,
    )  # fmt: skip
    source = data.source()
    if count is None:
        count = _DEFAULT_DROPOUT_COUNT if figure == "dropout" else _DEFAULT_COUNT
    if figure == "crops":
        (example,) = _sample(source, 1, seed)
        paper_figures.crops(classifier, example, count, seed, output)
    elif figure == "activations":
        (example,) = _sample(source, 1, seed)
        paper_figures.activations(classifier, example, count, output)
    elif figure == "predictions":
        examples = _sample(source, count, seed)
        paper_figures.predictions(classifier, source, examples, output)
    elif figure == "dropout":
        examples = _sample(source, count, seed)
        paper_figures.dropout(classifier, source, examples, seed, output)
    elif figure == "neighbors":
        rows = _find_neighbors(
            classifier, data.train_source(), _sample(source, count, seed),
            layer, metric, index, index_output, verbose,
        )
        paper_figures.neighbors(classifier, source, rows, output)


def receptive_field_table(weights, preset=None, layout=None):
    """Returns a Markdown table of the receptive field of each layer, in pixels.

    Raises the errors of `load_classifier`, and a ValueError without weights.

    Args:
        weights, preset, layout: the network, see `load_classifier`.
    """
    _check_weights("receptive_fields", weights)
    model = load_classifier(weights, preset, layout).model
    lines = [
        "| layer | outputs | receptive field | stride | first pixel |",
        "|---|---|---|---|---|",
    ]
    for field in receptive_fields.receptive_fields(model):
        lines.append(
            f"| {field.layer} | {field.side} x {field.side} | {field.size} | "
            f"{field.stride} | {field.start} |"
        )
    return "\n".join(lines)


def _check_arguments(figure, output, weights, count, index, index_output):
    if figure not in FIGURES:
        raise ValueError(
            f"Expected one of the figures {', '.join(FIGURES)}. Received: {figure=}."
        )
    if figure != "normalization":
        _check_weights(figure, weights)
    if not output:
        raise ValueError(f"Expected a PNG file to write. Received: {output=}.")
    files.check_output("output", output, ".png")
    if count is not None and count < 1:
        raise ValueError(f"Expected a count of at least 1. Received: {count=}.")
    if index and index_output:
        raise ValueError(
            "Expected index or index_output, but not both. Received: "
            f"{index=}, {index_output=}."
        )
    if index_output:
        files.check_output("index_output", index_output, ".npz")


def _check_weights(figure, weights):
    if not weights:
        raise ValueError(
            f"Expected the weights of a network for {figure}. Received: {weights=}."
        )


def _sample(source, count, seed):
    """Returns at most `count` random examples, in the order of the split."""
    rng = np.random.default_rng(seed)
    indices = rng.permutation(source.num_examples)[:count]
    return source.take_indices(sorted(indices.tolist()))


def _find_neighbors(
    classifier, train_source, queries, layer, metric, index, index_output, verbose
):
    """Returns the result of `retrieval.nearest_examples`.

    If there is no `index`, it is built and written to `index_output` or to a temporary
    file.
    """
    layer = layer or alexnet.penultimate_layer(classifier.model)
    with tempfile.TemporaryDirectory() as folder:
        path = index or index_output or os.path.join(folder, "index.npz")
        if not index:
            retrieval.build_index(path, classifier, train_source, layer, verbose)
        return retrieval.nearest_examples(
            path, classifier, queries, train_source, layer, metric
        )
