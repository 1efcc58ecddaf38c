"""Tests the figure of the kernels over the epochs."""

import numpy as np
from PIL import Image
import pytest

from alexnet_tf.figures import kernel_epochs
from alexnet_tf import plots
from helpers.drawn_figures import capture_figures
from helpers.drawn_figures import shown_images
from helpers.drawn_figures import texts


@pytest.fixture
def workdir(tmp_path):
    """A work directory with 10 kernels of the epochs 0 to 4."""
    (tmp_path / "kernels").mkdir()
    rng = np.random.default_rng(0)
    for epoch in range(5):
        kernels = rng.normal(0, epoch + 1, (5, 5, 3, 10)).astype(np.float32)
        np.save(tmp_path / "kernels" / f"conv1_{epoch:05d}.npy", kernels)
    return tmp_path


def test_selected_epochs_are_evenly_spaced():
    epochs = [0, 1, 2, 3, 4, 6, 8]
    assert kernel_epochs.select(epochs, 3) == [0, 3, 8]
    assert kernel_epochs.select(epochs, 1) == [8]
    assert kernel_epochs.select(epochs, 20) == epochs


def test_strip_has_a_row_of_eight_kernels_for_each_epoch(workdir, monkeypatch):
    figures = capture_figures(monkeypatch)
    kernel_epochs.draw(workdir, "out.png", count=3)
    for shown, epoch in zip(shown_images(figures[0]), (0, 2, 4), strict=True):
        kernels = np.load(workdir / "kernels" / f"conv1_{epoch:05d}.npy")
        expected = plots.kernel_sheet(kernels[..., [0, 1, 3, 4, 5, 6, 8, 9]])
        np.testing.assert_array_equal(shown, expected)
        rms = np.sqrt(np.mean(kernels**2))
        name = f"epoch {epoch}" if epoch else "before training"
        assert f"{name} RMS {rms:.3g}" in texts(figures[0])
    note = " ".join(texts(figures[0]))
    assert "8 of 10 kernels: numbers 0, 1, 3, 4, 5, 6, 8, 9." in note


@pytest.mark.parametrize("name", ["kernels.gif", "kernels.GIF"])
def test_animation_has_a_frame_for_each_epoch(workdir, name):
    path = workdir / name
    kernel_epochs.draw(workdir, path)
    with Image.open(path) as animation:
        assert animation.n_frames == 5 and animation.info["loop"] == 0
        frames = []
        for index in range(5):
            animation.seek(index)
            frames.append(np.asarray(animation.convert("RGB"), int))
    assert all(np.abs(a - b).mean() > 5 for a, b in zip(frames, frames[1:]))


def test_rejects_runs_without_recorded_kernels(tmp_path):
    with pytest.raises(ValueError, match="kernels of several epochs.*has none"):
        kernel_epochs.draw(tmp_path, "out.png")
