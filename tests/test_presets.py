"""The numbers of the preset table, compared with the sources."""

import dataclasses
import json

import pytest

from alexnet_tf.models import alexnet
from alexnet_tf import presets

NAMES = [
    "paper",
    "code2012",
    "caffe",
    "caffenet",
    "single_tower",
    "owt",
    "paper_conv6",
    "cifar10_full",
    "tiny",
]
# Fields of a recipe, in the order in which the recipes below list them.
FIELDS = (
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "bias_lr_multiplier",
    "schedule",
    "boundaries",
    "epochs",
)
PAPER = (128, 0.01, 0.9, 0.0005, 1, "plateau", (), 90)
CAFFE = (256, 0.01, 0.9, 0.0005, 2, "step", (20, 40, 60, 80), 90)
RECIPES = {
    "paper": PAPER,
    "code2012": (128, 0.01, 0.9, 0.0005, 2, "step", (25, 51, 79), 91),
    "caffe": CAFFE,
    "caffenet": CAFFE,
    "single_tower": PAPER,
    "owt": (128, 0.01, 0.9, 0.0005, 2, "stepped_exponential", (), 90),
    "paper_conv6": PAPER,
    "cifar10_full": (128, 0.002, 0.9, 0.004, 2, "step", (17, 19), 20),
    "tiny": (32, 0.01, 0.9, 0.0005, 1, "stepped_exponential", (), 40),
}
WITH_MAP_NORMS = (
    "paper", "code2012", "caffe", "caffenet", "single_tower", "paper_conv6",
)  # fmt: skip


def layers(name, kind):
    """Returns the layers of a class in the preset called `name`."""
    return [layer for layer in presets.get(name).layers if isinstance(layer, kind)]


def layer_names(name):
    """Returns the names of all layers of the preset called `name`."""
    return [layer.name for layer in presets.get(name).layers]


def test_names():
    """The table has these presets in this order, each under its own name."""
    assert list(presets.PRESETS) == NAMES
    assert [preset.name for preset in presets.PRESETS.values()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recipe(name):
    """Batch size, learning rates, momentum, weight decay, schedule and epochs."""
    recipe = presets.get(name).recipe
    assert tuple(getattr(recipe, field) for field in FIELDS) == RECIPES[name]


@pytest.mark.parametrize("name", NAMES)
def test_boundaries_lie_within_training(name):
    """They are in order, before the last epoch, and only given to "step"."""
    recipe = presets.get(name).recipe
    assert list(recipe.boundaries) == sorted(set(recipe.boundaries))
    assert all(0 < epoch < recipe.epochs for epoch in recipe.boundaries)
    assert (recipe.schedule == "step") == bool(recipe.boundaries)


def test_caffe_epochs_are_its_iterations():
    """450,000 steps of 256 of 1,281,167 images, a boundary every 100,000 steps."""
    recipe = presets.get("caffe").recipe
    steps = 1_281_167 / recipe.batch_size
    assert recipe.epochs == round(450_000 / steps)
    expected = [round(n * 100_000 / steps) for n in (1, 2, 3, 4)]
    assert list(recipe.boundaries) == expected


@pytest.mark.parametrize("name", NAMES)
def test_groups(name):
    """conv2, conv4 and conv5 have two groups, in networks of one tower none has."""
    grouped = [conv.name for conv in layers(name, presets.Conv) if conv.groups == 2]
    one_tower = name in ("single_tower", "owt", "cifar10_full")
    assert grouped == ([] if one_tower else ["conv2", "conv4", "conv5"])
    assert {conv.groups for conv in layers(name, presets.Conv)} - {2} == {1}


@pytest.mark.parametrize(
    "name, widths",
    [
        ("paper", [96, 256, 384, 384, 256, 4096, 4096, None]),
        ("owt", [64, 192, 384, 256, 256, 4096, 4096, None]),
        ("paper_conv6", [96, 256, 384, 384, 256, 256, 4096, 4096, None]),
        ("cifar10_full", [32, 32, 64, None]),
    ],
)
def test_widths(name, widths):
    """Numbers of filters and of units; None is the number of classes."""
    filters = [layer.filters for layer in layers(name, presets.Conv)]
    units = [layer.units for layer in layers(name, presets.Dense)]
    assert filters + units == widths


@pytest.mark.parametrize("name", [n for n in NAMES if n != "cifar10_full"])
def test_kernels(name):
    """11x11 with stride 4, then 5x5 and 3x3 with stride 1."""
    kernels = [(conv.kernel_size, conv.stride) for conv in layers(name, presets.Conv)]
    deep = 4 if name == "paper_conv6" else 3
    assert kernels == [(11, 4), (5, 1)] + [(3, 1)] * deep


@pytest.mark.parametrize(
    "name, padding",
    [
        ("paper", ((0, 3), (0, 3))),
        ("code2012", ((0, 3), (0, 3))),
        ("single_tower", ((0, 3), (0, 3))),
        ("paper_conv6", ((0, 3), (0, 3))),
        ("tiny", ((0, 3), (0, 3))),
        ("caffe", "valid"),
        ("caffenet", "valid"),
        ("owt", ((2, 2), (2, 2))),
    ],
)
def test_padding(name, padding):
    """conv1 has its own padding; the other convolutions keep the size of the maps."""
    conv1, *others = layers(name, presets.Conv)
    assert conv1.padding == padding
    assert {conv.padding for conv in others} == {"same"}


@pytest.mark.parametrize(
    "name, bias, alpha, groups",
    [
        ("paper", 2.0, 1e-4, 1),
        ("single_tower", 2.0, 1e-4, 1),
        ("paper_conv6", 2.0, 1e-4, 1),
        ("tiny", 2.0, 1e-4, 1),
        ("code2012", 2.0, 2e-5, 2),
        ("caffe", 1.0, 2e-5, 1),
        ("caffenet", 1.0, 2e-5, 1),
    ],
)
def test_map_norms(name, bias, alpha, groups):
    """norm1 and norm2: k, the alpha that multiplies the plain sum, beta .75, n = 5.

    `groups` is 2 where each tower is normalized alone.
    """
    for norm, norm_name in zip(
        layers(name, presets.ResponseNorm), ("norm1", "norm2"), strict=True
    ):
        assert (norm.name, norm.bias, norm.groups) == (norm_name, bias, groups)
        assert norm.alpha == pytest.approx(alpha, rel=1e-12)
        assert (norm.beta, 2 * norm.depth_radius + 1) == (0.75, 5)


def test_spatial_norms():
    """code2012 has one of 5x5, cifar10_full two of 3x3, the others have none."""
    all_norms = {name: layers(name, presets.SpatialNorm) for name in NAMES}
    assert {name: len(norms) for name, norms in all_norms.items() if norms} == {
        "code2012": 1,
        "cifar10_full": 2,
    }
    (norm,) = all_norms["code2012"]
    assert (norm.size, norm.bias, norm.beta) == (5, 1.0, 0.75)
    assert norm.alpha == pytest.approx(0.001 / 25, rel=1e-12)
    for norm in all_norms["cifar10_full"]:
        assert (norm.size, norm.bias, norm.beta) == (3, 1.0, 0.75)
        assert norm.alpha == pytest.approx(0.00005 / 9, rel=1e-12)


@pytest.mark.parametrize("name", ["owt", "cifar10_full"])
def test_no_norm_across_maps(name):
    """`owt` has no normalization at all; `cifar10_full` normalizes within maps."""
    assert layers(name, presets.ResponseNorm) == []


@pytest.mark.parametrize(
    "name, order",
    [
        ("paper", "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3"),
        (
            "code2012",
            "conv1 norm1 pool1 relu1 conv2 relu2 norm2 cnorm2 pool2 conv3",
        ),
        ("caffe", "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3"),
        ("caffenet", "conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2 conv3"),
        ("owt", "conv1 relu1 pool1 conv2 relu2 pool2 conv3"),
        (
            "cifar10_full",
            "conv1 pool1 relu1 norm1 conv2 relu2 pool2 norm2 conv3",
        ),
    ],
)
def test_order_of_norms_and_pools(name, order):
    """Normalization precedes pooling, except in CaffeNet and on CIFAR-10."""
    names = layer_names(name)
    assert names[: names.index("conv3") + 1] == order.split()


@pytest.mark.parametrize("name", NAMES)
def test_pools(name):
    """All windows are 3x3 with stride 2; `cifar10_full` pads, and averages twice."""
    cifar10 = name == "cifar10_full"
    for pool in layers(name, presets.Pool):
        assert (pool.size, pool.stride) == (3, 2)
        assert pool.padding == ("same" if cifar10 else "valid")
        averages = cifar10 and pool.name != "pool1"
        assert pool.kind == ("average" if averages else "max")
    assert len(layers(name, presets.Pool)) == 3


@pytest.mark.parametrize(
    "name, next_layers",
    [(name, ["fc7", "fc8"]) for name in (*WITH_MAP_NORMS, "tiny")]
    + [("owt", ["fc6", "fc7"]), ("cifar10_full", [])],
)
def test_dropout(name, next_layers):
    """It drops half of the inputs of fc7 and fc8, in `owt` those of fc6 and fc7."""
    dropouts = layers(name, presets.Dropout)
    assert {dropout.rate for dropout in dropouts} <= {0.5}
    names = layer_names(name)
    positions = [names.index(dropout.name) for dropout in dropouts]
    assert [names[position + 1] for position in positions] == next_layers


@pytest.mark.parametrize("name", NAMES)
def test_last_layer(name):
    """It has one unit for each class, and its biases are initialized to 0."""
    last = presets.get(name).layers[-1]
    assert (last.units, last.bias) == (None, 0.0)


@pytest.mark.parametrize(
    "name, image, crop, resize",
    [
        ("paper", 256, 224, "short_side"),
        ("code2012", 256, 224, "short_side"),
        ("caffe", 256, 227, "squash"),
        ("caffenet", 256, 227, "squash"),
        ("single_tower", 256, 224, "short_side"),
        ("owt", 256, 224, "short_side"),
        ("paper_conv6", 256, 224, "short_side"),
        ("cifar10_full", 32, 32, "short_side"),
        ("tiny", 73, 64, "short_side"),
    ],
)
def test_sizes(name, image, crop, resize):
    """Sides of images and crops in pixels, and how images are resized."""
    preprocessing = presets.get(name).preprocessing
    assert preprocessing.image_size == image
    assert preprocessing.crop_size == crop
    assert preprocessing.resize == resize


@pytest.mark.parametrize("name", NAMES)
def test_normalization(name):
    """Caffe's networks take BGR minus the mean at the position of the crop."""
    preprocessing = presets.get(name).preprocessing
    caffe = name in ("caffe", "caffenet")
    assert preprocessing.channel_order == ("bgr" if caffe else "rgb")
    assert preprocessing.mean_position == ("crop" if caffe else "center")
    by_channel = name in ("owt", "tiny")
    assert preprocessing.mean == ("channel" if by_channel else "image")
    assert preprocessing.divide_by_std == by_channel
    assert preprocessing.flip


@pytest.mark.parametrize("name", NAMES)
def test_pca_color_augmentation(name):
    """It has the paper's .1 or is off; only the code of 2012 divides by 1.1."""
    preprocessing = presets.get(name).preprocessing
    without = name in ("caffe", "caffenet", "cifar10_full")
    assert preprocessing.pca_color_std == (0.0 if without else 0.1)
    divisor = 1.1 if name == "code2012" else 1.0
    assert preprocessing.pca_color_divisor == divisor


def test_published_means():
    """Only `owt` has published means and standard deviations, in the order R, G, B."""
    preprocessing = presets.get("owt").preprocessing
    assert preprocessing.channel_mean == pytest.approx((123.675, 116.28, 103.53))
    assert preprocessing.channel_std == pytest.approx((58.395, 57.12, 57.375))
    others = [presets.get(name).preprocessing for name in NAMES if name != "owt"]
    assert {other.channel_mean for other in others} == {None}
    assert {other.channel_std for other in others} == {None}


def test_unknown_preset():
    """The error message lists the presets and the name that was received."""
    with pytest.raises(ValueError, match="paper.*tiny.*preset='alexnet'"):
        presets.get("alexnet")


def test_presets_cannot_be_changed():
    """An experiment cannot change the table for the experiments after it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets.get("paper").recipe.learning_rate = 1.0


def test_override_nothing():
    """Without values, or with values of None, the preset is returned unchanged."""
    paper = presets.get("paper")
    assert presets.override(paper) == paper
    assert presets.override(paper, learning_rate=None, init=None) == paper


def test_override_values():
    """Values replace those of the recipe or of the preprocessing, by their name."""
    paper = presets.get("paper")
    changed = presets.override(paper, learning_rate=0.5, flip=False, epochs=0)
    assert changed.recipe == dataclasses.replace(
        paper.recipe, learning_rate=0.5, epochs=0
    )
    assert changed.preprocessing == dataclasses.replace(
        paper.preprocessing, flip=False
    )
    assert changed.layers == paper.layers
    assert paper == presets.PRESETS["paper"]


def test_override_initialization():
    """`init` applies to all kernels, and sets all biases to 0."""
    changed = presets.override(presets.get("paper"), init="he").layers
    for layer, expected in zip(changed, presets.get("paper").layers, strict=True):
        if isinstance(expected, presets.Conv | presets.Dense):
            expected = dataclasses.replace(expected, init="he", bias=0.0)
        assert layer == expected


def test_override_dropout():
    """`dropout` applies to all dropout layers; 0 does not mean "unchanged"."""
    changed = presets.override(presets.get("paper"), dropout=0.0).layers
    for layer, expected in zip(changed, presets.get("paper").layers, strict=True):
        if isinstance(expected, presets.Dropout):
            expected = dataclasses.replace(expected, rate=0.0)
        assert layer == expected


def test_override_rejects_unknown_fields_and_too_large_crops():
    """A crop may not be larger than its image."""
    paper = presets.get("paper")
    with pytest.raises(ValueError, match="Received.*learning_rat.*0.1"):
        presets.override(paper, learning_rat=0.1)
    with pytest.raises(ValueError, match="crop_size=224, image_size=200"):
        presets.override(paper, image_size=200)


@pytest.mark.parametrize(
    "values",
    [
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"batch_size": -1},
        {"init": "foo"},
        {"crop_size": 257},
        {"widht": 3},
    ],
)
def test_override_rejects_values_out_of_range(values):
    """The error message names the value."""
    with pytest.raises(ValueError, match=next(iter(values))):
        presets.override(presets.get("paper"), **values)


def test_override_replaces_the_given_values_only():
    """The values belong to the recipe, the preprocessing and the layers."""
    before = presets.get("paper")
    after = presets.override(
        before, epochs=3, mean="channel", init="he", dropout=0.1, flip=None
    )
    assert after.recipe == dataclasses.replace(before.recipe, epochs=3)
    assert after.preprocessing == dataclasses.replace(
        before.preprocessing, mean="channel"
    )
    for old, new in zip(before.layers, after.layers, strict=True):
        if isinstance(new, presets.Conv | presets.Dense):
            assert new == dataclasses.replace(old, init="he", bias=0.0)
        elif isinstance(new, presets.Dropout):
            assert new == dataclasses.replace(old, rate=0.1)
        else:
            assert new == old


@pytest.mark.parametrize("name", presets.PRESETS)
def test_json_round_trip(name):
    preset = presets.get(name)
    text = json.dumps(presets.to_dict(preset))
    assert presets.from_dict(json.loads(text)) == preset


def test_from_dict_rejects_an_unknown_layer_type():
    content = presets.to_dict(presets.get("tiny"))
    content["layers"][1]["type"] = "Lambda"
    with pytest.raises(KeyError, match="Lambda"):
        presets.from_dict(content)


def map_sides(model):
    """Returns {layer name: side of its maps}, for layers that output maps."""
    return {
        layer.name: layer.output.shape[1]
        for layer in model.layers
        if len(layer.output.shape) == 4
    }


def test_ablating_a_tower_gives_the_authors_half_network():
    """Network #145-half: 48, 128, 192 and 192 filters, and all 256 of conv5."""
    preset = presets.ablate(presets.get("code2012"), "tower")
    filters = [layer.filters for layer in preset.layers if hasattr(layer, "filters")]
    assert filters == [48, 128, 192, 192, 256]
    assert alexnet.AlexNet(preset).count_params() == 59_798_312


def test_ablating_overlap_gives_the_authors_map_sizes():
    """Network #147: 55, 28, 26, 13, 13, 11, 6."""
    preset = presets.ablate(presets.get("paper"), "overlap")
    model = alexnet.AlexNet(preset)
    sides = map_sides(model)
    names = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv5", "pool5"]
    assert [sides[name] for name in names] == [55, 28, 26, 13, 13, 11, 6]
    assert model.count_params() == 60_965_224
    cifar10 = presets.ablate(presets.get("cifar10_full"), "overlap")
    sides = map_sides(alexnet.AlexNet(cifar10, 10))
    assert [sides[name] for name in ("pool1", "pool2", "pool3")] == [16, 8, 4]


def removed_layers(before, after):
    """Returns the names of the layers that only the preset `before` has."""
    return [layer.name for layer in before.layers if layer not in after.layers]


def test_ablating_norm_removes_the_normalizations_only():
    """The authors' network #148 lacks all three."""
    before = presets.get("code2012")
    after = presets.ablate(before, "norm")
    assert removed_layers(before, after) == ["norm1", "norm2", "cnorm2"]
    assert alexnet.AlexNet(after).count_params() == 60_965_224


@pytest.mark.parametrize(
    "layer, removed_params",
    # The removed layer's weights, and those of the next layer if it gets fewer input
    # maps: without conv3, conv4 has 192 x 128 x 9 in each tower instead of
    # 192 x 192 x 9.
    [("conv3", 885_120 + 2 * 192 * 64 * 9), ("conv4", 663_936)],
)
def test_ablating_a_convolution_removes_its_relu_too(layer, removed_params):
    before = presets.get("paper")
    after = presets.ablate(before, layer)
    assert removed_layers(before, after) == [layer, f"relu{layer[-1]}"]
    assert alexnet.AlexNet(after).count_params() == 60_965_224 - removed_params
    conv6 = presets.ablate(presets.get("paper_conv6"), "conv6")
    assert conv6.layers == before.layers


@pytest.mark.parametrize(
    "name, part",
    [("paper", "conv1"), ("paper", "fc6"), ("owt", "norm"), ("owt", "tower")],
)
def test_ablate_rejects_parts_that_the_preset_lacks(name, part):
    with pytest.raises(ValueError, match=f"parts that {name} has.*{part}"):
        presets.ablate(presets.get(name), part)


def test_override_ablates_parts():
    ablated = presets.override(presets.get("paper"), ablate=("norm", "conv4"))
    assert ablated == presets.ablate(presets.get("paper"), "norm", "conv4")
