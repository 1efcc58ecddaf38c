"""Files that version 0.1 has written can still be used.

fixtures/version_0_1.tar.gz was written by the last commit with the old flag names:

    data_64 in prep/   `alexnet_tf.prepare` of twelve 24 x 20 images, --image_size=64
    run/               two epochs of `alexnet_tf.train --dataset=data_64 --preset=tiny`
                       without conv2 to conv5, whose flags.txt says three
    index.npz          fc7 of data_64 by that run, from `alexnet_tf.visualize`
    code2012.keras     a narrow code2012 of 3 classes, from `keras.Model.save`
    cifar10_quick/     network.json of that preset
    image.png          one of the twelve images
    expected.json      what that version computed with these files
"""

import json
import pathlib
import tarfile

import keras
import numpy as np
import pytest

import alexnet_tf
from alexnet_tf import presets
from alexnet_tf.data import datasets
from alexnet_tf.data import resized_copy
from alexnet_tf.inference import retrieval
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.training.run import train_dataset
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_metrics
from alexnet_tf.workdir import read_network

ARCHIVE = pathlib.Path(__file__).parent / "fixtures" / "version_0_1.tar.gz"


@pytest.fixture
def old(tmp_path, monkeypatch):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def expected(old):
    return json.loads((old / "expected.json").read_text())


def test_the_fixtures_are_small():
    assert ARCHIVE.stat().st_size < 300_000


def test_flags_have_their_new_names(old):
    flags = read_flags("run")
    assert flags["pca_color_std"] == "0.05" and flags["pca_color_divisor"] == "1.1"
    assert flags["pca_color_epochs"] == "2" and flags["boundaries"] == "1"
    assert flags["ablate"] == "conv2,conv3,conv4,conv5"
    assert not {"colour_noise", "drops", "without"} & flags.keys()  # word: kept
    (old / "run" / "flags.txt").write_text(
        "--preset=cifar10_quick\n--schedule=dexp\n--dataset=dexp\n"
    )
    assert read_flags("run") == {
        "preset": "cifar10_full",
        "schedule": "stepped_exponential",
        "dataset": "dexp",
    }


def test_a_network_has_its_new_names(old):
    preset, classes = read_network("run")
    assert (preset.name, classes) == ("tiny", ("c0", "c1", "c2"))
    assert preset.preprocessing.pca_color_std == 0.05
    assert preset.preprocessing.mean_position == "center"
    assert preset.recipe.boundaries == (1,)
    assert read_network("cifar10_quick")[0] == presets.get("cifar10_full")


def test_a_run_classifies_as_before(old, expected):
    classifier = load_classifier("run")
    assert classifier.fingerprint == expected["fingerprint"]
    np.testing.assert_allclose(
        classifier.probabilities((old / "image.png").read_bytes()),
        expected["probabilities_after_2_epochs"],
        rtol=1e-4,
    )


@pytest.mark.usefixtures("figures_as_text")
def test_a_run_is_resumed_with_the_same_result(old, expected):
    train_dataset(
        "data_64", "tiny", "run", data_dir="prep", eval_split="train",
        ablate=("conv2", "conv3", "conv4", "conv5"), freeze=("conv1", "fc7"),
        lr_mult={"fc8": 2.0}, image_size=64, crop_size=64, pca_color_std=0.05,
        pca_color_divisor=1.1, pca_color_epochs=2, epochs=3, batch_size=4,
        schedule="step", boundaries=(1,),
    )
    assert [m["step"] for m in read_metrics("run") if m["split"] == "eval"] == [3, 6, 9]
    kernel, bias = load_classifier("run").model.get_layer("fc8").get_weights()
    np.testing.assert_allclose(bias, expected["fc8_bias_after_3_epochs"], atol=1e-5)
    np.testing.assert_allclose(
        kernel[0], expected["fc8_kernel_row_after_3_epochs"], atol=1e-5
    )


def test_a_run_with_other_flags_is_refused_by_their_new_names(old):
    with pytest.raises(ValueError, match="--pca_color_std=0.05.* Received: .*_std=0.1"):
        train_dataset(
            "data_64", "tiny", "run", data_dir="prep", eval_split="train",
            batch_size=4, image_size=64, crop_size=64, pca_color_std=0.1,
        )


def test_an_index_finds_the_same_neighbors(old, expected):
    source = datasets.load("data_64", "train", "prep")
    (row,) = retrieval.nearest_examples(
        "index.npz", load_classifier("run"), source.take_indices([0]), source, "fc7"
    )
    assert [example["name"].decode() for example in row] == expected["nearest"]


def test_a_prepared_data_set_is_read(old):
    source = datasets.load("data_64", "train", "prep")
    assert source.num_examples == 12 and source.classes == ("c0", "c1", "c2")
    assert source.prepared == {"image_size": 64, "resize": "short_side"}


def test_a_prepared_data_set_has_the_settings_of_today(old):
    path = old / "prep" / "data_64" / "1.0.0" / "prepare.json"
    settings = resized_copy.read_settings(path)
    assert settings["image_format"] == "jpeg" and settings["quality"] == 95
    assert settings["images_per_shard"] == 5 and "form" not in settings


def test_a_keras_file_is_loaded(old, expected):
    assert alexnet_tf.AlexNet  # Registers the layers.
    model = keras.models.load_model("code2012.keras")
    images = np.random.default_rng(0).normal(0, 50, (1, 80, 80, 3))
    np.testing.assert_allclose(
        model(images.astype(np.float32))[0], expected["keras_probabilities"], rtol=1e-4
    )
