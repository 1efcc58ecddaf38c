"""Plots of the increase of an error for several comparisons, one below the other."""

from experiments import intervals


def interval(ax, row, increases, **style):
    """Plots the mean of increases and its 95% interval, if there are several.

    Args:
        ax: the axes to draw on.
        row: the vertical position.
        increases: numbers in percentage points, one per seed.
        **style: arguments of `Axes.errorbar` in place of the default ones.
    """
    default_style = dict(fmt="o", color="#0072B2", label="mean and 95% interval")
    if len(increases) > 1:
        mean, half_width = intervals.confidence_interval(increases)
        ax.errorbar(
            mean, row, xerr=half_width, capsize=3, **{**default_style, **style}
        )


def save(fig, ax, names, title, path, **text_options):
    """Adds the names of the rows, the axes, the legend and the title; writes a PNG.

    The legend has each label once, even if it belongs to several rows.

    Args:
        fig, ax: the figure and its axes.
        names: the names of the rows, from above.
        title: the title.
        path: the path of the file.
        **text_options: options of the names, see `matplotlib.text.Text`.
    """
    ax.axvline(0, color="#999999", linewidth=1)
    ax.set_yticks(range(len(names)), names, **text_options)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set(xlabel="increase of the error (percentage points)")
    ax.grid(alpha=0.3)
    handles, labels = ax.get_legend_handles_labels()
    handle_of_label = dict(zip(labels, handles))
    fig.legend(
        handle_of_label.values(), handle_of_label, loc="outside lower center", ncols=2
    )
    fig.suptitle(title, fontsize=11)
    fig.savefig(path, dpi=160)
