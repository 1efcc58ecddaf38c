"""The embedded data set: drawn, not downloaded, and not to be had by color."""

import collections
import os

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data.textures import textures_dataset_builder


@pytest.fixture(scope="module")
def splits(textures_folder):
    """{split: [(encoded, label, pixels)]}, prepared and read once."""
    return {
        split: [
            (
                example["image"].numpy(),
                int(example["label"]),
                tf.io.decode_jpeg(example["image"]).numpy(),
            )
            for example in datasets.load(
                "textures", split, str(textures_folder)
            ).examples()
        ]
        for split in ("train", "validation")
    }


@pytest.mark.parametrize("split, count", [("train", 2000), (None, 500)])
def test_textures_load_like_any_data_set(
    textures_folder, splits, split, count
):
    source = datasets.load("textures", split, str(textures_folder))
    assert source.split == (split or "validation")
    assert source.classes == textures_dataset_builder.CLASSES
    assert source.num_examples == count == len(splits[source.split])
    assert not source.is_imagenet


@pytest.mark.parametrize("split, each", [("train", 200), ("validation", 50)])
def test_classes_are_balanced(splits, split, each):
    counts = collections.Counter(label for _, label, _ in splits[split])
    assert counts == {label: each for label in range(10)}


@pytest.mark.parametrize("split", ["train", "validation"])
def test_images_are_jpegs_of_many_sizes(splits, split):
    encoded, _, images = zip(*splits[split])
    assert all(bytes_.startswith(b"\xff\xd8\xff") for bytes_ in encoded)
    shapes = np.array([image.shape for image in images])
    assert (shapes[:, 2] == 3).all()
    assert shapes[:, :2].min() >= 64 and shapes[:, :2].max() <= 160
    assert len(set(shapes[:, 0])) > 80 and len(set(shapes[:, 1])) > 80
    ratios = shapes[:, 0] / shapes[:, 1]
    assert ratios.min() < 0.6 and ratios.max() > 1.7


def test_no_two_images_are_the_same(splits):
    encoded = [e for examples in splits.values() for e, _, _ in examples]
    assert len(set(encoded)) == 2500


def colors(examples):
    """[n, 6]: mean and standard deviation of R, G and B."""
    return np.array(
        [[*p.mean(axis=(0, 1)), *p.std(axis=(0, 1))] for _, _, p in examples]
    )


@pytest.mark.parametrize(
    "figures", [pytest.param(slice(0, 3), marks=pytest.mark.large), slice(0, 6)]
)
def test_color_tells_next_to_nothing(splits, figures):
    """Nearest mean of a class; 10% is chance."""
    train, validation = splits["train"], splits["validation"]
    labels = np.array([label for _, label, _ in train])
    known = colors(train)[:, figures]
    means = np.stack([known[labels == c].mean(axis=0) for c in range(10)])
    asked = colors(validation)[:, figures]
    guesses = np.linalg.norm(asked[:, None] - means, axis=-1).argmin(axis=1)
    assert np.mean(guesses == [label for _, label, _ in validation]) < 0.3


@pytest.mark.parametrize("kind", textures_dataset_builder.CLASSES)
def test_equal_seeds_draw_equal_images(kind):
    one, same = (textures_dataset_builder.draw(kind, (0, 3)) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert one.dtype == np.uint8 and one.ndim == 3
    for seed in ((1, 3), (0, 4), 3):
        other = textures_dataset_builder.draw(kind, seed)
        assert one.shape != other.shape or (one != other).any()
    assert one.std() > 5


def test_what_is_stored_is_what_is_drawn(splits):
    """Preparing again elsewhere would bring the same bytes."""
    stored = {encoded for encoded, _, _ in splits["validation"]}
    for index in (0, 7, 499):
        image = textures_dataset_builder.draw(textures_dataset_builder.CLASSES[index % 10], (1, index))
        assert tf.io.encode_jpeg(image, quality=90).numpy() in stored


@pytest.mark.parametrize(
    "kind, varies",
    [("horizontal_grating", (1, 0)), ("vertical_grating", (0, 1))],
)
def test_gratings_point_where_their_names_say(kind, varies):
    """Brightness changes from row to row, or from column to column."""
    spreads = []
    for seed in range(20):
        gray = textures_dataset_builder.draw(kind, seed).astype(float) @ np.ones(3)
        middle = gray[:40, :40]
        spreads.append([middle.mean(axis=1).std(), middle.mean(axis=0).std()])
    along, across = np.mean(spreads, axis=0)
    assert (along > 2 * across, across > 2 * along) == tuple(map(bool, varies))


def test_a_home_folder_is_found(textures_folder, monkeypatch):
    """Shells leave the ~ of --data_dir=~/data to the program."""
    parent, name = os.path.split(textures_folder)
    monkeypatch.setenv("HOME", parent)
    source = datasets.load("textures", "validation", f"~/{name}")
    assert source.num_examples == 500
    assert source.folder.startswith(parent)
