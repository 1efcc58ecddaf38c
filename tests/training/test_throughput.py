"""What the benchmark counts, and that it runs."""

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
def test_operations_are_those_of_the_tables(name, products, zero_kernels):
    model = alexnet_tf.AlexNet(name)
    inference, training = throughput.operations(model)
    assert inference == 2 * products
    # conv1: 55 x 55 x 96 outputs of 11 x 11 x 3; owt 64 of them.
    first = 55 * 55 * {"owt": 64}.get(name, 96) * 11 * 11 * 3
    assert training == 3 * inference - 2 * first


def test_a_network_takes_steps_and_its_layers_times():
    network = throughput.build(presets.get("tiny"), "float32", 8)
    before = [weight.numpy() for weight in network.model.weights]
    network.step()()
    moved = [
        np.abs(weight.numpy() - array).max() > 0
        for weight, array in zip(network.model.weights, before)
    ]
    assert all(moved)
    assert network.training_rate(1) > 0 and network.inference_rate(1) > 0
    assert network.update_seconds(1) > 0
    rows = network.layer_seconds(1)
    assert [row[0] for row in rows] == [
        layer.name for layer in network.model.layers[1:]
    ]
    assert all(forward > 0 and both > 0 for _, forward, both in rows)


def test_stages_are_all_measured(make_source, monkeypatch):
    monkeypatch.setattr(throughput, "_IMAGES", 40)
    monkeypatch.setattr(throughput, "_STEPS", 1)
    preset = presets.get("tiny")
    known = pixel_statistics.imagenet(preset.preprocessing)
    network = throughput.build(preset, "float32", 8)
    rates = throughput.stage_rates(make_source(20), preset, known, network, 1)
    assert [*rates] == ["read", "decode", "augment", "batch", "train", "noise"]
    assert all(rate > 0 for rate in rates.values())
    few = throughput.stage_rates(make_source(5), preset, known, network, 1)
    assert [*few] == ["read", "decode", "augment"]


@pytest.mark.large
def test_the_command_prints_a_table_and_writes_json(tmp_path):
    from helpers.images import write_image_folder

    data = write_image_folder(tmp_path / "data", classes=2, count=10)
    code, out, err = command(
        "benchmark", "--preset=tiny", "--precision=float32", "--batch_size=8",
        "--repeats=1", f"--dataset={data}", f"--dataset={data}/",
        f"--json={tmp_path / 'b.json'}",
        "--layers",
    )  # fmt: skip
    assert code == 0, err
    with open(tmp_path / "b.json") as file:
        found = json.load(file)
    (network,) = found["networks"]
    assert f"| tiny | float32 | {network['training']:.1f} |" in out
    assert network["peak_memory"] > 100 * 2**20
    assert 0 < network["seconds_to_first_step"] < 300
    assert 0 < network["fraction_of_matrix_rate"] < 2
    assert "| conv1 |" in out and len(network["layers"]) == 25
    stages = ["read", "decode", "augment", "batch", "train", "noise"]
    assert {name: [*rates] for name, rates in found["pipelines"].items()} == {
        data: stages, f"{data}/": stages,
    }  # fmt: skip
    assert f"| images a second | {data} | {data}/ |" in out
    rates = [found["pipelines"][name]["train"] for name in (data, f"{data}/")]
    assert f"| train | {rates[0]:,.0f} | {rates[1]:,.0f} |" in out
    code, _, err = command("benchmark", "--precision=float8")
    assert code == 1 and "float8" in err
