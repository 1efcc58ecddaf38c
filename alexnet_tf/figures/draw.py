"""Draws the figures of this package from the names of weights and data sets.

    from alexnet_tf.figures import draw
    draw.draw("kernels", "kernels.png", weights="runs/textures-tiny")
"""

import os
import tempfile

from alexnet_tf.figures import architecture
from alexnet_tf.figures import arguments
from alexnet_tf.figures import embedding
from alexnet_tf.figures import examples
from alexnet_tf.figures import explanations
from alexnet_tf.figures import kernel_epochs
from alexnet_tf.figures import paper_figures
from alexnet_tf import files
from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import for_dataset
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference import evaluation
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
    "receptive_fields",
    *explanations.FIGURES,
    "architecture",
    "kernel_epochs",
)
# These figures show one random example of the split, or the only one of `images`.
_FIGURES_OF_ONE_IMAGE = ("crops", "activations", "normalization", "receptive_fields")
_DEFAULT_COUNTS = {
    "predictions": 9,
    "dropout": 200,
    "occlusion": 3,
    "embedding": embedding.DEFAULT_COUNT,
}
_DEFAULT_COUNT = 8
_MAX_PREDICTIONS = 1000  # Images of a split among which "predictions" chooses.


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
    images=(),
    class_name=None,
    unit=None,
    projection="pca",
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
        figure: one of `FIGURES`, each a function of `paper_figures` or a module of its
            own.
        output: the PNG file to write; for "kernel_epochs", also a GIF file.
        weights, preset, layout: the network, see `load_classifier`.
        dataset, split, data_dir, image_key, label_key: the data, see `datasets.load`.
            Default: those of the run or of the published weights; the data set
            "textures" for a weights file.
        images: paths, glob patterns, folders and lists of image files to show instead
            of images of the split, see `image_files.find`; for the figures
            "predictions", "neighbors", "occlusion", "saliency", "guided_backprop" and
            "deconv", and one image for "crops", "activations", "normalization" and
            "receptive_fields". By default, "receptive_fields" is drawn on gray.
        class_name: the name or the index of the class that "occlusion", "saliency" and
            "guided_backprop" explain. Default: the predicted class.
        unit: the index of the unit that "deconv" and "patches" show. Default: the
            units with the largest activations.
        projection: how "embedding" places images in two dimensions, "pca" or "tsne".
        count: the number of images, of crops of one image, or of maps or units of a
            layer. Default: 8; 9 for "predictions", 3 for "occlusion", 500 for
            "embedding", and 200 for "dropout", which measures errors on these images.
            With `images`, all of them are shown; "deconv" without `unit` shows only the
            first. For "kernel_epochs", the number of epochs in a PNG file.
        seed: the random seed of the choice of images, of crops, of dropout, and of the
            initialization to compare with. "predictions" chooses images by the
            probabilities of their classes, among 1,000 at most.
        layer: the layer whose features "neighbors" compares and "embedding" shows,
            "input" for pixels. Default: the penultimate layer. For "deconv" and
            "patches", the layer of the units. Default: the last convolution. The next
            three arguments are used by "neighbors" only.
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
        ModuleNotFoundError: if scikit-learn is not installed, for the projection "tsne"
            only.
    """
    output, index, index_output, weights = map(
        files.expand_home, (output, index, index_output, weights)
    )
    images = [images] if isinstance(images, str | os.PathLike) else list(images)
    if figure not in FIGURES:
        raise ValueError(
            f"Expected one of the figures {', '.join(FIGURES)}. Received: {figure=}."
        )
    arguments.check_used(
        figure, images=images, class_name=class_name, unit=unit, layer=layer,
        projection=projection, metric=metric, index=index, index_output=index_output,
    )  # fmt: skip
    data = weights and find_run_data(
        weights, dataset, split, data_dir, "textures",
        image_key=image_key, label_key=label_key,
    )  # fmt: skip
    _check_arguments(figure, output, weights, preset, count, index, index_output)
    retrieval.check_metric(metric)
    embedding.check_projection(projection)
    count = count or _DEFAULT_COUNTS.get(figure, _DEFAULT_COUNT)
    if figure == "kernel_epochs":
        kernel_epochs.draw(weights, output, count)
        return
    if figure == "architecture":
        _draw_architecture(weights, preset, layout, output)
        return
    paths = examples.find_images(images)
    if figure in _FIGURES_OF_ONE_IMAGE and len(paths) > 1:
        raise ValueError(f"Expected one image for {figure}. Received: {len(paths)}.")
    classifier = load_classifier(weights, preset, layout)
    classifier = for_dataset(classifier, weights, data.dataset)
    image_classifier = examples.for_images(classifier, weights, paths)
    if figure in explanations.FIGURES:
        explanations.draw(
            figure, output, data, paths, image_classifier, class_name=class_name,
            layer=layer, unit=unit, projection=projection, count=count, seed=seed,
            verbose=verbose,
        )  # fmt: skip
    elif figure == "kernels":
        paper_figures.kernels(classifier, output)
    elif figure == "norms":
        paper_figures.norms(classifier, seed, output)
    elif figure == "receptive_fields" and not paths:
        paper_figures.draw_receptive_fields(classifier, output)
    elif figure == "predictions" and not paths:
        _draw_predictions(classifier, data.source(), count, output, verbose)
    elif figure == "neighbors":
        _, queries = examples.load(data, paths, count, seed)
        layer = layer or alexnet.penultimate_layer(classifier.model)
        _draw_neighbors(
            classifier, image_classifier, data.train_source(), queries, layer,
            metric, index, index_output, output, verbose,
        )  # fmt: skip
    else:
        num_examples = 1 if figure in _FIGURES_OF_ONE_IMAGE else count
        _draw_examples(
            figure, image_classifier, *examples.load(data, paths, num_examples, seed),
            count, seed, output,
        )  # fmt: skip


def receptive_field_table(weights, preset=None, layout=None):
    """Returns a Markdown table of the receptive field of each layer, in pixels.

    Raises the errors of `load_classifier`, and a ValueError without weights.

    Args:
        weights, preset, layout: the network, see `load_classifier`.
    """
    arguments.check_weights("receptive_fields", weights)
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


def _check_arguments(figure, output, weights, preset, count, index, index_output):
    """Raises an error before any work is done."""
    if figure == "architecture" and not (weights or preset):
        raise ValueError(
            "Expected the preset or the weights of a network for architecture. "
            f"Received: {preset=}, {weights=}."
        )
    if figure != "architecture":
        arguments.check_weights(figure, weights)
    extensions = (".png", ".gif") if figure == "kernel_epochs" else (".png",)
    arguments.check_output(output, *extensions)
    arguments.check_count(count)
    if index and index_output:
        raise ValueError(
            "Expected index or index_output, but not both. Received: "
            f"{index=}, {index_output=}."
        )
    if index_output:
        files.check_output("index_output", index_output, ".npz")


def _draw_architecture(weights, preset, layout, output):
    """Draws the architecture of weights or, without weights, of a preset."""
    if weights:
        classifier = load_classifier(weights, preset, layout)
        model, name = classifier.model, classifier.preset.name
    else:
        spec = presets.get(preset)
        model, name = alexnet.AlexNet(spec), spec.name
    architecture.draw(model, f"The layers of preset {name}", output)


def _draw_examples(figure, classifier, source, shown, count, seed, output):
    """Draws a figure of the examples `shown` of `source`."""
    if figure == "crops":
        paper_figures.crops(classifier, shown[0], count, seed, output)
    elif figure == "activations":
        paper_figures.activations(classifier, shown[0], count, output)
    elif figure == "normalization":
        paper_figures.normalization(classifier, shown[0], output)
    elif figure == "receptive_fields":
        paper_figures.draw_receptive_fields(classifier, output, shown[0])
    elif figure == "predictions":
        paper_figures.predictions(classifier, source, shown, output)
    elif figure == "dropout":
        paper_figures.dropout(classifier, source, shown, seed, output)


def _draw_predictions(classifier, source, count, output, verbose):
    """Draws `count` images of a source, which are chosen by their probabilities."""
    source = source.subsample(_MAX_PREDICTIONS)
    probabilities, labels = evaluation.probabilities(
        classifier, source, "center", verbose=verbose
    )
    paper_figures.predictions_by_confidence(
        classifier, source, probabilities, labels, count, output
    )


def _draw_neighbors(
    classifier,
    query_classifier,
    train_source,
    queries,
    layer,
    metric,
    index,
    index_output,
    output,
    verbose,
):
    """Draws the neighbors of `queries` in `train_source`.

    If there is no `index`, it is built and written to `index_output` or to a temporary
    file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = index or index_output or os.path.join(folder, "index.npz")
        if not index:
            retrieval.build_index(path, classifier, train_source, layer, verbose)
        rows = retrieval.nearest_examples(
            path, classifier, queries, train_source, layer, metric,
            query_classifier=query_classifier,
        )  # fmt: skip
    paper_figures.neighbors(
        query_classifier, train_source, rows, output, layer, metric
    )
