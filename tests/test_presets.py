"""The values in the table of presets are those of their sources."""

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
# The fields of a recipe, in the order of the values in `RECIPES`.
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
    "tiny": (32, 0.01, 0.9, 0.0005, 1, "step", (13, 16), 17),
}
WITH_MAP_NORMS = (
    "paper", "code2012", "caffe", "caffenet", "single_tower", "paper_conv6",
)  # fmt: skip


def layers_of_class(name, kind):
    """Returns the layers of a class in the preset called `name`."""
    return [layer for layer in presets.get(name).layers if isinstance(layer, kind)]


def layer_names(name):
    """Returns the names of all layers of the preset called `name`."""
    return [layer.name for layer in presets.get(name).layers]


def test_presets_have_these_names_in_this_order():
    """The key of each preset in the table is its name."""
    assert list(presets.PRESETS) == NAMES
    assert [preset.name for preset in presets.PRESETS.values()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recipes_have_the_values_of_their_sources(name):
    """Each recipe has the pinned value of each field in `FIELDS`."""
    recipe = presets.get(name).recipe
    assert tuple(getattr(recipe, field) for field in FIELDS) == RECIPES[name]


@pytest.mark.parametrize("name", NAMES)
def test_only_step_schedules_have_boundaries(name):
    """The boundaries are in order and lie within the epochs of training."""
    recipe = presets.get(name).recipe
    assert list(recipe.boundaries) == sorted(set(recipe.boundaries))
    assert all(0 < epoch < recipe.epochs for epoch in recipe.boundaries)
    assert (recipe.schedule == "step") == bool(recipe.boundaries)


def test_epochs_of_caffe_equal_its_iterations():
    """Caffe trains for 450,000 steps with a boundary every 100,000 steps."""
    recipe = presets.get("caffe").recipe
    steps_per_epoch = 1_281_167 / recipe.batch_size
    assert recipe.epochs == round(450_000 / steps_per_epoch)
    expected = [round(n * 100_000 / steps_per_epoch) for n in (1, 2, 3, 4)]
    assert list(recipe.boundaries) == expected


@pytest.mark.parametrize("name", NAMES)
def test_only_networks_of_two_towers_have_groups(name):
    """conv2, conv4 and conv5 have two groups, and all other convolutions have one."""
    convolutions = layers_of_class(name, presets.Conv)
    grouped = [conv.name for conv in convolutions if conv.groups == 2]
    has_one_tower = name in ("single_tower", "owt", "cifar10_full")
    assert grouped == ([] if has_one_tower else ["conv2", "conv4", "conv5"])
    assert {conv.groups for conv in convolutions} - {2} == {1}


@pytest.mark.parametrize(
    "name, widths",
    [
        ("paper", [96, 256, 384, 384, 256, 4096, 4096, None]),
        ("owt", [64, 192, 384, 256, 256, 4096, 4096, None]),
        ("paper_conv6", [96, 256, 384, 384, 256, 256, 4096, 4096, None]),
        ("cifar10_full", [32, 32, 64, None]),
    ],
)
def test_layers_have_the_widths_of_their_sources(name, widths):
    """Widths are numbers of filters or units; None is the number of classes."""
    filters = [layer.filters for layer in layers_of_class(name, presets.Conv)]
    units = [layer.units for layer in layers_of_class(name, presets.Dense)]
    assert filters + units == widths


@pytest.mark.parametrize("name", [n for n in NAMES if n != "cifar10_full"])
def test_kernels_have_the_sizes_and_strides_of_alexnet(name):
    """The sizes are 11, 5 and then 3; the strides are 4 for conv1 and 1 for others."""
    convolutions = layers_of_class(name, presets.Conv)
    kernels = [(conv.kernel_size, conv.stride) for conv in convolutions]
    num_deep = 4 if name == "paper_conv6" else 3
    assert kernels == [(11, 4), (5, 1)] + [(3, 1)] * num_deep


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
def test_only_conv1_may_change_the_size_of_maps(name, padding):
    """The padding of conv1 depends on the source; the other convolutions use "same"."""
    conv1, *others = layers_of_class(name, presets.Conv)
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
def test_map_norms_have_the_constants_of_their_sources(name, bias, alpha, groups):
    """norm1 and norm2 have the same constants.

    bias is k, alpha multiplies the sum itself, and groups is 2 if each tower is
    normalized separately. For all presets, beta is .75 and n is 5.
    """
    for norm, norm_name in zip(
        layers_of_class(name, presets.ResponseNorm), ("norm1", "norm2"), strict=True
    ):
        assert (norm.name, norm.bias, norm.groups) == (norm_name, bias, groups)
        assert norm.alpha == pytest.approx(alpha, rel=1e-12)
        assert (norm.beta, 2 * norm.depth_radius + 1) == (0.75, 5)


def test_spatial_norms_have_the_constants_of_their_sources():
    """`code2012` has one of 5x5, `cifar10_full` two of 3x3, and the others none."""
    all_norms = {name: layers_of_class(name, presets.SpatialNorm) for name in NAMES}
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
def test_owt_and_cifar10_full_have_no_norm_across_maps(name):
    """`owt` has no normalization layer, and `cifar10_full` normalizes within maps."""
    assert layers_of_class(name, presets.ResponseNorm) == []


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
def test_norms_and_pools_have_the_order_of_their_sources(name, order):
    """Normalization precedes pooling, except in `caffenet` and `cifar10_full`."""
    names = layer_names(name)
    assert names[: names.index("conv3") + 1] == order.split()


@pytest.mark.parametrize("name", NAMES)
def test_pooling_windows_are_3x3_with_stride_2(name):
    """Only in `cifar10_full`, the padding is "same", and pool2 and pool3 average."""
    is_cifar10 = name == "cifar10_full"
    for pool in layers_of_class(name, presets.Pool):
        assert (pool.size, pool.stride) == (3, 2)
        assert pool.padding == ("same" if is_cifar10 else "valid")
        is_average = is_cifar10 and pool.name != "pool1"
        assert pool.kind == ("average" if is_average else "max")
    assert len(layers_of_class(name, presets.Pool)) == 3


@pytest.mark.parametrize(
    "name, next_layers",
    [(name, ["fc7", "fc8"]) for name in (*WITH_MAP_NORMS, "tiny")]
    + [("owt", ["fc6", "fc7"]), ("cifar10_full", [])],
)
def test_dropout_precedes_two_dense_layers(name, next_layers):
    """Dropout sets half of the inputs of fc7 and fc8 to 0; in `owt`, of fc6 and fc7.

    `tiny` has a lower rate, and `cifar10_full` no dropout.
    """
    dropouts = layers_of_class(name, presets.Dropout)
    assert {dropout.rate for dropout in dropouts} <= {0.3 if name == "tiny" else 0.5}
    names = layer_names(name)
    positions = [names.index(dropout.name) for dropout in dropouts]
    assert [names[position + 1] for position in positions] == next_layers


@pytest.mark.parametrize("name", NAMES)
def test_last_layer_has_one_unit_for_each_class(name):
    """The biases of this layer are initialized to 0."""
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
def test_images_have_the_sizes_of_their_sources(name, image, crop, resize):
    """The sides of images and crops, in pixels, and the way of resizing are pinned."""
    preprocessing = presets.get(name).preprocessing
    assert preprocessing.image_size == image
    assert preprocessing.crop_size == crop
    assert preprocessing.resize == resize


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_normalized_as_in_their_sources(name):
    """The networks of Caffe take BGR minus the mean at the position of the crop."""
    preprocessing = presets.get(name).preprocessing
    is_caffe = name in ("caffe", "caffenet")
    assert preprocessing.channel_order == ("bgr" if is_caffe else "rgb")
    assert preprocessing.mean_position == ("crop" if is_caffe else "center")
    by_channel = name in ("owt", "tiny")
    assert preprocessing.mean == ("channel" if by_channel else "image")
    assert preprocessing.divide_by_std == by_channel
    assert preprocessing.flip


@pytest.mark.parametrize("name", NAMES)
def test_pca_color_augmentation_has_the_std_of_the_paper(name):
    """Caffe's networks do not use it, and only `code2012` divides by 1.1 after it."""
    preprocessing = presets.get(name).preprocessing
    is_off = name in ("caffe", "caffenet", "cifar10_full")
    assert preprocessing.pca_color_std == (0.0 if is_off else 0.1)
    divisor = 1.1 if name == "code2012" else 1.0
    assert preprocessing.pca_color_divisor == divisor


def test_only_owt_has_published_means():
    """The means and standard deviations are in the order R, G, B."""
    owt = presets.get("owt").preprocessing
    assert owt.channel_mean == pytest.approx((123.675, 116.28, 103.53))
    assert owt.channel_std == pytest.approx((58.395, 57.12, 57.375))
    for name in NAMES:
        if name != "owt":
            preprocessing = presets.get(name).preprocessing
            assert preprocessing.channel_mean is preprocessing.channel_std is None


def test_get_names_the_preset_of_weights():
    with pytest.raises(ValueError, match="weights; their preset is owt"):
        presets.get("torchvision")
    with pytest.raises(ValueError, match="one of the presets paper.*'imagenet'"):
        presets.get("imagenet")


def test_get_rejects_unknown_presets():
    """The error message lists the presets and the name that was received."""
    with pytest.raises(ValueError, match="paper.*tiny.*preset='alexnet'"):
        presets.get("alexnet")


def test_presets_cannot_be_changed():
    """Assigning to a field raises an error, because all callers share the presets."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets.get("paper").recipe.learning_rate = 1.0


def test_override_without_values_changes_nothing():
    """None means that the value of the preset is kept."""
    paper = presets.get("paper")
    assert presets.override(paper) == paper
    assert presets.override(paper, learning_rate=None, init=None) == paper


def test_override_replaces_values_of_recipe_and_preprocessing():
    """The argument names are names of fields; 0 and False are values, unlike None."""
    paper = presets.get("paper")
    changed = presets.override(paper, learning_rate=0.5, flip=False, momentum=0)
    assert changed.recipe == dataclasses.replace(
        paper.recipe, learning_rate=0.5, momentum=0
    )
    assert changed.preprocessing == dataclasses.replace(
        paper.preprocessing, flip=False
    )
    assert changed.layers == paper.layers
    assert paper == presets.PRESETS["paper"]


def test_override_replaces_the_initialization_of_all_kernels():
    """With "he", all initial biases become 0."""
    changed = presets.override(presets.get("paper"), init="he").layers
    for layer, expected in zip(changed, presets.get("paper").layers, strict=True):
        if isinstance(expected, presets.Conv | presets.Dense):
            expected = dataclasses.replace(expected, init="he", bias=0.0)
        assert layer == expected


def test_override_replaces_all_dropout_rates():
    """0 is a dropout rate, and does not keep the rates of the preset."""
    changed = presets.override(presets.get("paper"), dropout=0.0).layers
    for layer, expected in zip(changed, presets.get("paper").layers, strict=True):
        if isinstance(expected, presets.Dropout):
            expected = dataclasses.replace(expected, rate=0.0)
        assert layer == expected


def test_override_turns_integers_into_floats():
    """flags.txt then has the same text as if the command had been given them."""
    changed = presets.override(
        presets.get("paper"), learning_rate=1, momentum=0, weight_decay=0,
        pca_color_std=0, dropout=0, epochs=3,
    )  # fmt: skip
    recipe = changed.recipe
    values = [recipe.learning_rate, recipe.momentum, recipe.weight_decay]
    values.append(changed.preprocessing.pca_color_std)
    values += [v.rate for v in changed.layers if isinstance(v, presets.Dropout)]
    assert list(map(str, values)) == ["1.0", "0.0", "0.0", "0.0", "0.0", "0.0"]
    assert str(recipe.epochs) == "3"


def test_override_rejects_unknown_fields_and_too_large_crops():
    """The error messages contain the values that were received."""
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
        {"batch_size": 0},
        {"image_size": 0},
        {"crop_size": 0},
        {"patience": 0},
        {"pca_color_divisor": 0.0},
        {"init": "foo"},
        {"crop_size": 257},
        {"widht": 3},
        {"schedule": "stp"},
        {"mean": "pixel"},
        {"resize": "long_side"},
        {"batch_size": 32.5},
        {"epochs": 0},
        {"momentum": 1},
        {"batch_size": True},
        {"flip": 1},
        {"learning_rate": "0.1"},
        {"dropout": "0.5"},
        {"init": 0.1},
        {"boundaries": [2, 3.5]},
        {"boundaries": (-3,)},
        {"channel_mean": (1.0, 2.0)},
    ],
)
def test_override_rejects_values_out_of_range(values):
    """The error message contains the name of the value."""
    with pytest.raises(ValueError, match=next(iter(values))):
        presets.override(presets.get("paper"), **values)


@pytest.mark.parametrize(
    "name, values, message",
    [
        ("paper", {"boundaries": (2, 3)}, "schedule=step for boundaries.*=plateau"),
        (
            "paper", {"schedule": "constant", "patience": 2},
            "schedule=plateau for patience.*schedule=constant",
        ),
        ("code2012", {"patience": 2}, "schedule=plateau for patience.*schedule=step"),
        ("paper", {"schedule": "step"}, "boundaries for schedule=step.*none"),
        ("cifar10_full", {"dropout": 0.3}, "dropout=0.3.*cifar10_full, which has none"),
        ("caffe", {"pca_color_divisor": 1.2}, "pca_color_divisor=1.2.*pca_color_std=0"),
        (
            "paper", {"pca_color_std": 0.0, "pca_color_epochs": 3},
            "pca_color_epochs=3.*pca_color_std=0, for preset=paper",
        ),
    ],
)  # fmt: skip
def test_values_without_an_effect_are_found(name, values, message):
    preset = presets.get(name)
    changed = presets.override(preset, **values)
    with pytest.raises(ValueError, match=message):
        presets.check_used(changed, preset, values)


def test_values_of_a_flagfile_may_be_those_of_the_preset():
    for preset in presets.PRESETS.values():
        values = vars(preset.recipe) | vars(preset.preprocessing)
        presets.check_used(presets.override(preset, **values), preset, values)


def test_override_replaces_the_given_values_only():
    """Values of the recipe, the preprocessing and the layers can be combined."""
    paper = presets.get("paper")
    changed = presets.override(
        paper, epochs=3, mean="channel", init="he", dropout=0.1, flip=None
    )
    assert changed.recipe == dataclasses.replace(paper.recipe, epochs=3)
    assert changed.preprocessing == dataclasses.replace(
        paper.preprocessing, mean="channel"
    )
    for layer, expected in zip(changed.layers, paper.layers, strict=True):
        if isinstance(expected, presets.Conv | presets.Dense):
            expected = dataclasses.replace(expected, init="he", bias=0.0)
        elif isinstance(expected, presets.Dropout):
            expected = dataclasses.replace(expected, rate=0.1)
        assert layer == expected


def test_from_dict_reverses_to_dict_for_every_type_of_layer():
    layers = (
        presets.Tanh("tanh1"),
        presets.SpatialNorm("norm1", 3, 0.5),
        presets.BatchNorm("bn1", 0.9, 1e-5),
    )
    preset = presets.Preset("own", layers)
    text = json.dumps(presets.to_dict(preset))
    assert presets.from_dict(json.loads(text)) == preset


@pytest.mark.parametrize("name", presets.PRESETS)
def test_from_dict_reverses_to_dict(name):
    preset = presets.get(name)
    text = json.dumps(presets.to_dict(preset))
    assert presets.from_dict(json.loads(text)) == preset


@pytest.mark.parametrize(
    "layer",
    [
        presets.Conv("conv1", 4, 3, groups=0), presets.Conv("conv1", 0, 3),
        presets.Conv("conv1", 4, 3, stride=0), presets.Pool("pool1", size=0),
        presets.Dense("fc1", 0),
    ],
)
def test_rejects_layers_without_a_size(layer):
    preset = dataclasses.replace(
        presets.get("tiny"), layers=(layer, presets.Dense("fc8", None))
    )
    with pytest.raises(ValueError, match=f"{layer.name} to be at least 1.*=0"):
        presets.check(preset)


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


def test_ablating_a_tower_gives_the_half_network_of_the_authors(zero_kernels):
    """The network #145-half has half of the filters, but all 256 filters of conv5."""
    preset = presets.ablate(presets.get("code2012"), "tower")
    filters = [layer.filters for layer in preset.layers if hasattr(layer, "filters")]
    assert filters == [48, 128, 192, 192, 256]
    assert alexnet.AlexNet(preset).count_params() == 59_798_312


def test_ablating_overlap_gives_the_map_sizes_of_the_authors():
    """The sides of the maps are those of the network #147 of the authors."""
    preset = presets.ablate(presets.get("paper"), "overlap")
    model = alexnet.AlexNet(preset)
    sides = map_sides(model)
    names = ["conv1", "pool1", "conv2", "pool2", "conv3", "conv5", "pool5"]
    assert [sides[name] for name in names] == [55, 28, 26, 13, 13, 11, 6]
    assert model.count_params() == 60_965_224
    cifar10 = presets.ablate(presets.get("cifar10_full"), "overlap")
    sides = map_sides(alexnet.AlexNet(cifar10, 10))
    assert [sides[name] for name in ("pool1", "pool2", "pool3")] == [16, 8, 4]


def removed_layers(original, ablated):
    """Returns the names of the layers of `original` that `ablated` does not have."""
    return [layer.name for layer in original.layers if layer not in ablated.layers]


def test_ablating_norm_removes_the_normalizations_only(zero_kernels):
    """The network #148 of the authors does not have these three layers either."""
    original = presets.get("code2012")
    ablated = presets.ablate(original, "norm")
    assert removed_layers(original, ablated) == ["norm1", "norm2", "cnorm2"]
    assert alexnet.AlexNet(ablated).count_params() == 60_965_224


@pytest.mark.parametrize(
    "layer, removed_params",
    # Without conv3, conv4 has fewer input maps: its kernels have 192 x 128 x 9 weights
    # in each tower instead of 192 x 192 x 9.
    [("conv3", 885_120 + 2 * 192 * 64 * 9), ("conv4", 663_936)],
)
def test_ablating_a_convolution_removes_its_relu_too(
    layer, removed_params, zero_kernels
):
    original = presets.get("paper")
    ablated = presets.ablate(original, layer)
    assert removed_layers(original, ablated) == [layer, f"relu{layer[-1]}"]
    assert alexnet.AlexNet(ablated).count_params() == 60_965_224 - removed_params
    conv6 = presets.ablate(presets.get("paper_conv6"), "conv6")
    assert conv6.layers == original.layers


def test_ablating_a_convolution_removes_its_tanh_too():
    paper = presets.get("paper")
    layers = tuple(
        presets.Tanh(layer.name) if isinstance(layer, presets.ReLU) else layer
        for layer in paper.layers
    )
    original = dataclasses.replace(paper, layers=layers)
    ablated = presets.ablate(original, "conv4")
    assert removed_layers(original, ablated) == ["conv4", "relu4"]


@pytest.mark.parametrize(
    "name, part",
    [("paper", "conv1"), ("paper", "fc6"), ("owt", "norm"), ("owt", "tower")],
)
def test_ablate_rejects_parts_that_the_preset_lacks(name, part):
    with pytest.raises(ValueError, match=f"the parts of {name} that.*{part}"):
        presets.ablate(presets.get(name), part)


def test_the_error_names_the_parts_that_can_be_removed():
    """`owt` has no normalization and no towers."""
    expected = "Expected some of overlap, conv2, conv3, conv4, conv5, the parts of owt "
    with pytest.raises(ValueError, match=expected):
        presets.ablate(presets.get("owt"), "norm")


def test_the_error_says_if_no_part_can_be_removed():
    dense = presets.Preset("dense", (presets.Dense("fc1", None),))
    expected = "^Expected no part to remove: dense has none. Received: 'norm'.$"
    with pytest.raises(ValueError, match=expected):
        presets.ablate(dense, "norm")


def test_override_ablates_parts_as_ablate_does():
    ablated = presets.override(presets.get("paper"), ablate=("norm", "conv4"))
    assert ablated == presets.ablate(presets.get("paper"), "norm", "conv4")


def test_override_takes_a_single_part_to_remove():
    paper = presets.get("paper")
    assert presets.override(paper, ablate="norm") == presets.ablate(paper, "norm")


def test_ablating_a_convolution_removes_its_batch_normalization_too():
    """Other batch normalization remains, also if response normalization is removed."""
    tiny = presets.get("tiny")
    layers = []
    for layer in tiny.layers:
        layers.append(layer)
        if isinstance(layer, presets.Conv):
            layers.append(presets.BatchNorm(f"bn_{layer.name}"))
    preset = dataclasses.replace(tiny, layers=tuple(layers))
    removed = {layer.name for layer in preset.layers} - {
        layer.name for layer in presets.ablate(preset, "conv3", "norm").layers
    }
    assert removed == {"conv3", "bn_conv3", "relu3", "norm1", "norm2"}
