"""The image patches of a data set that excite the units of a layer most.

The figure is like Fig. 2 of M. D. Zeiler and R. Fergus, Visualizing and Understanding
Convolutional Networks, 2014.
"""

import dataclasses

import numpy as np

from alexnet_tf.figures import input_images
from alexnet_tf.figures import layout
from alexnet_tf.figures import units
from alexnet_tf.inference.extraction import feature_blocks

PATCHES_PER_UNIT = 9
_GRID_SIDE = 3
_BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Strongest:
    """The largest activations of a unit, of at most one position per image.

    Attributes:
        unit: the index of the unit.
        activations: float32 [patches], in descending order.
        indices: int [patches], the positions of the images in their source.
        windows: a list of (rows, columns), slices of the pixels in the center crop on
            which each activation depends.
    """

    unit: int
    activations: np.ndarray
    indices: np.ndarray
    windows: list


def find(classifier, source, layer, unit=None, count=8, verbose=0):
    """Returns a list with the `Strongest` activations of each unit.

    The memory needed does not depend on the number of images. Of equal activations,
    the one of the earlier image comes first.

    Args:
        classifier: a `Classifier`.
        source: a `Source`.
        layer: a `units.Layer`.
        unit: the index of a unit. Default: the `count` units with the largest
            activations.
        count: the number of units if there is no `unit`.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if there is no such unit, or an image is unreadable.
        OSError: if the data is missing or damaged.
    """
    if unit is not None:
        units.check_unit(layer, unit)
    values = np.zeros((0, layer.num_units), np.float32)
    indices = np.zeros((0, layer.num_units), np.int64)
    positions = np.zeros((0, layer.num_units, 2), np.int64)
    start = 0
    for block in feature_blocks(
        classifier, source, [layer.name], batch_size=_BATCH_SIZE, on_bad_image="error",
        verbose=verbose,
    ):
        new_values, new_positions = units.maxima(block.features[layer.name])
        end = start + len(new_values)
        new_indices = np.arange(start, end)[:, np.newaxis]
        new_indices = np.broadcast_to(new_indices, new_values.shape)
        values = np.concatenate([values, new_values])
        order = np.argsort(-values, axis=0, kind="stable")[:PATCHES_PER_UNIT]
        values = np.take_along_axis(values, order, axis=0)
        indices = np.take_along_axis(
            np.concatenate([indices, new_indices]), order, axis=0
        )
        positions = np.take_along_axis(
            np.concatenate([positions, new_positions]), order[..., np.newaxis], axis=0
        )
        start = end
    strongest_units = np.argsort(-values[0], kind="stable")[:count].tolist()
    return [
        Strongest(
            index,
            values[:, index],
            indices[:, index],
            [layer.window(position) for position in positions[:, index]],
        )
        for index in ([unit] if unit is not None else strongest_units)
    ]


def draw(
    classifier, source, path, layer_name=None, unit=None, count=8, verbose=0
):
    """Draws the nine patches that excite a unit most, for one or several units.

    Args:
        classifier, source, unit, count, verbose: see `find`.
        path: see `layout`.
        layer_name: the name of the layer. Default: the last convolution.

    Raises the errors of `find`, and a ValueError if there is no such layer.
    """
    layer = units.find_layer(classifier.model, layer_name)
    strongest = find(classifier, source, layer, unit, count, verbose)
    indices = sorted({int(i) for patches in strongest for i in patches.indices})
    examples = dict(zip(indices, source.take_indices(indices)))
    patches = [
        [
            input_images.rgb_crop(classifier, examples[int(index)]["image"])[window]
            for index, window in zip(unit_patches.indices, unit_patches.windows)
        ]
        for unit_patches in strongest
    ]
    _plot(strongest, patches, layer, source, path)


def _note(patches_per_unit, layer, source):
    field = "the whole image" if layer.field is None else f"{layer.field.size} pixels"
    return (
        f"The {patches_per_unit} strongest of {source.num_examples:,} images of "
        f"{source}, at most one patch per image, in descending order. A patch is what "
        f"the unit sees ({field}, without the part in the padding). Numbers: the "
        "largest and the smallest activation of these patches."
    )


def _plot(strongest, patches, layer, source, path):
    columns = min(2, len(strongest))
    rows = -(-len(strongest) // columns)
    fig = layout.make_figure(
        (layout.WIDTH / columns + 0.25) * rows,
        f"Image patches that excite units of {layer.name} most",
        _note(len(patches[0]), layer, source),
    )
    for cell, unit_patches, images in zip(
        fig.add_gridspec(rows, columns), strongest, patches
    ):
        block = fig.add_subfigure(cell)
        first, last = unit_patches.activations[[0, -1]]
        block.suptitle(
            f"unit {unit_patches.unit}: {first:.3g} to {last:.3g}", fontsize=8
        )
        axes = block.subplots(_GRID_SIDE, _GRID_SIDE).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, image in zip(axes, images):
            layout.show(ax, image)
    layout.save(fig, path)
