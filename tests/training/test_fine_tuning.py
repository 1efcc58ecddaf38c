"""Tests of initial weights, frozen layers, layer learning rates and cached features."""

import dataclasses
import functools
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.models import alexnet
from alexnet_tf.models.weights import load_weights
from alexnet_tf.models.weights import save_weights
from alexnet_tf.network_json import read_network
from alexnet_tf import presets
from alexnet_tf.training.fine_tuning import check_plan
from alexnet_tf.training.fine_tuning import compute_features
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training.fine_tuning import freeze_layers
from alexnet_tf.training.fine_tuning import initial_statistics
from alexnet_tf.training.fine_tuning import split_backbone
from alexnet_tf.training import loop
from alexnet_tf.training.run import train_dataset
from alexnet_tf.workdir import read_flags
from alexnet_tf.workdir import STATISTICS_FILE
from alexnet_tf.workdir import verify_image_counts
from helpers.images import write_image_folder
from helpers import runs
from helpers.runs import CallAtStep
from helpers.runs import final_arrays
from helpers.runs import layers_of
from helpers.runs import small_preset
from helpers.simulation import simulated_runs

pytestmark = pytest.mark.usefixtures("figures_as_text")

train_briefly = functools.partial(runs.train_briefly, preset=small_preset())
CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def save_random_weights(path, classes=10):
    """Saves the weights of an untrained model; returns {layer name: arrays}."""
    keras.utils.set_random_seed(9)
    model = alexnet.AlexNet("tiny", classes)
    save_weights(model, path)
    return {layer.name: layer.get_weights() for layer in model.layers}


@pytest.mark.parametrize(
    "devices, cached",
    [
        (1, False),
        (2, True),
        pytest.param(1, True, marks=pytest.mark.large),
        pytest.param(2, False, marks=pytest.mark.large),
    ],
)
def test_frozen_layers_keep_exactly_their_weights(
    tmp_path, make_source, devices, cached
):
    """Neither gradients nor momentum nor weight decay changes frozen layers."""
    path = tmp_path / "w.npy"
    initial = save_random_weights(path)
    plan = FineTuning(
        str(path), freeze=(*CONVOLUTIONS, "fc7"), cache_features=cached
    )
    train_briefly(
        tmp_path / "run", make_source(36), devices=devices, fine_tuning=plan,
        preset=small_preset(weight_decay=0.5, epochs=1),
    )
    for name, arrays in layers_of(tmp_path / "run").items():
        same = [np.array_equal(a, b) for a, b in zip(arrays, initial[name])]
        assert all(same) if name in plan.freeze else not any(same), name
    velocities = [
        name
        for name, array in final_arrays(tmp_path / "run").items()
        if name.startswith("optimizer/") and array.ndim
    ]
    assert len(velocities) == 4  # Kernel and bias of fc6 and fc8.


@pytest.mark.usefixtures("simulated_runs")
def test_reinit_layers_are_random_and_other_layers_are_loaded(
    tmp_path, make_source
):
    """The learning rate is 0, so that the weights remain the initial ones."""
    path = tmp_path / "w.npy"
    initial = save_random_weights(path)
    plan = FineTuning(str(path), reinit="fc8")
    train_briefly(
        tmp_path / "run", make_source(36), fine_tuning=plan,
        preset=small_preset(learning_rate=0.0, epochs=1),
    )
    for name, arrays in layers_of(tmp_path / "run").items():
        assert np.array_equal(arrays[0], initial[name][0]) == (name != "fc8")


@pytest.mark.usefixtures("simulated_runs")
def test_resuming_does_not_load_the_weights_again(tmp_path, make_source):
    """The weights file may be deleted after the first checkpoint."""
    path = tmp_path / "w.npy"
    save_random_weights(path)
    plan = FineTuning(str(path))
    source = make_source(36)
    first = train_briefly(tmp_path / "run", source, fine_tuning=plan)
    before = layers_of(tmp_path / "run")
    path.unlink()
    assert train_briefly(tmp_path / "run", source, fine_tuning=plan) == first
    for name, arrays in layers_of(tmp_path / "run").items():
        np.testing.assert_array_equal(arrays[0], before[name][0])


@pytest.mark.usefixtures("simulated_runs")
def test_multipliers_scale_the_first_step(tmp_path, make_source):
    path = tmp_path / "w.npy"
    initial = save_random_weights(path)
    updates = []
    for name, lr_mult in (("plain", {}), ("scaled", {"fc8": 10.0, "conv1": 0.0})):
        plan = FineTuning(str(path), lr_mult=lr_mult)
        train_briefly(
            tmp_path / name, make_source(12), fine_tuning=plan,
            preset=small_preset(epochs=1, dropout=0.0),
        )
        updates.append(
            {
                layer: kernel.astype(float) - initial[layer][0]
                for layer, (kernel, _) in layers_of(tmp_path / name).items()
            }
        )
    plain, scaled = updates
    # In float32, an update of 1e-5 to a weight of .1 has three exact digits.
    np.testing.assert_allclose(scaled["fc8"], 10 * plain["fc8"], rtol=0.02, atol=1e-7)
    np.testing.assert_allclose(scaled["fc7"], plain["fc7"], atol=1e-8)
    assert not scaled["conv1"].any() and plain["conv1"].any()


@pytest.mark.parametrize("frozen", [(), ("fc6",), ("fc6", "fc7")])
@pytest.mark.parametrize("name", ["tiny", "owt"])
def test_backbone_and_head_give_the_outputs_of_the_model(name, frozen):
    """The backbone ends before the first dropout, even if fc6 or fc7 is frozen."""
    preset = presets.get(name)
    model = alexnet.AlexNet(preset, 4, input_shape=(67, 67, 3))
    plan = FineTuning(freeze=CONVOLUTIONS + frozen)
    freeze_layers(model, plan)
    backbone, head = split_backbone(model)
    images = np.random.default_rng(0).normal(0, 50, (3, 67, 67, 3))
    images = images.astype(np.float32)
    np.testing.assert_allclose(
        head(backbone(images)), model(images), rtol=1e-5, atol=1e-6
    )
    assert head.trainable_variables[0] is model.trainable_variables[0]
    assert len(head.trainable_variables) == len(model.trainable_variables)
    dropouts = [
        layer for layer in backbone.layers if isinstance(layer, keras.layers.Dropout)
    ]
    assert not dropouts
    expected = {"tiny": "flatten" if not frozen else "relu6", "owt": "pool5"}
    assert backbone.layers[-1].name == expected[name]


def test_cached_features_are_those_of_the_center_crops(tmp_path, make_source):
    source, preset = make_source(7), presets.get("tiny")
    statistics = pixel_statistics.compute(source, preset.preprocessing, verbose=0)
    model = alexnet.AlexNet(preset, 10)
    freeze_layers(model, FineTuning(freeze=CONVOLUTIONS))
    backbone, _ = split_backbone(model)
    batches = input_pipeline.evaluation_batches(
        source, preset.preprocessing, statistics, batch_size=4
    )
    features, labels = compute_features(backbone, batches, source)
    assert labels.numpy().tolist() == [0, 1, 2, 3, 4, 5, 6]
    images = np.concatenate([images for images, _ in batches])[:7]
    np.testing.assert_allclose(features, backbone(images), atol=1e-5)


def test_cached_batches_hold_each_image_once():
    features = np.arange(24, dtype=np.float32).reshape(12, 2)
    labels = np.arange(12, dtype=np.int32)

    def batches_of_epoch(epoch, **kwargs):
        """Returns the labels of each batch."""
        batches = input_pipeline.cached_training_batches(
            features, labels, batch_size=4, seed=1, epoch=epoch, steps=3, **kwargs
        )
        pairs = [*batches.as_numpy_iterator()]
        for batch_features, batch_labels in pairs:
            np.testing.assert_array_equal(batch_features, features[batch_labels])
        return [batch_labels.tolist() for _, batch_labels in pairs]

    first_epoch = batches_of_epoch(0)
    assert sorted(sum(first_epoch, [])) == list(range(12))
    assert first_epoch == batches_of_epoch(0)
    assert sum(first_epoch, []) != sum(batches_of_epoch(1), [])
    assert batches_of_epoch(0, first_step=1) == first_epoch[1:]
    assert sum(batches_of_epoch(0, num_replicas=2), []) == sum(first_epoch, [])
    evaluation = input_pipeline.cached_evaluation_batches(
        features, labels, batch_size=8, num_replicas=2
    )
    batches = [batch.tolist() for _, batch in evaluation.as_numpy_iterator()]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [-1] * 4]


def resident_memory():
    """Returns the resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_cached_epochs_do_not_copy_the_features():
    with tf.device("CPU:0"):
        features = tf.random.normal([2000, 9216])  # 74 MB
        labels = tf.zeros([2000], tf.int32)
    memory = []
    for epoch in range(6):
        for batches in (
            input_pipeline.cached_training_batches(
                features, labels, batch_size=50, seed=0, epoch=epoch, steps=40
            ),
            input_pipeline.cached_evaluation_batches(
                features, labels, batch_size=50
            ),
        ):
            for _ in batches:
                pass
        memory.append(resident_memory())
    assert memory[5] - memory[1] < 74e6


@pytest.mark.usefixtures("simulated_runs")
def test_initial_statistics_requires_the_statistics_of_the_run(tmp_path, make_source):
    train_briefly(tmp_path / "run", make_source(24))
    (tmp_path / "run" / STATISTICS_FILE).unlink()
    plan = FineTuning(str(tmp_path / "run"))
    with pytest.raises(FileNotFoundError):
        initial_statistics(plan, presets.get("tiny").preprocessing)


@pytest.mark.usefixtures("simulated_runs")
def test_statistics_belong_to_the_initial_weights(tmp_path, make_source):
    """The statistics are those of the run, or those of ImageNet for a weights file."""
    bright, dark = make_source(24, mean=200), make_source(24, name="dark", mean=60)
    train_briefly(tmp_path / "bright", bright)
    plan = FineTuning(str(tmp_path / "bright"))
    train_briefly(tmp_path / "tuned", dark, fine_tuning=plan)
    statistics, expected = (
        pixel_statistics.read(str(tmp_path / name / STATISTICS_FILE))
        for name in ("tuned", "bright")
    )
    np.testing.assert_array_equal(statistics.mean_image, expected.mean_image)
    assert statistics.mean_image.mean() > 150
    caffe = presets.get("caffe").preprocessing
    with pytest.raises(ValueError, match="images of 73 pixels.*image_size=256"):
        initial_statistics(plan, caffe)
    with pytest.raises(ValueError, match="no mean for .*bright.*mean=mean.npy"):
        initial_statistics(dataclasses.replace(plan, mean="mean.npy"), caffe)
    published = initial_statistics(FineTuning("w.npy"), caffe)
    np.testing.assert_allclose(
        published.channel_mean, [122.6789, 116.6688, 104.007], atol=1e-3
    )


@pytest.mark.usefixtures("simulated_runs")
def test_a_mean_image_of_the_weights_is_kept_by_the_run(tmp_path):
    """In `train_dataset`, the mean of a preset can be the path of a file."""
    dataset = write_image_folder(tmp_path / "data")
    weights = str(tmp_path / "w.npz")
    save_random_weights(weights, classes=2)
    mean = np.ones((3, 73, 73), "f4") * np.reshape([50, 100, 200], (3, 1, 1))
    np.save(tmp_path / "mean.npy", mean.astype("f4"))
    arguments = dict(
        dataset=dataset, preset="tiny", eval_split="train", epochs=1,
        mean=str(tmp_path / "mean.npy"),
    )  # fmt: skip
    with pytest.raises(ValueError, match='mean "image" or "channel"'):
        train_dataset(workdir=str(tmp_path / "run"), **arguments)
    train_dataset(workdir=str(tmp_path / "run"), weights=weights, **arguments)
    statistics = pixel_statistics.read(str(tmp_path / "run" / STATISTICS_FILE))
    np.testing.assert_array_equal(statistics.channel_mean, [200, 100, 50])
    flags = read_flags(str(tmp_path / "run"))
    assert flags["mean"] == str(tmp_path / "mean.npy")


@pytest.mark.usefixtures("simulated_runs")
def test_read_network_returns_preset_and_classes(tmp_path, make_source):
    preset = presets.override(
        small_preset(), mean="image", pca_color_std=0.2, dropout=0.25, epochs=1
    )
    train_briefly(tmp_path, make_source(24), preset=preset)
    run_preset, classes = read_network(str(tmp_path))
    assert run_preset == preset and classes == tuple("0123456789")
    message = "none is not the work directory of a run.*network.json"
    with pytest.raises(FileNotFoundError, match=message):
        read_network(str(tmp_path / "none"))


@pytest.mark.usefixtures("simulated_runs")
def test_load_weights_reads_all_layers_of_a_run(tmp_path, make_source):
    train_briefly(tmp_path, make_source(24))
    model = alexnet.AlexNet("tiny", 10)
    report = load_weights(model, tmp_path)
    assert report.arrays == 16
    for name, (kernel, bias) in layers_of(tmp_path).items():
        layer = model.get_layer(name)
        np.testing.assert_array_equal(layer.kernel.numpy(), kernel)
        np.testing.assert_array_equal(layer.bias.numpy(), bias)


def test_cached_features_train_like_images_without_augmentation(tmp_path, make_source):
    """Training on cached features gives the same weights as training on images."""
    source, path = make_source(24), tmp_path / "w.npy"
    save_random_weights(path)
    preset = small_preset(
        crop_size=73, flip=False, pca_color_std=0.0, dropout=0.0, epochs=1,
        batch_size=24,
    )  # fmt: skip
    weights = []
    for cached in (False, True):
        plan = FineTuning(
            str(path), reinit=("fc6",), freeze=CONVOLUTIONS, cache_features=cached
        )
        train_briefly(tmp_path / str(cached), source, preset=preset, fine_tuning=plan)
        weights.append(layers_of(tmp_path / str(cached)))
    # The only step is on all images, so that their order makes no difference.
    for name in ("fc6", "fc7", "fc8"):
        np.testing.assert_allclose(*(layers[name][0] for layers in weights), atol=1e-5)


@pytest.mark.usefixtures("simulated_steps")
def test_names_an_unreadable_image_when_computing_features(tmp_path, make_source):
    source = make_source(24)
    with simulated_runs():
        train_briefly(tmp_path / "base", source, preset=small_preset(epochs=1))

    def spoil(example):
        image = tf.where(example["name"] == "images 17", b"no image", example["image"])
        return {**example, "image": image}

    bad_source = dataclasses.replace(
        source, read=lambda seed: source.read(seed).map(spoil)
    )
    plan = FineTuning(
        str(tmp_path / "base"), freeze=CONVOLUTIONS, cache_features=True
    )
    with pytest.raises(ValueError, match="images 17 .*8 bytes"):
        train_briefly(tmp_path / "tuned", bad_source, fine_tuning=plan)


@pytest.mark.usefixtures("simulated_steps")
@pytest.mark.large
def test_a_run_on_cached_features_resumes_bit_for_bit(
    tmp_path, make_source
):
    source, path = make_source(36), tmp_path / "w.npy"
    save_random_weights(path)
    plan = FineTuning(
        str(path), freeze=CONVOLUTIONS, lr_mult={"fc8": 3.0}, cache_features=True
    )
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    expected = train_briefly(straight, source, fine_tuning=plan, log_steps=1)
    stop = CallAtStep(4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(loop.TrainingInterrupted):
        train_briefly(resumed, source, fine_tuning=plan, log_steps=1, callbacks=[stop])
    assert train_briefly(resumed, source, fine_tuning=plan, log_steps=1) == expected
    expected_arrays, arrays = final_arrays(straight), final_arrays(resumed)
    assert expected_arrays.keys() == arrays.keys()
    for name, array in expected_arrays.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"preset": "tiny"}',
        b'{"preset": {"layers": [{"type": "Conv"}]}, "classes": []}',
    ],
)
def test_rejects_a_damaged_network_description(tmp_path, content):
    (tmp_path / "network.json").write_bytes(content)
    with pytest.raises(ValueError, match="network.json is damaged"):
        read_network(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1]", b"3"])
def test_rejects_damaged_image_counts(tmp_path, content):
    (tmp_path / "data.json").write_bytes(content)
    with pytest.raises(ValueError, match="data.json is damaged"):
        verify_image_counts(str(tmp_path), {"textures": 3})


@pytest.mark.parametrize("damage", ["cut", "nan", "shape", "missing"])
def test_rejects_damaged_statistics(tmp_path, damage):
    path = str(tmp_path / "s.npz")
    width = 3 if damage == "shape" else 4  # A mean image is square.
    mean_image = np.full((4, width, 3), 9, np.float32)
    mean_image[0, 0] = np.nan if damage == "nan" else 9
    arrays = {"mean_image": mean_image, "covariance": np.eye(3)}
    if damage == "missing":
        del arrays["covariance"]
    np.savez(path, **arrays)
    if damage == "cut":
        content = (tmp_path / "s.npz").read_bytes()
        (tmp_path / "s.npz").write_bytes(content[:-60])
    with pytest.raises(ValueError, match="s.npz, which is damaged"):
        pixel_statistics.read(path)


@pytest.mark.parametrize("factor", [-1.0, np.inf, np.nan])
def test_rejects_impossible_factors_of_learning_rates(factor):
    with pytest.raises(ValueError, match=f"lr_mult .* at least 0.*{factor} for fc8"):
        check_plan(FineTuning(lr_mult={"fc8": factor}), presets.get("tiny"))


def test_rejects_cached_features_with_a_data_service(tmp_path, make_source):
    plan = FineTuning("w.npy", freeze=CONVOLUTIONS, cache_features=True)
    with pytest.raises(ValueError, match="data_service or cache_features"):
        train_briefly(
            tmp_path / "run", make_source(24), fine_tuning=plan,
            data_service="localhost:5000",
        )
    assert not (tmp_path / "run" / "network.json").exists()
