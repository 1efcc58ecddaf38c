"""Tests confusion matrices."""

import numpy as np

from alexnet_tf.figures import confusions
from alexnet_tf.inference import evaluation
from helpers.drawn_figures import capture_figures
from helpers.drawn_figures import shown_images
from helpers.drawn_figures import texts

PREDICTED = np.array([0, 1, 1, 2, 2, 2])
LABELS = np.array([0, 0, 0, 2, 1, 2])


def test_matrix_counts_images_by_true_and_predicted_class():
    counts = confusions.matrix(np.eye(4)[PREDICTED], LABELS, 4)
    assert counts.tolist() == [[1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 2, 0], [0] * 4]
    # Class 1 has three errors, class 0 has two, class 2 has one.
    assert confusions.most_confused(counts, 2).tolist() == [0, 1]
    assert confusions.most_confused(counts).tolist() == [0, 1, 2, 3]


def test_figure_shows_shares_of_the_true_class(monkeypatch):
    figures = capture_figures(monkeypatch)
    counts = np.array([[1, 3], [0, 2]])
    confusions.plot(counts, np.array([8, 2]), ["cat", "dog"], "note", "out.png")
    (fig,) = figures
    np.testing.assert_allclose(shown_images(fig)[0], [[0.125, 0.375], [0, 1]])
    assert [text for text in texts(fig) if text.isdecimal()] == ["1", "3", "2"]
    assert {"cat", "dog", "true class", "predicted class"} <= {*texts(fig)}


def test_figure_shows_the_most_confused_classes(make_source, monkeypatch):
    figures = capture_figures(monkeypatch)
    monkeypatch.setattr(confusions.most_confused, "__defaults__", (3,))
    labels = np.array([0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9])
    predicted = np.array([0, 1, 2, 3, 9, 4, 5, 9, 7, 8, 9])
    monkeypatch.setattr(
        evaluation, "probabilities", lambda *_, **__: (np.eye(10)[predicted], labels)
    )
    confusions.draw(None, make_source(11), "out.png")
    np.testing.assert_allclose(
        shown_images(figures[0])[0], [[0.5, 0, 0.5], [0, 0, 1], [0, 0, 1]]
    )
    note = " ".join(texts(figures[0]))
    assert "11 images of images, split train" in note
    assert "the 3 most confused of 10 classes" in note
