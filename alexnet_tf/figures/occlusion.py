"""Occlusion: how the probability of a class falls if a part of an image is covered.

M. D. Zeiler and R. Fergus, Visualizing and Understanding Convolutional Networks, 2014,
section 4.2 and Fig. 7.
"""

import matplotlib.patches
import numpy as np

from alexnet_tf.figures import input_images
from alexnet_tf.figures import layout
from alexnet_tf.models.labels import readable_name
from alexnet_tf import plots

_BATCH_SIZE = 64
_GRAY_LEVEL = 128


def square_spans(image_side, square_side, stride):
    """Returns [(first, end), ...], the pixels that the square covers along one side.

    The centers of the squares are `stride` pixels apart, from one edge of the image to
    the other. A square at the edge is cut off.

    Args:
        image_side: the side of the image in pixels.
        square_side: the side of the square in pixels.
        stride: the distance between the centers in pixels.
    """
    starts = [
        center - square_side // 2
        for center in range(stride // 2, image_side, stride)
    ]
    return [(max(start, 0), min(start + square_side, image_side)) for start in starts]


def default_geometry(image_side):
    """Returns (side of the square, stride) in pixels.

    The square covers a sixteenth of the image. There are 28 to 55 positions along one
    side, or as many as pixels if the image has fewer than 28.
    """
    return image_side // 4, max(image_side // 28, 1)


def probability_maps(classifier, inputs, square_side, stride):
    """Returns the probabilities of all classes for each position of a gray square.

    The result is float32 [rows, columns, classes]; rows and columns are those of
    `square_spans`. The gray level of the square is 128.

    Args:
        classifier: a `Classifier`.
        inputs: float32 [crop, crop, 3], an input of the network.
        square_side, stride: the side of the square and the distance between its
            positions in pixels, see `square_spans`.
    """
    side = inputs.shape[0]
    spans = square_spans(side, square_side, stride)
    gray = input_images.gray_input(classifier, _GRAY_LEVEL)
    positions = [(rows, columns) for rows in spans for columns in spans]
    outputs = []
    for start in range(0, len(positions), _BATCH_SIZE):
        batch = positions[start : start + _BATCH_SIZE]
        occluded = np.repeat(inputs[np.newaxis], len(batch), axis=0)
        for image, ((top, bottom), (left, right)) in zip(occluded, batch):
            image[top:bottom, left:right] = gray[top:bottom, left:right]
        outputs.append(classifier.model(occluded, training=False).numpy())
    return np.concatenate(outputs).reshape(len(spans), len(spans), -1)


def draw(classifier, images, path, class_index=None, square_side=None, stride=None):
    """Draws images beside heat maps of the probability of a class.

    Without `class_index`, the heat maps are those of the predicted class and, if that
    is another one, of the true class.

    Args:
        classifier: a `Classifier`.
        images: a list of `InputImage`.
        path: see `layout`.
        class_index: the index of the class.
        square_side, stride: see `square_spans`. Default: `default_geometry`.
    """
    default_side, default_stride = default_geometry(images[0].inputs.shape[0])
    square_side, stride = square_side or default_side, stride or default_stride
    rows = []
    for image in images:
        inputs = image.inputs[np.newaxis]
        probabilities = classifier.model(inputs, training=False).numpy()[0]
        maps = probability_maps(classifier, image.inputs, square_side, stride)
        titled_maps = [
            (
                _map_title(classifier, label, image.label, probabilities),
                maps[..., label],
            )
            for label in _classes_to_show(image.label, probabilities, class_index)
        ]
        rows.append((image, titled_maps))
    _plot(rows, square_side, stride, path)


def _classes_to_show(true_label, probabilities, class_index):
    if class_index is not None:
        return [class_index]
    predicted = int(probabilities.argmax())
    return [predicted, *({true_label} - {predicted, None})]


def _map_title(classifier, label, true_label, probabilities):
    name = plots.shorten(readable_name(classifier.classes[label]), 20)
    is_of_role = {
        "predicted": label == probabilities.argmax(),
        "true": label == true_label,
    }
    roles = " and ".join(role for role, is_role in is_of_role.items() if is_role)
    lines = [name, f"({roles})"] if roles else [name]
    return "\n".join([*lines, f"uncovered: {probabilities[label]:.1%}"])


def _plot(rows, square_side, stride, path):
    columns = 1 + max(len(maps) for _, maps in rows)
    side = layout.WIDTH / columns
    fig = layout.make_figure(
        (0.8 * side + 0.5) * len(rows),
        "Occlusion: which parts of an image the network needs",
        f"A gray square of {square_side} x {square_side} pixels is moved over "
        f"the image in steps of {stride} {'pixel' if stride == 1 else 'pixels'}. "
        "Color: probability of the class with the square centered there. Dark: the "
        "network needs this part.",
    )
    grid = fig.subplots(len(rows), columns, squeeze=False)
    for axes, (image, maps) in zip(grid, rows):
        layout.show(axes[0], image.pixels, plots.shorten(image.caption, 22))
        _draw_square(axes[0], len(image.pixels), square_side)
        for ax, (title, values) in zip(axes[1:], maps):
            high = values.max()
            # The color bar has a tick at 100% only if it reaches it.
            high = 1 if high > 0.995 else high
            shown = layout.show(ax, values, title, cmap="cividis", vmin=0, vmax=high)
            layout.add_color_bar(fig, shown, ax, fraction=0.05, format="{x:.0%}")
        for ax in axes[1 + len(maps) :]:
            ax.set_axis_off()
    layout.save(fig, path)


def _draw_square(ax, image_side, square_side):
    corner = (image_side - square_side) / 2 - 0.5
    ax.add_patch(
        matplotlib.patches.Rectangle(
            (corner, corner), square_side, square_side,
            linewidth=1.5, edgecolor=plots.ORANGE,
            facecolor=[_GRAY_LEVEL / 255] * 3,
        )
    )
