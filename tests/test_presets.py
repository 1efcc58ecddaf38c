"""The table of presets against the sources, number by number."""

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
# In the order in which the recipes below give them.
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
    return [
        layer for layer in presets.get(name).layers if isinstance(layer, kind)
    ]


def by_name(name):
    return {layer.name: layer for layer in presets.get(name).layers}


def test_names():
    """The presets are these, each under its own name."""
    assert list(presets.PRESETS) == NAMES
    assert [preset.name for preset in presets.PRESETS.values()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recipe(name):
    """Batch, rate, momentum, decay, rate of biases, schedule, epochs."""
    recipe = presets.get(name).recipe
    assert tuple(getattr(recipe, field) for field in FIELDS) == RECIPES[name]


@pytest.mark.parametrize("name", NAMES)
def test_drops_fall_in_training(name):
    """Drops come in order, before the end, and only where "step" reads them."""
    recipe = presets.get(name).recipe
    assert list(recipe.boundaries) == sorted(set(recipe.boundaries))
    assert all(0 < epoch < recipe.epochs for epoch in recipe.boundaries)
    assert (recipe.schedule == "step") == bool(recipe.boundaries)


def test_caffe_epochs_are_its_iterations():
    """450,000 steps of 256 images, a drop every 100,000, of 1,281,167."""
    recipe = presets.get("caffe").recipe
    steps = 1_281_167 / recipe.batch_size
    assert recipe.epochs == round(450_000 / steps)
    wanted = [round(n * 100_000 / steps) for n in (1, 2, 3, 4)]
    assert list(recipe.boundaries) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_groups(name):
    """Two in conv2, conv4 and conv5 alone; none in one-tower networks."""
    found = [c.name for c in layers(name, presets.Conv) if c.groups == 2]
    one_tower = name in ("single_tower", "owt", "cifar10_full")
    assert found == ([] if one_tower else ["conv2", "conv4", "conv5"])
    others = {c.groups for c in layers(name, presets.Conv)} - {2}
    assert others == {1}


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
    """Filters and units, with None for the classes."""
    filters = [layer.filters for layer in layers(name, presets.Conv)]
    units = [layer.units for layer in layers(name, presets.Dense)]
    assert filters + units == widths


@pytest.mark.parametrize("name", [n for n in NAMES if n != "cifar10_full"])
def test_kernels(name):
    """11x11 with stride 4, then 5x5, then 3x3 with stride 1."""
    found = [(c.kernel_size, c.stride) for c in layers(name, presets.Conv)]
    deep = 4 if name == "paper_conv6" else 3
    assert found == [(11, 4), (5, 1)] + [(3, 1)] * deep


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
    """Zeros around conv1's images; the other convolutions keep the size."""
    first, *others = layers(name, presets.Conv)
    assert first.padding == padding
    assert {layer.padding for layer in others} == {"same"}


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
    """norm1 and norm2: k, alpha of the plain sum, beta .75, n = 5, towers."""
    for norm, wanted in zip(
        layers(name, presets.ResponseNorm), ("norm1", "norm2"), strict=True
    ):
        assert (norm.name, norm.bias, norm.groups) == (wanted, bias, groups)
        assert norm.alpha == pytest.approx(alpha, rel=1e-12)
        assert (norm.beta, 2 * norm.depth_radius + 1) == (0.75, 5)


def test_spatial_norms():
    """code2012's third norm, 5x5; cifar10_full's two, 3x3; none elsewhere."""
    found = {name: layers(name, presets.SpatialNorm) for name in NAMES}
    assert {name: len(norms) for name, norms in found.items() if norms} == {
        "code2012": 1,
        "cifar10_full": 2,
    }
    [third], two = found["code2012"], found["cifar10_full"]
    assert (third.size, third.bias, third.beta) == (5, 1.0, 0.75)
    assert third.alpha == pytest.approx(0.001 / 25, rel=1e-12)
    for norm in two:
        assert (norm.size, norm.bias, norm.beta) == (3, 1.0, 0.75)
        assert norm.alpha == pytest.approx(0.00005 / 9, rel=1e-12)


@pytest.mark.parametrize("name", ["owt", "cifar10_full"])
def test_no_norm_across_maps(name):
    """Neither normalizes across maps; torchvision's not at all."""
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
    """Norm before pool, but in CaffeNet and on CIFAR-10 pool before norm."""
    names = list(by_name(name))
    assert names[: names.index("conv3") + 1] == order.split()


@pytest.mark.parametrize("name", NAMES)
def test_pools(name):
    """Overlapping: 3x3 with stride 2; maxima, inside the maps."""
    small = name == "cifar10_full"
    for pool in layers(name, presets.Pool):
        assert (pool.size, pool.stride) == (3, 2)
        assert pool.padding == ("same" if small else "valid")
        averages = small and pool.name != "pool1"
        assert pool.kind == ("average" if averages else "max")
    assert len(layers(name, presets.Pool)) == 3


@pytest.mark.parametrize(
    "name, before",
    [(name, ["fc7", "fc8"]) for name in (*WITH_MAP_NORMS, "tiny")]
    + [("owt", ["fc6", "fc7"]), ("cifar10_full", [])],
)
def test_dropout(name, before):
    """Half of the inputs of fc7 and fc8; `owt`: of fc6 and fc7."""
    found = layers(name, presets.Dropout)
    assert {dropout.rate for dropout in found} <= {0.5}
    names = list(by_name(name))
    assert [names[names.index(d.name) + 1] for d in found] == before


@pytest.mark.parametrize("name", NAMES)
def test_output_starts_neutral(name):
    """The last layer has the classes as units and no bias to begin with."""
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
    """Sides of images and crops, and how the first are reached."""
    pixels = presets.get(name).preprocessing
    found = (pixels.image_size, pixels.crop_size, pixels.resize)
    assert found == (image, crop, resize)


@pytest.mark.parametrize("name", NAMES)
def test_pixels(name):
    """Caffe's weights want BGR minus the mean under the crop; others RGB."""
    pixels = presets.get(name).preprocessing
    caffe = name in ("caffe", "caffenet")
    assert pixels.channel_order == ("bgr" if caffe else "rgb")
    assert pixels.mean_position == ("crop" if caffe else "center")
    by_channel = name in ("owt", "tiny")
    assert pixels.mean == ("channel" if by_channel else "image")
    assert pixels.divide_by_std == by_channel
    assert pixels.flip


@pytest.mark.parametrize("name", NAMES)
def test_color_noise(name):
    """.1 as in the paper, none in Caffe; only the code divides by 1.1."""
    pixels = presets.get(name).preprocessing
    none = name in ("caffe", "caffenet", "cifar10_full")
    assert pixels.pca_color_std == (0.0 if none else 0.1)
    divisor = 1.1 if name == "code2012" else 1.0
    assert pixels.pca_color_divisor == divisor


def test_published_means():
    """`owt`'s weights come with ImageNet's figures, in the order R, G, B."""
    pixels = presets.get("owt").preprocessing
    assert pixels.channel_mean == pytest.approx((123.675, 116.28, 103.53))
    assert pixels.channel_std == pytest.approx((58.395, 57.12, 57.375))
    others = [presets.get(n).preprocessing for n in NAMES if n != "owt"]
    assert {p.channel_mean for p in others} == {None}
    assert {p.channel_std for p in others} == {None}


def test_unknown_preset():
    """The message names the presets and what was asked for."""
    with pytest.raises(ValueError, match="paper.*tiny.*preset='alexnet'"):
        presets.get("alexnet")


def test_presets_cannot_be_changed():
    """Nobody's experiment changes the table for the next one."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets.get("paper").recipe.learning_rate = 1.0


def test_override_nothing():
    """Without values, or with None, a preset stays as it is."""
    paper = presets.get("paper")
    assert presets.override(paper) == paper
    assert presets.override(paper, learning_rate=None, init=None) == paper


def test_override_values():
    """Values of the recipe and of the pixels land where they belong."""
    paper = presets.get("paper")
    found = presets.override(paper, learning_rate=0.5, flip=False, epochs=0)
    assert found.recipe == dataclasses.replace(
        paper.recipe, learning_rate=0.5, epochs=0
    )
    assert found.preprocessing == dataclasses.replace(
        paper.preprocessing, flip=False
    )
    assert found.layers == paper.layers
    assert paper == presets.PRESETS["paper"]


def test_override_start():
    """`init` reaches all kernels and sets all biases to 0, no more."""
    found = presets.override(presets.get("paper"), init="he").layers
    for layer, before in zip(found, presets.get("paper").layers, strict=True):
        if isinstance(before, presets.Conv | presets.Dense):
            before = dataclasses.replace(before, init="he", bias=0.0)
        assert layer == before


def test_override_dropout():
    """`dropout` reaches all dropout layers, no more; 0 is a value."""
    found = presets.override(presets.get("paper"), dropout=0.0).layers
    for layer, before in zip(found, presets.get("paper").layers, strict=True):
        if isinstance(before, presets.Dropout):
            before = dataclasses.replace(before, rate=0.0)
        assert layer == before


def test_override_refuses():
    """Fields that there are not, and crops larger than their images."""
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
def test_an_override_out_of_range_is_refused(values):
    """The message names what was received."""
    with pytest.raises(ValueError, match=next(iter(values))):
        presets.override(presets.get("paper"), **values)


def test_an_override_replaces_what_it_names_and_nothing_else():
    """In the recipe, the preprocessing and the layers."""
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
def test_a_preset_comes_back_from_json(name):
    preset = presets.get(name)
    text = json.dumps(presets.to_dict(preset))
    assert presets.from_dict(json.loads(text)) == preset


def test_a_layer_of_no_known_type_is_refused():
    content = presets.to_dict(presets.get("tiny"))
    content["layers"][1]["type"] = "Lambda"
    with pytest.raises(KeyError, match="Lambda"):
        presets.from_dict(content)


def shapes(model):
    """{layer: side of its maps}"""
    return {
        layer.name: layer.output.shape[1]
        for layer in model.layers
        if len(layer.output.shape) == 4
    }


def test_without_a_tower_is_the_authors_half_network():
    """facts of #145-half: conv1 48, 128, 192, 192, and conv5 in full."""
    preset = presets.ablate(presets.get("code2012"), "tower")
    filters = [each.filters for each in preset.layers if hasattr(each, "filters")]
    assert filters == [48, 128, 192, 192, 256]
    assert alexnet.AlexNet(preset).count_params() == 59_798_312


def test_without_overlap_the_maps_are_the_authors():
    """#147: 55, 28, 26, 13, 13, 11, 6."""
    preset = presets.ablate(presets.get("paper"), "overlap")
    model = alexnet.AlexNet(preset)
    sides = shapes(model)
    names = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv5", "pool5"]
    assert [sides[name] for name in names] == [55, 28, 26, 13, 13, 11, 6]
    assert model.count_params() == 60_965_224
    quick = presets.ablate(presets.get("cifar10_full"), "overlap")
    assert [shapes(alexnet.AlexNet(quick, 10))[f"pool{n}"] for n in (1, 2, 3)] == [
        16, 8, 4
    ]  # fmt: skip


def test_without_norm_only_the_normalizations_go():
    """#148 took all three."""
    before = presets.get("code2012")
    after = presets.ablate(before, "norm")
    gone = [each.name for each in before.layers if each not in after.layers]
    assert gone == ["norm1", "norm2", "cnorm2"]
    assert alexnet.AlexNet(after).count_params() == 60_965_224


@pytest.mark.parametrize(
    "layer, fewer",
    # Less its own weights, and what the next layer sees of other maps: conv4
    # 192 x 128 x 9 in each tower in place of 192 x 192 x 9.
    [("conv3", 885_120 + 2 * 192 * 64 * 9), ("conv4", 663_936)],
)
def test_without_a_convolution_its_relu_goes_too(layer, fewer):
    before = presets.get("paper")
    after = presets.ablate(before, layer)
    gone = [each.name for each in before.layers if each not in after.layers]
    assert gone == [layer, f"relu{layer[-1]}"]
    assert alexnet.AlexNet(after).count_params() == 60_965_224 - fewer
    conv6 = presets.ablate(presets.get("paper_conv6"), "conv6")
    assert conv6.layers == before.layers


@pytest.mark.parametrize(
    "name, part",
    [("paper", "conv1"), ("paper", "fc6"), ("owt", "norm"), ("owt", "tower")],
)
def test_parts_that_are_not_there_are_refused(name, part):
    with pytest.raises(ValueError, match=f"parts that {name} has.*{part}"):
        presets.ablate(presets.get(name), part)


def test_an_override_leaves_parts_out():
    found = presets.override(presets.get("paper"), ablate=("norm", "conv4"))
    assert found == presets.ablate(presets.get("paper"), "norm", "conv4")
