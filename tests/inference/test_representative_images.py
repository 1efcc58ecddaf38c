"""Tests which images the ranges of integer activations are taken from."""

import dataclasses
import shutil

import numpy as np
import pytest

from alexnet_tf.data import datasets
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference import representative_images
from alexnet_tf import published


@pytest.fixture
def run(image_folder, tmp_path):
    """A run that was trained on half of the images in `image_folder`."""
    path = tmp_path / "run"
    shutil.copytree(published.locate("tiny_textures"), path)
    (path / "flags.txt").write_text(
        f"--dataset=folder:{image_folder}\n--train_split=train[:50%]\n"
        "--eval_split=train[50%:]\n"
    )
    return str(path)


def find_paths(classifier, image_folder, inputs):
    """Returns the paths of the images whose center crops are among the inputs."""
    return {
        path
        for path in image_folder.rglob("*.jpg")
        if np.abs(inputs - classifier.center_crop(path.read_bytes()))
        .max(axis=(1, 2, 3)).min() < 1e-3
    }  # fmt: skip


def test_the_default_is_the_training_split_of_the_run(run, image_folder):
    classifier = load_classifier(run)
    representative_images.check_source(run, None)
    images = representative_images.load_inputs(classifier, run, 100)
    assert images.shape == (10, 64, 64, 3) and images.dtype == np.float32
    assert len(find_paths(classifier, image_folder, images)) == 10
    others = representative_images.load_inputs(
        classifier, run, 100, split="train[50%:]"
    )
    assert np.abs(images[:, None] - others).max(axis=(2, 3, 4)).min() > 1e-3


def test_the_images_are_the_first_in_shuffled_order(run, make_source, monkeypatch):
    source = make_source(5)

    def read(seed):
        """Returns an iterator over the images, in reverse order if there is a seed."""
        examples = [*source.read(None)]
        return iter(examples if seed is None else examples[::-1])

    monkeypatch.setattr(
        datasets,
        "load_as_spelled",
        lambda *names, **keys: dataclasses.replace(source, read=read),
    )
    classifier = load_classifier(run)
    inputs = representative_images.load_inputs(classifier, run, 2)
    expected = [
        classifier.center_crop(example["image"])
        for example in source.take_indices([4, 3])
    ]
    np.testing.assert_allclose(inputs, expected, atol=1e-3)


def test_unreadable_images_are_skipped(run, image_folder):
    paths = sorted(image_folder.rglob("*.jpg"))
    for path in paths[1:]:
        path.write_bytes(b"no image")
    classifier = load_classifier(run)
    (image,) = representative_images.load_inputs(classifier, run, 5, split="train")
    np.testing.assert_allclose(
        image, classifier.center_crop(paths[0].read_bytes()), atol=1e-3
    )
    paths[0].write_bytes(b"no image")
    with pytest.raises(ValueError, match="at least one image that can be read"):
        representative_images.load_inputs(classifier, run, 5, split="train")


def test_a_weights_file_needs_a_data_set(tmp_path):
    with pytest.raises(ValueError, match="a data set.*w.npy alone. Add --dataset"):
        representative_images.check_source(str(tmp_path / "w.npy"), None)
    representative_images.check_source(str(tmp_path / "w.npy"), "folder:images")
    representative_images.check_source("tiny_textures", None)
