"""Plots the metrics of a run and the values of a network as PNG files.

`path` is the PNG file to write, or a file object that is open for writing bytes.
"""

from matplotlib import figure
from matplotlib import patches
import numpy as np

# These colors of Okabe and Ito's palette are distinguishable with color blindness.
_BLUE, _ORANGE = "#0072B2", "#D55E00"
_GRAY = "#999999"


def curves(metrics, path, title=""):
    """Plots the loss and the errors over the epochs.

    Dotted lines mark the epochs after which the learning rate was lower.

    Args:
        metrics: the lines of a run's metrics.jsonl, see `workdir.read_metrics`.
        path: see the module docstring.
        title: the title of the figure.
    """
    curves_of_axes = [
        ("loss", 1, "cross-entropy (nats)"),
        ("top1_error", 100, "top-1 error (%)"),
        ("top5_error", 100, "top-5 error (%)"),
    ]
    # There are no top-5 errors with fewer than five classes. Earlier versions wrote
    # them for any number of classes, so a resumed run may have some.
    if not all("top5_error" in line for line in metrics):
        curves_of_axes.pop()
    width = 1 + 10 * len(curves_of_axes) / 3
    fig = figure.Figure(figsize=(width, 3.8), layout="constrained")
    axes = fig.subplots(1, len(curves_of_axes))
    for ax, (key, scale, label) in zip(axes, curves_of_axes):
        for split, color in (("train", _BLUE), ("eval", _ORANGE)):
            lines = [line for line in metrics if line["split"] == split]
            epochs = [line["epoch"] for line in lines]
            values = [scale * line[key] for line in lines]
            ax.plot(epochs, values, color=color, label=split, marker=".")
        for epoch in _learning_rate_drops(metrics):
            ax.axvline(epoch, color=_GRAY, linestyle=":", zorder=0)
        ax.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        ax.grid(alpha=0.3)
    axes[0].legend()
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def kernels(weights, path, title=""):
    """Plots the kernels of the first layer, as in the paper's Fig. 3.

    The values of each kernel are stretched to the full range separately, so that zero
    has a different shade in each kernel.

    Args:
        weights: float [H, W, 3, kernels], RGB.
        path: see the module docstring.
        title: the title of the figure.
    """
    sheet = kernel_sheet(weights)
    height, width = sheet.shape[:2]
    fig = figure.Figure(
        figsize=(8, 8 * height / width + 0.5), layout="constrained"
    )
    ax = fig.subplots()
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=120)


def kernel_sheet(weights):
    """Arranges kernels in rows of 16 or 8, as one uint8 RGB image [H, W, 3].

    If there are two towers of 48 kernels each, the first fills the upper three rows,
    as in the paper's Fig. 3. The values of each kernel are stretched to the full range.

    Args:
        weights: float [H, W, 3, kernels], RGB.
    """
    tiles = np.moveaxis(np.asarray(weights, np.float32), -1, 0)
    low = tiles.min(axis=(1, 2, 3), keepdims=True)
    high = tiles.max(axis=(1, 2, 3), keepdims=True)
    tiles = (tiles - low) / np.maximum(high - low, 1e-12)
    columns = 16 if len(tiles) > 32 else 8
    rows = -(-len(tiles) // columns)
    missing = rows * columns - len(tiles)
    # White fills the missing tiles and a line between neighbors.
    padding = ((0, missing), (0, 1), (0, 1), (0, 0))
    tiles = np.pad(tiles, padding, constant_values=1)
    _, height, width, _ = tiles.shape
    sheet = tiles.reshape(rows, columns, height, width, 3)
    sheet = sheet.swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    return np.rint(255 * sheet).astype(np.uint8)


def predictions(rows, path):
    """Plots images with their most probable classes as bars.

    This is the left half of the paper's Fig. 4. A bar has a different color if the
    name of its class is the title of the image.

    Args:
        rows: (title, uint8 RGB [H, W, 3], [(id, name, probability), ...]) of each
            image; the title is the name of the true class, if that is known.
        path: see the module docstring.
    """
    columns = min(4, len(rows))
    grid_rows = -(-len(rows) // columns)
    fig = figure.Figure(
        figsize=(2.9 * columns, 4.4 * grid_rows), layout="constrained"
    )
    grid = fig.add_gridspec(2 * grid_rows, columns, height_ratios=[3, 2] * grid_rows)
    for index, (title, image, classes) in enumerate(rows):
        row, column = divmod(index, columns)
        ax = fig.add_subplot(grid[2 * row, column])
        ax.imshow(image)
        ax.set_axis_off()
        # File names may contain dollar signs, which would start a formula.
        ax.set_title(_shorten(title), fontsize=9, parse_math=False)
        _draw_bars(fig.add_subplot(grid[2 * row + 1, column]), classes, title)
    fig.savefig(path, dpi=100)


def neighbors(rows, path):
    """Plots images in rows, each followed by its nearest neighbors.

    This is the right half of the paper's Fig. 4.

    Args:
        rows: [[(title, uint8 RGB [H, W, 3]), ...], ...], all of the same length; the
            query comes first in its row.
        path: see the module docstring.
    """
    columns = len(rows[0])
    fig = figure.Figure(
        figsize=(1.7 * columns, 1.9 * len(rows)), layout="constrained"
    )
    axes = fig.subplots(len(rows), columns, squeeze=False)
    for ax, (title, image) in zip(axes.ravel(), sum(rows, [])):
        ax.imshow(image)
        ax.set_title(_shorten(title, 20), fontsize=8, parse_math=False)
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in axes[:, 0]:  # The queries get a frame.
        for side in ax.spines.values():
            side.set(linewidth=3, color=_ORANGE)
    fig.savefig(path, dpi=100)


def crops(images, path, title=""):
    """Plots the crops that training makes of one image.

    Args:
        images: a list of (title, RGB [H, W, 3] in [0, 255]), one for each crop.
        path: see the module docstring.
        title: the title of the figure.
    """
    columns = min(5, len(images))
    rows = -(-len(images) // columns)
    fig = figure.Figure(
        figsize=(1.8 * columns, 2 * rows + 0.5), layout="constrained"
    )
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, image) in zip(axes, images):
        ax.imshow(np.clip(image, 0, 255).astype(np.uint8))
        ax.set_title(name, fontsize=8)
    for ax in axes:
        ax.set_axis_off()
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def confusion(counts, names, path):
    """Plots a confusion matrix.

    Args:
        counts: int [classes, classes], the number of images by true class (rows) and
            predicted class (columns).
        names: the names of the classes.
        path: see the module docstring.
    """
    side = 2.5 + 0.32 * len(names)
    fig = figure.Figure(figsize=(side, side), layout="constrained")
    ax = fig.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            # The text is white on the dark half of the scale, black on the light half.
            color = "white" if shares[row, column] < 0.5 else "black"
            ax.text(
                column, row, str(count),
                ha="center", va="center", fontsize=7, color=color,
            )
    labels = [_shorten(name, 20) for name in names]
    ticks = range(len(names))
    ax.set_xticks(ticks, labels, rotation=90, fontsize=8, parse_math=False)
    ax.set_yticks(ticks, labels, fontsize=8, parse_math=False)
    ax.set(xlabel="predicted class", ylabel="true class")
    fig.savefig(path, dpi=100)


def normalization(before, afters, path, title=""):
    """Plots activations before and after response normalization.

    Args:
        before: float [N], the activations of N neighboring maps at one pixel.
        afters: [(label, float [N]), ...], the activations after one or two ways of
            normalization.
        path: see the module docstring.
        title: the title of the figure.
    """
    fig = figure.Figure(figsize=(8, 5), layout="constrained")
    top, bottom = fig.subplots(2, 1, sharex=True)
    maps = np.arange(len(before))
    top.bar(maps, before, color=_GRAY)
    top.set(title="before", ylabel="activation")
    width = 0.8 / len(afters)
    for index, ((label, after), color) in enumerate(zip(afters, (_BLUE, _ORANGE))):
        shift = (index - (len(afters) - 1) / 2) * width
        bottom.bar(maps + shift, after, width, color=color, label=label)
    bottom.set(title="after", xlabel="map", ylabel="activation", xticks=maps)
    bottom.set_ylim(0, 1.2 * max(after.max() for _, after in afters))
    bottom.legend(ncols=2, loc="upper center")
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def activations(image, convolutions, dense_layers, path):
    """Plots the activations of all layers for one image.

    Args:
        image: uint8 RGB [crop, crop, 3], the crop that the network gets.
        convolutions: a list of (title, (first, last), maps), one for each convolutional
            layer. The receptive field of the central output extends from pixel `first`
            to pixel `last` along both sides; `maps` is a list of float [H, W].
        dense_layers: a list of (title, float [units]), one for each fully connected
            layer.
        path: see the module docstring.
    """
    columns = 1 + max(len(maps) for _, _, maps in convolutions)
    heights = [1.8] * len(convolutions) + [1.3] * len(dense_layers)
    fig = figure.Figure(figsize=(1.5 * columns, sum(heights)), layout="constrained")
    grid = fig.add_gridspec(len(heights), columns, height_ratios=heights)
    for row, (title, field, maps) in enumerate(convolutions):
        _draw_field(fig.add_subplot(grid[row, 0]), image, field, title)
        for column, values in enumerate(maps, 1):
            ax = fig.add_subplot(grid[row, column])
            ax.imshow(values, cmap="cividis", vmin=min(0, values.min()))
            ax.set_axis_off()
    for row, (title, values) in enumerate(dense_layers, len(convolutions)):
        ax = fig.add_subplot(grid[row, :])
        ax.vlines(np.arange(len(values)), 0, values, color=_BLUE, linewidth=0.7)
        ax.set(xlim=(-1, len(values)), ylim=(min(0, values.min()), None))
        ax.set_title(title, fontsize=9)
        ax.tick_params(labelsize=7)
    fig.savefig(path, dpi=100)


def norms(layers, path, title=""):
    """Plots the magnitudes of the weights of each layer.

    Args:
        layers: a list of `internals.Norms`, one for each layer.
        path: see the module docstring.
        title: the title of the figure.
    """
    fig = figure.Figure(figsize=(10, 4), layout="constrained")
    left, right = fig.subplots(1, 2)
    positions = np.arange(len(layers))
    for shift, key, color, label in (
        (-0.2, "initial_kernel_rms", _GRAY, "random initialization"),
        (0.2, "kernel_rms", _BLUE, "learned"),
    ):
        sizes = [getattr(layer, key) for layer in layers]
        left.bar(positions + shift, sizes, 0.4, color=color, label=label)
    left.set(title="root mean square of the weights", yscale="log")
    left.legend()
    right.boxplot(
        [layer.unit_norms for layer in layers], positions=positions, whis=(0, 100),
        medianprops={"color": _ORANGE},
    )
    right.set(title="norm of the kernel of each unit", ylim=(0, None))
    for ax in (left, right):
        ax.set_xticks(positions, [layer.layer for layer in layers])
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def dropout(errors, full_error, pairs, path, title=""):
    """Compares averages over networks sampled by dropout with the full network.

    Args:
        errors: [(number of networks, top-1 error of their average), ...].
        full_error: the top-1 error of the network with all of its units.
        pairs: float [N, 2], the probabilities of the true class of each image: first by
            the average of the largest number of networks, then by the full network.
        path: see the module docstring.
        title: the title of the figure.
    """
    fig = figure.Figure(figsize=(9, 4), layout="constrained")
    left, right = fig.subplots(1, 2)
    counts, values = zip(*errors)
    left.plot(
        counts, 100 * np.array(values),
        color=_BLUE, marker="o", label="average of dropout samples",
    )
    left.axhline(
        100 * full_error,
        color=_ORANGE, linestyle="--", label="all units, no dropout",
    )
    left.set_xscale("log", base=2)
    left.set_xticks(counts, [str(count) for count in counts])
    left.set(xlabel="dropout samples", ylabel="top-1 error (%)", ylim=(0, None))
    left.grid(alpha=0.3)
    left.legend()
    right.plot([0, 1], [0, 1], color=_GRAY, zorder=0)
    right.scatter(*np.transpose(pairs), color=_BLUE, s=14, alpha=0.5)
    right.set(
        xlabel=f"average of {counts[-1]} dropout samples",
        ylabel="all units, no dropout",
        title="probability of the true class",
        aspect="equal",
    )
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def _draw_field(ax, image, field, title):
    """Draws an image, and a receptive field as a square frame on it."""
    ax.imshow(image)
    # The part of the field that lies in the padding is not drawn.
    first, last = np.clip(field, 0, len(image) - 1)
    side = last - first + 1
    ax.add_patch(
        patches.Rectangle(
            (first - 0.5, first - 0.5), side, side,
            fill=False, linewidth=2, edgecolor=_ORANGE,
        )
    )
    ax.set_title(title, fontsize=8)
    ax.set_axis_off()


def _draw_bars(ax, classes, true_name):
    """Draws one bar for each class, the most probable on top, labeled with its name."""
    probabilities = [probability for _, _, probability in classes]
    colors = [_ORANGE if name == true_name else _BLUE for _, name, _ in classes]
    ax.barh(range(len(classes)), probabilities, color=colors, alpha=0.45)
    for rank, (_, name, probability) in enumerate(classes):
        text = f"{_shorten(name)}  {probability:.1%}"
        ax.text(0.02, rank, text, va="center", fontsize=8, parse_math=False)
    ax.set(xlim=(0, 1), ylim=(len(classes) - 0.4, -0.6))
    ax.set_xticks([])
    ax.set_yticks([])


def _shorten(text, max_length=28):
    return text if len(text) <= max_length else text[: max_length - 3] + "..."


def _learning_rate_drops(metrics):
    """Returns the epochs after which the learning rate was lower."""
    lines = [line for line in metrics if line["split"] == "train"]
    return [
        int(line["epoch"])
        for line, next_line in zip(lines, lines[1:])
        if next_line["learning_rate"] < line["learning_rate"]
    ]
