"""The layers of published files are recognized by their names."""

import numpy as np
import pytest

from alexnet_tf.models.layer_names import to_caffe_names

CONVOLUTIONS = [f"conv{number}" for number in range(1, 6)]
DENSE_LAYERS = ["fc6", "fc7", "fc8"]
LAYERS = CONVOLUTIONS + DENSE_LAYERS

TORCHVISION = [f"features.{number}" for number in (0, 3, 6, 8, 10)] + [
    f"classifier.{number}" for number in (1, 4, 6)
]
# jiecaoyu/pytorch_imagenet, networks/model_list/alexnet.py at 9e68790
TWO_TOWERS = [f"features.{number}" for number in (0, 4, 8, 10, 12)] + [
    f"classifier.{number}" for number in (0, 3, 6)
]
# fmcarlucci/JigenDG, models/caffenet.py at 0b225f8
DOMAIN_GENERALIZATION = [f"features.{name}" for name in CONVOLUTIONS] + [
    f"classifier.{name}" for name in DENSE_LAYERS
]
# osmr/imgclsmob, pytorch/pytorchcv/models/alexnet.py at 0fefcf5
IMGCLSMOB = [
    "features.stage1.unit1.conv", "features.stage2.unit1.conv",
    "features.stage3.unit1.conv", "features.stage3.unit2.conv",
    "features.stage3.unit3.conv", "output.fc1.fc", "output.fc2.fc", "output.fc3",
]  # fmt: skip
LUCID = [*TORCHVISION[:5], "fc6", "fc7", "classifier"]
KERAS = [
    "conv2d", "conv2d_1", "conv2d_2", "conv2d_3", "conv2d_4",
    "dense", "dense_1", "dense_2",
]  # fmt: skip
# The second model in a session of Keras, with numbers of one and two digits.
KERAS_AGAIN = [f"conv2d_{number}" for number in range(8, 13)] + [
    f"dense_{number}" for number in (9, 10, 11)
]


def with_module(names, position):
    """Returns names with the component that `torch.nn.DataParallel` adds."""
    return [
        ".".join([*parts[:position], "module", *parts[position:]])
        for parts in (name.split(".") for name in names)
    ]


def empty_layers(names):
    """Returns layers whose kernels have four axes in convolutions, else two."""
    return {
        name: {"kernel": np.empty((1,) * (4 if index < 5 else 2)), "bias": np.empty(1)}
        for index, name in enumerate(names)
    }


@pytest.mark.parametrize(
    "names, is_torch",
    [
        (TORCHVISION, True),
        (with_module(TORCHVISION, 0), True),
        (with_module(TORCHVISION, 1), True),
        (TWO_TOWERS, True),
        (with_module(TWO_TOWERS, 1), True),
        (DOMAIN_GENERALIZATION, True),
        (IMGCLSMOB, True),
        (LUCID, True),
        ([f"model.{name}" for name in TORCHVISION], True),
        ([f"model.net.{name}" for name in DOMAIN_GENERALIZATION], True),
        (KERAS, False),
        (KERAS_AGAIN, False),
        (LAYERS, False),
        ([f"model.{name}" for name in LAYERS], False),
        ([f"module.encoder.{name}" for name in LAYERS], False),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_names_of_published_files_are_recognized(names, is_torch):
    # The order of the names in a file does not matter.
    for ordered_names in (names, sorted(names), names[::-1]):
        layers = {name: empty_layers(names)[name] for name in ordered_names}
        renamed, names_are_of_torch = to_caffe_names(layers)
        assert [*renamed] == ordered_names
        assert [renamed[name] for name in names] == LAYERS
        assert names_are_of_torch == is_torch


def test_normalization_layers_are_not_counted():
    """The names are those of jiecaoyu/pytorch_imagenet at 3f19502."""
    layers = empty_layers(TWO_TOWERS)
    for name in ("features.2", "features.6"):
        layers[name] = {"kernel": np.empty(1), "bias": np.empty(1)}
    renamed, _ = to_caffe_names(layers)
    assert [*renamed.values()] == [*LAYERS, "features.2", "features.6"]


def test_a_layer_without_a_kernel_is_counted():
    """Otherwise the error message would name all layers after it as well."""
    layers = empty_layers(TORCHVISION)
    del layers["features.0"]["kernel"]
    renamed, _ = to_caffe_names(layers)
    assert [*renamed.values()] == LAYERS


@pytest.mark.parametrize(
    "names, expected",
    [
        (["features.0"], ["conv1"]),
        (["fc6", "head.logits"], ["fc6", "head.logits"]),
        (["a.b.x", "a.b.y.z"], ["x", "y.z"]),
        (["class_classifier", "domain_classifier.0"],) * 2,
        (["module"], [""]),
        ([], []),
        (["conv1", "fc6", "fc7", "dense"],) * 2,
        (["conv1", "conv2d", "dense"], ["conv1", "conv2d", "fc6"]),
        (["base/conv1", "base/fc6", "conv2d_3", "dense_3"],) * 2,
    ],
)
def test_other_names_are_kept_without_their_common_part(names, expected):
    renamed, _ = to_caffe_names(empty_layers(names))
    assert [*renamed.values()] == expected


def test_names_that_are_not_changed_count_as_names_of_the_file():
    layers = empty_layers(["dense", "conv2d"])
    assert to_caffe_names(layers)[0] == {"dense": "fc6", "conv2d": "conv1"}
    names, _ = to_caffe_names(layers, {"base/conv1", "fc7"})
    assert names == {"dense": "dense", "conv2d": "conv2d"}


@pytest.mark.parametrize(
    "names",
    [
        ["features.0", "module.features.0"],
        ["student.features.0", "teacher.features.0"],
        ["conv1", "features.conv1"],
        ["classifier.1", "classifier.4", "classifier.6", "classifier"],
    ],
)
def test_rejects_two_names_of_one_layer(names):
    with pytest.raises(ValueError, match="belong to the same layer") as error:
        to_caffe_names(empty_layers(names))
    assert names[-1] in str(error.value)
