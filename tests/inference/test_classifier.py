"""Classifiers: preprocessing, features, and the command predict."""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import keras
from matplotlib import image as matplotlib_image
import numpy as np
from PIL import Image
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.data.source import Source
from alexnet_tf import inference
from alexnet_tf.inference.classifier import find_run_data
from alexnet_tf.inference.classifier import for_image_files
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models.labels import imagenet_classes
from alexnet_tf.models.weights import save_weights
from alexnet_tf import plots
from alexnet_tf import predict
from alexnet_tf import presets
from helpers.commands import command
from helpers.runs import small_preset
from helpers.runs import train_briefly

ROOT = pathlib.Path(__file__).parents[2]


# ---- Mean images --------------------------------------------------------------


def test_weights_files_take_a_mean_image(tmp_path):
    """An image that has the color of the mean everywhere becomes 0."""
    keras.utils.set_random_seed(0)
    save_weights(alexnet_tf.AlexNet("tiny", 10), tmp_path / "w.npz")
    # The mean is blue 50, green 100, red 200.
    mean = np.ones((3, 73, 73), "f4") * np.reshape([50, 100, 200], (3, 1, 1))
    np.save(tmp_path / "mean.npy", mean.astype("f4"))
    pixels = np.broadcast_to(np.array([200, 100, 50], np.uint8), (73, 73, 3))
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(pixels).numpy())
    encoded = (tmp_path / "a.png").read_bytes()
    path = str(tmp_path / "w.npz")
    with_mean = load_classifier(path, "tiny", mean=tmp_path / "mean.npy")
    np.testing.assert_allclose(with_mean.center_crop(encoded), 0, atol=1e-5)
    without = load_classifier(path, "tiny")
    assert np.abs(without.center_crop(encoded)).max() > 0.5
    status, out, err = command(
        "predict", f"--weights={path}", "--preset=tiny", "--json",
        f"--mean={tmp_path / 'mean.npy'}", tmp_path / "a.png",
    )
    assert status == 0, err
    best = json.loads(out)["predictions"][0]
    assert best["probability"] == pytest.approx(with_mean.predict(encoded)[0][2], 1e-5)
    with pytest.raises(ValueError, match="no mean for tiny_textures, whose own"):
        load_classifier("tiny_textures", mean=tmp_path / "mean.npy")


# ---- preprocess_input --------------------------------------------------------


@pytest.mark.parametrize(
    "name, side, expected",
    [
        # The color R, G, B = 200, 100, 50 minus the mean of ImageNet.
        ("paper", 224, [200 - 127.3049, 100 - 119.7154, 50 - 104.9126]),
        ("code2012", 224, [200 - 127.3049, 100 - 119.7154, 50 - 104.9126]),
        ("caffe", 227, [50 - 104.00699, 100 - 116.66877, 200 - 122.67891]),
        ("caffenet", 227, [50 - 104.00699, 100 - 116.66877, 200 - 122.67891]),
        (
            "owt",
            224,
            [
                (200 / 255 - 0.485) / 0.229,
                (100 / 255 - 0.456) / 0.224,
                (50 / 255 - 0.406) / 0.225,
            ],
        ),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_preprocess_input_of_each_preset(name, side, expected, dtype):
    """Presets differ in channel order, mean, scale and the size of the crop."""
    images = np.broadcast_to(np.array([200, 100, 50], dtype), (2, 250, 300, 3))
    inputs = alexnet_tf.preprocess_input(images, name)
    assert inputs.shape == (2, side, side, 3) and inputs.dtype == "float32"
    np.testing.assert_allclose(
        inputs, np.broadcast_to(expected, inputs.shape), rtol=1e-4
    )


def test_squash_keeps_the_edge_that_short_side_crops():
    """A bright right edge is visible in a squashed image, and cropped otherwise."""
    image = np.zeros((256, 512, 3), np.uint8)
    image[:, 480:] = 255
    brightest = {
        name: float(np.max(alexnet_tf.preprocess_input(image, name)))
        for name in ("paper", "caffe")
    }
    assert brightest["paper"] < 0 and brightest["caffe"] > 100


@pytest.mark.parametrize("shape", [(90, 80, 3), (4, 90, 80, 3), (2, 3, 90, 80, 3)])
def test_preprocess_input_takes_any_leading_dimensions(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    inputs = alexnet_tf.preprocess_input(images, presets.get("tiny"))
    assert inputs.shape == (*shape[:-3], 64, 64, 3)
    first = (0,) * (len(shape) - 3)
    expected = alexnet_tf.preprocess_input(images[first], "tiny")
    np.testing.assert_allclose(inputs.numpy()[first], expected)


@pytest.mark.parametrize("shape", [(90, 80), (90, 80, 1), (2, 90, 80, 4)])
def test_preprocess_input_requires_rgb_and_a_preset(shape):
    with pytest.raises(ValueError, match="RGB images.*shape"):
        alexnet_tf.preprocess_input(np.zeros(shape), "paper")
    with pytest.raises(ValueError, match="one of the presets"):
        alexnet_tf.preprocess_input(np.zeros((9, 9, 3)), "vgg")


# ---- features ------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer, shape", [("fc7", (128,)), ("conv5", (3, 3, 32)), ("pool5", (1, 1, 32))]
)
def test_features(layer, shape):
    """Features are outputs of the ReLU, like Caffe's blobs with the names of layers."""
    # With this seed some map of pool5 is 0 everywhere.
    keras.utils.set_random_seed(0)
    model = alexnet_tf.AlexNet("tiny", 10)
    images = np.random.default_rng(0).normal(0, 1, (2, 64, 64, 3))
    outputs = alexnet_tf.features(model, layer)(images).numpy()
    assert outputs.shape == (2, *shape) and outputs.min() == 0 < outputs.max()
    if layer == "fc7":
        fc6 = alexnet_tf.features(model, "fc6")(images).numpy()
        kernel, bias = model.get_layer("fc7").get_weights()
        np.testing.assert_allclose(
            outputs, np.maximum(fc6 @ kernel + bias, 0), atol=1e-5
        )


def test_features_of_a_network_without_top():
    model = alexnet_tf.AlexNet("tiny", include_top=False)
    assert alexnet_tf.features(model, "pool5").output.shape == (None, 1, 1, 32)
    with pytest.raises(ValueError, match="conv1.*layer='fc7'"):
        alexnet_tf.features(model, "fc7")


# ---- load_classifier -----------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that tells dark from bright images: (folder, JPEGs, validation metrics).

    The folder contains the work directory `run` and the images d.jpg and b.jpg. The
    JPEGs with even indices are dark.
    """
    folder = tmp_path_factory.mktemp("classifier")
    images = []
    for index in range(24):
        rng = np.random.default_rng(index)
        level = (60, 190)[index % 2]
        pixels = rng.normal(level, 20, (90, 76, 3)).clip(0, 255)
        images.append(tf.io.encode_jpeg(pixels.astype(np.uint8)).numpy())
    source = Source(
        "levels", "train", ("dark", "bright"), 240, str(folder), "levels",
        lambda seed: tf.data.Dataset.from_tensor_slices(
            {
                "image": images,
                "label": np.arange(24, dtype=np.int32) % 2,
                "name": [str(index) for index in range(24)],
            }
        ).repeat(10),
    )  # fmt: skip
    preset = small_preset(
        batch_size=24, epochs=1, learning_rate=0.03, dropout=0.0, image_size=70
    )
    metrics = train_briefly(folder / "run", source, preset=preset)
    assert metrics["top1_error"] == 0
    (folder / "d.jpg").write_bytes(images[0])
    (folder / "b.jpg").write_bytes(images[1])
    return folder, images, metrics


def test_a_run_contains_everything_a_classifier_needs(trained):
    """The loss of the probabilities is the validation loss of the run."""
    folder, images, metrics = trained
    classifier = load_classifier(str(folder / "run"))
    assert classifier.classes == ("dark", "bright")
    assert classifier.preset.preprocessing.image_size == 70
    probabilities = np.stack([classifier.probabilities(image) for image in images])
    of_labels = probabilities[np.arange(24), np.arange(24) % 2]
    assert -np.log(of_labels).mean() == pytest.approx(metrics["loss"], rel=1e-3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("ten_crop", [False, True])
def test_paths_pixels_and_bytes_give_the_same_probabilities(tmp_path, ten_crop):
    classifier = load_classifier("tiny_textures")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 76, 3), np.uint8)
    content = tf.io.encode_png(pixels).numpy()
    path = tmp_path / "a.png"
    path.write_bytes(content)
    expected = classifier.probabilities(content, ten_crop)
    for image in (path, str(path), pixels, pixels[::-1, ::-1][::-1, ::-1]):
        actual = classifier.probabilities(image, ten_crop)
        np.testing.assert_array_equal(actual, expected)
    assert classifier.predict(path) == classifier.predict(content)
    square = classifier.center_square(content)
    np.testing.assert_array_equal(classifier.center_square(pixels), square)


def test_images_in_memory_are_classified_as_their_files(tmp_path):
    """An alpha channel is ignored, and gray images have three equal channels."""
    classifier = load_classifier("tiny_textures")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 76, 4), np.uint8)
    images = {
        "rgba.png": (pixels, tf.constant(pixels), Image.fromarray(pixels)),
        "rgb.png": (
            pixels[..., :3], tf.constant(pixels[..., :3]),
            Image.fromarray(pixels).convert("RGB"),
        ),
        "gray.png": (
            pixels[..., 0], pixels[..., :1], tf.constant(pixels[..., 0]),
            Image.fromarray(pixels[..., 0]),
        ),
    }  # fmt: skip
    for name, (array, *others) in images.items():
        Image.fromarray(array).save(tmp_path / name)
        expected = classifier.probabilities(tmp_path / name)
        for image in (array, *others):
            np.testing.assert_array_equal(classifier.probabilities(image), expected)
            np.testing.assert_array_equal(
                classifier.center_square(image),
                classifier.center_square(tmp_path / name),
            )
    rgb, rgba = (classifier.predict(tmp_path / name) for name in [*images][1::-1])
    assert rgb == rgba
    palette = Image.fromarray(pixels).convert("RGB").quantize(16)
    palette.save(tmp_path / "palette.png")
    assert classifier.predict(palette) == classifier.predict(tmp_path / "palette.png")


@pytest.mark.parametrize(
    "image, received",
    [
        (
            np.zeros((9, 9, 3)),
            r"ndarray of dtype float64 and shape \(9, 9, 3\). Scale .*\[0, 255\] and",
        ),
        (
            tf.zeros((9, 9, 3)),
            r"EagerTensor of dtype float32 and shape \(9, 9, 3\). Scale pixels",
        ),
        (
            np.zeros((1, 9, 9, 3), np.uint8),
            r"ndarray of .* shape \(1, 9, 9, 3\). Give several images as a list",
        ),
        (np.zeros((9, 9, 2), np.uint8), r"ndarray of .* shape \(9, 9, 2\).$"),
        (np.zeros((0, 9, 3), np.uint8), r"ndarray of .* shape \(0, 9, 3\)"),
        (np.zeros((9, 9), np.uint16), r"ndarray of dtype uint16 and shape \(9, 9\)"),
        (Image.new("F", (9, 9)), "Image of mode F. Scale its pixels to 8 bits"),
        (Image.new("I;16", (9, 9)), "Image of mode I;16. Scale its pixels"),
        (None, "NoneType"),
    ],
)
def test_predict_says_which_images_it_takes(image, received):
    classifier = load_classifier("tiny_textures")
    for images in (image, [image]):
        with pytest.raises(ValueError, match=f"path of an image.* Rec.*: {received}"):
            classifier.predict(images)
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        classifier.predict("nowhere.jpg")


@pytest.mark.parametrize("ten_crop, sizes", [(False, [18, 18]), (True, [30] * 12)])
def test_a_list_of_images_is_classified_in_batches(monkeypatch, ten_crop, sizes):
    """All batches have the same size; the last one is filled up."""
    classifier = load_classifier("tiny_textures")
    pixels = np.random.default_rng(0).integers(0, 256, (35, 70, 70, 3), np.uint8)
    pixels[:, :, :, 1] //= np.arange(1, 36, dtype=np.uint8)[:, np.newaxis, np.newaxis]
    images = [tf.io.encode_png(image).numpy() for image in pixels[:20]]
    images += [*pixels[20:30], *map(Image.fromarray, pixels[30:])]
    expected = np.stack([classifier.probabilities(each, ten_crop) for each in images])
    assert np.ptp(expected, axis=0).max() > 1e-3
    received = []
    call = type(classifier.model).__call__

    def record(model, inputs, **kwargs):
        received.append(len(inputs))
        return call(model, inputs, **kwargs)

    monkeypatch.setattr(type(classifier.model), "__call__", record)
    actual = classifier.probabilities(images, ten_crop)
    assert received == sizes and actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    several = classifier.predict(tuple(images[:2]), top=2, ten_crop=ten_crop)
    for rows, image in zip(several, images):
        single = classifier.predict(image, top=2, ten_crop=ten_crop)
        assert [row[:2] for row in rows] == [row[:2] for row in single]
        assert rows[0][2] == pytest.approx(single[0][2], abs=1e-6) and len(rows) == 2
    assert classifier.predict([]) == []
    assert classifier.probabilities([]).shape == (0, 10)


def test_a_tilde_stands_for_the_home_directory(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (90, 76, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    model = alexnet_tf.AlexNet("tiny", 10)
    save_weights(model, tmp_path / "w.npz")
    np.save(tmp_path / "mean.npy", np.full((3, 73, 73), 100, "f4"))
    classifier = load_classifier("~/w.npz", "tiny", mean="~/mean.npy")
    assert classifier.statistics.mean_image[0, 0, 0] == 100
    assert classifier.predict("~/a.png") == classifier.predict(tmp_path / "a.png")
    # A run in the home directory is a folder too.
    pretrained = ROOT / "alexnet_tf" / "pretrained" / "tiny_textures"
    (tmp_path / "run").symlink_to(pretrained)
    assert len(load_classifier("~/run").classes) == 10
    assert find_run_data("~/run").dataset == "textures"


def test_ten_crop_averages_probabilities(trained):
    folder, _, _ = trained
    classifier = load_classifier(str(folder / "run"))
    half_dark = np.full((90, 90, 3), 60, np.uint8)
    half_dark[:, 45:] = 190
    image = tf.io.encode_png(half_dark).numpy()
    crops = preprocess.ten_crop(
        image, classifier.preset.preprocessing, classifier.statistics
    )
    of_crops = classifier.model(crops).numpy()
    assert np.ptp(of_crops[:, 0]) > 1e-4
    np.testing.assert_allclose(
        classifier.probabilities(image, ten_crop=True), of_crops.mean(axis=0),
        rtol=1e-6,
    )  # fmt: skip


def test_a_weights_file_needs_a_preset(trained, tmp_path):
    folder, _, _ = trained
    model = alexnet_tf.AlexNet("tiny", 7)
    save_weights(model, tmp_path / "w.npy")
    path = str(tmp_path / "w.npy")
    classifier = load_classifier(path, "tiny")
    assert classifier.classes == tuple("0123456")
    np.testing.assert_allclose(
        classifier.statistics.mean_image,
        pixel_statistics.imagenet(presets.get("tiny").preprocessing).mean_image,
    )
    with pytest.raises(ValueError, match="Expected a preset.*w.npy alone"):
        load_classifier(path)
    with pytest.raises(ValueError, match="preset of the run.*preset='paper'"):
        load_classifier(str(folder / "run"), "paper")
    with pytest.raises(FileNotFoundError, match="of a run: it has no network.json"):
        load_classifier(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="No weights file .* at .*/none.npy"):
        load_classifier(str(tmp_path / "none.npy"), "tiny")


@pytest.mark.parametrize(
    "kernel, bias",
    [("(128, 10)", "(10**11,)"), ("(128, 10**11)", "(10**11,)"),
     ("(128, 10)", "()"), ("(128, 10)", "(7,)")],
)  # fmt: skip
def test_rejects_impossible_numbers_of_classes(tmp_path, kernel, bias):
    """The header of a file of a few hundred bytes may contain any shape."""
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for part, shape in (("kernel", kernel), ("bias", bias)):
            with archive.open(f"fc8/{part}.npy", "w") as file:
                np.lib.format.write_array_header_1_0(
                    file,
                    {"descr": "<f4", "fortran_order": False, "shape": eval(shape)},
                )
    with pytest.raises(ValueError, match="Layer fc8 in .* 1 to 100,000 classes"):
        load_classifier(str(path), "tiny")


def test_names_the_layer_that_a_file_lacks(tmp_path):
    model = alexnet_tf.AlexNet("tiny", include_top=False)
    save_weights(model, tmp_path / "tl.npz")
    with pytest.raises(ValueError, match="tl.npz has no layer fc8, .* preset tiny."):
        load_classifier(str(tmp_path / "tl.npz"), "tiny")


def test_a_thousand_classes_are_imagenet(tmp_path):
    save_weights(alexnet_tf.AlexNet("tiny"), tmp_path / "w.npy")
    classifier = load_classifier(str(tmp_path / "w.npy"), "tiny")
    assert classifier.classes == tuple(imagenet_classes())


# ---- predict_files and the command predict ---------------------------------------


def test_predict_prints_a_table(trained):
    folder, _, _ = trained
    code, out, _ = command(
        "predict", f"--weights={folder / 'run'}", folder / "d.jpg", folder / "b.jpg"
    )
    assert code == 0
    head, *lines = out.splitlines()
    assert head.split() == ["rank", "id", "name", "probability"]
    assert lines[0] == str(folder / "d.jpg")
    assert lines[1].split()[:3] == ["1", "0", "dark"]
    assert lines[2].split()[:3] == ["2", "1", "bright"]
    assert lines[4].split()[:3] == ["1", "1", "bright"]
    assert lines[1].split()[3].endswith("%") and len(lines[1]) == len(head)


@pytest.mark.parametrize("ten_crop", [False, True])
def test_predict_files_yields_what_predict_prints(trained, tmp_path, ten_crop):
    folder, images, _ = trained
    patterns = [str(folder / "[bd].jpg"), str(tmp_path / "none.jpg")]
    code, out, _ = command(
        "predict", f"--weights={folder / 'run'}", "--json", "--top=1",
        f"--ten_crop={ten_crop}", *patterns,
    )  # fmt: skip
    bright, dark, missing = inference.predict_files(
        str(folder / "run"), patterns, top=1, ten_crop=ten_crop, with_images=True
    )
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1 and len(rows) == 3
    for prediction, row, index in ((dark, rows[1], 0), (bright, rows[0], 1)):
        assert prediction.path == row["file"] == str(folder / f"{'db'[index]}.jpg")
        [(label, name, probability)] = prediction.classes
        (printed,) = row["predictions"]
        assert (label, name) == (printed["id"], printed["name"])
        assert (label, name) == (index, ("dark", "bright")[index])
        assert probability == pytest.approx(printed["probability"], rel=1e-6)
        square = load_classifier(str(folder / "run")).center_square(images[index])
        np.testing.assert_array_equal(prediction.image, square)
        assert square.shape == (70, 70, 3) and prediction.error is None
    assert {"file": missing.path, "error": missing.error} == rows[2]
    assert missing.error == "No such file or directory"
    assert missing.classes == [] and missing.image is None


@pytest.mark.parametrize("ten_crop", [False, True])
def test_files_are_classified_in_batches_in_their_order(trained, tmp_path, ten_crop):
    """Unreadable files keep their places. The last batch is not full."""
    folder, images, _ = trained
    for index in range(35):
        (tmp_path / f"{index:02d}.jpg").write_bytes(images[index % 24])
    for index in (0, 7, 32):
        (tmp_path / f"{index:02d}.jpg").write_text("no image")
    weights = str(folder / "run")
    classifier = for_image_files(load_classifier(weights), weights)
    predictions = [*inference.predict_files(weights, tmp_path, ten_crop=ten_crop)]
    assert [os.path.basename(each.path) for each in predictions] == sorted(
        os.listdir(tmp_path)
    )
    failed = [index for index, each in enumerate(predictions) if each.error]
    assert failed == [0, 7, 32]
    for index in sorted({*range(35)} - {*failed}):
        expected = classifier.predict(images[index % 24], ten_crop=ten_crop)
        actual = predictions[index].classes
        assert [row[:2] for row in actual] == [row[:2] for row in expected]
        for row, expected_row in zip(actual, expected):
            assert row[2] == pytest.approx(expected_row[2], abs=1e-6)


def test_tables_and_figures_have_names_that_are_not_utf_8(trained, tmp_path):
    folder, images, _ = trained
    path = tmp_path / os.fsdecode(b"\xff.jpg")
    path.write_bytes(images[0])
    for name in ("a.csv", "a.png"):
        output = tmp_path / name
        code, _, err = command(
            "predict", f"--weights={folder / 'run'}", f"--output={output}", path
        )
        assert code == 0 and output.exists(), err
    assert (tmp_path / "a.csv").read_bytes().splitlines()[1].startswith(
        os.fsencode(path) + b",1,"
    )


def test_bytes_in_a_tensor_that_are_no_image_are_reported(trained):
    classifier = load_classifier(str(trained[0] / "run"))
    with pytest.raises(ValueError, match="Received: 8 bytes that cannot be decoded"):
        classifier.predict(tf.constant(b"no image"))


def test_predict_reports_bad_files_and_continues(trained, tmp_path):
    folder, images, _ = trained
    (tmp_path / "a.jpg").write_bytes(images[0])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "half.jpg").write_bytes(images[0][:300])
    (tmp_path / "text.jpg").write_text("no image")
    code, out, err = command(
        "predict", f"--weights={folder / 'run'}", "--json", "--top=1",
        tmp_path / "*.jpg", tmp_path / "*.png", tmp_path,
    )  # fmt: skip
    assert code == 1
    rows = [json.loads(line) for line in out.splitlines()]
    assert [os.path.basename(row["file"]) for row in rows[:4]] == [
        "a.jpg", "empty.jpg", "half.jpg", "text.jpg",
    ]  # fmt: skip
    (best,) = rows[0]["predictions"]
    assert best["id"] == 0 and best["name"] == "dark"
    assert 0.5 < best["probability"] <= 1
    for row in rows[1:4]:
        assert re.match(
            r"\d+ bytes that cannot be decoded as a JPEG, .* or WebP image: ",
            row["error"],
        )
    assert rows[4] == {
        "file": str(tmp_path / "*.png"), "error": "No such file or directory",
    }  # fmt: skip
    # A folder stands for the images in it.
    assert rows[5:] == rows[:4]
    reported = [line for line in err.splitlines() if "alexnet_tf.predict:" in line]
    assert len(reported) == 7


def test_predict_plots_images(trained, tmp_path):
    folder, _, _ = trained
    files = [folder / "d.jpg"] * 4
    output = tmp_path / "out.png"
    weights = f"--weights={folder / 'run'}"
    args = [weights, f"--output={output}", *files]
    code, out, err = command("predict", *args, "--ten_crop")
    assert code == 0, err
    assert out.splitlines()[-1] == str(output)
    figure = matplotlib_image.imread(output)
    assert figure.shape[0] > 800 and figure.shape[1] == 960
    # Rows of three dark images and of one; the background is white.
    height, width = figure.shape[:2]
    for x in (1, 3, 5):
        assert figure[height // 5, x * width // 6, :3].mean() < 0.45
    assert figure[2 * height // 3, width // 6, :3].mean() < 0.45
    assert figure[2 * height // 3, 5 * width // 6, :3].mean() == 1
    code, _, err = command(
        "predict", weights, f"--output={tmp_path}/none/out.png", files[0]
    )
    message = f"The folder of --output does not exist: {tmp_path}/none."
    assert code == 1 and message in err.splitlines()[-1]


def test_predict_checks_the_output_before_anything_is_classified(tmp_path):
    for name in ("out.json", "out.tsv", "out"):
        code, out, err = command(
            "predict", "--weights=none", f"--output={tmp_path / name}", "a.jpg"
        )
        message = f"--output to end in .png or .csv. Received: --output='{tmp_path}/out"
        assert (code, out) == (1, "") and message in err.splitlines()[-1]


def test_a_figure_of_many_images_has_the_first_ones(trained, tmp_path, monkeypatch):
    folder, _, _ = trained
    monkeypatch.setattr(predict, "MAX_FIGURE_IMAGES", 2)
    plotted = []

    def draw(groups, path, title):
        plotted.append(groups)
        open(path, "wb").close()

    monkeypatch.setattr(plots, "predictions", draw)
    args = f"--weights={folder / 'run'}", f"--output={tmp_path / 'out.PNG'}"
    files = [folder / name for name in ("d.jpg", "none.jpg", "b.jpg", "d.jpg")]
    code, out, err = command("predict", *args, *files)
    assert code == 1 and out.count(".jpg\n") == 3 and "none.jpg" in err
    assert out.splitlines()[-1] == f"{args[1][9:]}: the first 2 of 3 images"
    ((_, rows),) = plotted[0]
    assert [row[0] for row in rows] == ["d.jpg", "b.jpg"]
    _, out, _ = command("predict", *args, *files[:3])
    assert out.splitlines()[-1] == args[1][9:]


def test_predict_writes_a_table_with_the_errors(trained, tmp_path):
    folder, _, _ = trained
    files = [folder / "d.jpg", tmp_path / "none.jpg", folder / "b.jpg"]
    output = tmp_path / "out.csv"
    args = f"--weights={folder / 'run'}", f"--output={output}"
    code, out, _ = command("predict", *args, files[0], "--json")
    assert code == 0 and [json.loads(line)["file"] for line in out.splitlines()] == [
        str(files[0])
    ]
    assert command("predict", *args, files[0])[:2] == (0, f"1 image: {output}\n")
    code, out, err = command("predict", *args, *files)
    assert (code, out) == (1, f"3 images, 1 unreadable: {output}\n")
    assert f"{files[1]}: No such file or directory" in err
    with open(output, encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [
        (row["file"], row["rank"], row["id"], row["name"], row["error"]) for row in rows
    ] == [
        (str(files[0]), "1", "0", "dark", ""),
        (str(files[0]), "2", "1", "bright", ""),
        (str(files[1]), "", "", "", "No such file or directory"),
        (str(files[2]), "1", "1", "bright", ""),
        (str(files[2]), "2", "0", "dark", ""),
    ]
    dark, bright, *_ = [float(row["probability"] or "nan") for row in rows]
    assert dark > 0.5 and dark + bright == pytest.approx(1, abs=1e-5)


def test_predict_draws_no_figure_if_no_file_can_be_read(trained, tmp_path):
    folder, _, _ = trained
    output = tmp_path / "out.png"
    code, out, _ = command(
        "predict", f"--weights={folder / 'run'}", f"--output={output}", tmp_path / "a"
    )
    assert (code, out) == (1, "") and not output.exists()


def test_predict_reports_unusable_weights_in_one_line(tmp_path):
    for args, message in [
        (
            (f"--weights={tmp_path}/no.npy", "--preset=tiny"),
            f"No weights file or run directory exists at {tmp_path}/no.npy.",
        ),
        (
            (f"--weights={tmp_path}",),
            f"{tmp_path} is not the work directory of a run: it has no network.json.",
        ),
    ]:
        code, _, err = command("predict", *args, "a.jpg")
        assert code == 1
        assert err.splitlines()[-1] == f"alexnet_tf.predict: {message}"


@pytest.mark.parametrize("module", ["evaluate", "export", "predict", "visualize"])
def test_help_needs_no_tensorflow(tmp_path, module):
    for name in ("tensorflow", "keras", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    process = subprocess.run(
        [sys.executable, "-m", f"alexnet_tf.{module}", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    for name in ("weights", "preset", "layout"):
        assert f"--{name}:" in process.stdout, process.stderr


def test_predict_requires_files(trained):
    folder, _, _ = trained
    code, out, err = command("predict", f"--weights={folder / 'run'}")
    assert code == 1 and "Expected image files. Received: none." in out + err
    code, out, err = command("predict", f"--weights={folder / 'run'}", "nowhere/")
    # The head of the table follows only if there is a row.
    assert code == 1 and "nowhere" in err and out == ""
