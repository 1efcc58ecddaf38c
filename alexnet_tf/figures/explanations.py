"""Draws figures that explain the predictions and the units of a network.

`draw.draw` calls this module for the figures in `FIGURES`.
"""

from alexnet_tf.figures import confusions
from alexnet_tf.figures import deconvolution
from alexnet_tf.figures import embedding
from alexnet_tf.figures import examples
from alexnet_tf.figures import input_images
from alexnet_tf.figures import occlusion
from alexnet_tf.figures import saliency
from alexnet_tf.figures import strongest_patches
from alexnet_tf.inference import evaluation
from alexnet_tf.models.labels import find_class

FIGURES = (
    "occlusion",
    "saliency",
    "guided_backprop",
    "deconv",
    "patches",
    "embedding",
    "confusion",
)


def draw(
    figure,
    output,
    data,
    paths,
    classifier,
    *,
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
        data: the `RunData` of the images.
        paths: the image files to show instead of images of the split.
        classifier: the `Classifier` for the images.
    """
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
        num_images = 1 if figure == "deconv" and unit is None else count
        source, chosen = examples.load(data, paths, num_images, seed)
        if figure == "occlusion" and not paths:
            # It shows the probability of the true class.
            evaluation.check_fits(classifier, source)
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
