"""The features of images in two dimensions, with the images at their positions."""

import numpy as np

from alexnet_tf.figures import input_images
from alexnet_tf.figures import layout
from alexnet_tf.inference import retrieval
from alexnet_tf.models import alexnet
from alexnet_tf.models.labels import readable_name
from alexnet_tf import plots

PROJECTIONS = ("pca", "tsne")
DEFAULT_COUNT = 500
_MAX_LEGEND_CLASSES = 20  # With more classes, points are not marked by class.
_MARKERS = "os^Dv"
_THUMBNAIL_SIDE = 1 / 16  # Relative to the side of the plot.
_NOTES = {
    "pca": "Axes: the first two principal components of the features, with their "
    "shares of the variance.",
    "tsne": "Axes: t-SNE, which keeps near features near; its axes have no unit, and "
    "large distances mean little.",
}


def pca(features):
    """Returns the first two principal components of features.

    The sign of a component is chosen such that its largest coefficient is positive.

    Args:
        features: float [N, D], N and D at least 2.

    Returns:
        (float64 [N, 2], float64 [2]), the coordinates and the shares of the variance,
        in [0, 1].
    """
    centered = np.asarray(features, np.float64)
    centered = centered - centered.mean(axis=0)
    left, singular_values, right = np.linalg.svd(centered, full_matrices=False)
    largest = np.abs(right[:2]).argmax(axis=1)
    signs = np.sign(right[[0, 1], largest])
    variances = singular_values**2
    shares = variances[:2] / max(variances.sum(), 1e-300)
    return left[:, :2] * singular_values[:2] * signs, shares


def tsne(features, seed=0):
    """Returns the coordinates that t-SNE of scikit-learn gives, float32 [N, 2].

    Args:
        features: float [N, D].
        seed: the random seed.

    Raises:
        ModuleNotFoundError: if scikit-learn is not installed.
    """
    try:
        from sklearn import manifold
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "t-SNE needs scikit-learn, which is not installed. Install it with pip "
            'install "alexnet_tf[features]", or use the projection pca.'
        ) from error
    perplexity = min(30, (len(features) - 1) / 3)
    return manifold.TSNE(
        perplexity=perplexity, init="pca", random_state=seed
    ).fit_transform(np.asarray(features, np.float32))


def draw(
    classifier, source, path, layer=None, projection="pca", count=DEFAULT_COUNT, seed=0,
    verbose=0,
):
    """Draws the features of images as points, and the images at their positions.

    Args:
        classifier: a `Classifier`.
        source: a `Source`, of which every n-th image is used, at most `count`.
        path: see `layout`.
        layer: the layer of the features. Default: the penultimate layer.
        projection: one of `PROJECTIONS`.
        count: the number of images, at least 3.
        seed: the random seed of t-SNE.
        verbose: 1 for a progress bar, 0 for none.

    Raises:
        ValueError: if an argument is invalid, or an image is unreadable.
        ModuleNotFoundError: if scikit-learn is not installed, for "tsne" only.
    """
    check_projection(projection)
    source = source.subsample(count)
    if source.num_examples < 3:
        raise ValueError(
            "Expected at least 3 images to place in a plane. Received: "
            f"{source.num_examples}. Choose a larger count or another split."
        )
    layer = layer or alexnet.penultimate_layer(classifier.model)
    blocks = [*retrieval.features(classifier, source, layer, verbose)]
    features = np.concatenate([block for block, _, _ in blocks])
    labels = np.concatenate([block_labels for _, block_labels, _ in blocks])
    if projection == "pca":
        points, shares = pca(features)
        axis_names = [
            f"component {number} ({share:.0%})"
            for number, share in enumerate(shares, 1)
        ]
    else:
        points = tsne(features, seed)
        axis_names = ["t-SNE 1", "t-SNE 2"]
    positions = _to_unit_square(points)
    chosen = spread_out(positions, _THUMBNAIL_SIDE)
    images = [
        input_images.rgb_crop(classifier, example["image"])
        for example in source.take_indices(chosen)
    ]
    title = f"{len(points):,} images of {source.name} by their features {layer}"
    _plot(
        positions, labels, source.classes, axis_names, chosen, images, title,
        _NOTES[projection], path,
    )


def check_projection(projection):
    """Raises a ValueError if there is no such projection."""
    if projection not in PROJECTIONS:
        raise ValueError(
            f"Expected a projection, {' or '.join(PROJECTIONS)}. Received: "
            f"{projection=}."
        )


def spread_out(positions, side):
    """Returns the indices of points whose squares do not overlap, in ascending order.

    Points are taken in order; a point is left out if the square around it would overlap
    that of a point before.

    Args:
        positions: float [N, 2], the centers of the squares.
        side: the side of the squares.
    """
    chosen = []
    for index, position in enumerate(positions):
        offsets = positions[chosen] - position
        distances = np.abs(offsets).max(axis=1) if chosen else side
        if np.all(distances >= side):
            chosen.append(index)
    return chosen


def _to_unit_square(points):
    low, high = points.min(axis=0), points.max(axis=0)
    return (points - low) / np.maximum(high - low, 1e-12)


def _plot(
    positions, labels, classes, axis_names, chosen, images, title, note, path
):
    marked = np.unique(labels[labels >= 0]) if len(classes) else []
    has_legend = 0 < len(marked) <= _MAX_LEGEND_CLASSES
    if not has_legend and len(marked):
        note += f" Points are not marked by class, because there are {len(marked)}."
    legend_rows = -(-len(marked) // 3) if has_legend else 0
    fig = layout.make_figure(2 * layout.WIDTH + 0.2 * legend_rows, title, note)
    above, below = fig.subplots(2, 1)
    for ax in (above, below):
        margin = _THUMBNAIL_SIDE / 2 + 0.01
        ax.set(xlim=(-margin, 1 + margin), ylim=(-margin, 1 + margin), aspect="equal")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel(axis_names[0], fontsize=8)
        ax.set_ylabel(axis_names[1], fontsize=8)
    above.set_title("each point is an image", fontsize=8)
    below.set_title(f"{len(chosen)} of the images at their positions", fontsize=8)
    if has_legend:
        names = [plots.shorten(readable_name(classes[label]), 20) for label in marked]
        handles = [
            _scatter(above, positions[labels == label], number)
            for number, label in enumerate(marked)
        ]
        # Given as `label` of its points, a name with "_" at its beginning is left out.
        legend = above.legend(
            handles, names, fontsize=8, ncols=3, loc="upper center",
            bbox_to_anchor=(0.5, -0.08), handletextpad=0.1, columnspacing=0.8,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
    else:
        _scatter(above, positions, 0)
    half = _THUMBNAIL_SIDE / 2
    for index, image in zip(chosen, images):
        x, y = positions[index]
        below.imshow(image, extent=(x - half, x + half, y - half, y + half))
    layout.save(fig, path)


def _scatter(ax, positions, number):
    color = layout.COLORS[number % len(layout.COLORS)]
    marker = _MARKERS[number // len(layout.COLORS)]
    return ax.scatter(
        *positions.T, s=12, color=color, marker=marker, alpha=0.8, linewidths=0
    )
