"""The architecture of a network as a figure, like Fig. 2 of the paper.

Everything that the figure shows is read from the model itself.
"""

import dataclasses
import math
import textwrap

import keras
from matplotlib import patches

from alexnet_tf.figures import layout
from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf.models.layers import SpatialResponseNormalization
from alexnet_tf import plots

_ROW_HEIGHT = 0.78  # In inches.
_TEXT_LEFT = 1.95  # The left edge of the text, in inches.
_LINE_LENGTH = 46  # Characters of the text beside a box.
# The side and the length of the largest box, in inches.
_LARGEST_SIDE, _LARGEST_LENGTH = 0.42, 0.62
_NORMALIZATIONS = {
    LocalResponseNormalization: "normalization",
    SpatialResponseNormalization: "spatial normalization",
    keras.layers.BatchNormalization: "batch normalization",
}
_SLANT = 0.4  # The depth of a face in the drawing, relative to its side.


@dataclasses.dataclass(frozen=True)
class Stage:
    """The input, or a layer with weights and the layers that follow it.

    Attributes:
        name: the name of the layer.
        output_shape: (height, width, maps) or (units,).
        groups: the number of towers of a convolution, 1 for other layers.
        towers: the number of parts that its outputs are drawn in: the towers of the
            layer or of the next convolution, whichever are more.
        kernel_shape: (height, width, maps, kernels) or (inputs, units); None for the
            input.
        stride: the stride of a convolution, 1 for other layers.
        parameters: the number of weights and biases.
        followed_by: descriptions of the layers up to the next layer with weights,
            without activations and padding.
    """

    name: str
    output_shape: tuple[int, ...]
    groups: int = 1
    towers: int = 1
    kernel_shape: tuple[int, ...] | None = None
    stride: int = 1
    parameters: int = 0
    followed_by: tuple[str, ...] = ()


def stages(model):
    """Returns a list of the `Stage`s of a model.

    Args:
        model: a model that `AlexNet` built with its top for images of a fixed size.
    """
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            found.append(Stage(layer.name, tuple(layer.output.shape[1:])))
        elif hasattr(layer, "kernel"):
            found.append(_weighted_stage(layer))
        elif text := _description(layer):
            followed_by = (*found[-1].followed_by, text)
            found[-1] = dataclasses.replace(found[-1], followed_by=followed_by)
    next_groups = [stage.groups for stage in found[1:]] + [1]
    return [
        dataclasses.replace(stage, towers=max(stage.groups, following))
        if stage.kernel_shape
        else stage
        for stage, following in zip(found, next_groups)
    ]


def describe(stage):
    """Returns lines of text about a `Stage`."""
    shape = " x ".join(str(side) for side in stage.output_shape)
    lines = [f"{stage.name}: {shape}"]
    if stage.kernel_shape is None:
        return lines + _following(stage)
    if len(stage.kernel_shape) == 2:
        lines = [f"{stage.name}: {shape} units, fully connected"]
    else:
        height, width, maps, kernels = stage.kernel_shape
        stride = f", stride {stage.stride}" if stage.stride > 1 else ""
        groups = f", {stage.groups} towers" if stage.groups > 1 else ""
        kernel = f"{height} x {width} x {maps}"
        lines.append(f"{kernels} kernels of {kernel}{stride}{groups}")
    lines.append(f"{stage.parameters:,} parameters")
    return lines + _following(stage)


def _following(stage):
    """Returns lines about the layers that follow the layer of a `Stage`."""
    if not stage.followed_by:
        return []
    return textwrap.wrap("then " + ", ".join(stage.followed_by), _LINE_LENGTH)


def draw(model, title, path):
    """Draws the layers with weights of a model, from top to bottom.

    Args:
        model: a model that `AlexNet` built with its top for images of a fixed size.
        title: the title of the figure.
        path: see `layout`.
    """
    found = stages(model)
    height = _ROW_HEIGHT * len(found)
    total = sum(stage.parameters for stage in found)
    neurons = sum(alexnet.neurons(model).values()) - math.prod(found[0].output_shape)
    fig = layout.make_figure(
        height + 0.3,
        title,
        f"{total:,} parameters in convolutions and fully connected layers, "
        f"{neurons:,} units. A box is a stack of maps; its face is as high as the "
        "square root of the map's side, its length is the square root of the number "
        "of maps. A bar is a fully connected layer. A line leads from each part to the "
        "parts that read it.",
    )
    ax = fig.subplots()
    ax.set(xlim=(0, layout.WIDTH), ylim=(-height, 0.3), aspect="equal")
    ax.set_axis_off()
    scale = _scales(found)
    boxes = [
        _draw_stage(ax, stage, -_ROW_HEIGHT * (index + 0.5), scale)
        for index, stage in enumerate(found)
    ]
    for stage, above, below in zip(found[1:], boxes, boxes[1:]):
        _draw_connections(ax, stage.groups, above, below)
    if any(stage.towers == 2 for stage in found):
        for tower, x in enumerate(_centers(2), 1):
            ax.text(
                x, 0.12, f"tower {tower}\n(GPU {tower})", ha="center", va="center",
                fontsize=8,
            )
    layout.save(fig, path)


def _weighted_stage(layer):
    kernel_shape = tuple(layer.kernel.shape)
    return Stage(
        layer.name,
        tuple(layer.output.shape[1:]),
        groups=getattr(layer, "groups", 1),
        kernel_shape=kernel_shape,
        stride=layer.strides[0] if len(kernel_shape) == 4 else 1,
        parameters=layer.count_params(),
    )


def _description(layer):
    """Returns the description of a layer without a kernel; None to leave it out."""
    pools = {
        keras.layers.MaxPooling2D: "max pool",
        keras.layers.AveragePooling2D: "average pool",
    }
    if type(layer) in pools:
        side = layer.output.shape[1]
        size = layer.pool_size[0]
        return f"{size} x {size} {pools[type(layer)]} to {side} x {side}"
    if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
        return f"dropout {layer.rate:g}"
    return _NORMALIZATIONS.get(type(layer))


def _scales(found):
    """Returns (inches per root of a map's side, inches per root of the maps)."""
    maps = [stage.output_shape for stage in found if len(stage.output_shape) == 3]
    return (
        _LARGEST_SIDE / max(shape[0] for shape in maps) ** 0.5,
        _LARGEST_LENGTH / max(shape[2] for shape in maps) ** 0.5,
    )


def _centers(towers):
    """Returns the horizontal positions of the towers in inches."""
    width = _TEXT_LEFT - 0.1
    return [(tower + 0.5) * width / towers for tower in range(towers)]


def _draw_stage(ax, stage, y, scale):
    """Draws a stage and its text, and returns [(x, top, bottom), ...] of its boxes."""
    boxes = []
    for x in _centers(stage.towers):
        if len(stage.output_shape) == 3:
            side = scale[0] * stage.output_shape[0] ** 0.5
            length = scale[1] * (stage.output_shape[2] / stage.towers) ** 0.5
            _draw_box(ax, x, y, side, length)
        else:
            side = 0.08
            units = stage.output_shape[0] / stage.towers
            length = min(scale[1] * units**0.5 / 2, 1.6)
            ax.add_patch(
                patches.Rectangle(
                    (x - length / 2, y - side / 2), length, side,
                    facecolor=layout.COLORS[4], edgecolor="black", linewidth=0.6,
                )
            )
        boxes.append((x, y + side / 2, y - side / 2))
    heading, *lines = describe(stage)
    top = y + 0.08 * (1 + len(lines))
    ax.text(_TEXT_LEFT, top, heading, fontsize=8, va="top", weight="bold")
    ax.text(_TEXT_LEFT, top - 0.16, "\n".join(lines), fontsize=7.5, va="top")
    return boxes


def _draw_box(ax, x, y, side, length):
    """Draws a box in oblique projection, whose slanted face at the left is a map."""
    shift = _SLANT * side
    left, right = x - (length + shift) / 2, x + (length - shift) / 2
    bottom, top = y - side / 2, y + side / 2 - shift / 2
    faces = [
        # The front, which shows the maps as layers.
        ([(left, bottom), (right, bottom), (right, top), (left, top)], "#9ECAE1"),
        ([(left, top), (right, top), (right + shift, top + shift / 2),
          (left + shift, top + shift / 2)], "#DEEBF7"),
        ([(right, bottom), (right + shift, bottom + shift / 2),
          (right + shift, top + shift / 2), (right, top)], plots.BLUE),
    ]  # fmt: skip
    for corners, color in faces:
        ax.add_patch(
            patches.Polygon(
                corners, facecolor=color, edgecolor="black", linewidth=0.6
            )
        )


def _draw_connections(ax, groups, above, below):
    """Draws a line from each part of a stage to each part that reads it."""
    for upper, (x_above, _, bottom) in enumerate(above):
        for lower, (x_below, top, _) in enumerate(below):
            is_connected = (
                groups == 1 or len(above) != len(below) or upper == lower
            )
            if is_connected:
                ax.plot(
                    [x_above, x_below], [bottom, top],
                    color=plots.GRAY, linewidth=0.8, zorder=0,
                )
