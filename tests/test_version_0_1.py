"""Files that were written by version 0.1 can still be used.

Those in fixtures/version_0_1.tar.gz were written with commit ccdcd1e, the last one with
the old names of flags and settings:

    prep/data_64/       A prepared data set of twelve images of 24 x 20 pixels, from
                        `prepare --image_size=64 --images_per_shard=5`.
    run/                A work directory of `train --dataset=data_64 --preset=tiny
                        --ablate=conv2,conv3,conv4,conv5`. All flags are in flags.txt.
                        The run was stopped after two of three epochs.
    index.npz           The retrieval index of that run for the layer fc7 and data_64,
                        from `visualize`.
    code2012.keras      A model of code2012 with few filters and 3 classes, from
                        `keras.Model.save`.
    cifar10_quick/      The network.json of a run with the preset cifar10_quick.
    image.png           One of the twelve images.
    expected.json       Results that version 0.1 computed from these files.
"""
# --images_per_shard was then called --pictures_per_shard,  # word: kept
# and --ablate was called --without.

import csv
import json
import pathlib
import tarfile

import keras
import numpy as np
import pytest

import alexnet_tf
from alexnet_tf.data import datasets
from alexnet_tf.data import resized_copy
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference import retrieval
from alexnet_tf.network_json import read_network
from alexnet_tf import presets
from alexnet_tf.training.run import train_dataset
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import read_metrics

ARCHIVE = pathlib.Path(__file__).parent / "fixtures" / "version_0_1.tar.gz"


@pytest.fixture
def version_0_1_dir(tmp_path, monkeypatch):
    """The folder of the extracted archive, which is also the working directory.

    The paths in flags.txt are relative to that folder.
    """
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def expected(version_0_1_dir):
    """The contents of expected.json."""
    return json.loads((version_0_1_dir / "expected.json").read_text())


def test_the_archive_has_at_most_300_kb():
    assert ARCHIVE.stat().st_size <= 300_000


def test_read_flags_renames_old_flags(version_0_1_dir):
    flags = read_flags("run")
    assert flags["pca_color_std"] == "0.05" and flags["pca_color_divisor"] == "1.1"
    assert flags["pca_color_epochs"] == "2" and flags["boundaries"] == "1"
    assert flags["ablate"] == "conv2,conv3,conv4,conv5"
    assert not {"colour_noise", "drops", "without"} & flags.keys()  # word: kept


def test_read_flags_renames_old_values_of_a_flag(version_0_1_dir):
    (version_0_1_dir / "run" / "flags.txt").write_text(
        "--preset=cifar10_quick\n--schedule=dexp\n--dataset=dexp\n"
    )
    assert read_flags("run") == {
        "preset": "cifar10_full",
        "schedule": "stepped_exponential",
        "dataset": "dexp",
    }


def test_read_network_renames_old_presets_and_fields(version_0_1_dir):
    preset, classes = read_network("run")
    assert (preset.name, classes) == ("tiny", ("c0", "c1", "c2"))
    assert preset.preprocessing.pca_color_std == 0.05
    assert preset.preprocessing.mean_position == "center"
    assert preset.recipe.boundaries == (1,)
    assert read_network("cifar10_quick")[0] == presets.get("cifar10_full")


def test_a_run_predicts_the_same_probabilities(version_0_1_dir, expected):
    classifier = load_classifier("run")
    assert classifier.fingerprint == expected["fingerprint"]
    np.testing.assert_allclose(
        classifier.probabilities((version_0_1_dir / "image.png").read_bytes()),
        expected["probabilities_after_2_epochs"],
        rtol=1e-4,
    )


@pytest.mark.usefixtures("figures_as_text")
def test_a_resumed_run_has_the_same_result(version_0_1_dir, expected):
    train_dataset(
        "data_64", "tiny", "run", data_dir="prep", eval_split="train",
        ablate=("conv2", "conv3", "conv4", "conv5"), freeze=("conv1", "fc7"),
        lr_mult={"fc8": 2.0}, image_size=64, crop_size=64, pca_color_std=0.05,
        pca_color_divisor=1.1, pca_color_epochs=2, epochs=3, batch_size=4,
        schedule="step", boundaries=(1,),
    )
    eval_steps = [
        line["step"] for line in read_metrics("run") if line["split"] == "eval"
    ]
    assert eval_steps == [3, 6, 9]
    # Version 0.1 wrote top-5 errors even for three classes; they are NA now.
    first, _, last = csv.DictReader(open("run/metrics.csv", encoding="utf-8"))
    assert first.keys() == last.keys() and float(last["top1_error"]) <= 1
    assert float(first["top5_error"]) == 0 and last["top5_error"] == "NA"
    kernel, bias = load_classifier("run").model.get_layer("fc8").get_weights()
    np.testing.assert_allclose(bias, expected["fc8_bias_after_3_epochs"], atol=1e-5)
    np.testing.assert_allclose(
        kernel[0], expected["fc8_kernel_row_after_3_epochs"], atol=1e-5
    )


def test_the_error_for_changed_flags_has_their_new_names(version_0_1_dir):
    with pytest.raises(ValueError, match="--pca_color_std=0.05.* Received: .*_std=0.1"):
        train_dataset(
            "data_64", "tiny", "run", data_dir="prep", eval_split="train",
            batch_size=4, image_size=64, crop_size=64, pca_color_std=0.1,
        )


def test_a_retrieval_index_gives_the_same_neighbors(version_0_1_dir, expected):
    source = datasets.load("data_64", "train", "prep")
    (neighbors,) = retrieval.nearest_examples(
        "index.npz", load_classifier("run"), source.take_indices([0]), source, "fc7"
    )
    names = [example["name"].decode() for example in neighbors]
    assert names == expected["nearest"]


def test_loads_a_prepared_data_set(version_0_1_dir):
    source = datasets.load("data_64", "train", "prep")
    assert source.num_examples == 12 and source.classes == ("c0", "c1", "c2")
    assert source.prepared == {"image_size": 64, "resize": "short_side"}


def test_read_settings_renames_old_settings_of_a_copy(version_0_1_dir):
    path = version_0_1_dir / "prep" / "data_64" / "1.0.0" / "prepare.json"
    settings = resized_copy.read_settings(path)
    assert settings["image_format"] == "jpeg" and settings["quality"] == 95
    assert settings["images_per_shard"] == 5 and "form" not in settings


def test_keras_loads_a_saved_model(version_0_1_dir, expected):
    # The package imports its modules lazily: its layers are registered with Keras when
    # a name such as this one is first used.
    alexnet_tf.AlexNet
    model = keras.models.load_model("code2012.keras")
    images = np.random.default_rng(0).normal(0, 50, (1, 80, 80, 3))
    np.testing.assert_allclose(
        model(images.astype(np.float32))[0], expected["keras_probabilities"], rtol=1e-4
    )
