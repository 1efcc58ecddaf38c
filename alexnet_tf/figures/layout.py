"""Figures that are legible on the screen of a phone, about 390 pixels wide.

They are 4.5 inches wide and have 200 pixels per inch, so that text of 8 points is 10
pixels high on such a screen. `path` is the file to write, or a file object that is open
for writing bytes.
"""

import textwrap

from matplotlib import figure

from alexnet_tf import plots

WIDTH = 4.5  # In inches.
_DPI = 200
_TITLE_SIZE, _TEXT_SIZE = 10, 8
# The palette of Okabe and Ito, whose colors are distinguishable with color blindness.
COLORS = (
    plots.BLUE, plots.ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442",
    "#000000",
)  # fmt: skip


def make_figure(height, title, note=""):
    """Returns a matplotlib figure.

    Args:
        height: the height in inches without the title and the note.
        title: the title in plain words.
        note: a description of the figure and its scale, in smaller letters below it.
    """
    title = textwrap.fill(plots.displayable(title), 52)
    note = textwrap.fill(plots.displayable(note), 72)
    height += 0.2 * (1 + title.count("\n")) + 0.13 * (note.count("\n") + bool(note))
    fig = figure.Figure(figsize=(WIDTH, height), layout="constrained")
    fig.suptitle(title, fontsize=_TITLE_SIZE, parse_math=False)
    if note:
        # Unlike a text at a position, a label is taken into account by the layout.
        fig.supxlabel(
            note, x=0.01, ha="left", fontsize=_TEXT_SIZE, parse_math=False
        )
    return fig


def show(ax, image, title="", **options):
    """Draws an image or a map without ticks.

    Args:
        ax: the axes of matplotlib.
        image: uint8 RGB [H, W, 3], or float [H, W].
        title: the text above.
        **options: for `Axes.imshow`.

    Returns:
        What `Axes.imshow` returns, for a color bar.
    """
    shown = ax.imshow(image, **options)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(plots.displayable(title), fontsize=_TEXT_SIZE, parse_math=False)
    return shown


def add_color_bar(fig, shown, ax, label="", **options):
    """Draws a color bar with a label on its left or below it."""
    bar = fig.colorbar(shown, ax=ax, **options)
    bar.set_label(label, fontsize=_TEXT_SIZE)
    bar.ax.tick_params(labelsize=_TEXT_SIZE)
    return bar


def save(fig, path):
    """Writes a figure as a PNG file."""
    plots.save_figure(fig, path, _DPI)
