"""Draws figures that explain a network, from the names of weights and data sets.

`draw.draw` calls this module for the figures in `FIGURES`.
"""

from alexnet_tf.figures import architecture
from alexnet_tf.figures import arguments
from alexnet_tf.figures import confusions
from alexnet_tf.figures import deconvolution
from alexnet_tf.figures import embedding
from alexnet_tf.figures import examples
from alexnet_tf.figures import input_images
from alexnet_tf.figures import kernel_epochs
from alexnet_tf.figures import occlusion
from alexnet_tf.figures import saliency
from alexnet_tf.figures import strongest_patches
from alexnet_tf.inference.classifier import for_dataset
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models import alexnet
from alexnet_tf.models.labels import find_class
from alexnet_tf import presets

FIGURES = (
    "occlusion",
    "saliency",
    "guided_backprop",
    "deconv",
    "patches",
    "embedding",
    "confusion",
    "architecture",
    "kernel_epochs",
)
_DEFAULT_COUNT = 8
_DEFAULT_COUNTS = {"occlusion": 3, "embedding": embedding.DEFAULT_COUNT}


def draw(
    figure,
    output,
    data,
    *,
    weights,
    preset,
    layout,
    images,
    class_name,
    layer,
    unit,
    projection,
    count,
    seed,
    verbose,
):
    """Draws one of `FIGURES`. The other arguments and errors are those of `draw.draw`.

    Args:
        data: the `RunData` of the images; None without weights.
    """
    _check_arguments(figure, output, weights, preset, count)
    embedding.check_projection(projection)
    count = count or _DEFAULT_COUNTS.get(figure, _DEFAULT_COUNT)
    if figure == "kernel_epochs":
        kernel_epochs.draw(weights, output, count)
        return
    if figure == "architecture":
        _draw_architecture(weights, preset, layout, output)
        return
    paths = examples.find_images(images)
    classifier = load_classifier(weights, preset, layout)
    classifier = for_dataset(classifier, weights, data.dataset)
    if figure == "patches":
        strongest_patches.draw(
            classifier, data.source(), output, layer, unit, count, verbose
        )
    elif figure == "embedding":
        embedding.draw(
            classifier, data.source(), output, layer, projection, count, seed, verbose
        )
    elif figure == "confusion":
        confusions.draw(classifier, data.source(), output, verbose)
    else:
        classifier = examples.for_images(classifier, weights, paths)
        if figure == "deconv" and unit is None:
            num_images = 1
        else:
            num_images = count
        source, chosen = examples.load(data, paths, num_images, seed)
        shown = [input_images.load(classifier, source, each) for each in chosen]
        _draw_images(figure, classifier, shown, output, class_name, layer, unit, count)


def _draw_images(figure, classifier, shown, output, class_name, layer, unit, count):
    """Draws a figure of the `InputImage`s `shown`."""
    class_index = None
    if class_name is not None:
        class_index = find_class(class_name, classifier.classes)
    if figure == "occlusion":
        occlusion.draw(classifier, shown, output, class_index)
    elif figure == "deconv":
        deconvolution.draw(classifier, shown, output, layer, unit, count)
    else:
        saliency.draw(figure, classifier, shown, output, class_index)


def _draw_architecture(weights, preset, layout, output):
    """Draws the architecture of weights or, without weights, of a preset."""
    if weights:
        classifier = load_classifier(weights, preset, layout)
        model, name = classifier.model, classifier.preset.name
    else:
        spec = presets.get(preset)
        model, name = alexnet.AlexNet(spec), spec.name
    architecture.draw(model, f"The layers of preset {name}", output)


def _check_arguments(figure, output, weights, preset, count):
    """Raises an error before any work is done.

    Args:
        figure, output, weights, preset, count: see `draw`.
    """
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
