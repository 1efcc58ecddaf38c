"""Tests that the plots are written, and that they show the values they are given."""

from matplotlib import colors
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.figures import internals
from alexnet_tf import plots


def make_metrics():
    """Returns metrics of three epochs. The learning rate drops after the second."""
    learning_rates = (0.1, 0.1, 0.01)
    return [
        {
            "split": split,
            "epoch": epoch,
            "loss": factor * 2.0 / epoch,
            "top1_error": factor * 0.5 / epoch,
            "top5_error": factor * 0.1,
            "learning_rate": learning_rate,
        }
        for epoch, learning_rate in enumerate(learning_rates, 1)
        for split, factor in (("train", 1), ("eval", 1.5))
    ]


def read_png(path):
    """Returns the pixels of a PNG file, uint8 RGB [H, W, 3]."""
    return tf.io.decode_png(tf.io.read_file(str(path)), channels=3).numpy()


def test_curves_draws_both_splits_and_learning_rate_drops(tmp_path):
    plots.curves(make_metrics(), str(tmp_path / "c.png"), "title")
    pixels = read_png(tmp_path / "c.png").reshape(-1, 3)
    for color in ("#0072B2", "#D55E00", "#999999"):
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(axis=1).sum() > 50


def test_learning_rate_drops_are_the_last_epochs_before_a_drop():
    assert plots._learning_rate_drops(make_metrics()) == [2]


def test_kernels_stretches_values_to_the_full_range(tmp_path):
    weights = np.zeros((2, 2, 3, 5), np.float32)
    weights[0, 0, 0, :] = np.arange(1, 6)  # Red; all other values are 0.
    plots.kernels(weights, str(tmp_path / "k.png"))
    pixels = read_png(tmp_path / "k.png").reshape(-1, 3)
    red = (pixels == [255, 0, 0]).all(axis=1).sum()
    black = (pixels == 0).all(axis=1).sum()
    # A quarter of each kernel is red. The tolerance allows for the scaling.
    assert 0.9 < black / (3 * red) < 1.1


def test_kernels_draws_constant_kernels(tmp_path):
    plots.kernels(np.ones((3, 3, 3, 96)), str(tmp_path / "k.png"))
    assert read_png(tmp_path / "k.png").shape[2] == 3


def test_kernel_sheet_has_the_first_tower_in_the_upper_rows():
    """There are six rows of 16 kernels, as in Fig. 3, with white lines between them."""
    weights = np.zeros((11, 11, 3, 96), np.float32)
    weights[0, 0, 0] = 1  # Each kernel has a red corner.
    weights[5, 5, 2, 48:] = 1  # Kernels of the second tower have a blue center.
    sheet = plots.kernel_sheet(weights)
    assert sheet.shape == (6 * 12, 16 * 12, 3) and sheet.dtype == np.uint8
    corners, centers = sheet[::12, ::12], sheet[5::12, 5::12]
    assert (corners == [255, 0, 0]).all()
    assert (centers[:3] == 0).all() and (centers[3:] == [0, 0, 255]).all()
    assert (sheet[11::12] == 255).all() and (sheet[:, 11::12] == 255).all()


def test_kernel_sheet_fills_missing_tiles_with_white():
    sheet = plots.kernel_sheet(np.zeros((3, 3, 3, 9), np.float32))
    assert sheet.shape == (8, 32, 3)
    assert (sheet[4:, 4:] == 255).all() and (sheet[4:7, :3] == 0).all()


def test_titles_may_contain_dollar_signs(tmp_path):
    """Names of data sets in titles must not be interpreted as formulas."""
    plots.curves(make_metrics(), str(tmp_path / "c.png"), "tiny on folder:a$x_{$b")
    assert (tmp_path / "c.png").exists()


# ---- The contents of matplotlib's figures ----------------------------------------


@pytest.fixture
def draw(monkeypatch):
    """Returns draw(function, ...), which calls a function of `plots` once.

    It returns the matplotlib figure that the function would write.
    """
    figures = []
    monkeypatch.setattr(
        plots.figure.Figure, "savefig", lambda self, *_, **__: figures.append(self)
    )

    def call(function, *args):
        function(*args)
        (fig,) = figures
        return fig

    return call


def to_hex(color):
    return colors.to_hex(color, keep_alpha=False).upper()


ORANGE, BLUE = "#D55E00", "#0072B2"
# Gray images that can be told apart.
SQUARES = [np.full((4, 4, 3), level, np.uint8) for level in range(0, 250, 10)]


def test_curves_shows_the_metrics(draw):
    axes = draw(plots.curves, make_metrics(), "").axes
    for ax, label, expected in zip(
        axes,
        ("cross-entropy (nats)", "top-1 error (%)", "top-5 error (%)"),
        ([2, 1, 2 / 3], [50, 25, 50 / 3], [10, 10, 10]),
    ):
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", label)
        train, evaluation, drop = ax.lines
        assert (train.get_label(), evaluation.get_label()) == ("train", "eval")
        assert [*train.get_xdata()] == [1, 2, 3]
        np.testing.assert_allclose(train.get_ydata(), expected)
        np.testing.assert_allclose(evaluation.get_ydata(), np.multiply(1.5, expected))
        assert drop.get_xdata() == [2, 2]


def test_curves_shows_top_5_errors_only_if_all_lines_have_them(draw):
    """A resumed run of an earlier version has them in its first lines."""
    metrics = make_metrics()
    del metrics[-1]["top5_error"]
    axes = draw(plots.curves, metrics, "").axes
    labels = [ax.get_ylabel() for ax in axes]
    assert labels == ["cross-entropy (nats)", "top-1 error (%)"]


def test_predictions_draws_bars_in_order(draw):
    classes = [[("n1", "cat", 0.7), ("n2", "dog", 0.2)], [("n2", "dog", 0.6)]]
    rows = [("dog", SQUARES[3], classes[0]), ("cat$", SQUARES[9], classes[1])]
    axes = draw(plots.predictions, rows, "").axes
    for (image, bars), (title, square, predicted) in zip(
        zip(axes[::2], axes[1::2]), rows
    ):
        assert image.get_title() == title
        np.testing.assert_array_equal(image.images[0].get_array(), square)
        assert [bar.get_width() for bar in bars.patches] == [
            probability for *_, probability in predicted
        ]
        # The axis points down, so that the first bar is on top.
        assert [bar.get_y() for bar in bars.patches] == sorted(
            bar.get_y() for bar in bars.patches
        ) and bars.yaxis_inverted()
        assert [to_hex(bar.get_facecolor()) for bar in bars.patches] == [
            ORANGE if name == title else BLUE for _, name, _ in predicted
        ]
    assert [text.get_text() for text in axes[1].texts] == ["cat  70.0%", "dog  20.0%"]


def test_neighbors_draws_rows_with_framed_queries(draw):
    rows = [
        [(f"{row}{column}", SQUARES[4 * row + column]) for column in range(3)]
        for row in range(2)
    ]
    axes = draw(plots.neighbors, rows, "").axes
    for ax, (title, square) in zip(axes, sum(rows, []), strict=True):
        assert ax.get_title() == title
        np.testing.assert_array_equal(ax.images[0].get_array(), square)
        frame = to_hex(ax.spines["left"].get_edgecolor())
        assert (frame == ORANGE) == title.endswith("0")


def test_crops_keeps_the_order(draw):
    images = [(f"crop {index}", SQUARES[index]) for index in range(7)]
    fig = draw(plots.crops, images, "", "of 2,178")
    for ax, (title, square) in zip(fig.axes, images):
        assert ax.get_title() == title
        np.testing.assert_array_equal(ax.images[0].get_array(), square)
    assert fig.get_suptitle() == "of 2,178"


def test_confusion_has_true_classes_in_rows(draw):
    counts = np.array([[6, 2], [0, 1]])
    (ax,) = draw(plots.confusion, counts, ["a", "b"], "").axes
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts == {(0, 0): "6", (1, 0): "2", (1, 1): "1"}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_normalization_draws_all_values(draw):
    before, afters = np.array([3.0, 1, 2]), [
        ("n = 4", np.array([1.5, 0.5, 1.0])), ("n = 5", np.array([1.0, 0.3, 0.7])),
    ]  # fmt: skip
    fig = draw(plots.normalization, before, afters, "", "k = 2")
    top, bottom = fig.axes
    assert [bar.get_height() for bar in top.patches] == [3, 1, 2]
    heights = [bar.get_height() for bar in bottom.patches]
    assert heights == [1.5, 0.5, 1.0, 1.0, 0.3, 0.7]
    assert [bars.get_label() for bars in bottom.containers] == ["n = 4", "n = 5"]
    assert fig.get_suptitle() == "k = 2"


def test_activations_draws_maps_and_receptive_fields(draw):
    maps = np.arange(2 * 3 * 3, dtype=float).reshape(2, 3, 3)
    convolutions = [("conv1", (2, 5), maps), ("conv2", (-3, 9), maps[:1])]
    maps[1] -= 12  # Negative activations, as those of a tanh.
    dense_layers = [("fc6", np.array([0.0, 3, -1]))]
    image = np.zeros((8, 8, 3), np.uint8)
    axes = draw(plots.activations, image, convolutions, dense_layers, "").axes
    assert [ax.get_title() for ax in axes] == ["conv1", "", "", "conv2", "", "fc6"]
    for ax, (first, last) in ((axes[0], (2, 5)), (axes[3], (0, 7))):
        (square,) = ax.patches
        assert square.get_xy() == (first - 0.5, first - 0.5)
        assert (square.get_width(), square.get_height()) == (last - first + 1,) * 2
    for ax, expected in ((axes[1], maps[0]), (axes[2], maps[1]), (axes[4], maps[0])):
        np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    (stems,) = axes[5].collections
    assert [path[1].tolist() for path in stems.get_segments()] == [
        [0, 0], [1, 3], [2, -1],
    ]  # fmt: skip
    assert axes[5].get_ylim()[0] == -1
    assert [axes[i].images[0].get_clim()[0] for i in (1, 2)] == [0, -3]


def test_norms_draws_learned_and_initial_weights(draw):
    layers = [
        internals.Norms("conv1", 0.4, 0.1, np.array([1.0, 2, 4])),
        internals.Norms("fc8", 0.2, 0.3, np.array([5.0, 6, 9])),
    ]
    left, right = draw(plots.norms, layers, "", "tiny").axes
    heights = {
        bars.get_label(): [bar.get_height() for bar in bars]
        for bars in left.containers
    }
    assert heights == {"random initialization": [0.1, 0.3], "learned": [0.4, 0.2]}
    assert left.get_yscale() == "log"
    medians = [
        line.get_ydata()[0] for line in right.lines
        if to_hex(line.get_color()) == ORANGE
    ]  # fmt: skip
    assert medians == [2, 6]
    assert [text.get_text() for text in right.get_xticklabels()] == ["conv1", "fc8"]


def test_dropout_draws_averages_and_the_full_network(draw):
    pairs = np.array([[0.1, 0.2], [0.7, 0.9]])
    errors = [(1, 0.5), (2, 0.4), (4, 0.3)]
    left, right = draw(plots.dropout, errors, 0.25, pairs, "", "title").axes
    averages, full = left.lines
    assert [*averages.get_xdata()] == [1, 2, 4]
    np.testing.assert_allclose(averages.get_ydata(), [50, 40, 30])
    assert full.get_ydata() == [25, 25]
    np.testing.assert_array_equal(right.collections[0].get_offsets(), pairs)
    assert right.get_xlabel() == "average of 4 dropout samples"
