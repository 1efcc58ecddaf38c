"""Confusion matrices: which classes a network mistakes for which."""

import numpy as np

from alexnet_tf.figures import layout
from alexnet_tf.inference import evaluation
from alexnet_tf.models.labels import readable_name
from alexnet_tf import plots

_NAMES_WIDTH = 1.8  # In inches, with the color bar.
MAX_CLASSES = 30  # With more classes the matrix would be unreadable.


def matrix(probabilities, labels, num_classes):
    """Returns the number of images by true and predicted class, int [classes, classes].

    Args:
        probabilities: float [N, classes].
        labels: int [N], the true classes.
        num_classes: the number of classes.
    """
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    return counts


def most_confused(counts, max_classes=MAX_CLASSES):
    """Returns the classes with the most wrong predictions, in ascending order.

    An image counts both for its true and for its predicted class.

    Args:
        counts: the result of `matrix`.
        max_classes: the largest number of classes to return.
    """
    wrong = counts - np.diag(np.diag(counts))
    totals = wrong.sum(axis=0) + wrong.sum(axis=1)
    return np.sort(np.argsort(-totals, kind="stable")[:max_classes])


def draw(classifier, source, path, verbose=0):
    """Draws the confusion matrix of a source with the center crop.

    Of more than `MAX_CLASSES` classes, the most confused ones are shown.

    Args:
        classifier: a `Classifier`.
        source: a `Source` with the classes of the network.
        path: see `layout`.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if the classes differ or an image is unreadable.
    """
    probabilities, labels = evaluation.probabilities(
        classifier, source, "center", verbose=verbose
    )
    draw_matrix(probabilities, labels, source, path)


def draw_matrix(probabilities, labels, source, path):
    """Draws the confusion matrix of probabilities that are known already.

    Args:
        probabilities, labels: what `evaluation.probabilities` returns.
        source: the `Source` of the images.
        path: see `layout`.
    """
    counts = matrix(probabilities, labels, len(source.classes))
    shown = most_confused(counts)
    names = [readable_name(source.classes[index]) for index in shown]
    note = (
        f"{len(labels):,} images of {source}, center crop. The numbers count images; "
        "the color is their share of the images of the true class."
    )
    if len(shown) < len(counts):
        note += f" These are the {len(shown)} most confused of {len(counts):,} classes."
    plot(counts[np.ix_(shown, shown)], counts[shown].sum(axis=1), names, note, path)


def plot(counts, totals, names, note, path):
    """Plots a part of a confusion matrix.

    Args:
        counts: int [classes, classes], a part of the result of `matrix`.
        totals: int [classes], the number of images of each true class.
        names: the names of the classes.
        note: the text below the figure.
        path: see `layout`.
    """
    cell = (layout.WIDTH - _NAMES_WIDTH) / len(names)
    cell = min(max(cell, 0.14), 0.5)
    fig = layout.make_figure(
        cell * len(names) + 1.3, "Which classes are mistaken for which", note
    )
    ax = fig.subplots()
    shares = counts / np.maximum(totals, 1)[:, np.newaxis]
    shown = ax.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    # A digit of 7 points is 4.5 points wide.
    if 4.5 / 72 * len(str(counts.max())) < cell:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                # The text is white on the dark half of the scale.
                color = "white" if shares[row, column] < 0.5 else "black"
                ax.text(
                    column, row, str(count),
                    ha="center", va="center", fontsize=7, color=color,
                )
    labels = [plots.shorten(name, 18) for name in names]
    ticks = range(len(names))
    ax.set_xticks(ticks, labels, rotation=90, fontsize=8, parse_math=False)
    ax.set_yticks(ticks, labels, fontsize=8, parse_math=False)
    ax.set_xlabel("predicted class", fontsize=8)
    ax.set_ylabel("true class", fontsize=8)
    layout.add_color_bar(fig, shown, ax, fraction=0.04, format="{x:.0%}")
    layout.save(fig, path)
