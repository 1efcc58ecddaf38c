"""Receptive fields against gradients, and each figure as a user asks for it."""

import keras
from matplotlib import image as matplotlib_image
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.models import receptive_fields
from alexnet_tf import presets
from helpers.commands import command

# Size and stride: of VALID 3 / 2 pools and the kernels 11 / 4, 5, 3, 3, 3.
KNOWN = {
    "conv1": (11, 4), "pool1": (19, 8), "conv2": (51, 8), "pool2": (67, 16),
    "conv3": (99, 16), "conv4": (131, 16), "conv5": (163, 16),
    "pool5": (195, 32),
}  # fmt: skip


@pytest.mark.parametrize("name", ["paper", "code2012", "caffe", "caffenet", "owt"])
def test_receptive_fields_are_the_known_ones(name):
    model = alexnet_tf.AlexNet(name, include_top=False)
    fields = {field.layer: field for field in receptive_fields.receptive_fields(model)}
    # The spatial normalization of the original sees 2 outputs more each way.
    more = {"code2012": 4 * 8}.get(name, 0)
    for layer, (size, stride) in KNOWN.items():
        wider = more if layer not in ("conv1", "pool1", "conv2") else 0
        assert (fields[layer].size, fields[layer].stride) == (size + wider, stride)
    assert fields["pool5"].side == 6
    # owt pads 2 pixels before conv1, the others none.
    assert fields["conv1"].start == (-2 if name == "owt" else 0)


def by_gradient(model, layer, place):
    """(first, last) row of pixels that an output depends on."""
    side = model.input.shape[1]
    part = keras.Model(model.input, model.get_layer(layer).output)
    images = np.random.default_rng(0).normal(0, 1, (1, side, side, 3))
    images = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = tf.reduce_sum(part(images)[0, place, place])
    gradient = tf.reduce_sum(tf.abs(tape.gradient(output, images)), axis=(0, 2, 3))
    rows = np.flatnonzero(gradient.numpy())
    return rows[0], rows[-1]


@pytest.mark.parametrize("name", ["code2012", "owt", "cifar10_full"])
@pytest.mark.parametrize("place", [0, -1])
def test_receptive_fields_are_those_of_the_gradient(name, place):
    """Average pooling in place of maximum, so that every pixel counts."""
    layers = []
    for spec in presets.get(name).layers:
        if isinstance(spec, presets.Pool):
            spec = presets.dataclasses.replace(spec, kind="average")
        # No ReLU shuts, and one of four maps sees every pixel.
        if isinstance(spec, presets.Conv):
            spec = presets.dataclasses.replace(spec, filters=4, init="he", groups=1)
        if not isinstance(spec, presets.ReLU):
            layers.append(spec)
    preset = presets.dataclasses.replace(presets.get(name), layers=tuple(layers))
    keras.utils.set_random_seed(0)
    model = alexnet_tf.AlexNet(preset, include_top=False)
    side = model.input.shape[1]
    for field in receptive_fields.receptive_fields(model)[1:]:
        if field.layer == "pad_conv1":
            continue  # Its first or last outputs see nothing but zeros.
        number = place % field.side
        first = field.start + number * field.stride
        last = first + field.size - 1
        wanted = max(first, 0), min(last, side - 1)
        assert by_gradient(model, field.layer, number) == wanted, field


# ---- The command ---------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one epoch on 40 images of 2 classes."""
    from helpers.images import write_image_folder

    folder = tmp_path_factory.mktemp("visualize")
    data = write_image_folder(folder / "data", classes=2, count=20)
    assert command(
        "train", f"--dataset={data}", "--train_split=train[:30]",
        "--eval_split=train[30:]", "--preset=tiny", "--epochs=1",
        f"--workdir={folder / 'run'}",
    )[0] == 0  # fmt: skip
    return folder, data


def visualize(run, figure, *args):
    folder, _ = run
    code, out, err = command(
        "visualize", f"--figure={figure}", f"--weights={folder / 'run'}", *args
    )
    return code, out, (err.splitlines() or [""])[-1]


@pytest.mark.parametrize(
    "figure, shape",
    [
        ("kernels", (300, 960)),
        ("predictions", (440, 870)),
        ("neighbors", (570, 1190)),
        ("views", (250, 720)),
        pytest.param("activations", (1290, 600), marks=pytest.mark.large),
        pytest.param("norms", (400, 1000), marks=pytest.mark.large),
        pytest.param("dropout", (400, 900), marks=pytest.mark.large),
        ("normalization", (500, 800)),
    ],
)
def test_a_figure_is_drawn(run, tmp_path, figure, shape):
    """Of the run's own data; what is on it: test_figures and test_plots."""
    path = tmp_path / "out.png"
    code, _, said = visualize(run, figure, f"--output={path}", "--count=3")
    assert code == 0, said
    image = matplotlib_image.imread(path)[..., :3]
    assert np.abs(np.array(image.shape[:2]) - shape).max() <= 2
    assert image.std() > 0.05


def test_an_index_is_written_and_read(run, tmp_path):
    index, path = tmp_path / "fc6.npz", tmp_path / "out.png"
    args = [f"--output={path}", "--layer=fc6", "--count=2"]
    code, out, said = visualize(run, "neighbors", *args, f"--index_output={index}")
    assert code == 0, said
    assert out == ""  # No progress bar where no terminal is.
    with np.load(index) as arrays:
        assert arrays["features"].shape == (30, 128)  # Of the training split.
        assert {*arrays["labels"].tolist()} == {0, 1}
    image = path.read_bytes()
    assert visualize(run, "neighbors", *args, f"--index={index}")[0] == 0
    assert path.read_bytes() == image
    # The report asks for the same split; fc7 by default.
    folder, _ = run
    code, _, said = command("report", folder / "run", f"--index={index}")
    assert code == 1 and "whose layer is fc7" in said
    code, _, said = command(
        "report", folder / "run", "--layer=fc6", f"--index={index}"
    )
    assert code == 0, said
    code, _, said = visualize(
        run, "neighbors", args[0], f"--index={tmp_path / 'none.npz'}"
    )
    assert code == 1 and "none.npz" in said
    code, _, said = visualize(
        run, "neighbors", args[0], f"--index={index}", f"--index_output={index}"
    )
    assert code == 1 and "index_output" in said


def test_fields_are_a_table(run):
    code, out, _ = visualize(run, "fields")
    assert code == 0 and "| pool2 | 3 x 3 | 67 | 16 | -16 |" in out


def test_bad_calls_are_said_in_one_line(run, tmp_path):
    code, _, said = visualize(run, "kernels")
    assert code == 1 and "Expected a PNG" in said
    code, _, said = visualize(run, "norms", "--weights=", "--output=a.png")
    assert code == 1 and "weights to draw the norms of" in said
    code, _, said = visualize(
        run, "normalization", "--preset=owt", "--output=a.png"
    )
    assert code == 1 and "preset=owt" in said
    code, _, said = visualize(
        run, "neighbors", "--layer=fc9", f"--output={tmp_path}/a.png"
    )
    assert code == 1 and "layer='fc9'" in said
    code, _, said = visualize(run, "views", f"--output={tmp_path}/none/a.png")
    assert code == 1 and "none/a.png" in said
    # Before the work, which would take hours on a large data set.
    code, _, said = visualize(run, "neighbors", "--output=a.jpg")
    assert code == 1 and "--output to end in .png" in said
    code, _, said = visualize(
        run, "neighbors", "--output=a.png", f"--index_output={tmp_path}/none/i.npz"
    )
    assert code == 1 and "--index_output in a folder that is there" in said
    (tmp_path / "a.png").mkdir()
    code, _, said = visualize(run, "neighbors", f"--output={tmp_path}/a.png")
    assert code == 1 and "a.png, a folder" in said


def test_other_classes_are_refused(run, tmp_path):
    from helpers.images import write_image_folder

    data = write_image_folder(tmp_path / "data", classes=3, count=2)
    code, _, said = visualize(
        run, "predictions", f"--dataset={data}", "--split=train",
        f"--output={tmp_path}/a.png",
    )  # fmt: skip
    assert code == 1 and "Expected the classes of folder:" in said
