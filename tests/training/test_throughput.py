"""Operation counts, throughputs, and the command `benchmark`."""

import json

import numpy as np
import pytest

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf import presets
from alexnet_tf.training import throughput
from helpers.commands import command


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
    # conv1 has 55 x 55 outputs of 11 x 11 x 3 inputs in 96 maps, or in 64 (owt).
    conv1 = 55 * 55 * {"owt": 64}.get(name, 96) * 11 * 11 * 3
    assert training == 3 * inference - 2 * conv1


def test_network_trains_and_is_measured():
    network = throughput.build(presets.get("tiny"), "float32", 8)
    before = [weight.numpy() for weight in network.model.weights]
    network.make_step()()
    changed = [
        np.abs(weight.numpy() - array).max() > 0
        for weight, array in zip(network.model.weights, before)
    ]
    assert all(changed)
    assert network.training_rate(1) > 0 and network.inference_rate(1) > 0
    assert network.update_seconds(1) > 0
    rows = network.layer_seconds(1)
    assert [row[0] for row in rows] == [
        layer.name for layer in network.model.layers[1:]
    ]
    assert all(forward > 0 and both > 0 for _, forward, both in rows)


def test_all_stages_are_measured(make_source, monkeypatch):
    monkeypatch.setattr(throughput, "_IMAGES", 40)
    monkeypatch.setattr(throughput, "_STEPS", 1)
    preset = presets.get("tiny")
    statistics = pixel_statistics.imagenet(preset.preprocessing)
    network = throughput.build(preset, "float32", 8)
    rates = throughput.stage_rates(make_source(20), preset, statistics, network, 1)
    assert [*rates] == ["read", "decode", "augment", "batch", "train", "noise"]
    assert all(rate > 0 for rate in rates.values())
    # Five images are less than one batch.
    rates = throughput.stage_rates(make_source(5), preset, statistics, network, 1)
    assert [*rates] == ["read", "decode", "augment"]


@pytest.mark.large
def test_command_prints_tables_and_writes_json(tmp_path):
    from helpers.images import write_image_folder

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
