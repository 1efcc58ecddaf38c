"""The data set `textures`: loading it, its images and its classes."""

import collections
import os

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data.textures import textures_dataset_builder


@pytest.fixture(scope="module")
def splits(textures_data_dir):
    """{split: [(encoded, label, pixels), ...]} of all images."""
    return {
        split: [
            (
                example["image"].numpy(),
                int(example["label"]),
                tf.io.decode_jpeg(example["image"]).numpy(),
            )
            for example in datasets.load(
                "textures", split, str(textures_data_dir)
            ).examples()
        ]
        for split in ("train", "validation")
    }


@pytest.mark.parametrize(
    "split, count",
    [pytest.param("train", 2000, marks=pytest.mark.large), (None, 500)],
)
def test_textures_load_like_any_data_set(
    textures_data_dir, splits, split, count
):
    source = datasets.load("textures", split, str(textures_data_dir))
    assert source.split == (split or "validation")
    assert source.classes == textures_dataset_builder.CLASSES
    assert source.num_examples == count == len(splits[source.split])
    assert not source.is_imagenet


@pytest.mark.parametrize("split, per_class", [("train", 200), ("validation", 50)])
def test_classes_are_balanced(splits, split, per_class):
    counts = collections.Counter(label for _, label, _ in splits[split])
    assert counts == {label: per_class for label in range(10)}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_images_are_jpegs_of_many_shapes(splits, split):
    encoded, _, images = zip(*splits[split])
    assert all(content.startswith(b"\xff\xd8\xff") for content in encoded)
    shapes = np.array([image.shape for image in images])
    assert (shapes[:, 2] == 3).all()
    assert shapes[:, :2].min() >= 64 and shapes[:, :2].max() <= 160
    assert len(set(shapes[:, 0])) > 80 and len(set(shapes[:, 1])) > 80
    ratios = shapes[:, 0] / shapes[:, 1]
    assert ratios.min() < 0.6 and ratios.max() > 1.7


def test_no_two_images_are_the_same(splits):
    images = {
        encoded for examples in splits.values() for encoded, _, _ in examples
    }
    assert len(images) == 2500


def color_features(examples):
    """Returns [n, 6]: the means and standard deviations of R, G and B of n images."""
    return np.array(
        [
            [*pixels.mean(axis=(0, 1)), *pixels.std(axis=(0, 1))]
            for _, _, pixels in examples
        ]
    )


@pytest.mark.parametrize(
    "features", [pytest.param(slice(0, 3), marks=pytest.mark.large), slice(0, 6)]
)
def test_color_does_not_reveal_the_class(splits, features):
    """The nearest class mean is correct for fewer than 30% of images; chance is 10%."""
    train, validation = splits["train"], splits["validation"]
    labels = np.array([label for _, label, _ in train])
    train_colors = color_features(train)[:, features]
    means = np.stack(
        [train_colors[labels == label].mean(axis=0) for label in range(10)]
    )
    colors = color_features(validation)[:, features]
    predicted = np.linalg.norm(colors[:, None] - means, axis=-1).argmin(axis=1)
    assert np.mean(predicted == [label for _, label, _ in validation]) < 0.3


@pytest.mark.parametrize("class_name", textures_dataset_builder.CLASSES)
def test_equal_seeds_draw_equal_images(class_name):
    image, repeated = (
        textures_dataset_builder.draw(class_name, (0, 3)) for _ in range(2)
    )
    np.testing.assert_array_equal(image, repeated)
    assert image.dtype == np.uint8 and image.ndim == 3
    for seed in ((1, 3), (0, 4), 3):
        other_image = textures_dataset_builder.draw(class_name, seed)
        assert image.shape != other_image.shape or (image != other_image).any()
    assert image.std() > 5


def test_the_seeds_determine_the_bytes_of_the_data_set(splits):
    """The data set is the same wherever it is prepared."""
    stored = {encoded for encoded, _, _ in splits["validation"]}
    for index in (0, 7, 499):
        class_name = textures_dataset_builder.CLASSES[index % 10]
        image = textures_dataset_builder.draw(class_name, (1, index))
        assert tf.io.encode_jpeg(image, quality=90).numpy() in stored


@pytest.mark.parametrize(
    "class_name, varying_axis", [("horizontal_grating", 0), ("vertical_grating", 1)]
)
def test_gratings_have_the_direction_of_their_names(class_name, varying_axis):
    """Along one axis, the brightness varies more than twice as much."""
    stds = []
    for seed in range(20):
        pixels = textures_dataset_builder.draw(class_name, seed)
        corner = pixels[:40, :40].astype(float).sum(axis=2)
        stds.append([corner.mean(axis=1).std(), corner.mean(axis=0).std()])
    mean_stds = np.mean(stds, axis=0)
    assert mean_stds[varying_axis] > 2 * mean_stds[1 - varying_axis]


def test_expands_the_home_directory_in_data_dir(textures_data_dir, monkeypatch):
    """Shells do not expand the ~ in --data_dir=~/data."""
    parent, name = os.path.split(textures_data_dir)
    monkeypatch.setenv("HOME", parent)
    source = datasets.load("textures", "validation", f"~/{name}")
    assert source.num_examples == 500
    assert source.folder.startswith(parent)
