"""The kernels of the first layer over the epochs of a run: a strip or an animation."""

import io

import numpy as np

from alexnet_tf.figures import layout
from alexnet_tf.files import atomic_write
from alexnet_tf import plots
from alexnet_tf.training import kernel_history

DEFAULT_COUNT = 8
_MAX_KERNELS = 8  # Kernels in a row of the strip.
_FRAME_SECONDS = 0.4
_LAST_FRAME_SECONDS = 2
_NOTE = (
    "The values of each kernel are stretched to the full range in each epoch. RMS: "
    "root mean square of the weights, before stretching."
)


def draw(workdir, path, count=DEFAULT_COUNT):
    """Draws a strip (.png) with one row per epoch, or an animation (.gif).

    Args:
        workdir: the work directory of a run.
        path: the file to write.
        count: the number of epochs in the strip, the first and the last among them.
            The animation shows all recorded epochs.

    Raises:
        ValueError: if the run has recorded no kernels, or a file is damaged.
    """
    paths = kernel_history.recorded_epochs(workdir)
    if not paths:
        raise ValueError(
            "Expected a run with kernels of several epochs, which training keeps in "
            f"the folder kernels. Received: {workdir}, which has none. Runs of older "
            "versions, weights files and published weights have no such folder."
        )
    if str(path).lower().endswith(".gif"):
        frames = [
            _frame(epoch, kernel_history.read_kernels(file))
            for epoch, file in paths.items()
        ]
        _write_animation(frames, path)
    else:
        chosen = select([*paths], count)
        kernels = [kernel_history.read_kernels(paths[epoch]) for epoch in chosen]
        _plot_strip(chosen, kernels, path)


def select(epochs, count):
    """Returns at most `count` of the epochs, evenly spaced in the list.

    The first and the last are among them, if `count` is at least 2; for 1 it is the
    last.

    Args:
        epochs: a list of integers in ascending order.
        count: the number of epochs.
    """
    if count == 1:
        return epochs[-1:]
    positions = np.linspace(0, len(epochs) - 1, min(count, len(epochs)))
    return [epochs[int(position)] for position in np.rint(positions)]


def _epoch_labels(epoch, kernels):
    """Returns two strings, such as "epoch 3" and "RMS 0.05"."""
    when = "before training" if epoch == 0 else f"epoch {epoch}"
    return when, f"RMS {np.sqrt(np.mean(kernels**2)):.3g}"


def _plot_strip(epochs, kernels, path):
    num_kernels = kernels[0].shape[-1]
    shown = np.linspace(0, num_kernels - 1, min(_MAX_KERNELS, num_kernels))
    shown = np.rint(shown).astype(int)
    numbers = ", ".join(map(str, shown))
    note = f"{len(shown)} of {num_kernels} kernels: numbers {numbers}."
    row_height = 0.82 * layout.WIDTH / _MAX_KERNELS + 0.08
    fig = layout.make_figure(
        row_height * len(epochs),
        "The kernels of the first convolution over the epochs",
        f"{note} {_NOTE}",
    )
    axes = fig.subplots(len(epochs), 1, squeeze=False).ravel()
    for ax, epoch, weights in zip(axes, epochs, kernels):
        layout.show(ax, plots.kernel_sheet(weights[..., shown]))
        for side in ax.spines.values():
            side.set_visible(False)
        ax.set_ylabel(
            "\n".join(_epoch_labels(epoch, weights)),
            rotation=0, ha="right", va="center", fontsize=8,
        )
    layout.save(fig, path)


def _frame(epoch, kernels):
    """Returns an image of all kernels in one epoch, uint8 RGB [H, W, 3]."""
    # Pillow is a requirement of matplotlib.
    from PIL import Image

    sheet = plots.kernel_sheet(kernels)
    height, width = sheet.shape[:2]
    labels = ", ".join(_epoch_labels(epoch, kernels))
    fig = layout.make_figure(
        layout.WIDTH * height / width,
        f"The kernels of the first convolution: {labels}",
        _NOTE,
    )
    ax = fig.subplots()
    layout.show(ax, sheet, interpolation="nearest")
    ax.set_axis_off()
    buffer = io.BytesIO()
    layout.save(fig, buffer)
    return Image.open(buffer).convert("RGB")


def _write_animation(frames, path):
    durations = [int(1000 * _FRAME_SECONDS)] * (len(frames) - 1)
    durations.append(int(1000 * _LAST_FRAME_SECONDS))
    with atomic_write(path) as temporary:
        frames[0].save(
            temporary, save_all=True, append_images=frames[1:], duration=durations,
            loop=0,
        )
