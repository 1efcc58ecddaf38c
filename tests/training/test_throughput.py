"""Tests of operation counts, of measured throughputs, and of `benchmark`."""

import json
import os
import pickle
import types

import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf import benchmark
from alexnet_tf.data.bad_images import BadImageError
from alexnet_tf.data import pixel_statistics
from alexnet_tf.training import distribution
from alexnet_tf.training import throughput
from helpers.commands import command
from helpers.images import write_image_folder
from helpers.runs import shallow_preset


@pytest.mark.parametrize(
    "name, products",
    [
        ("paper", 724_406_816),
        ("single_tower", 1_135_256_096),
        ("owt", 714_188_480),
    ],
)
def test_operations_equal_known_counts(name, products, zero_kernels):
    model = alexnet_tf.AlexNet(name)
    inference, training = throughput.operations(model)
    assert inference == 2 * products
    # conv1 has 55 x 55 outputs for each of its 96 filters (owt: 64) of size
    # 11 x 11 x 3. Training does not compute the gradient of its input, the image.
    conv1_products = 55 * 55 * {"owt": 64}.get(name, 96) * 11 * 11 * 3
    assert training == 3 * inference - 2 * conv1_products


@pytest.mark.parametrize(
    "is_gpu_strategy", [False, pytest.param(True, marks=pytest.mark.large)]
)
def test_steps_train_the_network_and_all_its_measurements_are_positive(
    is_gpu_strategy, monkeypatch
):
    """A single GPU gets a `MirroredStrategy`, here with a CPU in place of the GPU."""
    if is_gpu_strategy:
        strategy = tf.distribute.MirroredStrategy(
            ["CPU:1"], tf.distribute.ReductionToOneDevice()
        )
        monkeypatch.setattr(distribution, "make_strategy", lambda count: strategy)
    network = throughput.build(shallow_preset(dropout=0.0), "float32", 8)
    before = [weight.numpy() for weight in network.model.weights]
    network.make_step()()
    changed = [
        np.abs(weight.numpy() - array).max() > 0
        for weight, array in zip(network.model.weights, before)
    ]
    assert all(changed)
    assert network.training_rate(1) > 0 and network.inference_rate(1) > 0
    assert network.update_seconds(1) > 0
    names, forward_times, total_times = zip(*network.layer_seconds(1))
    assert [*names] == [layer.name for layer in network.model.layers[1:]]
    assert min(forward_times) > 0 and min(total_times) > 0


def test_all_stages_are_measured(make_source, monkeypatch):
    monkeypatch.setattr(throughput, "_NUM_IMAGES", 40)
    monkeypatch.setattr(throughput, "_STEPS_PER_TURN", 1)
    preset = shallow_preset()
    statistics = pixel_statistics.imagenet(preset.preprocessing)
    network = throughput.build(preset, "float32", 8)
    rates = throughput.stage_rates(make_source(20), preset, statistics, network, 1)
    assert [*rates] == ["read", "decode", "augment", "batch", "train", "noise"]
    assert all(rate > 0 for rate in rates.values())
    # Five images are fewer than a batch.
    rates = throughput.stage_rates(make_source(5), preset, statistics, network, 1)
    assert [*rates] == ["read", "decode", "augment"]
    # At least one batch is read, even if it has more than `_NUM_IMAGES` images.
    monkeypatch.setattr(throughput, "_NUM_IMAGES", 4)
    rates = throughput.stage_rates(make_source(20), preset, statistics, network, 1)
    assert rates["batch"] > 0


def test_the_device_and_the_images_that_it_needs_are_printed(capsys):
    networks = [
        {"preset": "tiny", "precision": precision, "device": "a GPU", "training": rate,
         "matrix_rate": matrix_rate}
        for precision, rate, matrix_rate in (
            ("float32", 1500.0, 2.5e13), ("mixed_bfloat16", 2500.0, 9.9e13)
        )
    ]  # fmt: skip
    benchmark._print_device(networks)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (
        "Device: a GPU. Products of large matrices: 25.00 TFLOPS (float32), 99.00 "
        "TFLOPS (mixed_bfloat16)."
    )
    assert "mixed_bfloat16 at full speed" in lines[2]
    assert "must deliver 2,500 images/s" in lines[2]


def test_names_are_checked_before_anything_is_measured(tmp_path):
    for flag, message in (
        ("--preset=papr", "papr"), (f"--dataset=folder:{tmp_path}/no", "/no"),
    ):  # fmt: skip
        code, out, err = command("benchmark", flag)
        assert code == 1 and out == "" and message in err


def test_the_end_of_the_measuring_process_is_reported():
    with pytest.raises(ChildProcessError, match="ended without a result.*--batch_size"):
        throughput._in_new_process(os._exit, 9)


def test_an_error_of_the_measuring_process_keeps_its_message():
    for is_removable in (True, False):
        error = BadImageError("Received: x.jpg.", is_removable)
        copy = pickle.loads(pickle.dumps(error))
        assert (str(copy), copy.fault) == (str(error), error.fault)


def test_data_sets_may_have_more_classes_than_imagenet(tmp_path, monkeypatch):
    """Image files are turned upright, as training does."""
    data = write_image_folder(tmp_path / "data", classes=2, count=1)
    built, presets_measured = [], []
    monkeypatch.setattr(
        throughput.datasets, "load", lambda *_, **__: types.SimpleNamespace(
            classes=tuple(map(str, range(1500)))
        )
    )  # fmt: skip
    monkeypatch.setattr(throughput, "build", lambda preset, *args: (
        built.append(args) or types.SimpleNamespace(preset=preset)
    ))  # fmt: skip
    monkeypatch.setattr(pixel_statistics, "load_or_compute", lambda *_, **__: None)
    monkeypatch.setattr(throughput, "stage_rates", lambda source, preset, *_: (
        presets_measured.append(preset.preprocessing.exif_orientation) or {"read": 1}
    ))  # fmt: skip
    rates = throughput._measure_pipelines(
        [data, "cifar10"], "tiny", "float32", 8, 1, (None, None, None)
    )
    assert rates == {data: {"read": 1}, "cifar10": {"read": 1}}
    assert built == [("float32", 8, 1500)] and presets_measured == [True, False]


@pytest.mark.large
def test_command_prints_tables_and_writes_json(tmp_path):
    data = write_image_folder(tmp_path / "data", classes=2, count=10)
    code, out, err = command(
        "benchmark", "--preset=tiny", "--precision=float32", "--batch_size=8",
        "--repeats=1", f"--dataset={data}", f"--dataset={data}/",
        f"--output={tmp_path / 'b.json'}",
        "--layers",
    )  # fmt: skip
    assert code == 0, err
    with open(tmp_path / "b.json") as file:
        results = json.load(file)
    (network,) = results["networks"]
    assert f"| tiny | float32 | {network['training']:.1f} |" in out
    assert f"\nDevice: {network['device']}. Products" in out
    assert network["peak_memory"] > 100 * 2**20
    assert 0 < network["seconds_to_first_step"] < 300
    assert 0 < network["fraction_of_matrix_rate"] < 2
    assert "| conv1 |" in out and len(network["layers"]) == 25
    stages = ["read", "decode", "augment", "batch", "train", "noise"]
    assert {name: [*rates] for name, rates in results["pipelines"].items()} == {
        data: stages, f"{data}/": stages,
    }  # fmt: skip
    assert f"| images per second | {data} | {data}/ |" in out
    rates = [results["pipelines"][name]["train"] for name in (data, f"{data}/")]
    assert f"| train | {rates[0]:,.0f} | {rates[1]:,.0f} |" in out
    code, _, err = command("benchmark", "--precision=float8")
    assert code == 1 and "float8" in err
