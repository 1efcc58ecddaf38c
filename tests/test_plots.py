"""The plots are written, and show the numbers that they are given."""

from matplotlib import colors
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.figures import internals
from alexnet_tf import plots


def metrics():
    """Returns metrics of three epochs, with a drop of the learning rate."""
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


def read(path):
    return tf.io.decode_png(tf.io.read_file(str(path)), channels=3).numpy()


def test_curves_draw_both_splits_and_the_drop(tmp_path):
    plots.curves(metrics(), str(tmp_path / "c.png"), "title")
    pixels = read(tmp_path / "c.png").reshape(-1, 3)
    for color in ("#0072B2", "#D55E00", "#999999"):
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(axis=1).sum() > 50


def test_a_drop_is_where_the_learning_rate_fell():
    assert plots._learning_rate_drops(metrics()) == [2]


def test_kernels_fill_their_tiles_from_black_to_white(tmp_path):
    weights = np.zeros((2, 2, 3, 5), np.float32)
    weights[0, 0, 0, :] = np.arange(1, 6)  # Red; all other values are 0.
    plots.kernels(weights, str(tmp_path / "k.png"))
    pixels = read(tmp_path / "k.png").reshape(-1, 3)
    red = (pixels == [255, 0, 0]).all(axis=1).sum()
    black = (pixels == 0).all(axis=1).sum()
    # A quarter of each kernel is red. The tolerance covers the title's pixels.
    assert 0.9 < black / (3 * red) < 1.1


def test_constant_kernels_are_drawn(tmp_path):
    plots.kernels(np.ones((3, 3, 3, 96)), str(tmp_path / "k.png"))
    assert read(tmp_path / "k.png").shape[2] == 3


def test_the_first_tower_fills_the_upper_rows():
    """There are six rows of sixteen, as in Fig. 3, with white lines between."""
    weights = np.zeros((11, 11, 3, 96), np.float32)
    weights[0, 0, 0] = 1  # Each kernel has a red corner.
    weights[5, 5, 2, 48:] = 1  # Those of the second tower have a blue center.
    sheet = plots.kernel_sheet(weights)
    assert sheet.shape == (6 * 12, 16 * 12, 3) and sheet.dtype == np.uint8
    corners, centers = sheet[::12, ::12], sheet[5::12, 5::12]
    assert (corners == [255, 0, 0]).all()
    assert (centers[:3] == 0).all() and (centers[3:] == [0, 0, 255]).all()
    assert (sheet[11::12] == 255).all() and (sheet[:, 11::12] == 255).all()


def test_missing_tiles_are_white():
    sheet = plots.kernel_sheet(np.zeros((3, 3, 3, 9), np.float32))
    assert sheet.shape == (8, 32, 3)
    assert (sheet[4:, 4:] == 255).all() and (sheet[4:7, :3] == 0).all()


def test_titles_may_contain_dollar_signs(tmp_path):
    """They contain names of data sets, which must not be read as formulas."""
    plots.curves(metrics(), str(tmp_path / "c.png"), "tiny on folder:a$x_{$b")
    assert (tmp_path / "c.png").exists()


# ---- The contents of matplotlib's figures ----------------------------------------


@pytest.fixture
def drawn(monkeypatch):
    """Returns drawn(function, ...), which returns the matplotlib figure it writes."""
    figures = []
    monkeypatch.setattr(
        plots.figure.Figure, "savefig", lambda self, *_, **__: figures.append(self)
    )

    def draw(function, *args):
        function(*args)
        (written,) = figures
        return written

    return draw


def color(name):
    return colors.to_hex(name, keep_alpha=False).upper()


ORANGE, BLUE = "#D55E00", "#0072B2"
SQUARES = [np.full((4, 4, 3), level, np.uint8) for level in range(0, 250, 10)]


def test_curves_are_the_metrics(drawn):
    axes = drawn(plots.curves, metrics(), "").axes
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


def test_predictions_are_bars_in_order(drawn):
    classes = [[("n1", "cat", 0.7), ("n2", "dog", 0.2)], [("n2", "dog", 0.6)]]
    rows = [("dog", SQUARES[3], classes[0]), ("cat$", SQUARES[9], classes[1])]
    axes = drawn(plots.predictions, rows, "").axes
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
        assert [color(bar.get_facecolor()) for bar in bars.patches] == [
            ORANGE if name == title else BLUE for _, name, _ in predicted
        ]
    assert [text.get_text() for text in axes[1].texts] == ["cat  70.0%", "dog  20.0%"]


def test_neighbors_are_in_rows_and_queries_framed(drawn):
    rows = [
        [(f"{row}{column}", SQUARES[4 * row + column]) for column in range(3)]
        for row in range(2)
    ]
    axes = drawn(plots.neighbors, rows, "").axes
    for ax, (title, square) in zip(axes, sum(rows, []), strict=True):
        assert ax.get_title() == title
        np.testing.assert_array_equal(ax.images[0].get_array(), square)
        frame = color(ax.spines["left"].get_edgecolor())
        assert (frame == ORANGE) == title.endswith("0")


def test_crops_are_in_order(drawn):
    images = [(f"crop {n}", SQUARES[n]) for n in range(7)]
    fig = drawn(plots.crops, images, "", "of 2,178")
    for ax, (title, square) in zip(fig.axes, images):
        assert ax.get_title() == title
        np.testing.assert_array_equal(ax.images[0].get_array(), square)
    assert fig.get_suptitle() == "of 2,178"


def test_confusions_have_the_true_class_in_rows(drawn):
    counts = np.array([[6, 2], [0, 1]])
    (ax,) = drawn(plots.confusion, counts, ["a", "b"], "").axes
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts == {(0, 0): "6", (1, 0): "2", (1, 1): "1"}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_normalization_has_all_values(drawn):
    before, afters = np.array([3.0, 1, 2]), [
        ("n = 4", np.array([1.5, 0.5, 1.0])), ("n = 5", np.array([1.0, 0.3, 0.7])),
    ]  # fmt: skip
    fig = drawn(plots.normalization, before, afters, "", "k = 2")
    top, bottom = fig.axes
    assert [bar.get_height() for bar in top.patches] == [3, 1, 2]
    heights = [bar.get_height() for bar in bottom.patches]
    assert heights == [1.5, 0.5, 1.0, 1.0, 0.3, 0.7]
    assert [bars.get_label() for bars in bottom.containers] == ["n = 4", "n = 5"]
    assert fig.get_suptitle() == "k = 2"


def test_activations_show_maps_and_receptive_fields(drawn):
    maps = np.arange(2 * 3 * 3, dtype=float).reshape(2, 3, 3)
    convolutions = [("conv1", (2, 5), maps), ("conv2", (-3, 9), maps[:1])]
    maps[1] -= 12  # From -3, as a tanh could have it.
    dense_layers = [("fc6", np.array([0.0, 3, -1]))]
    image = np.zeros((8, 8, 3), np.uint8)
    axes = drawn(plots.activations, image, convolutions, dense_layers, "").axes
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


def test_norms_stand_beside_their_initialization(drawn):
    layers = [
        internals.Norms("conv1", 0.4, 0.1, np.array([1.0, 2, 4])),
        internals.Norms("fc8", 0.2, 0.3, np.array([5.0, 6, 9])),
    ]
    left, right = drawn(plots.norms, layers, "", "tiny").axes
    heights = {
        bars.get_label(): [bar.get_height() for bar in bars]
        for bars in left.containers
    }
    assert heights == {"random initialization": [0.1, 0.3], "learned": [0.4, 0.2]}
    assert left.get_yscale() == "log"
    medians = [
        line.get_ydata()[0] for line in right.lines
        if color(line.get_color()) == ORANGE
    ]  # fmt: skip
    assert medians == [2, 6]
    assert [text.get_text() for text in right.get_xticklabels()] == ["conv1", "fc8"]


def test_dropout_has_averages_and_the_full_network(drawn):
    pairs = np.array([[0.1, 0.2], [0.7, 0.9]])
    errors = [(1, 0.5), (2, 0.4), (4, 0.3)]
    left, right = drawn(plots.dropout, errors, 0.25, pairs, "", "title").axes
    averages, full = left.lines
    assert [*averages.get_xdata()] == [1, 2, 4]
    np.testing.assert_allclose(averages.get_ydata(), [50, 40, 30])
    assert full.get_ydata() == [25, 25]
    np.testing.assert_array_equal(right.collections[0].get_offsets(), pairs)
    assert right.get_xlabel() == "average of 4 dropout samples"
