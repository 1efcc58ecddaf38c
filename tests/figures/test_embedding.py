"""Tests the features in two dimensions."""

import dataclasses
import sys
import types

import numpy as np
import pytest

from alexnet_tf.figures import embedding
from alexnet_tf.figures import input_images
from alexnet_tf.inference import retrieval
from helpers.drawn_figures import capture_figures
from helpers.drawn_figures import shown_images
from helpers.drawn_figures import texts
from helpers.networks import untrained_classifier


def test_pca_gives_eigenvectors_of_the_covariance():
    features = np.random.default_rng(0).normal(size=(30, 5)) * [1, 9, 3, 1, 1] + 7
    points, shares = embedding.pca(features.astype(np.float32))
    values, vectors = np.linalg.eigh(np.cov(features.T))
    for index in (0, 1):
        vector = vectors[:, -1 - index]
        vector = vector * np.sign(vector[np.abs(vector).argmax()])
        expected = (features - features.mean(axis=0)) @ vector
        np.testing.assert_allclose(points[:, index], expected, atol=1e-5)
        assert shares[index] == pytest.approx(values[-1 - index] / values.sum())


@pytest.mark.large
def test_tsne_keeps_clusters_apart():
    pytest.importorskip("sklearn")
    features = np.random.default_rng(0).normal(size=(24, 6))
    features[12:] += 50
    points = embedding.tsne(features)
    assert points.shape == (24, 2)
    distances = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    assert ((distances.argmin(axis=1) < 12) == (np.arange(24) < 12)).all()


def test_tsne_is_that_of_scikit_learn(monkeypatch):
    calls = []

    class TSNE:
        def __init__(self, **options):
            calls.append(options)

        def fit_transform(self, features):
            return features[:, :2] + 1

    package = types.SimpleNamespace(manifold=types.SimpleNamespace(TSNE=TSNE))
    monkeypatch.setitem(sys.modules, "sklearn", package)
    np.testing.assert_array_equal(embedding.tsne(np.zeros((7, 3)), 5), np.ones((7, 2)))
    assert calls == [{"perplexity": 2, "init": "pca", "random_state": 5}]


def test_without_scikit_learn_tsne_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install .alexnet_tf\[features"):
        embedding.tsne(np.zeros((5, 2)))


def test_thumbnails_do_not_overlap():
    positions = np.array([[0, 0], [0.25, 0.125], [0.5, 0.25], [0.25, 0.5]])
    assert embedding.spread_out(positions, 0.5) == [0, 2]
    assert embedding.spread_out(positions, 0.25) == [0, 1, 2, 3]


def test_figure_shows_images_at_their_positions(make_source, monkeypatch):
    figures = capture_figures(monkeypatch)
    classifier, source = untrained_classifier(), make_source(12)
    embedding.draw(classifier, source, "out.png", count=6)
    half = source.subsample(6)
    encoded = [example["image"].numpy() for example in half.examples()]
    features = retrieval.features_of(classifier, encoded)
    points, shares = embedding.pca(features)
    low, high = points.min(axis=0), points.max(axis=0)
    positions = (points - low) / (high - low)
    above, below = figures[0].axes
    drawn = np.concatenate([each.get_offsets() for each in above.collections])
    # The points are drawn class by class; the labels are 0, 2, 4, 6, 8 and 0.
    order = [0, 5, 1, 2, 3, 4]
    np.testing.assert_allclose(drawn, positions[order], atol=1e-6)
    assert [text.get_text() for text in above.get_legend().get_texts()] == [
        "0", "2", "4", "6", "8",
    ]  # fmt: skip
    chosen = embedding.spread_out(positions, 1 / 16)
    examples = half.take_indices(chosen)
    for image, pixels, index, example in zip(
        below.images, shown_images(figures[0]), chosen, examples, strict=True
    ):
        left, right, bottom, top = image.get_extent()
        center = (left + right) / 2, (bottom + top) / 2
        np.testing.assert_allclose(center, positions[index], atol=1e-6)
        crop = input_images.rgb_crop(classifier, example["image"])
        np.testing.assert_array_equal(pixels, crop)
    assert f"component 1 ({shares[0]:.0%})" in texts(figures[0])
    assert any(text.startswith("6 images of images") for text in texts(figures[0]))


def test_the_legend_has_all_names_as_they_are(make_source, monkeypatch):
    """Matplotlib leaves out labels that begin with an underscore."""
    figures = capture_figures(monkeypatch)
    names = ("_noise_", "a$x$b", *"23456789")
    source = dataclasses.replace(make_source(4), classes=names)
    embedding.draw(untrained_classifier(), source, "out.png", count=4)
    legend = figures[0].axes[0].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["_noise_", "a$x$b", "2", "3"]
    assert not any(text.get_parse_math() for text in legend)


def test_rejects_too_few_images_and_unknown_projections(make_source):
    classifier = untrained_classifier()
    with pytest.raises(ValueError, match="at least 3 images.*Received: 2"):
        embedding.draw(classifier, make_source(2), "out.png")
    with pytest.raises(ValueError, match="pca or tsne. Received: projection='umap'"):
        embedding.draw(classifier, make_source(4), "out.png", projection="umap")
