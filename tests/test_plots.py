"""The pictures of a run exist, and show what they should."""

import numpy as np
import tensorflow as tf

from alexnet_tf import plots


def metrics():
    rates = (0.1, 0.1, 0.01)
    return [
        {
            "split": split,
            "epoch": epoch,
            "loss": 2.0 / epoch,
            "top1_error": 0.5 / epoch,
            "top5_error": 0.1,
            "learning_rate": rate,
        }
        for epoch, rate in enumerate(rates, 1)
        for split in ("train", "eval")
    ]


def read(path):
    return tf.io.decode_png(tf.io.read_file(str(path)), channels=3).numpy()


def test_curves_draw_both_splits_and_the_drop(tmp_path):
    plots.curves(metrics(), str(tmp_path / "c.png"), "title")
    pixels = read(tmp_path / "c.png").reshape(-1, 3)
    for colour in ("#0072B2", "#D55E00", "#999999"):
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(axis=1).sum() > 50


def test_a_drop_is_where_the_rate_fell():
    assert plots._drops(metrics()) == [2]


def test_kernels_fill_their_tiles_from_black_to_white(tmp_path):
    weights = np.zeros((2, 2, 3, 5), np.float32)
    weights[0, 0, 0, :] = np.arange(1, 6)  # red, and nothing elsewhere
    plots.kernels(weights, str(tmp_path / "k.png"))
    pixels = read(tmp_path / "k.png").reshape(-1, 3)
    red = (pixels == [255, 0, 0]).all(axis=1).sum()
    black = (pixels == 0).all(axis=1).sum()
    # One pixel in four of each kernel, up to the text's few pixels.
    assert 0.9 < black / (3 * red) < 1.1


def test_a_constant_kernel_draws(tmp_path):
    plots.kernels(np.ones((3, 3, 3, 96)), str(tmp_path / "k.png"))
    assert read(tmp_path / "k.png").shape[2] == 3


def test_a_sheet_has_the_first_tower_above(tmp_path):
    """Six rows of sixteen, as in Fig. 3, with white between."""
    weights = np.zeros((11, 11, 3, 96), np.float32)
    weights[0, 0, 0] = 1  # A red corner in each, and
    weights[5, 5, 2, 48:] = 1  # a blue centre in the second tower's.
    sheet = plots.kernel_sheet(weights)
    assert sheet.shape == (6 * 12, 16 * 12, 3) and sheet.dtype == np.uint8
    corners, centres = sheet[::12, ::12], sheet[5::12, 5::12]
    assert (corners == [255, 0, 0]).all()
    assert (centres[:3] == 0).all() and (centres[3:] == [0, 0, 255]).all()
    assert (sheet[11::12] == 255).all() and (sheet[:, 11::12] == 255).all()


def test_places_without_a_kernel_are_white():
    sheet = plots.kernel_sheet(np.zeros((3, 3, 3, 9), np.float32))
    assert sheet.shape == (8, 32, 3)
    assert (sheet[4:, 4:] == 255).all() and (sheet[4:7, :3] == 0).all()


def test_a_title_is_no_formula(tmp_path):
    """Names of data sets are in it."""
    plots.curves(metrics(), str(tmp_path / "c.png"), "tiny on folder:a$x_{$b")
    assert (tmp_path / "c.png").exists()
