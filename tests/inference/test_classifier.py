"""Pixels in, probabilities out: API, `predict` and `export`."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import keras
from matplotlib import image as matplotlib_image
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.data.source import Source
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference import export_formats
from alexnet_tf.models.labels import imagenet_classes
from alexnet_tf.models.weights import save_weights
from alexnet_tf import presets
from helpers.commands import command
from helpers import networks
from helpers.runs import small_preset
from helpers.runs import train_briefly

ROOT = pathlib.Path(__file__).parents[2]


# ---- preprocess_input --------------------------------------------------------


@pytest.mark.parametrize(
    "name, side, expected",
    [
        # R, G, B = 200, 100, 50 minus the means of section 0's three presets.
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
def test_each_preset_has_its_own_pixels(name, side, expected, dtype):
    """Channel order, mean, scale and crop."""
    images = np.broadcast_to(np.array([200, 100, 50], dtype), (2, 250, 300, 3))
    found = alexnet_tf.preprocess_input(images, name)
    assert found.shape == (2, side, side, 3) and found.dtype == "float32"
    np.testing.assert_allclose(
        found, np.broadcast_to(expected, found.shape), rtol=1e-4
    )


def test_short_side_and_squash():
    """A bright right edge stays in a squashed image, and is cut elsewhere."""
    image = np.zeros((256, 512, 3), np.uint8)
    image[:, 480:] = 255
    seen = {
        name: float(np.max(alexnet_tf.preprocess_input(image, name)))
        for name in ("paper", "caffe")
    }
    assert seen["paper"] < 0 and seen["caffe"] > 100


@pytest.mark.parametrize("shape", [(90, 80, 3), (4, 90, 80, 3), (2, 3, 90, 80, 3)])
def test_any_leading_dimensions(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = alexnet_tf.preprocess_input(images, presets.get("tiny"))
    assert found.shape == (*shape[:-3], 64, 64, 3)
    one = alexnet_tf.preprocess_input(
        images[(0,) * (len(shape) - 3)], "tiny"
    )
    np.testing.assert_allclose(found.numpy()[(0,) * (len(shape) - 3)], one)


@pytest.mark.parametrize("shape", [(90, 80), (90, 80, 1), (2, 90, 80, 4)])
def test_other_than_rgb_is_refused(shape):
    with pytest.raises(ValueError, match="RGB images.*shape"):
        alexnet_tf.preprocess_input(np.zeros(shape), "paper")
    with pytest.raises(ValueError, match="one of the presets"):
        alexnet_tf.preprocess_input(np.zeros((9, 9, 3)), "vgg")


# ---- features ------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer, shape", [("fc7", (128,)), ("conv5", (3, 3, 32)), ("pool5", (1, 1, 32))]
)
def test_features(layer, shape):
    """After the ReLU, as Caffe's blob of that name is."""
    # Of a start in which some map of pool5 is 0 all over.
    keras.utils.set_random_seed(0)
    model = alexnet_tf.AlexNet("tiny", 10)
    images = np.random.default_rng(0).normal(0, 1, (2, 64, 64, 3))
    found = alexnet_tf.features(model, layer)(images).numpy()
    assert found.shape == (2, *shape) and found.min() == 0 < found.max()
    if layer == "fc7":
        fc6 = alexnet_tf.features(model, "fc6")(images).numpy()
        kernel, bias = model.get_layer("fc7").get_weights()
        np.testing.assert_allclose(
            found, np.maximum(fc6 @ kernel + bias, 0), atol=1e-5
        )


def test_features_of_a_network_without_top():
    model = alexnet_tf.AlexNet("tiny", include_top=False)
    assert alexnet_tf.features(model, "pool5").output.shape == (None, 1, 1, 32)
    with pytest.raises(ValueError, match="conv1.*layer='fc7'"):
        alexnet_tf.features(model)


# ---- A run as a classifier -----------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory of a run on bright and dark images, and its images."""
    folder = tmp_path_factory.mktemp("classifier")
    images = []
    for index in range(24):
        random = np.random.default_rng(index)
        level = (60, 190)[index % 2]
        pixels = random.normal(level, 20, (90, 76, 3)).clip(0, 255)
        images.append(tf.io.encode_jpeg(pixels.astype(np.uint8)).numpy())
    source = Source(
        "levels", "train", ("dark", "bright"), 24, str(folder), "levels",
        lambda seed: tf.data.Dataset.from_tensor_slices(
            {
                "image": images,
                "label": np.arange(24, dtype=np.int32) % 2,
                "name": [str(i) for i in range(24)],
            }
        ),
    )  # fmt: skip
    preset = small_preset(
        batch_size=24, epochs=10, learning_rate=0.03, dropout=0.0, image_size=70
    )
    measured = train_briefly(folder / "run", source, preset=preset)
    assert measured["top1_error"] == 0
    for index in range(2):
        (folder / f"{'db'[index]}.jpg").write_bytes(images[index])
    return folder, images, measured


def test_a_run_brings_all_along(trained):
    """The probabilities have the loss that the run has measured."""
    folder, images, measured = trained
    network = load_classifier(str(folder / "run"))
    assert network.classes == ("dark", "bright")
    assert network.preset.preprocessing.image_size == 70
    probabilities = np.stack([network.probabilities(p) for p in images])
    right = probabilities[np.arange(24), np.arange(24) % 2]
    assert -np.log(right).mean() == pytest.approx(measured["loss"], rel=1e-3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_ten_crop_averages_probabilities(trained):
    folder, _, _ = trained
    network = load_classifier(str(folder / "run"))
    halves = np.full((90, 90, 3), 60, np.uint8)
    halves[:, 45:] = 190
    image = tf.io.encode_png(halves).numpy()
    views = preprocess.ten_crop(
        image, network.preset.preprocessing, network.statistics
    )
    each = network.model(views).numpy()
    assert np.ptp(each[:, 0]) > 1e-4
    np.testing.assert_allclose(
        network.probabilities(image, ten_crop=True), each.mean(axis=0),
        rtol=1e-6,
    )


def test_a_file_needs_its_preset(trained, tmp_path):
    folder, _, _ = trained
    model = alexnet_tf.AlexNet("tiny", 7)
    save_weights(model, tmp_path / "w.npy")
    path = str(tmp_path / "w.npy")
    network = load_classifier(path, "tiny")
    assert network.classes == tuple("0123456")
    np.testing.assert_allclose(
        network.statistics.mean_image,
        pixel_statistics.imagenet(presets.get("tiny").preprocessing).mean_image,
    )
    with pytest.raises(ValueError, match="Expected a preset.*w.npy alone"):
        load_classifier(path)
    with pytest.raises(ValueError, match="preset of the run.*preset='paper'"):
        load_classifier(str(folder / "run"), "paper")
    with pytest.raises(FileNotFoundError, match="which has none"):
        load_classifier(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="which is none"):
        load_classifier(str(tmp_path / "none.npy"), "tiny")


@pytest.mark.parametrize(
    "kernel, bias",
    [("(128, 10)", "(10**11,)"), ("(128, 10**11)", "(10**11,)"),
     ("(128, 10)", "()"), ("(128, 10)", "(7,)")],
)  # fmt: skip
def test_classes_that_a_header_claims_are_not_believed(tmp_path, kernel, bias):
    """A file of a few hundred bytes."""
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for part, shape in (("kernel", kernel), ("bias", bias)):
            with archive.open(f"fc8/{part}.npy", "w") as file:
                np.lib.format.write_array_header_1_0(
                    file,
                    {"descr": "<f4", "fortran_order": False, "shape": eval(shape)},
                )
    with pytest.raises(ValueError, match="Expected fc8 of 1 to 100,000 classes"):
        load_classifier(str(path), "tiny")


def test_a_thousand_classes_are_imagenet(tmp_path):
    save_weights(alexnet_tf.AlexNet("tiny"), tmp_path / "w.npy")
    network = load_classifier(str(tmp_path / "w.npy"), "tiny")
    assert network.classes == tuple(imagenet_classes())


# ---- predict -------------------------------------------------------------------



def test_predict_prints_a_table(trained):
    folder, _, _ = trained
    weights = f"--weights={folder / 'run'}"
    code, out, _ = command(
        "predict", weights, folder / "d.jpg", folder / "b.jpg"
    )
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == str(folder / "d.jpg")
    assert lines[1].split()[:3] == ["1", "0", "dark"]
    assert lines[2].split()[:3] == ["2", "1", "bright"]
    assert lines[4].split()[:3] == ["1", "1", "bright"]
    assert lines[1].split()[3].endswith("%")


def test_predict_reports_bad_files_and_goes_on(trained, tmp_path):
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
        assert "bytes that are none, or damaged" in row["error"]
    assert rows[4] == {
        "file": str(tmp_path / "*.png"), "error": "No such file or directory",
    }  # fmt: skip
    assert rows[5]["error"] == "Is a directory"
    said = [line for line in err.splitlines() if "alexnet_tf.predict:" in line]
    assert len(rows) == 6 and len(said) == 5


def test_predict_plots_what_it_names(trained, tmp_path):
    folder, _, _ = trained
    files = [folder / "d.jpg"] * 6
    out = tmp_path / "out.png"
    args = [f"--weights={folder / 'run'}", f"--plot={out}", *files]
    assert command("predict", *args, "--ten_crop")[0] == 0
    image = matplotlib_image.imread(out)
    assert image.shape[0] > 500 and image.shape[1] > 1000
    # The dark squares of both rows, and white where there is none.
    height, width = image.shape[:2]
    assert image[height // 6, width // 8, :3].mean() < 0.45
    assert image[4 * height // 6, width // 8, :3].mean() < 0.45
    assert image[4 * height // 6, 7 * width // 8, :3].mean() == 1
    code, _, err = command(
        "predict", args[0], f"--plot={tmp_path}/none/out.png", files[0]
    )
    assert code == 1 and "none/out.png" in err.splitlines()[-1]


def test_predict_refuses_weights_in_one_line(tmp_path):
    for args, message in [
        ((f"--weights={tmp_path}/no.npy", "--preset=tiny"), "which is none"),
        ((f"--weights={tmp_path}",), "network.json"),
    ]:
        code, _, err = command("predict", *args, "a.jpg")
        said = err.splitlines()[-1]
        assert code == 1 and message in said
        assert said.startswith("alexnet_tf.predict: Expected")


@pytest.mark.parametrize("module", ["evaluate", "export", "predict", "visualize"])
def test_help_needs_no_tensorflow(tmp_path, module):
    for name in ("tensorflow", "keras", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    done = subprocess.run(
        [sys.executable, "-m", f"alexnet_tf.{module}", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )
    for name in ("weights", "preset", "layout"):
        assert f"--{name}:" in done.stdout, done.stderr


def test_predict_without_files_says_so(trained):
    folder, _, _ = trained
    code, out, err = command("predict", f"--weights={folder / 'run'}")
    assert code == 1 and "Expected files of images" in out + err


# ---- export --------------------------------------------------------------------


def test_a_saved_model_gives_identical_probabilities(trained, tmp_path):
    folder, images, _ = trained
    path = tmp_path / "served"
    args = [f"--weights={folder / 'run'}", f"--output={path}"]
    code, out, _ = command("export", *args)
    assert code == 0 and out.endswith("within 0.0e+00 of the network's.\n")
    network = load_classifier(str(folder / "run"))
    served = tf.saved_model.load(str(path))
    wanted = [network.probabilities(p) for p in images[:5]]
    np.testing.assert_allclose(served.encoded(images[:5]), wanted, atol=1e-6)
    assert [c.decode() for c in served.classes().numpy()] == ["dark", "bright"]
    pixels = np.stack([tf.io.decode_jpeg(p) for p in images[:3]])
    np.testing.assert_allclose(served.pixels(pixels), wanted[:3], atol=0.01)
    views = alexnet_tf.preprocess_input(pixels, network.preset)
    assert views.shape == (3, 64, 64, 3)


@pytest.mark.parametrize(
    "family",
    ["code2012", *(pytest.param(n, marks=pytest.mark.large) for n in ("caffe", "owt"))],
)
def test_every_kind_of_layer_is_exported(tmp_path, family):
    """Narrow networks: groups, both normalizations, padding on the edges."""
    preset = presets.override(networks.narrow_preset(family), init="he")
    pixels = presets.override(preset, crop_size=99, image_size=110)
    keras.utils.set_random_seed(0)
    network = Classifier(
        alexnet_tf.AlexNet(pixels, 5),
        pixels,
        tuple("abcde"),
        pixel_statistics.imagenet(pixels.preprocessing),
    )
    for name, export_to in [
        ("saved", export_formats.saved_model),
        ("a.tflite", export_formats.tflite),
    ]:
        assert export_to(network, str(tmp_path / name)) < 1e-5
    eight = export_formats.tflite(network, str(tmp_path / "8.tflite"), eight_bits=True)
    assert eight > 1e-5


def test_onnx(trained, tmp_path):
    folder, _, _ = trained
    path = tmp_path / "a.onnx"
    args = [f"--weights={folder / 'run'}", "--format=onnx", f"--output={path}"]
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401
    except ModuleNotFoundError:
        code, _, err = command("export", *args)
        assert code == 1 and "Expected onnxruntime and tf2onnx" in err
        pytest.skip("needs the extra onnx: that it is missing was said")
    assert command("export", *args)[0] == 0 and path.exists()


def test_a_saved_model_needs_no_xla(trained, tmp_path):
    """Servers need not have it."""
    folder, _, _ = trained
    network = load_classifier(str(folder / "run"))
    export_formats.saved_model(network, str(tmp_path / "served"))
    content = (tmp_path / "served" / "saved_model.pb").read_bytes()
    assert b"LRN" in content and b"_XlaMustCompile\x12\x02(\x01" not in content
    # Traced for itself alone, the network is as it was.
    assert not network.model.get_layer("norm1").use_reference_op


def test_export_never_replaces_a_file(trained, tmp_path):
    folder, _, _ = trained
    path = tmp_path / "precious"
    path.write_text("mine")
    network = load_classifier(str(folder / "run"))
    for export_to in (export_formats.saved_model, export_formats.tflite):
        with pytest.raises(FileExistsError, match="Expected a new name"):
            export_to(network, str(path))
    code, _, err = command(
        "export", f"--weights={folder / 'run'}", f"--output={path}"
    )
    assert code == 1 and "Expected a new name" in err.splitlines()[-1]
    assert path.read_text() == "mine"


@pytest.mark.parametrize("eight_bits", [False, True])
def test_another_network_is_refused_however_timid(eight_bits):
    """Untrained networks of 1000 classes say .001 of all: .0001 apart."""
    networks = []
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        model = alexnet_tf.AlexNet("tiny")
        images = np.random.default_rng(0).normal(0, 1, (2, 64, 64, 3))
        networks.append(model(images).numpy())
    assert np.abs(networks[0] - networks[1]).max() < 0.01
    tolerance = (export_formats._TOLERANCE, export_formats._TOLERANCE_8_BITS)[eight_bits]
    with pytest.raises(ValueError, match="within.*nothing was kept"):
        export_formats._difference(*networks, tolerance)
    assert export_formats._difference(networks[0], networks[0], tolerance) == 0


@pytest.mark.parametrize("content", ["file", "directory"])
def test_an_export_appears_when_it_is_whole(tmp_path, content):
    path, part = tmp_path / "out", tmp_path / "out.part"

    def write(part):
        os.mkdir(part) if content == "directory" else open(part, "w").close()

    write(part)  # A kill has left it.
    with export_formats._new(str(path)) as name:
        assert name == str(part) and not part.exists()
        write(part)
        assert not path.exists()
    assert path.exists() and not part.exists()
    with export_formats._new(f"{tmp_path}/other/") as name:
        write(name)
    assert (tmp_path / "other").exists()
    with pytest.raises(FileExistsError, match="new name"):
        with export_formats._new(str(path)):
            pass


@pytest.mark.parametrize("content", ["file", "directory"])
def test_what_can_not_be_run_is_removed(tmp_path, content):
    with pytest.raises(RuntimeError):
        with export_formats._new(str(tmp_path / "out")) as part:
            os.mkdir(part) if content == "directory" else open(part, "w").close()
            raise RuntimeError("no such operation")
    assert os.listdir(tmp_path) == []
