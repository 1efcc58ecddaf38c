"""Training of networks that a user defines."""

import dataclasses
import os

import numpy as np
import pytest

import alexnet_tf
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models.weights import save_weights
from alexnet_tf.network_json import read_network
from alexnet_tf import presets
from alexnet_tf import training
from alexnet_tf.workdir import read_flags
from helpers.images import write_image_folder
from helpers.runs import shallow_preset
from helpers.runs import train_briefly

pytestmark = pytest.mark.usefixtures("figures_as_text")

OWN_PRESET = """
from alexnet_tf import presets

OWN = presets.Preset(
    "own",
    (
        presets.Conv("conv1", 4, 11, 4),
        presets.BatchNorm("bn1"),
        presets.ReLU("relu1"),
        presets.ResponseNorm("norm1", 2.0, 1e-4),
        presets.Pool("pool1", size=8, stride=8),
        presets.Dense("fc2", None),
    ),
    presets.Preprocessing(image_size=73, crop_size=64, pca_color_std=0.0),
    presets.Recipe(batch_size=6, schedule="constant", epochs=1),
)
"""


@pytest.mark.parametrize("devices", [1, 2])
def test_batch_normalization_updates_its_moving_averages(
    tmp_path, make_source, devices
):
    """After one step they are a quarter of the way to mean and variance of the batch.

    With several devices, each normalizes its own part of the batch.
    """
    layers = (
        presets.Conv("conv1", 4, 11, 4, init="he"),
        presets.BatchNorm("bn1", momentum=0.75),
        presets.Dense("fc2", None),
    )
    # Otherwise, the means of these images would be subtracted, and all averages be 0.
    preprocessing = presets.Preprocessing(
        64, 64, mean="channel", channel_mean=(100.0, 90.0, 80.0), random_crop=False,
        flip=False, pca_color_std=0.0,
    )
    recipe = presets.Recipe(batch_size=8, learning_rate=0.0, epochs=1)
    preset = presets.Preset("own", layers, preprocessing, recipe)
    source = make_source(8)
    train_briefly(tmp_path / "run", source, preset=preset, devices=devices)
    classifier = load_classifier(str(tmp_path / "run"))
    _, conv1, bn1, *_ = classifier.model.layers
    images = [
        classifier.center_crop(example["image"])
        for example in source.examples().as_numpy_iterator()
    ]
    maps = np.asarray(conv1(np.stack(images)))
    mean = 0.25 * maps.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(bn1.moving_mean, mean, rtol=1e-4)
    if devices == 1:
        variance = 0.75 + 0.25 * maps.var(axis=(0, 1, 2))
        np.testing.assert_allclose(bn1.moving_variance, variance, rtol=1e-4)


@pytest.mark.usefixtures("figures_as_text", "simulated_runs")
def test_a_run_needs_the_file_of_its_preset_only_once(tmp_path):
    """The work directory contains the preset, which must not change."""
    data = write_image_folder(tmp_path / "data")
    file, workdir = tmp_path / "own.py", str(tmp_path / "run")
    file.write_text(OWN_PRESET)

    def train(epochs):
        return training.train_dataset(
            data, f"{file}:OWN", workdir, eval_split="train", epochs=epochs,
            ablate=["norm"],
        )

    train(1)
    file.write_text(OWN_PRESET.replace('"conv1", 4', '"conv1", 5'))
    with pytest.raises(ValueError, match="filters=4.*filters=5"):
        train(2)
    os.remove(file)
    train(2)
    preset, classes = read_network(workdir)
    assert preset.name == "own" and preset.recipe.epochs == 2
    assert "norm1" not in [layer.name for layer in preset.layers]
    assert load_classifier(workdir).preset == preset
    with pytest.raises(ValueError, match="Expected one of the presets"):
        training.train_dataset(data, "own", str(tmp_path / "other"))


@pytest.mark.usefixtures("figures_as_text", "simulated_runs")
@pytest.mark.parametrize(
    "by_name", [False, pytest.param(True, marks=pytest.mark.large)]
)
def test_a_run_from_weights_of_an_own_preset_can_be_resumed(tmp_path, by_name):
    """Its learning rate is a tenth of that of the preset, and is not divided again.

    If the preset is given, its recipe is used and not that of the first run.
    """
    data, file = write_image_folder(tmp_path / "data"), tmp_path / "own.py"
    file.write_text(
        "import dataclasses\nfrom alexnet_tf import presets\n"
        'OWN = dataclasses.replace(presets.get("tiny"), name="own")\n'
    )
    name, first, second = f"{file}:OWN", str(tmp_path / "a"), str(tmp_path / "b")
    arguments = dict(eval_split="train", batch_size=4)
    training.train_dataset(
        data, name, first, epochs=1, learning_rate=0.02, **arguments
    )
    for epochs in (1, 2, 3):
        training.train_dataset(
            data, name if by_name else None, second, weights=first, epochs=epochs,
            **arguments,
        )
        if epochs == 2:
            file.unlink()  # The run has its preset.
    recipe = read_network(second)[0].recipe
    assert recipe.learning_rate == pytest.approx(0.001 if by_name else 0.002)
    assert recipe.epochs == 3


@pytest.mark.usefixtures("figures_as_text", "simulated_runs")
def test_only_new_runs_are_refused_for_values_that_have_no_effect(tmp_path):
    """A run of an earlier version may have such values, and must have them again."""
    data = write_image_folder(tmp_path / "data")
    arguments = dict(eval_split="train", batch_size=4, patience=3)
    with pytest.raises(ValueError, match="schedule=plateau for patience"):
        training.train_dataset(data, "tiny", str(tmp_path / "new"), **arguments)
    assert not (tmp_path / "new").exists()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(presets, "check_used", lambda *_: None)
        training.train_dataset(
            data, "tiny", str(tmp_path / "old"), epochs=1, **arguments
        )
    training.train_dataset(data, "tiny", str(tmp_path / "old"), epochs=2, **arguments)
    assert read_network(tmp_path / "old")[0].recipe.epochs == 2


@pytest.mark.usefixtures("figures_as_text", "simulated_runs")
def test_a_removed_layer_may_have_a_multiplier(tmp_path):
    data = write_image_folder(tmp_path / "data")
    recipe = presets.Recipe(layer_lr_multipliers=(("conv3", 1, 0.1),))
    preset = dataclasses.replace(presets.get("tiny"), name="own", recipe=recipe)
    workdir = str(tmp_path / "run")
    training.train_dataset(
        data, preset, workdir, eval_split="train", batch_size=4, epochs=1,
        ablate="conv3",
    )
    layers = [layer.name for layer in load_classifier(workdir).model.layers]
    assert "conv3" not in layers and "conv4" in layers


@pytest.mark.usefixtures("figures_as_text", "simulated_runs")
def test_the_home_directory_and_verbose(tmp_path, monkeypatch, capfd):
    """The paths of weights and of work directories may begin with ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data = write_image_folder(tmp_path / "data")
    arguments = dict(eval_split="train", epochs=1, batch_size=4, verbose=0)
    training.train_dataset(data, "tiny", "~/a", **arguments)
    for _ in range(2):  # The second call finds the finished run.
        training.train_dataset(data, workdir="~/b", weights="~/a", **arguments)
    assert capfd.readouterr().out == ""
    assert not (tmp_path / "~").exists()
    assert read_network(tmp_path / "b") == read_network("~/b")
    assert read_flags(tmp_path / "b")["weights"] == str(tmp_path / "a")
    training.train_dataset(data, "tiny", "~/a", **arguments | {"verbose": 2})
    assert "has already finished" in capfd.readouterr().out


@pytest.mark.usefixtures("figures_as_text", "simulated_runs")
def test_a_single_layer_or_part_may_be_a_string(tmp_path):
    data = write_image_folder(tmp_path / "data")
    arguments = dict(
        workdir=str(tmp_path / "run"), eval_split="train", epochs=1, ablate="norm",
        train_layers="fc8",
    )
    training.train_dataset(data, "tiny", **arguments)
    flags = read_flags(tmp_path / "run")
    assert (flags["ablate"], flags["train_layers"]) == ("norm", "fc8")
    # The same run is resumed with lists.
    arguments |= {"epochs": 2, "ablate": ["norm"], "train_layers": ["fc8"]}
    training.train_dataset(data, "tiny", **arguments)
    with pytest.raises(ValueError, match="Received: reinit=fc8 alone"):
        training.train_dataset(data, "tiny", reinit="fc8")


def test_presets_that_are_not_valid_are_refused_before_a_run_begins(tmp_path):
    data = write_image_folder(tmp_path / "data")
    tiny = presets.get("tiny")
    preset = dataclasses.replace(
        tiny, recipe=dataclasses.replace(tiny.recipe, momentum="0.9")
    )
    expected = "Expected momentum of Recipe to be of type float.*'0.9'"
    with pytest.raises(ValueError, match=expected):
        training.train_dataset(data, preset, tmp_path / "run", eval_split="train")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("simulated_runs")
def test_layers_may_have_any_names(tmp_path, make_source):
    """Names with a period, and those that other packages give to Caffe's layers."""
    layers = (
        presets.Conv("net.conv1", 4, 11, 4, init="he"),
        presets.ReLU("net.relu"),
        presets.Pool("net.pool", size=8, stride=8),
        presets.Dense("dense", 5, init="he"),
        presets.Dense("classifier", None, init="he"),
    )
    preset = dataclasses.replace(shallow_preset(epochs=1), name="own", layers=layers)
    train_briefly(tmp_path / "run", make_source(12), preset=preset)
    model = load_classifier(str(tmp_path / "run")).model
    backbone = alexnet_tf.AlexNet(weights=tmp_path / "run", include_top=False)
    save_weights(model, tmp_path / "own.npz")
    from_file = load_classifier(str(tmp_path / "own.npz"), preset).model
    for other, names in (
        (backbone, ["net.conv1"]),
        (from_file, ["net.conv1", "dense", "classifier"]),
    ):
        for name in names:
            np.testing.assert_array_equal(
                other.get_layer(name).kernel, model.get_layer(name).kernel
            )
