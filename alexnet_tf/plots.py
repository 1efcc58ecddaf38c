"""Plots the metrics of a run and the values of a network as PNG files.

`path` is the PNG file to write, or a file object that is open for writing bytes.

Most figures are 6 inches wide. If they are shown 390 pixels wide, as on a phone, text
of Matplotlib's default size, 10 points, is 9 pixels high.
"""

import re
import textwrap

from matplotlib import colormaps
from matplotlib import figure
from matplotlib import lines
from matplotlib import patches
from matplotlib import ticker
import numpy as np

from alexnet_tf import files

# These colors of Okabe and Ito's palette are distinguishable with color blindness.
BLUE, ORANGE = "#0072B2", "#D55E00"
GRAY, GREEN = "#999999", "#009E73"

_WIDTH = 6  # Inches.
_RESOLUTION = 160  # Pixels per inch.
_TITLE_LENGTH = 64  # Characters of a title that fit in a line.
_NOTE_LENGTH = 72  # Characters of a note that fit in a line.
_BAR_OPACITY = 0.45  # The text on a bar must stay legible.

# The panels of `curves`: {metric: (factor, label of the axis)}.
_CURVES = {
    "loss": (1, "cross-entropy (nats)"),
    "top1_error": (100, "top-1 error (%)"),
    "top5_error": (100, "top-5 error (%)"),
}
# The frames of `neighbors`: {kind of image: (color, line style, line width)}.
_FRAMES = {
    "query": (ORANGE, "solid", 4),
    "same class": (BLUE, "solid", 2),
    "other class": ("black", "dashed", 2),
    "neighbor": (GRAY, "solid", 1),
}


def curves(metrics, path, title="", names=tuple(_CURVES)):
    """Plots the loss and the errors over the epochs, one above the other.

    Dotted lines mark the epochs after which the learning rate was lower. Metrics that
    `recorded_metrics` does not return are left out.

    Args:
        metrics: the lines of a run's metrics.jsonl, see `workdir.read_metrics`.
        path: see the module docstring.
        title: the title of the figure.
        names: the metrics to plot, of "loss", "top1_error" and "top5_error".
    """
    names = [name for name in recorded_metrics(metrics) if name in names]
    fig = figure.Figure(figsize=(_WIDTH, 1 + 2.6 * len(names)), layout="constrained")
    axes = fig.subplots(len(names), 1, squeeze=False).ravel()
    for ax, name in zip(axes, names):
        _draw_curves(ax, metrics, name)
    handles, _ = axes[0].get_legend_handles_labels()
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    _save(fig, path, title)


def recorded_metrics(metrics):
    """Returns the names of the metrics to plot, of "loss" and the two errors.

    There are no top-5 errors with five classes or fewer. Earlier versions wrote them
    for any number of classes, so a resumed run may have some, which are left out.

    Args:
        metrics: the lines of a run's metrics.jsonl, see `workdir.read_metrics`.
    """
    return [name for name in _CURVES if all(name in line for line in metrics)]


def kernels(weights, path, name="the network", towers=1):
    """Plots the kernels of the first layer, as in the paper's Fig. 3.

    The values of each kernel are stretched to the full range separately. Zero therefore
    has a different shade in each kernel.

    Args:
        weights: float [H, W, 3, kernels], RGB.
        path: see the module docstring.
        name: the name of the layer and of the network, for the title.
        towers: the number of towers, each of which has an equal share of the kernels
            and was computed by a GPU of its own in the paper.
    """
    sheets = [
        kernel_sheet(part) for part in np.split(np.asarray(weights), towers, axis=-1)
    ]
    height, width = sheets[0].shape[:2]
    panel_height = _WIDTH * height / width + (0.3 if towers > 1 else 0)
    fig = figure.Figure(
        figsize=(_WIDTH, 0.6 + towers * panel_height), layout="constrained"
    )
    axes = fig.subplots(towers, 1, squeeze=False).ravel()
    for tower, (ax, sheet) in enumerate(zip(axes, sheets), 1):
        ax.imshow(sheet, interpolation="nearest")
        ax.set_axis_off()
        if towers > 1:
            ax.set_title(f"tower {tower} (GPU {tower})", loc="left", fontsize=11)
    height, width, _, count = np.shape(weights)
    title = (
        f"The {count} kernels of {name}, {height} x {width} pixels\n"
        "The colors of each kernel are stretched to the full range."
    )
    _save(fig, path, title)


def kernel_sheet(weights, towers=1):
    """Arranges kernels in rows of 16 or 8, as one uint8 RGB image [H, W, 3].

    White lines separate neighbors, and a white band half as high as a kernel separates
    the towers. The values of each kernel are stretched to the full range.

    Args:
        weights: float [H, W, 3, kernels], RGB.
        towers: the number of towers, each of which has an equal share of the kernels.
    """
    tiles = np.moveaxis(np.asarray(weights, np.float32), -1, 0)
    low = tiles.min(axis=(1, 2, 3), keepdims=True)
    high = tiles.max(axis=(1, 2, 3), keepdims=True)
    tiles = (tiles - low) / np.maximum(high - low, 1e-12)
    sheets = [_tile(part) for part in np.split(tiles, towers)]
    band = np.ones((tiles.shape[1] // 2, *sheets[0].shape[1:]))
    parts = [part for sheet in sheets for part in (band, sheet)][1:]
    return np.rint(255 * np.concatenate(parts)).astype(np.uint8)


def predictions(groups, path, title=""):
    """Plots images with their most probable classes as bars, in groups.

    This is the left half of the paper's Fig. 4. The bar of the true class has a
    different color, and its name is bold.

    Args:
        groups: [(heading, rows), ...]. A row is (title, uint8 RGB [H, W, 3],
            [(id, name, probability), ...], name of the true class, None if unknown).
        path: see the module docstring.
        title: the title of the figure.
    """
    columns = min(3, max(2, *(len(rows) for _, rows in groups), 0))
    # An image is as high as wide, and needs space for its title.
    row_height = _WIDTH / columns + 0.15
    grid_rows = [-(-len(rows) // columns) for _, rows in groups]
    bars = [max([len(row[2]) for row in rows], default=0) for _, rows in groups]
    heights = [
        0.4 * bool(heading) + count * (row_height + 0.24 * num_bars)
        for (heading, _), count, num_bars in zip(groups, grid_rows, bars)
    ]
    has_legend = any(row[3] is not None for _, rows in groups for row in rows)
    height = 0.5 + 0.4 * has_legend + sum(heights)
    fig = figure.Figure(figsize=(_WIDTH, height), layout="constrained")
    parts = fig.subfigures(len(groups), 1, squeeze=False, height_ratios=heights)
    for part, (heading, rows) in zip(parts.ravel(), groups):
        _draw_predictions(part, heading, rows, columns, row_height)
    if has_legend:
        handles = [
            patches.Patch(color=color, alpha=_BAR_OPACITY, label=label)
            for color, label in ((ORANGE, "true class"), (BLUE, "other class"))
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=2)
    _save(fig, path, title)


def neighbors(rows, path, title=""):
    """Plots images in rows, each followed by its nearest neighbors.

    This is the right half of the paper's Fig. 4.

    Args:
        rows: [[(title, uint8 RGB [H, W, 3], kind), ...], ...], all of the same length.
            The kind is "query" for the first image of a row; for the others it is
            "same class" or "other class", or "neighbor" if that is not known.
        path: see the module docstring.
        title: the title of the figure.
    """
    columns = len(rows[0])
    fig = figure.Figure(
        figsize=(_WIDTH, 1 + len(rows) * (_WIDTH / columns + 0.42)),
        layout="constrained",
    )
    axes = fig.subplots(len(rows), columns, squeeze=False)
    for ax, (name, image, kind) in zip(axes.ravel(), sum(rows, [])):
        _draw_framed(ax, image, kind)
        ax.set_title(_two_lines(name), fontsize=10, parse_math=False)
    shown = {kind for row in rows for _, _, kind in row}
    handles = [
        lines.Line2D([], [], color=color, linestyle=style, linewidth=width, label=kind)
        for kind, (color, style, width) in _FRAMES.items()
        if kind in shown
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    _save(fig, path, title)


def crops(images, path, title=""):
    """Plots the crops that training makes of one image.

    Args:
        images: a list of (title, RGB [H, W, 3] in [0, 255]), one for each crop.
        path: see the module docstring.
        title: the title of the figure.
    """
    columns = min(3, len(images))
    rows = -(-len(images) // columns)
    fig = figure.Figure(
        figsize=(_WIDTH, 0.8 + rows * (_WIDTH / columns + 0.2)), layout="constrained"
    )
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax, (name, image) in zip(axes, images):
        ax.imshow(np.clip(image, 0, 255).astype(np.uint8))
        ax.set_title(shorten(name), fontsize=10, parse_math=False)
    for ax in axes:
        ax.set_axis_off()
    _save(fig, path, title)


def normalization(maps, before, after, increases, path, title="", note=""):
    """Plots activations before and after response normalization.

    Args:
        maps: int [N], the indices of N neighboring maps.
        before, after: float [N], their activations at one pixel.
        increases: float [N], how much the activations of neighboring maps have
            increased the divisors of the activations; 0.1 for an increase by a tenth.
        path: see the module docstring.
        title: the title of the figure.
        note: a text below the figure.
    """
    fig = figure.Figure(figsize=(_WIDTH, 6.4), layout="constrained")
    top, bottom = fig.subplots(2, 1, sharex=True)
    top.bar(maps - 0.2, before, 0.4, color=GRAY, label="before")
    top.bar(maps + 0.2, after, 0.4, color=BLUE, label="after")
    top.set(ylabel="activation")
    label = "increase of the divisor by the n maps"
    bottom.bar(maps, 100 * increases, 0.6, color=ORANGE, label=label)
    bottom.set(xlabel="map", ylabel="increase (%)")
    bottom.xaxis.set_major_locator(ticker.MaxNLocator(10, integer=True))
    # The default margin is wide enough for the tick of a map that does not exist.
    bottom.set_xlim(maps[0] - 0.7, maps[-1] + 0.7)
    for ax in (top, bottom):
        ax.set_ylim(top=1.3 * ax.get_ylim()[1])  # Leaves room for the legend.
        ax.legend(loc="upper center", ncols=2)
        ax.grid(axis="y", alpha=0.3)
        ax.set_axisbelow(True)
    _save(fig, path, title, note)


def activations(image, convolutions, dense_layers, classes, path, title=""):
    """Plots the activations of all layers for one image.

    All maps of a layer have the same scale of brightness, which a color bar shows.

    Args:
        image: uint8 RGB [crop, crop, 3], the crop that the network gets.
        convolutions: a list of (title, (first, last), maps), one for each convolutional
            layer. The receptive field of the central output extends from pixel `first`
            to pixel `last` along both sides; `maps` is a list of float [H, W].
        dense_layers: a list of (title, float [units]), one for each fully connected
            layer.
        classes: [(id, name, probability), ...] of the most probable classes.
        path: see the module docstring.
        title: the title of the figure.
    """
    heights = (
        [1.15] * len(convolutions)
        + [1.5] * len(dense_layers)
        + [0.4 + 0.24 * len(classes)]
    )
    fig = figure.Figure(figsize=(_WIDTH, 1 + sum(heights)), layout="constrained")
    parts = iter(
        fig.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).ravel()
    )
    for heading, field, maps in convolutions:
        part = next(parts)
        _set_heading(part, heading)
        _draw_maps(part, image, field, maps)
    for heading, values in dense_layers:
        part = next(parts)
        _set_heading(part, heading)
        ax = part.subplots()
        ax.vlines(np.arange(len(values)), 0, values, color=BLUE, linewidth=0.7)
        ax.set(xlim=(-1, len(values)), ylim=(min(0, values.min()), None))
        ax.set(xlabel="unit", ylabel="activation")
    part = next(parts)
    _set_heading(part, f"prob: the {len(classes)} most probable classes")
    _draw_bars(part.subplots(), classes, None, name_length=50)
    _save(fig, path, title)


def norms(layers, path, title=""):
    """Plots the magnitudes of the weights of each layer.

    Args:
        layers: a list of `internals.Norms`, one for each layer.
        path: see the module docstring.
        title: the title of the figure.
    """
    fig = figure.Figure(figsize=(_WIDTH, 7), layout="constrained")
    top, bottom = fig.subplots(2, 1)
    positions = np.arange(len(layers))
    for shift, key, color, label in (
        (-0.2, "initial_kernel_rms", GRAY, "random initialization"),
        (0.2, "kernel_rms", BLUE, "learned"),
    ):
        sizes = [getattr(layer, key) for layer in layers]
        top.bar(positions + shift, sizes, 0.4, color=color, label=label)
    top.set(title="all weights of a layer", ylabel="root mean square")
    box = bottom.boxplot(
        [layer.unit_norms for layer in layers], positions=positions, whis=(0, 100),
        medianprops={"color": ORANGE, "linewidth": 2}, patch_artist=True,
        boxprops={"facecolor": "#DDDDDD"},
    )  # fmt: skip
    bottom.set(title="weights of each unit", ylabel="Euclidean norm", ylim=(0, None))
    handles = [box["medians"][0], box["boxes"][0], box["whiskers"][0]]
    labels = ["median", "middle half", "smallest to largest"]
    legends = top.get_legend_handles_labels(), (handles, labels)
    for ax, legend in zip((top, bottom), legends):
        ax.set_xticks(positions, [layer.layer for layer in layers])
        ax.set_xlabel("layer")
        ax.set_ylim(top=1.25 * ax.get_ylim()[1])  # Leaves room for the legend.
        ax.legend(*legend, loc="upper center", ncols=3, columnspacing=1)
    _save(fig, path, title)


def dropout(errors, full_error, pairs, path, title="", note=""):
    """Compares averages over networks sampled by dropout with the full network.

    Args:
        errors: {name of the average: {number of networks: float [repetitions]}}, the
            top-1 errors of two averages of that many networks, with other random masks
            in each repetition.
        full_error: the top-1 error of the network with all of its units.
        pairs: float [N, 2], the probabilities of the true class of each image: first by
            the last average of the largest number of networks, then by the full
            network.
        path: see the module docstring.
        title: the title of the figure.
        note: a text below the figure.
    """
    *_, last = errors
    counts = [*errors[last]]
    fig = figure.Figure(figsize=(_WIDTH, 8.2), layout="constrained")
    top, bottom = fig.subplots(2, 1, height_ratios=[3, 4])
    for (name, by_count), color, shift in zip(
        errors.items(), (GREEN, BLUE), (1.06, 1.0)
    ):
        values = 100 * np.array([*by_count.values()])
        mean, deviation = values.mean(axis=1), values.std(axis=1, ddof=1)
        top.errorbar(
            # No error is below 0. The shift keeps the bars apart.
            shift * np.array(counts), mean, [np.minimum(deviation, mean), deviation],
            color=color, marker="o", capsize=4, label=name,
        )  # fmt: skip
    top.axhline(
        100 * full_error,
        color=ORANGE, linestyle="--", label="all units, no dropout",
    )  # fmt: skip
    top.set_xscale("log", base=2)
    top.set_xticks(counts, [str(count) for count in counts])
    top.set(xlabel="networks in the average", ylabel="top-1 error (%)")
    low, high = top.get_ylim()
    # There is room for the legend above, and for a line at 0 above the frame.
    top.set_ylim(min(low, -0.05 * high), 1.35 * high)
    top.grid(alpha=0.3)
    top.legend(loc="upper center", ncols=2)
    bottom.plot([0, 1], [0, 1], color=GRAY, zorder=0, label="both are equal")
    bottom.scatter(*np.transpose(pairs), color=BLUE, s=14, alpha=0.5, label="an image")
    bottom.set(
        xlabel=f"{last} of {counts[-1]} networks",
        ylabel="all units, no dropout",
        title="probability of the true class",
        aspect="equal",
    )
    bottom.legend(loc="upper left")
    _save(fig, path, title, note)


def receptive_fields(fields, side, path, title="", image=None):
    """Plots the receptive fields of the central outputs of layers as square frames.

    Args:
        fields: [(label, first, last), ...]. The field of a layer extends from pixel
            `first` to pixel `last` along both sides. Pixels outside of the input are
            padding.
        side: the side of the input in pixels.
        path: see the module docstring.
        title: the title of the figure.
        image: uint8 RGB [side, side, 3] to draw the frames on; None for gray.
    """
    fig = figure.Figure(figsize=(_WIDTH, 7.5), layout="constrained")
    ax = fig.subplots()
    if image is None:
        image = np.full((side, side, 3), 230, np.uint8)
    ax.imshow(image)
    levels = np.linspace(0, 1, len(fields))
    for (label, first, last), level in zip(fields, levels):
        ax.add_patch(
            patches.Rectangle(
                (first - 0.5, first - 0.5), last - first + 1, last - first + 1,
                fill=False, linewidth=2.5, edgecolor=colormaps["plasma"](0.9 * level),
                linestyle=("solid", "dashed")[len(ax.patches) % 2], label=label,
            )
        )  # fmt: skip
    low = min(0, *(first for _, first, _ in fields)) - 3
    high = max(side - 1, *(last for _, _, last in fields)) + 3
    ax.set(xlim=(low, high), ylim=(high, low))
    ax.set(xlabel="column of pixels", ylabel="row of pixels")
    fig.legend(loc="outside lower center", ncols=3)
    _save(fig, path, title)


def percent(probability):
    """Returns a probability as text that is never rounded to 0% or to 100%."""
    if 0 < probability < 0.005:
        return "<1%"
    if 0.995 <= probability < 1:
        return ">99%"
    return f"{probability:.0%}"


def shorten(text, max_length=28):
    """Returns the text, shortened to `max_length` characters, as `displayable`."""
    text = displayable(text)
    return text if len(text) <= max_length else text[: max_length - 3] + "..."


def displayable(text):
    """Returns the text with a question mark for each byte that is not UTF-8.

    Names of files may have such bytes, which Matplotlib refuses.
    """
    return text.encode("utf-8", "replace").decode()


def save_figure(fig, path, resolution):
    """Writes a figure as PNG; an existing file is replaced once it is complete.

    Args:
        fig: a figure of Matplotlib.
        path: the file to write, or a file object that is open for writing bytes.
        resolution: the number of pixels per inch.
    """
    if hasattr(path, "write"):
        fig.savefig(path, dpi=resolution)
        return
    with files.atomic_write(path) as temporary:
        fig.savefig(temporary, dpi=resolution)


def _save(fig, path, title, note=""):
    """Writes a figure with its title and its note, whose lines are wrapped."""
    # Names of files and data sets may contain dollar signs, which start a formula.
    fig.suptitle(_wrap_lines(title, _TITLE_LENGTH), fontsize=11, parse_math=False)
    if note:
        # Unlike a text at a position, a label is taken into account by the layout.
        fig.supxlabel(
            _wrap_lines(note, _NOTE_LENGTH), x=0.01, ha="left", fontsize=10,
            parse_math=False,
        )  # fmt: skip
    save_figure(fig, path, _RESOLUTION)


def _wrap_lines(text, length):
    lines = displayable(text).splitlines()
    return "\n".join(textwrap.fill(line, length) for line in lines)


def _two_lines(name, length=10):
    """Returns a name in at most two lines; a longer name is shortened.

    Lines end after spaces and underscores if the parts between them fit in a line.
    """
    parts = [
        part[start : start + length]
        for part in re.split(r"(?<=[ _])", displayable(name))
        for start in range(0, len(part), length)
    ]
    wrapped = [""]
    for part in parts:
        if wrapped[-1] and len((wrapped[-1] + part).rstrip()) > length:
            wrapped.append("")
        wrapped[-1] += part
    if len(wrapped) > 2:
        wrapped[1] = wrapped[1][: length - 3] + "..."
    return "\n".join(line.rstrip() for line in wrapped[:2])


def _set_heading(part, heading):
    """Sets the title of a part of a figure at its left edge."""
    part.suptitle(
        displayable(heading), x=0.01, ha="left", fontsize=10, weight="bold",
        parse_math=False,
    )  # fmt: skip


def _draw_curves(ax, metrics, name):
    scale, label = _CURVES[name]
    highest = 0
    for split, color, marker, text in (
        ("train", BLUE, "o", "training"),
        ("eval", ORANGE, "s", "validation"),
    ):
        points = [
            (line["epoch"], scale * line[name])
            for line in metrics
            if line["split"] == split
        ]
        ax.plot(
            *np.reshape(points, (-1, 2)).T,
            color=color, marker=marker, markersize=4, label=text,
        )  # fmt: skip
        highest = max([highest, *(y for _, y in points if np.isfinite(y))])
    for index, epoch in enumerate(_learning_rate_drops(metrics)):
        text = "_" if index else "learning rate lowered"
        ax.axvline(epoch, color=GRAY, linestyle=":", zorder=0, label=text)
    ax.set(xlabel="epoch", ylabel=label, ylim=(0, 1.08 * highest or 1))
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    ax.grid(alpha=0.3)


def _tile(tiles):
    """Arranges tiles, float [N, H, W, 3] in [0, 1], in rows of 16 or 8 on white."""
    columns = 16 if len(tiles) > 32 else 8
    rows = -(-len(tiles) // columns)
    missing = rows * columns - len(tiles)
    # White fills the missing tiles and a line between neighbors.
    padding = ((0, missing), (0, 1), (0, 1), (0, 0))
    tiles = np.pad(tiles, padding, constant_values=1)
    _, height, width, _ = tiles.shape
    sheet = tiles.reshape(rows, columns, height, width, 3)
    return sheet.swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def _draw_predictions(part, heading, rows, columns, row_height):
    """Draws a group of `predictions` on a part of the figure."""
    if heading:
        _set_heading(part, heading)
    grid_rows = -(-len(rows) // columns)
    if not rows:
        return
    num_bars = max(len(row[2]) for row in rows)
    grid = part.add_gridspec(
        2 * grid_rows, columns,
        height_ratios=[row_height, 0.24 * num_bars] * grid_rows,
    )  # fmt: skip
    for index, (title, image, classes, true_name) in enumerate(rows):
        row, column = divmod(index, columns)
        ax = part.add_subplot(grid[2 * row, column])
        ax.imshow(image)
        ax.set_axis_off()
        ax.set_title(shorten(title, 22), fontsize=10, parse_math=False)
        bars = part.add_subplot(grid[2 * row + 1, column])
        _draw_bars(bars, classes, true_name)


def _draw_framed(ax, image, kind):
    """Draws an image of `neighbors` with the frame of its kind."""
    color, style, width = _FRAMES[kind]
    ax.imshow(image)
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set(linewidth=width, color=color, linestyle=style)


def _draw_maps(part, image, field, maps):
    """Draws an image with a receptive field, then maps with their color bar."""
    axes = part.subplots(1, 1 + len(maps), squeeze=False)[0]
    _draw_field(axes[0], image, field)
    low = min(0, *(values.min() for values in maps))
    # A scale from 0 to 0 would have no colors.
    high = max(values.max() for values in maps) or 1
    for ax, values in zip(axes[1:], maps):
        shown = ax.imshow(values, cmap="cividis", vmin=low, vmax=high)
        ax.set_axis_off()
    bar = part.colorbar(shown, ax=axes, fraction=0.03, pad=0.01)
    labels = [f"{end:,.0f}" if abs(end) >= 10 else f"{end:.2g}" for end in (low, high)]
    bar.set_ticks([low, high], labels=labels)


def _draw_field(ax, image, field):
    """Draws an image, and a receptive field as a square frame on it."""
    ax.imshow(image)
    # The part of the field that lies in the padding is not drawn.
    first, last = np.clip(field, 0, len(image) - 1)
    side = last - first + 1
    ax.add_patch(
        patches.Rectangle(
            (first - 0.5, first - 0.5), side, side,
            fill=False, linewidth=2, edgecolor=ORANGE,
        )
    )
    ax.set_axis_off()


def _draw_bars(ax, classes, true_name, name_length=18):
    """Draws one bar for each class, the most probable on top, labeled with its name.

    A bar as wide as the axes stands for a probability of 1.
    """
    probabilities = [probability for _, _, probability in classes]
    is_true = [true_name is not None and name == true_name for _, name, _ in classes]
    colors = [ORANGE if true else BLUE for true in is_true]
    ax.barh(range(len(classes)), probabilities, color=colors, alpha=_BAR_OPACITY)
    for rank, (_, name, probability) in enumerate(classes):
        text = shorten(name, name_length)
        weight = "bold" if is_true[rank] else "normal"
        ax.text(
            0.01, rank, text, va="center", fontsize=10, weight=weight, parse_math=False
        )
        ax.text(0.99, rank, percent(probability), va="center", ha="right", fontsize=10)
    ax.set(xlim=(0, 1), ylim=(len(classes) - 0.4, -0.6))
    ax.set_xticks([])
    ax.set_yticks([])


def _learning_rate_drops(metrics):
    """Returns the epochs after which the learning rate was lower."""
    train_lines = [line for line in metrics if line["split"] == "train"]
    return [
        int(line["epoch"])
        for line, next_line in zip(train_lines, train_lines[1:])
        if next_line["learning_rate"] < line["learning_rate"]
    ]
