"""Tests receptive fields against gradients, and the command visualize."""

import dataclasses

import keras
from matplotlib import image as matplotlib_image
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.figures import draw
from alexnet_tf.figures import explanations
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models import alexnet
from alexnet_tf.models import receptive_fields
from alexnet_tf import plots
from alexnet_tf import presets
from alexnet_tf.training import kernel_history
from helpers.commands import command
from helpers.images import write_image_folder
from helpers.simulation import simulated_runs

# (size, stride) of receptive fields. Pools have size 3 and stride 2; the kernels of
# conv1 have size 11 and stride 4, the others sizes 5, 3, 3, 3 and stride 1.
KNOWN_FIELDS = {
    "conv1": (11, 4), "pool1": (19, 8), "conv2": (51, 8), "pool2": (67, 16),
    "conv3": (99, 16), "conv4": (131, 16), "conv5": (163, 16),
    "pool5": (195, 32),
}  # fmt: skip


@pytest.mark.parametrize("name", ["paper", "code2012", "caffe", "caffenet", "owt"])
def test_receptive_fields_have_known_sizes_and_strides(name):
    model = alexnet_tf.AlexNet(name, include_top=False)
    fields = {field.layer: field for field in receptive_fields.receptive_fields(model)}
    # The spatial normalization of code2012 adds 2 outputs on each side, 8 pixels apart.
    added_by_normalization = {"code2012": 4 * 8}.get(name, 0)
    for layer, (size, stride) in KNOWN_FIELDS.items():
        if layer not in ("conv1", "pool1", "conv2"):
            size += added_by_normalization
        assert (fields[layer].size, fields[layer].stride) == (size, stride)
    assert fields["pool5"].side == 6
    # owt pads 2 pixels at the top and on the left, the other presets none.
    assert fields["conv1"].start == (-2 if name == "owt" else 0)


def field_by_gradient(model, layer, position):
    """Returns (first, last), the range of pixel rows that an output depends on."""
    side = model.input.shape[1]
    extractor = keras.Model(model.input, model.get_layer(layer).output)
    images = np.random.default_rng(0).normal(0, 1, (1, side, side, 3))
    images = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = tf.reduce_sum(extractor(images)[0, position, position])
    gradient = tf.reduce_sum(tf.abs(tape.gradient(output, images)), axis=(0, 2, 3))
    rows = np.flatnonzero(gradient.numpy())
    return rows[0], rows[-1]


@pytest.mark.parametrize("name", ["code2012", "owt", "cifar10_full"])
@pytest.mark.parametrize("position", [0, -1])
def test_receptive_fields_are_the_pixels_with_a_gradient(name, position):
    """Without max pooling and ReLU, no pixel of a field has a gradient of zero.

    With four maps, each pixel reaches at least one of them.
    """
    layers = []
    for spec in presets.get(name).layers:
        if isinstance(spec, presets.Pool):
            spec = dataclasses.replace(spec, kind="average")
        if isinstance(spec, presets.Conv):
            spec = dataclasses.replace(spec, filters=4, init="he", groups=1)
        if not isinstance(spec, presets.ReLU):
            layers.append(spec)
    preset = dataclasses.replace(presets.get(name), layers=tuple(layers))
    keras.utils.set_random_seed(0)
    model = alexnet_tf.AlexNet(preset, include_top=False)
    side = model.input.shape[1]
    for field in receptive_fields.receptive_fields(model)[1:]:
        if field.layer == "pad_conv1":
            continue  # Its first and last outputs see only zeros.
        index = position % field.side
        first = field.start + index * field.stride
        last = first + field.size - 1
        expected = max(first, 0), min(last, side - 1)
        assert field_by_gradient(model, field.layer, index) == expected, field


# ---- The command ---------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns the path of a run of one epoch on 40 images of 2 classes.

    The training split of the run has 30 images.
    """
    folder = tmp_path_factory.mktemp("visualize")
    data = write_image_folder(folder / "data", classes=2, count=20)
    with simulated_runs():
        assert command(
            "train", f"--dataset={data}", "--train_split=train[:30]",
            "--eval_split=train[30:]", "--preset=tiny", "--epochs=1",
            f"--workdir={folder / 'run'}",
        )[0] == 0  # fmt: skip
    return folder / "run"


# Figures that are laid out by `layout`.
OTHER_LAYOUT = (*explanations.FIGURES, "architecture", "kernel_epochs")


def visualize(run, figure, *args):
    """Returns (exit status, output, last error line) of the command visualize."""
    code, out, err = command(
        "visualize", f"--figure={figure}", f"--weights={run}", *args
    )
    return code, out, (err.splitlines() or [""])[-1]


@pytest.mark.parametrize(
    "figure",
    [
        "kernels", "normalization", "receptive_fields",
        pytest.param("predictions", marks=pytest.mark.large),
        pytest.param("neighbors", marks=pytest.mark.large),
        pytest.param("crops", marks=pytest.mark.large),
        pytest.param("activations", marks=pytest.mark.large),
        pytest.param("norms", marks=pytest.mark.large),
        pytest.param("dropout", marks=pytest.mark.large),
        *(
            pytest.param(name, marks=pytest.mark.large)
            for name in OTHER_LAYOUT
        ),
    ],
)  # fmt: skip
def test_visualize_draws_each_figure(run, tmp_path, figure):
    """The contents are tested in test_paper_figures.py and test_plots.py."""
    path = tmp_path / "out.png"
    code, out, error = visualize(run, figure, f"--output={path}", "--count=3")
    assert code == 0, error
    assert out.splitlines()[-1] == str(path)
    image = matplotlib_image.imread(path)[..., :3]
    width = 900 if figure in OTHER_LAYOUT else 960
    assert image.shape[1] == width and image.std() > 0.05


def test_draw_expands_tildes(run, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(run.parent))
    draw.draw("kernels", "~/kernels.PNG", weights="~/run")
    assert (run.parent / "kernels.PNG").read_bytes().startswith(b"\x89PNG")


def test_training_keeps_the_kernels_of_its_epochs(run):
    classifier = load_classifier(str(run))
    paths = kernel_history.recorded_epochs(run)
    before, after = map(kernel_history.read_kernels, paths.values())
    assert [*paths] == [0, 1]
    kernels = alexnet.rgb_kernels(classifier.model, classifier.preset)
    np.testing.assert_array_equal(after, kernels)
    assert np.abs(before - after).max() > 0


def test_figures_show_given_images(run, tmp_path, monkeypatch):
    """Images may be a folder, a pattern or a path. They belong to no class."""
    shown = {}
    for figure in ("predictions", "activations", "neighbors"):
        monkeypatch.setattr(
            plots, figure, lambda *args, figure=figure: shown.update({figure: args})
        )
    write_image_folder(tmp_path / "own", classes=2, count=2)
    paths = [tmp_path / "own" / "class0", f"{tmp_path}/own/class1/*.jpg"]
    draw.draw("predictions", tmp_path / "p.png", weights=run, images=paths)
    [(_, rows)], *_ = shown["predictions"]
    assert [row[0] for row in rows] == ["0.jpg", "1.jpg"] * 2
    draw.draw(
        "neighbors", tmp_path / "p.png", weights=run, images=paths[:1], metric="cosine"
    )
    images, _, title = shown["neighbors"]
    assert title.endswith("(cosine distance)")
    assert [row[0][0] for row in images] == ["0.jpg", "1.jpg"]
    # One of them or both are training images of the run too, and the nearest ones.
    assert any(np.array_equal(row[0][1], row[1][1]) for row in images)
    assert {kind for row in images for _, _, kind in row[1:]} == {"neighbor"}
    image = tmp_path / "own" / "class1" / "1.jpg"
    draw.draw("activations", tmp_path / "p.png", weights=run, images=image)
    pixels = tf.io.decode_jpeg(image.read_bytes()).numpy().astype(float)
    # The network sees the center of the image at 64 / 73 of its width.
    assert abs(shown["activations"][0].mean() - pixels[5:-5, 5:-5].mean()) < 2


@pytest.mark.parametrize(
    "figure, images, message",
    [
        ("kernels", ["a.jpg"], r"predictions, .* Received: images=\['a.jpg'\] for ker"),
        ("dropout", ["a.jpg"], "images only for the figures predictions, neighbors"),
        ("crops", ["a.jpg", "b.jpg"], "Expected one image for crops. Received: 2"),
        ("crops", ["c.jpg"], "There is no image file at c.jpg"),
        ("crops", ["a.jpg"], "^a.jpg cannot be decoded as a JPEG"),
    ],
)
def test_rejects_images_that_a_figure_does_not_show(
    run, tmp_path, monkeypatch, figure, images, message
):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    with pytest.raises((ValueError, OSError), match=message):
        draw.draw(figure, tmp_path / "out.png", weights=run, images=images)


def test_python_draws_what_the_command_draws(run, tmp_path):
    by_command, by_python = tmp_path / "command.png", tmp_path / "python.png"
    code, _, error = visualize(run, "crops", f"--output={by_command}", "--seed=3")
    assert code == 0, error
    draw.draw("crops", by_python, weights=run, seed=3)
    assert by_python.read_bytes() == by_command.read_bytes()


@pytest.mark.large
def test_visualize_and_report_use_a_written_index(run, tmp_path):
    index, path = tmp_path / "fc6.npz", tmp_path / "out.png"
    args = [f"--output={path}", "--layer=fc6", "--count=2"]
    code, out, error = visualize(run, "neighbors", *args, f"--index_output={index}")
    assert code == 0, error
    # There is no progress bar without a terminal.
    assert out == f"{index}\n{path}\n"
    with np.load(index) as arrays:
        # The training split has 30 images.
        assert arrays["features"].shape == (30, 128)
        assert {*arrays["labels"].tolist()} == {0, 1}
    image = path.read_bytes()
    assert visualize(run, "neighbors", *args, f"--index={index}")[0] == 0
    assert path.read_bytes() == image
    # The report uses the same split, but its default layer is fc7.
    code, _, error = command("report", run, f"--index={index}")
    assert code == 1 and "fc6.npz: layer=fc6. Received: layer=fc7" in error
    code, _, error = command(
        "report", run, "--layer=fc6", f"--index={index}"
    )
    assert code == 0, error
    code, _, error = visualize(
        run, "neighbors", args[0], f"--index={tmp_path / 'none.npz'}"
    )
    assert code == 1 and "none.npz" in error
    code, _, error = visualize(
        run, "neighbors", args[0], f"--index={index}", f"--index_output={index}"
    )
    assert code == 1 and "index_output" in error


def test_visualize_prints_receptive_fields_as_a_table(run):
    code, out, _ = visualize(run, "receptive_fields")
    assert code == 0 and "| pool2 | 3 x 3 | 67 | 16 | -16 |" in out


def test_visualize_reports_invalid_arguments_in_one_line(run, tmp_path):
    code, _, error = visualize(run, "kernels")
    assert code == 1 and "Expected a PNG" in error
    code, _, error = visualize(run, "norms", "--weights=", "--output=a.png")
    assert code == 1 and "weights of a network for norms" in error
    code, _, error = visualize(run, "receptive_fields", "--weights=")
    assert code == 1 and "weights of a network for receptive_fields" in error
    code, _, error = visualize(run, "normalization", "--weights=", "--output=a.png")
    assert code == 1 and "weights of a network for normalization" in error
    code, _, error = visualize(
        run, "neighbors", "--layer=fc9", f"--output={tmp_path}/a.png"
    )
    assert code == 1 and "layer='fc9'" in error
    # Outputs are checked before the features are computed, which could take hours.
    code, _, error = visualize(run, "crops", f"--output={tmp_path}/none/a.png")
    assert code == 1 and f"folder of output does not exist: {tmp_path}/none." in error
    code, _, error = visualize(run, "neighbors", "--output=a.jpg")
    assert code == 1 and "Expected output to end in .png" in error
    code, _, error = visualize(
        run, "neighbors", "--output=a.png", f"--index_output={tmp_path}/none/i.npz"
    )
    assert code == 1
    assert f"folder of index_output does not exist: {tmp_path}/none." in error
    (tmp_path / "a.png").mkdir()
    code, _, error = visualize(run, "neighbors", f"--output={tmp_path}/a.png")
    assert code == 1 and f"of output is a folder: {tmp_path}/a.png." in error


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"count": 0}, "count of at least 1. Received: count=0"),
        ({"metric": "l1"}, "metric \"l2\" or \"cosine\". Received: metric='l1'"),
    ],
)
def test_draw_rejects_invalid_values(run, tmp_path, arguments, message):
    """Only the flags of the command are checked by absl."""
    path = tmp_path / "out.png"
    with pytest.raises(ValueError, match=message):
        draw.draw("neighbors", path, weights=run, **arguments)


@pytest.mark.parametrize(
    "figure, arguments, message",
    [
        ("kernels", {"unit": 0}, "unit only for the figures deconv, patches. Received"),
        ("kernels", {"class_name": "0"}, "class_name only for the figures occlusion"),
        ("predictions", {"layer": "fc7"}, "layer only for the figures neighbors"),
        ("neighbors", {"projection": "tsne"}, "only for the figures embedding. Rec"),
        ("crops", {"metric": "cosine"}, "only for the figures neighbors. Received: me"),
        ("deconv", {"index": "i.npz"}, "index=i.npz for deconv. Leave it out"),
        ("norms", {"index_output": "i.npz"}, "only for the figures neighbors"),
        ("fields", {}, "one of the figures kernels, .* Received: figure='fields'"),
    ],
)
def test_draw_rejects_arguments_that_a_figure_does_not_use(
    tmp_path, figure, arguments, message
):
    """Nothing is loaded before: there are no such weights."""
    path = tmp_path / "out.png"
    with pytest.raises(ValueError, match=message):
        draw.draw(figure, path, weights="/nowhere.npy", **arguments)


def test_visualize_rejects_data_with_other_classes(run, tmp_path):
    data = write_image_folder(tmp_path / "data", classes=3, count=2)
    code, _, error = visualize(
        run, "predictions", f"--dataset={data}", "--split=train",
        f"--output={tmp_path}/a.png",
    )  # fmt: skip
    assert code == 1 and "Expected a network with the 3 classes of folder:" in error
