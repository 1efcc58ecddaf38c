"""Pictures of a run."""

from matplotlib import figure
import numpy as np

# Okabe and Ito's colours, which the colour-blind can tell apart.
_TRAIN, _EVALUATION, _DROP = "#0072B2", "#D55E00", "#999999"


def curves(metrics, path, title=""):
    """Writes the loss and the errors over the epochs as a PNG.

    Drops of the learning rate are dotted lines.

    Args:
        metrics: what `workdir.read_metrics` gives.
        path: of the PNG.
        title: above the picture.
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
        for split, colour in (("train", _TRAIN), ("eval", _EVALUATION)):
            lines = [line for line in metrics if line["split"] == split]
            epochs = [line["epoch"] for line in lines]
            values = [scale * line[key] for line in lines]
            ax.plot(epochs, values, color=colour, label=split, marker=".")
        for epoch in _drops(metrics):
            ax.axvline(epoch, color=_DROP, linestyle=":", zorder=0)
        ax.set(xlabel="epoch", ylabel=label, ylim=(0, None))
        ax.grid(alpha=0.3)
    axes[0].legend()
    fig.suptitle(title)
    fig.savefig(path, dpi=100)


def kernels(weights, path, title=""):
    """Writes the first layer's kernels as a PNG, as in the paper's Fig. 3.

    Each kernel is stretched to the full range by itself; zero need not be
    grey.

    Args:
        weights: float [H, W, 3, kernels], RGB.
        path: of the PNG.
        title: above the picture.
    """
    sheet = kernel_sheet(weights)
    height, width = sheet.shape[:2]
    fig = figure.Figure(
        figsize=(8, 8 * height / width + 0.5), layout="constrained"
    )
    ax = fig.subplots()
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()
    fig.suptitle(title)
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
    """Writes pictures with their most probable classes as bars, as a PNG.

    As the left half of the paper's Fig. 4. The bar of a class that is the
    title, the true one, has another colour.

    Args:
        rows: (title, uint8 RGB [H, W, 3], [(id, name, probability), ...]) of
            each picture.
        path: of the PNG.
    """
    columns = min(4, len(rows))
    lines = -(-len(rows) // columns)
    fig = figure.Figure(
        figsize=(2.9 * columns, 4.4 * lines), layout="constrained"
    )
    grid = fig.add_gridspec(2 * lines, columns, height_ratios=[3, 2] * lines)
    for number, (title, picture, named) in enumerate(rows):
        line, column = divmod(number, columns)
        ax = fig.add_subplot(grid[2 * line, column])
        ax.imshow(picture)
        ax.set_axis_off()
        # Dollars in names of files are no formulas.
        ax.set_title(_shortened(title), fontsize=9, parse_math=False)
        _bars(fig.add_subplot(grid[2 * line + 1, column]), named, title)
    fig.savefig(path, dpi=100)


def neighbours(rows, path):
    """Writes pictures, each with those that are nearest to it, as a PNG.

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
    for ax, (title, picture) in zip(axes.ravel(), sum(rows, [])):
        ax.imshow(picture)
        ax.set_title(_shortened(title, 20), fontsize=8, parse_math=False)
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in axes[:, 0]:
        # The queries stand apart.
        for side in ax.spines.values():
            side.set(linewidth=3, color=_EVALUATION)
    fig.savefig(path, dpi=100)


def views(pictures, path, title=""):
    """Writes what one picture becomes in training, as a PNG.

    Args:
        pictures: (title, RGB [H, W, 3] in [0, 255]) of each view.
        path: of the PNG.
        title: above the picture.
    """
    columns = min(6, len(pictures))
    lines = -(-len(pictures) // columns)
    fig = figure.Figure(
        figsize=(1.8 * columns, 2 * lines + 0.5), layout="constrained"
    )
    axes = fig.subplots(lines, columns, squeeze=False).ravel()
    for ax, (name, picture) in zip(axes, pictures):
        ax.imshow(np.clip(picture, 0, 255).astype(np.uint8))
        ax.set_title(name, fontsize=8)
    for ax in axes:
        ax.set_axis_off()
    fig.suptitle(title)
    fig.savefig(path, dpi=100)


def _bars(ax, named, true_name):
    """The most probable on top, each with its name written over it."""
    probabilities = [probability for _, _, probability in named]
    colours = [
        _EVALUATION if name == true_name else _TRAIN for _, name, _ in named
    ]
    ax.barh(range(len(named)), probabilities, color=colours, alpha=0.45)
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
