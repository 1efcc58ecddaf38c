"""Tests that training, prediction, copies and features turn images upright."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import preprocess
from alexnet_tf.data import resized_copy
from alexnet_tf.figures import draw
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf.inference.classifier import for_dataset
from alexnet_tf.inference.classifier import for_image_files
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference.classifier import predict_files
from alexnet_tf.inference.evaluation import evaluate
from alexnet_tf.inference import export_formats
from alexnet_tf.inference.extraction import extract_features
from alexnet_tf.inference import representative_images
from alexnet_tf import presets
from alexnet_tf.training.run import train_dataset
from alexnet_tf.workdir import read_flags
from helpers.encoded_images import encode
from helpers.encoded_images import photograph
from helpers.encoded_images import preprocessing_of
from helpers.exif_files import oriented

JPEG = encode(photograph(70, 90), "jpeg")
STORED = tf.io.decode_jpeg(JPEG, dct_method="INTEGER_ACCURATE").numpy()
UPRIGHT = encode(np.rot90(STORED, -1), "png")
TURNED = oriented(JPEG, 6)


@pytest.mark.parametrize(
    "flags, of_preset, given, expected",
    [
        ("--dataset=cifar10", False, None, True),
        ("--dataset=cifar10", False, False, False),
        ("--dataset=folder:x", False, None, False),
        ("--dataset=folder:x", True, None, True),
        ("--dataset=list:x", True, False, False),
        ("--dataset=list:x", False, True, True),
        (None, False, None, True),
        (None, False, False, False),
    ],
)
def test_image_files_are_turned_as_in_training(
    tmp_path, flags, of_preset, given, expected
):
    weights = "torchvision"
    if flags:
        weights = str(tmp_path)
        (tmp_path / "flags.txt").write_text(flags)
    preset = presets.override(presets.get("tiny"), exif_orientation=of_preset)
    classifier = Classifier(None, preset, (), None)
    turning = for_image_files(classifier, weights, given)
    assert turning.preset.preprocessing.exif_orientation == expected
    preprocessing = dataclasses.replace(
        preset.preprocessing, exif_orientation=expected
    )
    assert turning.preset == dataclasses.replace(preset, preprocessing=preprocessing)


def test_data_sets_of_tfds_are_turned_only_on_request():
    classifier = load_classifier("tiny_textures")
    assert for_dataset(classifier, "tiny_textures", "textures") is classifier
    turning = for_dataset(classifier, "tiny_textures", "textures", True)
    assert turning.preset.preprocessing.exif_orientation


@pytest.fixture
def turned_list(tmp_path):
    """A list file of one turned image."""
    (tmp_path / "turned.jpg").write_bytes(TURNED)
    (tmp_path / "list.txt").write_text("turned.jpg 9\n")
    return f"list:{tmp_path}/list.txt"


def test_a_list_of_images_is_turned_as_its_images_are(tmp_path, turned_list):
    data = {"dataset": turned_list, "split": "train", "verbose": 0}
    path = str(tmp_path / "turned.jpg")
    expected, stored = (
        load_classifier("tiny_textures").probabilities(content)
        for content in (UPRIGHT, JPEG)
    )
    assert not np.allclose(expected, stored, rtol=0.1)
    for given, value in ((None, expected), (False, stored)):
        result = evaluate(
            "tiny_textures", protocol="center", exif_orientation=given, **data
        )
        np.testing.assert_allclose(result.probabilities, [value], rtol=1e-4)
        features, of_list = (
            extract_features("tiny_textures", exif_orientation=given, **options)
            for options in ({"images": path, "verbose": 0}, data)
        )
        np.testing.assert_array_equal(
            features.features["fc7"], of_list.features["fc7"]
        )


def test_images_for_calibration_and_figures_are_turned(
    tmp_path, turned_list, monkeypatch
):
    classifier = load_classifier("tiny_textures")
    (image,) = representative_images.load_inputs(
        classifier, "tiny_textures", 1, dataset=turned_list, split="train"
    )
    np.testing.assert_array_equal(image, classifier.center_crop(UPRIGHT))
    drawn = []
    monkeypatch.setattr(draw.paper_figures, "activations", lambda *args: (
        drawn.append(args[0].center_crop(args[1]["image"]))
    ))  # fmt: skip
    draw.draw(
        "activations", str(tmp_path / "a.png"), weights="tiny_textures",
        dataset=turned_list, split="train",
    )  # fmt: skip
    np.testing.assert_array_equal(drawn, [classifier.center_crop(UPRIGHT)])


@pytest.mark.large
def test_a_saved_model_turns_images_as_predict_does(tmp_path):
    export_formats.export("tiny_textures", str(tmp_path / "served"))
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(
        served.encoded([TURNED])[0],
        load_classifier("tiny_textures").probabilities(UPRIGHT),
        rtol=1e-3,
    )


@pytest.fixture(scope="module")
def image_files(tmp_path_factory):
    """A folder of two classes of six images, one in four of which is turned."""
    folder = tmp_path_factory.mktemp("exif")
    for name in ("a", "b"):
        (folder / "data" / name).mkdir(parents=True)
        for index in range(6):
            content = (TURNED, JPEG, UPRIGHT, JPEG)[index % 4]
            (folder / "data" / name / f"{index}.jpg").write_bytes(content)
    return folder


def train(folder, **options):
    """Trains for an epoch on the folder, and returns the flags of the run."""
    workdir = folder / "run"
    train_dataset(
        f"folder:{folder}/data", "tiny", workdir, batch_size=6, schedule="constant",
        **{"epochs": 1, "eval_split": "train"} | options,
    )  # fmt: skip
    return read_flags(str(workdir))


@pytest.mark.usefixtures("simulated_runs")
@pytest.mark.large
def test_a_run_on_image_files_turns_them_and_records_it(
    image_files, figures_as_text
):
    folder = str(image_files / "run")
    assert train(image_files)["exif_orientation"] == "True"
    assert train(image_files, epochs=2)["exif_orientation"] == "True"
    assert load_classifier(folder).preset.preprocessing.exif_orientation
    with pytest.raises(ValueError, match="--exif_orientation=True. Received: --exif"):
        train(image_files, exif_orientation=False)
    files = image_files / "turned.jpg", image_files / "upright.png"
    for file, content in zip(files, (TURNED, UPRIGHT)):
        file.write_bytes(content)
    turned, upright = predict_files(folder, map(str, files), with_images=True)
    assert turned.classes == upright.classes
    np.testing.assert_array_equal(turned.image, upright.image)
    features = extract_features(folder, [*map(str, files)], verbose=0).features
    (features,) = features.values()
    np.testing.assert_array_equal(features[0], features[1])
    stored, _ = predict_files(
        folder, map(str, files), with_images=True, exif_orientation=False
    )
    assert (stored.image != turned.image).any()


@pytest.mark.usefixtures("simulated_runs")
def test_a_run_of_an_earlier_version_resumes_without_it(
    tmp_path, image_files, figures_as_text
):
    (tmp_path / "data").symlink_to(image_files / "data")
    assert train(tmp_path, exif_orientation=False)["exif_orientation"] == "False"
    flags = tmp_path / "run" / "flags.txt"
    flags.write_text(flags.read_text().replace("--exif_orientation=False\n", ""))
    assert "exif_orientation" not in train(tmp_path, epochs=2)
    classifier = load_classifier(str(tmp_path / "run"))
    assert not classifier.preset.preprocessing.exif_orientation


@pytest.mark.parametrize("exif_orientation", [None, False])
def test_copies_are_upright(tmp_path, image_files, exif_orientation):
    name, _ = resized_copy.prepare(
        f"folder:{image_files}/data", str(tmp_path), image_size=48,
        image_format="raw", exif_orientation=exif_orientation, verbose=0,
    )  # fmt: skip
    preprocessing = preprocessing_of("tiny", image_size=48)
    images = {
        preprocess.center_square(example["image"], preprocessing).numpy().tobytes()
        for example in datasets.load(name, "train", str(tmp_path)).examples()
    }
    squares = {
        preprocess.center_square(content, preprocessing).numpy().tobytes()
        for content in (UPRIGHT, JPEG)
    }
    assert squares <= images if exif_orientation is False else squares == images
    (path,) = tmp_path.glob("*/*/prepare.json")
    recorded = resized_copy.read_settings(str(path))["exif_orientation"]
    # Earlier versions recorded nothing, and turned nothing.
    assert recorded is (None if exif_orientation is False else True)
    # The statistics for training on the copy are stored beside it.
    assert len([*tmp_path.glob("*/*/alexnet_tf_statistics_*.npz")]) == 1
