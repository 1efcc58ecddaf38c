"""Draws the figures of `paper_figures` for named weights and data sets.

    from alexnet_tf.figures import draw
    draw.draw("kernels", "kernels.png", weights="runs/textures-tiny")
"""

import os
import tempfile

import numpy as np

from alexnet_tf.figures import paper_figures
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
_COUNT = 8
_DROPOUT_COUNT = 200  # Images on which `dropout` measures errors.


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
        weights, preset, layout: the network, see `load_classifier`. "normalization"
            needs no weights, and its preset is "paper" by default.
        dataset, split, data_dir: the data. Default: those of the run; the data set
            "textures" for a file of weights.
        count: the number of images, of crops of one image, or of maps of a layer.
            Default: 8; 200 for "dropout", which measures errors on these images.
        seed: the random seed of the choice of images, of crops, of dropout, of the
            initialization to compare with, and of the values to normalize.
        layer: the layer whose features define the neighbors; "input" for pixels.
            Default: the layer before the last.
        metric: the distance between features, see `retrieval.search`.
        index: an index of the training split, see `retrieval.build_index`. Default:
            it is computed.
        index_output: the file (.npz) to write the computed index to. Default: it is
            not kept.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if arguments or classes do not fit, or an image is unreadable.
        OSError: if weights, data or the folder of an output are missing.
    """
    _check_arguments(figure, output, weights, index, index_output)
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
    data = find_run_data(weights, dataset, split, data_dir, "textures")
    source = data.source()
    if figure == "crops":
        (example,) = _sample(source, 1, seed)
        paper_figures.crops(classifier, example, count or _COUNT, seed, output)
    elif figure == "activations":
        (example,) = _sample(source, 1, seed)
        paper_figures.activations(classifier, example, count or _COUNT, output)
    elif figure == "predictions":
        examples = _sample(source, count or _COUNT, seed)
        paper_figures.predictions(classifier, source, examples, output)
    elif figure == "dropout":
        examples = _sample(source, count or _DROPOUT_COUNT, seed)
        paper_figures.dropout(classifier, source, examples, seed, output)
    elif figure == "neighbors":
        rows = _find_neighbors(
            classifier, data.train_source(), _sample(source, count or _COUNT, seed),
            layer, metric, index, index_output, verbose,
        )
        paper_figures.neighbors(classifier, source, rows, output)


def receptive_field_table(weights, preset=None, layout=None):
    """Returns a Markdown table of the receptive field of each layer, in pixels.

    Args:
        weights, preset, layout: the network, see `load_classifier`, errors too.
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


def check_output(name, path, suffix=""):
    """Refuses an output file that could not be written, before the work starts.

    Args:
        name: the name of the argument that gives the path.
        path: the path of the file.
        suffix: the suffix that the path must have.

    Raises:
        ValueError: if the path has another suffix.
        OSError: if its folder does not exist, or the path is a folder.
    """
    path = os.fspath(path)
    if not path.endswith(suffix):
        raise ValueError(
            f"Expected {name} to end in {suffix}. Received: {name}={path!r}."
        )
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"The folder of {name} does not exist: {folder}. Create it first."
        )
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"Expected {name} to be a file. Received: {path}, which is a folder."
        )


def _check_arguments(figure, output, weights, index, index_output):
    if figure not in FIGURES:
        raise ValueError(
            f"Expected one of the figures {', '.join(FIGURES)}. Received: {figure=}."
        )
    if figure != "normalization":
        _check_weights(figure, weights)
    if not output:
        raise ValueError(f"Expected a PNG file to write. Received: {output=}.")
    check_output("output", output, ".png")
    if index and index_output:
        raise ValueError(
            "Expected index or index_output, but not both. Received: "
            f"{index=}, {index_output=}."
        )
    if index_output:
        check_output("index_output", index_output, ".npz")


def _check_weights(figure, weights):
    if not weights:
        raise ValueError(
            f"Expected the weights of a network for {figure}. Received: {weights=}."
        )


def _sample(source, count, seed):
    """Returns `count` random examples, in the order of the split."""
    random = np.random.default_rng(seed)
    indices = random.permutation(source.num_examples)[:count]
    return source.take_indices(sorted(indices.tolist()))


def _find_neighbors(
    classifier, train_source, queries, layer, metric, index, index_output, verbose
):
    """Returns the result of `retrieval.nearest_examples`, building an index first."""
    layer = layer or alexnet.penultimate_layer(classifier.model)
    with tempfile.TemporaryDirectory() as folder:
        path = index or index_output or os.path.join(folder, "index.npz")
        if not index:
            retrieval.build_index(path, classifier, train_source, layer, verbose)
        return retrieval.nearest_examples(
            path, classifier, queries, train_source, layer, metric
        )
