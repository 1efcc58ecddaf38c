"""Images of a run and of a network.

Each is written to a path, or to a file that is open for writing bytes.
"""

from matplotlib import figure
from matplotlib import patches
import numpy as np

# Okabe and Ito's colors, which the color-blind can tell apart.
_TRAIN, _EVALUATION, _DROP = "#0072B2", "#D55E00", "#999999"


def curves(metrics, path, title=""):
    """Writes the loss and the errors over the epochs as a PNG.

    Drops of the learning rate are dotted lines.

    Args:
        metrics: what `read_metrics` gives.
        path: of the PNG.
        title: above the image.
    """
    fig = figure.Figure(figsize=(11, 3.8), layout="constrained")
    axes = fig.subplots(1, 3)
    for ax, (key, scale, label) in zip(
        axes,
        [
            ("loss", 1, "cross-entropy (nats)"),
            ("top1_error", 100, "top-1 error (%)"),
            ("top5_error", 100, "top-5 error (%)"),
        ],
    ):
        for split, color in (("train", _TRAIN), ("eval", _EVALUATION)):
            lines = [line for line in metrics if line["split"] == split]
            epochs = [line["epoch"] for line in lines]
            values = [scale * line[key] for line in lines]
            ax.plot(epochs, values, color=color, label=split, marker=".")
        for epoch in _drops(metrics):
            ax.axvline(epoch, color=_DROP, linestyle=":", zorder=0)
        ax.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        ax.grid(alpha=0.3)
    axes[0].legend()
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def kernels(weights, path, title=""):
    """Writes the first layer's kernels as a PNG, as in the paper's Fig. 3.

    Each kernel is stretched to the full range by itself; zero need not be
    gray.

    Args:
        weights: float [H, W, 3, kernels], RGB.
        path: of the PNG.
        title: above the image.
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
    """uint8 RGB [H, W, 3]: kernels side by side, 16 or 8 in a row.

    Of two towers of 48 kernels each, the first fills the upper three rows, as
    in the paper's Fig. 3.

    Args:
        weights: as in `kernels`.
    """
    tiles = np.moveaxis(np.asarray(weights, np.float32), -1, 0)
    low = tiles.min(axis=(1, 2, 3), keepdims=True)
    high = tiles.max(axis=(1, 2, 3), keepdims=True)
    tiles = (tiles - low) / np.maximum(high - low, 1e-12)
    columns = 16 if len(tiles) > 32 else 8
    rows = -(-len(tiles) // columns)
    missing = rows * columns - len(tiles)
    sides = ((0, missing), (0, 1), (0, 1), (0, 0))  # A white line between.
    tiles = np.pad(tiles, sides, constant_values=1)
    tiles[len(tiles) - missing :] = 1
    _, height, width, _ = tiles.shape
    sheet = tiles.reshape(rows, columns, height, width, 3)
    sheet = sheet.swapaxes(1, 2).reshape(rows * height, columns * width, 3)
    return np.rint(255 * sheet).astype(np.uint8)


def predictions(rows, path):
    """Writes images with their most probable classes as bars, as a PNG.

    As the left half of the paper's Fig. 4. The bar of a class that is the
    title, the true one, has another color.

    Args:
        rows: (title, uint8 RGB [H, W, 3], [(id, name, probability), ...]) of
            each image.
        path: of the PNG.
    """
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    fig = figure.Figure(
        figsize=(2.9 * columns, 4.4 * lines), layout="constrained"
    )
    grid = fig.add_gridspec(2 * lines, columns, height_ratios=[3, 2] * lines)
    for number, (title, image, named) in enumerate(rows):
        line, column = divmod(number, columns)
        ax = fig.add_subplot(grid[2 * line, column])
        ax.imshow(image)
        ax.set_axis_off()
        # Dollars in names of files are no formulas.
        ax.set_title(_shortened(title), fontsize=9, parse_math=False)
        _bars(fig.add_subplot(grid[2 * line + 1, column]), named, title)
    fig.savefig(path, dpi=100)


def neighbors(rows, path):
    """Writes images, each with those that are nearest to it, as a PNG.

    As the right half of the paper's Fig. 4: a row each, the query first.

    Args:
        rows: [[(title, uint8 RGB [H, W, 3]), ...], ...], of one length.
        path: of the PNG.
    """
    columns = len(rows[0])
    fig = figure.Figure(
        figsize=(1.7 * columns, 1.9 * len(rows)), layout="constrained"
    )
    axes = fig.subplots(len(rows), columns, squeeze=False)
    for ax, (title, image) in zip(axes.ravel(), sum(rows, [])):
        ax.imshow(image)
        ax.set_title(_shortened(title, 20), fontsize=8, parse_math=False)
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in axes[:, 0]:
        # The queries stand apart.
        for side in ax.spines.values():
            side.set(linewidth=3, color=_EVALUATION)
    fig.savefig(path, dpi=100)


def views(images, path, title=""):
    """Writes what one image becomes in training, as a PNG.

    Args:
        images: (title, RGB [H, W, 3] in [0, 255]) of each view.
        path: of the PNG.
        title: above the image.
    """
    columns = min(5, len(images))
    lines = -(-len(images) // columns)
    fig = figure.Figure(
        figsize=(1.8 * columns, 2 * lines + 0.5), layout="constrained"
    )
    axes = fig.subplots(lines, columns, squeeze=False).ravel()
    for ax, (name, image) in zip(axes, images):
        ax.imshow(np.clip(image, 0, 255).astype(np.uint8))
        ax.set_title(name, fontsize=8)
    for ax in axes:
        ax.set_axis_off()
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def confusion(counts, names, path):
    """Writes how often each class was taken for each other one, as a PNG.

    Args:
        counts: int [classes, classes], rows by the true class.
        names: of the classes.
        path: of the PNG.
    """
    side = 2.5 + 0.32 * len(names)
    fig = figure.Figure(figsize=(side, side), layout="constrained")
    ax = fig.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            # White on the dark half of the scale, black on the light one.
            color = "white" if shares[row, column] < 0.5 else "black"
            ax.text(
                column, row, str(count),
                ha="center", va="center", fontsize=7, color=color,
            )
    labels = [_shortened(name, 20) for name in names]
    ticks = range(len(names))
    ax.set_xticks(ticks, labels, rotation=90, fontsize=8, parse_math=False)
    ax.set_yticks(ticks, labels, fontsize=8, parse_math=False)
    ax.set(xlabel="taken for", ylabel="true class")
    fig.savefig(path, dpi=100)


def normalization(before, afters, path, title=""):
    """Writes values before and after response normalization, as a PNG.

    Args:
        before: float [N], of N neighboring maps at one pixel.
        afters: [(label, float [N]), ...], of one or two ways to normalize.
        path: of the PNG.
        title: above the image.
    """
    fig = figure.Figure(figsize=(8, 5), layout="constrained")
    top, bottom = fig.subplots(2, 1, sharex=True)
    places = np.arange(len(before))
    top.bar(places, before, color=_DROP)
    top.set(title="before", ylabel="activation")
    width = 0.8 / len(afters)
    for number, ((label, after), color) in enumerate(
        zip(afters, (_TRAIN, _EVALUATION))
    ):
        shift = (number - (len(afters) - 1) / 2) * width
        bottom.bar(places + shift, after, width, color=color, label=label)
    bottom.set(title="after", xlabel="map", ylabel="activation", xticks=places)
    bottom.set_ylim(0, 1.2 * max(after.max() for _, after in afters))
    bottom.legend(ncols=2, loc="upper center")
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def activations(image, rows, lines, path):
    """Writes what the layers make of one image, as a PNG.

    Args:
        image: uint8 RGB [S, S, 3]: what the network sees.
        rows: (title, (first, last) row and column of the image that the
            central output sees, [float [H, W], ...]) of each convolution.
        lines: (title, float [units]) of each fully connected layer.
        path: of the PNG.
    """
    columns = 1 + max(len(maps) for _, _, maps in rows)
    fig = figure.Figure(
        figsize=(1.5 * columns, 1.8 * len(rows) + 1.3 * len(lines)),
        layout="constrained",
    )
    grid = fig.add_gridspec(
        len(rows) + len(lines), columns,
        height_ratios=[1.8] * len(rows) + [1.3] * len(lines),
    )
    for row, (title, field, maps) in enumerate(rows):
        ax = fig.add_subplot(grid[row, 0])
        ax.imshow(image)
        # What is seen of the padding is not drawn.
        low, high = np.clip(field, 0, len(image) - 1)
        ax.add_patch(
            patches.Rectangle(
                (low - 0.5, low - 0.5), high - low + 1, high - low + 1,
                fill=False, linewidth=2, edgecolor=_EVALUATION,
            )
        )
        ax.set_title(title, fontsize=8)
        ax.set_axis_off()
        for column, each in enumerate(maps, 1):
            ax = fig.add_subplot(grid[row, column])
            ax.imshow(each, cmap="cividis", vmin=min(0, each.min()))
            ax.set_axis_off()
    for row, (title, values) in enumerate(lines, len(rows)):
        ax = fig.add_subplot(grid[row, :])
        ax.vlines(np.arange(len(values)), 0, values, color=_TRAIN, linewidth=0.7)
        ax.set(xlim=(-1, len(values)), ylim=(min(0, values.min()), None))
        ax.set_title(title, fontsize=9)
        ax.tick_params(labelsize=7)
    fig.savefig(path, dpi=100)


def norms(layers, path, title=""):
    """Writes how large the weights of each layer are, as a PNG.

    Args:
        layers: `internals.Norms` of each.
        path: of the PNG.
        title: above the image.
    """
    fig = figure.Figure(figsize=(10, 4), layout="constrained")
    left, right = fig.subplots(1, 2)
    places = np.arange(len(layers))
    for shift, key, color, label in (
        (-0.2, "start", _DROP, "random start"),
        (0.2, "kernel", _TRAIN, "learned"),
    ):
        sizes = [getattr(layer, key) for layer in layers]
        left.bar(places + shift, sizes, 0.4, color=color, label=label)
    left.set(title="root mean square of the weights", yscale="log")
    left.legend()
    right.boxplot(
        [layer.units for layer in layers], positions=places, whis=(0, 100),
        medianprops={"color": _EVALUATION},
    )
    right.set(title="lengths of single units' kernels", ylim=(0, None))
    for ax in (left, right):
        ax.set_xticks(places, [layer.layer for layer in layers])
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def dropout(errors, whole_error, pairs, path, title=""):
    """Writes how near the whole network is to the thinned ones, as a PNG.

    Args:
        errors: (networks averaged, top-1 error) of mixtures of thinned ones.
        whole_error: of the network with all its units.
        pairs: float [N, 2]: probability of the true class by the mixture of
            all, and by the whole network.
        path: of the PNG.
        title: above the image.
    """
    fig = figure.Figure(figsize=(9, 4), layout="constrained")
    left, right = fig.subplots(1, 2)
    counts, values = zip(*errors)
    left.plot(
        counts, 100 * np.array(values),
        color=_TRAIN, marker="o", label="thinned networks, averaged",
    )
    left.axhline(
        100 * whole_error,
        color=_EVALUATION, linestyle="--", label="all units, no dropout",
    )
    left.set_xscale("log", base=2)
    left.set_xticks(counts, [str(count) for count in counts])
    left.set(
        xlabel="thinned networks", ylabel="top-1 error (%)", ylim=(0, None)
    )
    left.grid(alpha=0.3)
    left.legend()
    right.plot([0, 1], [0, 1], color=_DROP, zorder=0)
    right.scatter(*np.transpose(pairs), color=_TRAIN, s=14, alpha=0.5)
    right.set(
        xlabel=f"mean of {counts[-1]} thinned networks",
        ylabel="all units, no dropout",
        title="probability of the true class",
        aspect="equal",
    )
    fig.suptitle(title, parse_math=False)
    fig.savefig(path, dpi=100)


def _bars(ax, named, true_name):
    """The most probable on top, each with its name written over it."""
    probabilities = [probability for _, _, probability in named]
    colors = [
        _EVALUATION if name == true_name else _TRAIN for _, name, _ in named
    ]
    ax.barh(range(len(named)), probabilities, color=colors, alpha=0.45)
    for place, (_, name, probability) in enumerate(named):
        text = f"{_shortened(name)}  {probability:.1%}"
        ax.text(
            0.02, place, text, va="center", fontsize=8, parse_math=False
        )
    ax.set(xlim=(0, 1), ylim=(len(named) - 0.4, -0.6))
    ax.set_xticks([])
    ax.set_yticks([])


def _shortened(text, most=28):
    return text if len(text) <= most else text[: most - 3] + "..."


def _drops(metrics):
    """Epochs at whose start the learning rate fell."""
    lines = [line for line in metrics if line["split"] == "train"]
    return [
        int(before["epoch"])
        for before, after in zip(lines, lines[1:])
        if after["learning_rate"] < before["learning_rate"]
    ]
