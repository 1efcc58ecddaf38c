"""Tests the numbers and the towers in the figure of the architecture."""

import math

from matplotlib import patches as matplotlib_patches
import pytest

import alexnet_tf
from alexnet_tf.figures import architecture
from alexnet_tf.figures import units
from alexnet_tf import presets
from helpers.drawn_figures import capture_figures
from helpers.drawn_figures import texts

# Sections 3.5 and 5 of the paper, and the kernel shapes of bvlc_alexnet.npy.
PAPER_TEXTS = {
    "input": ["input: 224 x 224 x 3"],
    "conv1": [
        "conv1: 55 x 55 x 96", "96 kernels of 11 x 11 x 3, stride 4",
        "34,944 parameters", "then normalization, 3 x 3 max pool to 27 x 27",
    ],
    "conv2": [
        "conv2: 27 x 27 x 256", "256 kernels of 5 x 5 x 48, 2 towers",
        "307,456 parameters", "then normalization, 3 x 3 max pool to 13 x 13",
    ],
    "conv3": [
        "conv3: 13 x 13 x 384", "384 kernels of 3 x 3 x 256", "885,120 parameters"
    ],
    "conv4": [
        "conv4: 13 x 13 x 384", "384 kernels of 3 x 3 x 192, 2 towers",
        "663,936 parameters",
    ],
    "conv5": [
        "conv5: 13 x 13 x 256", "256 kernels of 3 x 3 x 192, 2 towers",
        "442,624 parameters", "then 3 x 3 max pool to 6 x 6",
    ],
    "fc6": [
        "fc6: 4096 units, fully connected", "37,752,832 parameters",
        "then dropout 0.5",
    ],
    "fc7": [
        "fc7: 4096 units, fully connected", "16,781,312 parameters",
        "then dropout 0.5",
    ],
    "fc8": ["fc8: 1000 units, fully connected", "4,097,000 parameters"],
}  # fmt: skip


def test_figure_of_the_paper_has_its_numbers(zero_kernels, monkeypatch):
    figures = capture_figures(monkeypatch)
    model = alexnet_tf.AlexNet("paper")
    stages = architecture.stages(model)
    assert {s.name: architecture.describe(s) for s in stages} == PAPER_TEXTS
    assert [stage.towers for stage in stages] == [1, 2, 2, 2, 2, 2, 1, 1, 1]
    architecture.draw(model, "The layers of paper", "out.png")
    shown = texts(figures[0])
    assert "The layers of paper" in shown and "tower 2 (GPU 2)" in shown
    for heading, *lines in PAPER_TEXTS.values():
        assert heading in shown and " ".join(lines) in " ".join(shown)
    assert any(text.startswith("60,965,224 parameters") for text in shown)
    # Lines lead to conv1, ..., fc8. Each tower of conv3 reads both towers of conv2.
    assert len(figures[0].axes[0].lines) == 2 + 2 + 4 + 2 + 2 + 2 + 1 + 1


def test_boxes_have_the_proportions_of_the_maps(monkeypatch):
    """The bars of fully connected layers are the rectangles."""
    figures = capture_figures(monkeypatch)
    architecture.draw(alexnet_tf.AlexNet("tiny", 10), "tiny", "out.png")
    ax = figures[0].axes[0]
    bars = [p for p in ax.patches if isinstance(p, matplotlib_patches.Rectangle)]
    widths = [bar.get_width() for bar in bars]
    assert widths[0] / widths[2] == pytest.approx(math.sqrt(128 / 10))
    faces = [p for p in ax.patches if isinstance(p, matplotlib_patches.Polygon)]
    # Three faces make a box; the first is the front. The input has one box.
    fronts = [face.get_xy() for face in faces[::3]]
    lengths = [front[1, 0] - front[0, 0] for front in fronts]
    # The input has 3 maps; each of the two boxes of conv1 has 8.
    assert lengths[1] / lengths[0] == pytest.approx(math.sqrt(8 / 3))


def test_a_network_of_one_layer_has_an_architecture(monkeypatch):
    figures = capture_figures(monkeypatch)
    layers = presets.BatchNorm("batch_norm"), presets.Dense("fc1", None)
    preset = presets.Preset("one", layers)
    model = alexnet_tf.AlexNet(preset, 3, input_shape=(4, 4, 3))
    architecture.draw(model, "one", "out.png")
    assert any(text.startswith("147 parameters") for text in texts(figures[0]))
    first, second = architecture.stages(model)
    first_lines = ["input: 4 x 4 x 3", "then batch normalization"]
    assert architecture.describe(first) == first_lines
    assert second.parameters == 4 * 4 * 3 * 3 + 3
    assert units.find_layer(model).output_name == "fc1"


def test_a_network_without_groups_has_one_tower():
    stages = architecture.stages(alexnet_tf.AlexNet("cifar10_full"))
    assert {stage.towers for stage in stages} == {1}
    assert " ".join(architecture.describe(stages[2])[-2:]) == (
        "then 3 x 3 average pool to 8 x 8, spatial normalization"
    )
