"""Tests that the plots are written, and that they show the values they are given."""

import os

from matplotlib import colors
from matplotlib import text as text_module
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


def test_kernel_sheet_stretches_values_to_the_full_range():
    weights = np.zeros((2, 2, 3, 5), np.float32)
    weights[0, 0, 0, :] = np.arange(1, 6)  # Red; all other values are 0.
    pixels = plots.kernel_sheet(weights).reshape(-1, 3)
    # A quarter of each kernel is red.
    assert (pixels == [255, 0, 0]).all(axis=1).sum() == 5
    assert (pixels == 0).all(axis=1).sum() == 15


def test_kernels_draws_constant_kernels(tmp_path):
    plots.kernels(np.ones((3, 3, 3, 96)), str(tmp_path / "k.png"))
    assert read_png(tmp_path / "k.png").shape[2] == 3


def test_kernel_sheet_has_a_white_band_between_the_towers():
    """There are three rows of 16 kernels in a tower, as in Fig. 3."""
    weights = np.zeros((11, 11, 3, 96), np.float32)
    weights[0, 0, 0] = 1  # Each kernel has a red corner.
    weights[5, 5, 2, 48:] = 1  # Kernels of the second tower have a blue center.
    sheet = plots.kernel_sheet(weights, towers=2)
    assert sheet.shape == (6 * 12 + 5, 16 * 12, 3) and sheet.dtype == np.uint8
    first, band, second = sheet[:36], sheet[36:41], sheet[41:]
    assert (band == 255).all()
    for tower, center in ((first, [0, 0, 0]), (second, [0, 0, 255])):
        assert (tower[::12, ::12] == [255, 0, 0]).all()
        assert (tower[5::12, 5::12] == center).all()
        assert (tower[11::12] == 255).all() and (tower[:, 11::12] == 255).all()


def test_kernel_sheet_fills_missing_tiles_with_white():
    sheet = plots.kernel_sheet(np.zeros((3, 3, 3, 9), np.float32))
    assert sheet.shape == (8, 32, 3)
    assert (sheet[4:, 4:] == 255).all() and (sheet[4:7, :3] == 0).all()


def test_titles_may_contain_dollar_signs(tmp_path):
    """Names of data sets in titles must not be interpreted as formulas."""
    plots.curves(make_metrics(), str(tmp_path / "c.png"), "tiny on folder:a$x_{$b")
    assert (tmp_path / "c.png").exists()


def test_names_that_are_not_utf_8_can_be_drawn(tmp_path):
    name = os.fsdecode(b"\xff$a.jpg")
    plots.curves(make_metrics(), str(tmp_path / "c.png"), name)
    rows = [(name, np.zeros((4, 4, 3), np.uint8), [(0, name, 1.0)], None)]
    plots.predictions([(name, rows)], str(tmp_path / "p.png"), name)
    assert len(os.listdir(tmp_path)) == 2
    assert plots.displayable(name) == plots.shorten(name) == "?$a.jpg"


def test_a_figure_that_cannot_be_drawn_keeps_the_old_file(tmp_path):
    path = tmp_path / "c.png"
    path.write_text("old")
    with pytest.raises(TypeError):
        plots.save_figure(plots.figure.Figure(), path, resolution="high")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["c.png"]
    with open(tmp_path / "d.png", "wb") as file:
        plots.save_figure(plots.figure.Figure(figsize=(1, 2)), file, resolution=20)
    assert read_png(tmp_path / "d.png").shape[:2] == (40, 20)


# ---- The contents of matplotlib's figures ----------------------------------------


@pytest.fixture
def draw(monkeypatch):
    """Returns draw(function, ...), which calls a function of `plots` once.

    It returns the matplotlib figure that the function would write.
    """
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda fig, *_: figures.append(fig))

    def call(function, *args, **kwargs):
        function(*args, **kwargs)
        (fig,) = figures
        check_readable_on_phones(fig)
        return fig

    return call


def check_readable_on_phones(fig):
    """Checks the sizes of all texts if the figure is shown 390 pixels wide."""
    texts = [text for text in fig.findobj(text_module.Text) if text.get_text()]
    points_per_figure = 72 * fig.get_figwidth()
    sizes = [390 * text.get_fontsize() / points_per_figure for text in texts]
    assert min(sizes) >= 9


def legend_of(fig):
    """Returns the texts of the legend of a figure, which is outside of its axes."""
    (legend,) = fig.legends
    return [text.get_text() for text in legend.get_texts()]


def to_hex(color):
    return colors.to_hex(color, keep_alpha=False).upper()


ORANGE, BLUE = "#D55E00", "#0072B2"
# Gray images that can be told apart.
SQUARES = [np.full((4, 4, 3), level, np.uint8) for level in range(0, 250, 10)]


def test_curves_shows_the_metrics(draw):
    fig = draw(plots.curves, make_metrics(), "", "tiny on textures")
    for ax, label, expected in zip(
        fig.axes,
        ("cross-entropy (nats)", "top-1 error (%)", "top-5 error (%)"),
        ([2, 1, 2 / 3], [50, 25, 50 / 3], [10, 10, 10]),
        strict=True,
    ):
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", label)
        train, evaluation, drop = ax.lines
        assert (train.get_label(), evaluation.get_label()) == ("training", "validation")
        assert [*train.get_xdata()] == [1, 2, 3]
        np.testing.assert_allclose(train.get_ydata(), expected)
        np.testing.assert_allclose(evaluation.get_ydata(), np.multiply(1.5, expected))
        assert drop.get_xdata() == [2, 2]
        # The first points are the highest. They are not cut at the upper edge.
        assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > 1.05 * 1.5 * max(expected)
    assert legend_of(fig) == ["training", "validation", "learning rate lowered"]
    assert fig.get_suptitle() == "tiny on textures"


def test_curves_shows_losses_that_are_not_finite(draw):
    metrics = make_metrics()
    metrics[1]["loss"] = float("nan")
    (ax,) = draw(plots.curves, metrics, "", names=["loss"]).axes
    assert ax.get_ylim()[1] == pytest.approx(1.08 * 2)


def test_kernels_labels_the_towers(draw):
    weights = np.random.default_rng(0).normal(size=(11, 11, 3, 96))
    fig = draw(plots.kernels, weights, "", "conv1 of paper", 2)
    assert [ax.get_title(loc="left") for ax in fig.axes] == [
        "tower 1 (GPU 1)", "tower 2 (GPU 2)"
    ]  # fmt: skip
    for ax, tower in zip(fig.axes, np.split(weights, 2, axis=-1)):
        np.testing.assert_array_equal(
            ax.images[0].get_array(), plots.kernel_sheet(tower)
        )
    assert fig.get_suptitle().startswith(
        "The 96 kernels of conv1 of paper, 11 x 11 pixels\n"
    )


def test_kernels_of_one_tower_have_no_label(draw):
    (ax,) = draw(plots.kernels, np.zeros((3, 3, 3, 9)), "").axes
    assert ax.get_title(loc="left") == ""


def test_curves_shows_top_5_errors_only_if_all_lines_have_them(draw):
    """A resumed run of an earlier version has them in its first lines."""
    metrics = make_metrics()
    del metrics[-1]["top5_error"]
    axes = draw(plots.curves, metrics, "").axes
    labels = [ax.get_ylabel() for ax in axes]
    assert labels == ["cross-entropy (nats)", "top-1 error (%)"]


def test_predictions_draws_bars_in_order(draw):
    classes = [[("n1", "cat", 0.7), ("n2", "dog", 0.2)], [("n2", "dog", 0.9999)]]
    rows = [
        ("dog", SQUARES[3], classes[0], "dog"), ("cat$", SQUARES[9], classes[1], "cat")
    ]  # fmt: skip
    groups = [("wrong and sure", rows), ("unsure: no image", [])]
    fig = draw(plots.predictions, groups, "", "a title")
    assert [part.get_suptitle() for part in fig.subfigs] == [
        "wrong and sure", "unsure: no image"
    ]  # fmt: skip
    assert fig.get_suptitle() == "a title"
    assert legend_of(fig) == ["true class", "other class"]
    for (image, bars), (title, square, predicted, true_name) in zip(
        zip(fig.axes[::2], fig.axes[1::2]), rows, strict=True
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
            ORANGE if name == true_name else BLUE for _, name, _ in predicted
        ]
    texts = [
        [(text.get_text(), text.get_weight()) for text in ax.texts]
        for ax in fig.axes[1::2]
    ]
    assert texts[0] == [
        ("cat", "normal"), ("70%", "normal"), ("dog", "bold"), ("20%", "normal")
    ]  # fmt: skip
    assert texts[1] == [("dog", "normal"), (">99%", "normal")]


def test_predictions_without_true_classes_have_no_legend(draw):
    rows = [("a.jpg", SQUARES[0], [(0, "a.jpg", 0.004)], None)]
    fig = draw(plots.predictions, [("", rows)], "")
    assert fig.legends == []
    assert to_hex(fig.axes[1].patches[0].get_facecolor()) == BLUE
    assert [text.get_text() for text in fig.axes[1].texts] == ["a.jpg", "<1%"]


def test_neighbors_frames_images_by_their_kind(draw):
    kinds = ["query", "same class", "other class"]
    rows = [
        [
            (f"long_name_{row}{column}", SQUARES[4 * row + column], kinds[column])
            for column in range(3)
        ]
        for row in range(2)
    ]
    fig = draw(plots.neighbors, rows, "", "a title")
    for ax, (title, square, kind) in zip(fig.axes, sum(rows, []), strict=True):
        assert ax.get_title() == "long_name_\n" + title[-2:]
        np.testing.assert_array_equal(ax.images[0].get_array(), square)
        frame = ax.spines["left"]
        assert (to_hex(frame.get_edgecolor()), frame.get_linestyle()) == {
            "query": (ORANGE, "solid"),
            "same class": (BLUE, "solid"),
            "other class": ("#000000", "dashed"),
        }[kind]
    assert legend_of(fig) == kinds
    assert fig.get_suptitle() == "a title"


@pytest.mark.parametrize(
    "name, expected",
    [
        ("phone_zebra.jpg", "phone_\nzebra.jpg"),
        ("a_b cat.jpg", "a_b\ncat.jpg"),
        ("DSC00012345.jpg", "DSC0001234\n5.jpg"),
        ("my_dog_IMG_20240101.jpg", "my_dog_\nIMG_..."),
    ],
)
def test_titles_of_neighbors_keep_all_letters_of_short_names(draw, name, expected):
    fig = draw(plots.neighbors, [[(name, SQUARES[0], "query")]], "")
    assert fig.axes[0].get_title() == expected


def test_crops_keeps_the_order(draw):
    images = [(f"crop {index}", SQUARES[index]) for index in range(7)]
    fig = draw(plots.crops, images, "", "of 2,178")
    for ax, (title, square) in zip(fig.axes, images):
        assert ax.get_title() == title
        np.testing.assert_array_equal(ax.images[0].get_array(), square)
    assert fig.get_suptitle() == "of 2,178"


def test_normalization_draws_all_values(draw):
    maps = np.array([4, 5, 6])
    before, after = np.array([3.0, 1, 2]), np.array([1.5, 0.5, 1.0])
    increases = np.array([0.02, 0.01, 0])
    fig = draw(
        plots.normalization, maps, before, after, increases, "", "norm1", "k = 2"
    )
    top, bottom = fig.axes
    assert [bar.get_height() for bar in top.patches] == [3, 1, 2, 1.5, 0.5, 1.0]
    assert [bar.get_height() for bar in bottom.patches] == [2, 1, 0]
    centers = [bar.get_x() + bar.get_width() / 2 for bar in bottom.patches]
    np.testing.assert_allclose(centers, maps)
    assert [bars.get_label() for bars in top.containers] == ["before", "after"]
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("activation", "increase (%)")
    assert bottom.get_xlabel() == "map"
    assert (fig.get_suptitle(), fig.get_supxlabel()) == ("norm1", "k = 2")


def test_normalization_has_ticks_for_its_maps_only(draw):
    maps = np.arange(16)
    fig = draw(plots.normalization, maps, maps, maps, maps / 100, "")
    low, high = fig.axes[1].get_xlim()
    ticks = [tick for tick in fig.axes[1].get_xticks() if low <= tick <= high]
    assert ticks == [0, 2, 4, 6, 8, 10, 12, 14]


def test_activations_draws_maps_and_receptive_fields(draw):
    maps = np.arange(2 * 3 * 3, dtype=float).reshape(2, 3, 3)
    maps[1] -= 12  # Negative activations, as those of a tanh.
    convolutions = [("conv1", (2, 5), maps), ("conv2", (-3, 9), maps[:1])]
    dense_layers = [("fc6", np.array([0.0, 3, -1]))]
    image = np.zeros((8, 8, 3), np.uint8)
    fig = draw(
        plots.activations, image, convolutions, dense_layers,
        [(7, "cat", 0.5), (1, "dog", 0.25)], "", "a title",
    )  # fmt: skip
    assert [part.get_suptitle() for part in fig.subfigs] == [
        "conv1", "conv2", "fc6", "prob: the 2 most probable classes"
    ]  # fmt: skip
    conv1, conv2, (fc6,), (prob,) = (part.axes for part in fig.subfigs)
    for axes, (first, last) in ((conv1, (2, 5)), (conv2, (0, 7))):
        (square,) = axes[0].patches
        assert square.get_xy() == (first - 0.5, first - 0.5)
        assert (square.get_width(), square.get_height()) == (last - first + 1,) * 2
    for ax, expected in ((conv1[1], maps[0]), (conv1[2], maps[1]), (conv2[1], maps[0])):
        np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    # All maps of a layer have the same scale, which the color bar shows.
    assert [ax.images[0].get_clim() for ax in conv1[1:3]] == [(-3, 8)] * 2
    assert [text.get_text() for text in conv1[3].get_yticklabels()] == ["-3", "8"]
    (stems,) = fc6.collections
    assert [path[1].tolist() for path in stems.get_segments()] == [
        [0, 0], [1, 3], [2, -1],
    ]  # fmt: skip
    assert fc6.get_ylim()[0] == -1
    assert (fc6.get_xlabel(), fc6.get_ylabel()) == ("unit", "activation")
    assert [text.get_text() for text in prob.texts] == ["cat", "50%", "dog", "25%"]


def test_norms_draws_learned_and_initial_weights(draw):
    layers = [
        internals.Norms("conv1", 0.4, 0.1, np.array([1.0, 2, 4])),
        internals.Norms("fc8", 0.2, 0.3, np.array([5.0, 6, 9])),
    ]
    top, bottom = draw(plots.norms, layers, "", "tiny").axes
    heights = {
        bars.get_label(): [bar.get_height() for bar in bars]
        for bars in top.containers
    }
    assert heights == {"random initialization": [0.1, 0.3], "learned": [0.4, 0.2]}
    assert (top.get_ylabel(), bottom.get_ylabel()) == (
        "root mean square", "Euclidean norm"
    )  # fmt: skip
    medians = [
        line.get_ydata()[0] for line in bottom.lines
        if to_hex(line.get_color()) == ORANGE
    ]  # fmt: skip
    assert medians == [2, 6]
    assert [text.get_text() for text in bottom.get_xticklabels()] == ["conv1", "fc8"]
    assert [text.get_text() for text in bottom.get_legend().get_texts()] == [
        "median", "middle half", "smallest to largest"
    ]  # fmt: skip


def test_dropout_draws_averages_with_error_bars(draw):
    pairs = np.array([[0.1, 0.2], [0.7, 0.9]])
    errors = {
        "mean": {1: [0.6, 0.6], 2: [0.5, 0.5], 4: [0.4, 0.4]},
        "product": {1: [0.5, 0.3], 2: [0.4, 0.4], 4: [0.3, 0.2]},
    }
    top, bottom = draw(plots.dropout, errors, 0.25, pairs, "", "title").axes
    means, products = top.containers
    assert (means.get_label(), products.get_label()) == ("mean", "product")
    np.testing.assert_allclose(means.lines[0].get_ydata(), [60, 50, 40])
    line, _, (bars,) = products
    assert [*line.get_xdata()] == [1, 2, 4]
    np.testing.assert_allclose(line.get_ydata(), [40, 40, 25])
    # The standard deviation of two values is their difference / sqrt(2).
    lengths = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(
        lengths, 2 * np.array([20, 0, 10]) / np.sqrt(2), atol=1e-9
    )
    (full,) = [
        drawn for drawn in top.lines if drawn.get_label() == "all units, no dropout"
    ]
    assert full.get_ydata() == [25, 25]
    np.testing.assert_array_equal(bottom.collections[0].get_offsets(), pairs)
    assert bottom.get_xlabel() == "product of 4 networks"


def test_dropout_shows_an_error_of_zero_above_the_frame(draw):
    errors = {"mean": {1: [0.01, 0.01], 2: [0.01, 0.02]}}
    fig = draw(plots.dropout, errors, 0.0, np.ones((3, 2)), "", "title", "a note")
    low, high = fig.axes[0].get_ylim()
    assert low < -0.035 * high
    assert (fig.get_suptitle(), fig.get_supxlabel()) == ("title", "a note")


def test_error_bars_of_dropout_do_not_go_below_zero(draw):
    """The standard deviation of the errors 1% and 0% is .71%, and their mean .5%."""
    errors = {"mean": {1: [0.01, 0.0], 2: [0.005, 0.005]}}
    fig = draw(plots.dropout, errors, 0.0, np.ones((3, 2)), "")
    (bars,) = fig.axes[0].containers[0].lines[2]
    (_, low), (_, high) = bars.get_segments()[0]
    assert low == 0 and high == pytest.approx(0.5 + 0.5**0.5)


def test_receptive_fields_draws_frames_with_a_legend(draw):
    fields = [("conv1: 3 x 3", 2, 4), ("conv2: 9 x 9", -1, 7)]
    fig = draw(plots.receptive_fields, fields, 6, "", "a title")
    (ax,) = fig.axes
    assert ax.images[0].get_array().shape == (6, 6, 3)
    frames = [(frame.get_xy(), frame.get_width()) for frame in ax.patches]
    assert frames == [((1.5, 1.5), 3), ((-1.5, -1.5), 9)]
    assert {to_hex(frame.get_edgecolor()) for frame in ax.patches} != {"#000000"}
    assert legend_of(fig) == ["conv1: 3 x 3", "conv2: 9 x 9"]
    # The second field extends beyond the input, and is completely visible.
    assert ax.get_xlim()[0] < -1.5 and ax.get_xlim()[1] > 7.5
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column of pixels", "row of pixels")
