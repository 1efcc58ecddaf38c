"""Projections of single activations to the pixels by a deconvolutional network.

M. D. Zeiler and R. Fergus, Visualizing and Understanding Convolutional Networks, 2014,
section 2.1 and Fig. 2. All activations of a layer but one are set to 0, and this one is
passed back to the pixels: through unpooling with the switches of the image, through
rectification, and through the transposed kernels. See `backward_passes`.
"""

import dataclasses

import numpy as np

from alexnet_tf.figures import backward_passes
from alexnet_tf.figures import input_images
from alexnet_tf.figures import layout
from alexnet_tf.figures import saliency
from alexnet_tf.figures import units
from alexnet_tf.models import alexnet

_COLUMNS = 4


@dataclasses.dataclass(frozen=True)
class Projection:
    """The projection of the largest activation of a unit for one image.

    Attributes:
        unit: the index of the unit.
        activation: its largest activation.
        window: (rows, columns), slices of the pixels that the activation depends on.
        pixels: float32 RGB [crop, crop, 3], the projection, 0 outside the window.
    """

    unit: int
    activation: float
    window: tuple[slice, slice]
    pixels: np.ndarray


def strongest_units(classifier, inputs, layer, count):
    """Returns the units with the largest activations for one image, in that order.

    Args:
        classifier: a `Classifier`.
        inputs: float32 [crop, crop, 3], an input of the network.
        layer: a `units.Layer`.
        count: the number of units; all if the layer has fewer.
    """
    outputs = _outputs(classifier, inputs[np.newaxis], layer)
    values, _ = units.maxima(outputs)
    return np.argsort(-values[0], kind="stable")[:count].tolist()


def project(classifier, inputs, layer, unit_numbers):
    """Returns a list with the `Projection` of each unit for its image.

    Args:
        classifier: a `Classifier`.
        inputs: float32 [N, crop, crop, 3], inputs of the network.
        layer: a `units.Layer`.
        unit_numbers: int [N], the index of a unit for each input.

    Raises:
        ValueError: if the network has no ReLU.
    """
    outputs = _outputs(classifier, inputs, layer)
    values, positions = units.maxima(outputs)
    signal = np.zeros_like(outputs)
    projections = []
    for index, unit in enumerate(unit_numbers):
        position = positions[index, unit]
        element = (*position, unit) if outputs.ndim == 4 else (unit,)
        signal[index][element] = outputs[index][element]
    pixels = backward_passes.backward(
        classifier.model, inputs, layer.output_name, signal, "deconvnet"
    )
    pixels = input_images.to_rgb(pixels, classifier)
    for index, unit in enumerate(unit_numbers):
        projections.append(
            Projection(
                int(unit),
                float(values[index, unit]),
                layer.window(positions[index, unit]),
                pixels[index],
            )
        )
    return projections


def draw(classifier, images, path, layer_name=None, unit=None, count=8):
    """Draws patches of images, each with the projection of what excites a unit there.

    With `unit`, the figure shows this unit for each image; otherwise the `count`
    strongest units for the first image.

    Args:
        classifier: a `Classifier`.
        images: a list of `InputImage`.
        path: see `layout`.
        layer_name: the name of the layer. Default: the last convolution.
        unit: the index of a unit.
        count: the number of units if there is no `unit`.

    Raises:
        ValueError: if there is no such layer or unit, or the network has no ReLU.
    """
    layer = units.find_layer(classifier.model, layer_name)
    if unit is None:
        unit_numbers = strongest_units(classifier, images[0].inputs, layer, count)
        images = images[:1] * len(unit_numbers)
        title = f"What excites the strongest units of {layer.name} in one image"
    else:
        units.check_unit(layer, unit)
        unit_numbers = [unit] * len(images)
        title = f"What excites unit {unit} of {layer.name}"
    inputs = np.stack([image.inputs for image in images])
    projections = project(classifier, inputs, layer, unit_numbers)
    _plot(images, projections, layer, title, path)


def fill_up(pixels, window, layer, value):
    """Returns the pixels of a window, filled up to the same size for all windows.

    The result is a square with the side of the receptive field, or with the side of the
    image if that is smaller. The parts of the square that `window` lacks, because they
    are outside of the image or of the receptive field, get the value `value`.

    Args:
        pixels: [crop, crop, 3], an image or a projection.
        window: (rows, columns), what `layer.window` returns.
        layer: a `units.Layer`.
        value: the value of the pixels that are added.
    """
    margins = [_margins(span, layer) for span in window]
    return np.pad(pixels[window], [*margins, (0, 0)], constant_values=value)


def _margins(span, layer):
    """Returns how many pixels a span of a window lacks before and after it."""
    if not _exceeds_image(layer):
        missing = layer.field.size - (span.stop - span.start)
        return (missing, 0) if span.start == 0 else (0, missing)
    return span.start, layer.image_side - span.stop


def _exceeds_image(layer):
    return layer.field is None or layer.field.size > layer.image_side


def _describe_field(layer):
    if layer.field is None:
        return "the whole image"
    if _exceeds_image(layer):
        return (
            f"{layer.field.size} pixels, more than the image has; a part that it does "
            "not see is gray"
        )
    return f"{layer.field.size} pixels; the part outside of the image is gray"


def _outputs(classifier, inputs, layer):
    extractor = alexnet.features(classifier.model, layer.name)
    return extractor(inputs, training=False).numpy()


def _plot(images, projections, layer, title, path):
    columns = min(_COLUMNS, len(projections))
    rows = -(-len(projections) // columns)
    side = layout.WIDTH / _COLUMNS
    fig = layout.make_figure(
        (2 * side + 0.4) * rows,
        f"{title} (deconvnet)",
        f"Above: the pixels that the unit sees at its largest activation "
        f"({_describe_field(layer)}). "
        "Below: that activation projected back to the pixels; gray is 0, and each "
        "projection is scaled to its largest absolute value. Response normalization "
        "is ignored, as in the paper of Zeiler and Fergus.",
    )
    axes = fig.subplots(2 * rows, columns, squeeze=False)
    for ax in axes.ravel():
        ax.set_axis_off()
    for index, (image, projection) in enumerate(zip(images, projections)):
        row, column = divmod(index, columns)
        above, below = axes[2 * row : 2 * row + 2, column]
        window = projection.window
        layout.show(
            above, fill_up(image.pixels, window, layer, 128),
            f"unit {projection.unit}:\n{projection.activation:.3g}",
        )
        layout.show(
            below, saliency.scale_to_gray(fill_up(projection.pixels, window, layer, 0))
        )
    layout.save(fig, path)
