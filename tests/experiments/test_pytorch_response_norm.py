"""The networks in PyTorch are those of cuda-convnet's files, and train as they say."""

import json

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("torch")

import torch  # noqa: E402

from experiments import pytorch_response_norm  # noqa: E402


def large_parameters(seed=0):
    """Returns parameters that make the response normalization and all layers matter."""
    rng = np.random.default_rng(seed)
    parameters = pytorch_response_norm.initial_parameters(seed)
    for name, value in parameters.items():
        fan_in = np.prod(value.shape[1:] if value.ndim == 4 else value.shape[-2:-1])
        std = 5 if name.endswith("bias") else 4 / np.sqrt(fan_in)
        parameters[name] = torch.tensor(rng.normal(0, std, value.shape)).float()
    return parameters


def local_layer(x, kernel, bias):
    """Returns the outputs of a locally connected layer, one position at a time.

    Args:
        x: [B, 6, 6, inputs].
        kernel: [36, inputs * 9, outputs], with inputs before rows and columns.
        bias: [36, 1, outputs].
    """
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    outputs = np.zeros((*x.shape[:3], kernel.shape[2]))
    for row in range(6):
        for column in range(6):
            window = padded[:, row : row + 3, column : column + 3]
            window = window.transpose(0, 3, 1, 2).reshape(len(x), -1)
            position = 6 * row + column
            outputs[:, row, column] = window @ kernel[position] + bias[position, 0]
    return outputs


def logits_with_tensorflow(parameters, images, norm):
    values = {name: value.double().numpy() for name, value in parameters.items()}
    x = images
    for name in ("conv1", "conv2"):
        kernel = values[f"{name}.kernel"].transpose(2, 3, 1, 0)
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + values[f"{name}.bias"])
        if norm:
            x = tf.cast(x, tf.float32)
            x = tf.nn.local_response_normalization(x, 2, 1.0, 0.001 / 5, 0.75)
            x = tf.cast(x, tf.float64)
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    x = x.numpy()
    for name in ("local3", "local4"):
        x = local_layer(x, values[f"{name}.kernel"], values[f"{name}.bias"])
        x = np.maximum(x, 0)
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    return x @ values["fc10.kernel"] + values["fc10.bias"]


@pytest.mark.parametrize("norm", [True, False])
def test_logits_are_those_of_the_layers_in_tensorflow(norm):
    parameters = large_parameters()
    images = np.random.default_rng(1).normal(0, 60, (3, 24, 24, 3))
    expected = logits_with_tensorflow(parameters, images, norm)
    inputs = torch.tensor(images).float().permute(0, 3, 1, 2)
    logits = pytorch_response_norm.logits(parameters, inputs, norm)
    np.testing.assert_allclose(logits, expected, atol=2e-4 * np.abs(expected).max())


def test_the_normalization_changes_the_logits():
    inputs = torch.tensor(np.random.default_rng(1).normal(0, 60, (3, 3, 24, 24)))
    with_norm, without = (
        pytorch_response_norm.logits(large_parameters(), inputs.float(), norm)
        for norm in (True, False)
    )
    assert (with_norm / without).abs().median() < 0.9


def test_numbers_of_parameters_and_their_initial_values():
    parameters = pytorch_response_norm.initial_parameters(7)
    stds = {
        "conv1": 0.0001, "conv2": 0.01, "local3": 0.04, "local4": 0.04, "fc10": 0.01
    }  # fmt: skip
    counts = {
        "conv1": 64 * 76, "conv2": 64 * 1601, "local3": 36 * 32 * 577,
        "local4": 36 * 32 * 289, "fc10": 10 * 1153,
    }  # fmt: skip
    for name, std in stds.items():
        kernel, bias = parameters[f"{name}.kernel"], parameters[f"{name}.bias"]
        assert kernel.numel() + bias.numel() == counts[name]
        assert float(kernel.std()) == pytest.approx(std, rel=0.05)
        assert not bias.any()


def random_data(count=256):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 32, 32, 3), generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator)
    return images.to(torch.uint8), labels


def make_training(norm=True, phase=pytorch_response_norm.Phase(256, 1)):
    training = pytorch_response_norm.Training(*random_data(), 3, norm)
    training.start_phase(phase)
    return training


def test_an_epoch_has_one_random_crop_of_each_image():
    training = make_training()
    images, labels = random_data()
    draws = training.draw_epoch()
    assert draws.shape == (2, 128, 4)
    draws = draws.flatten(0, 1)
    assert sorted(draws[:, 0].tolist()) == [*range(256)]
    assert {*draws[:, 1].tolist()} == {*draws[:, 2].tolist()} == {*range(9)}
    assert 0.4 < draws[:, 3].float().mean() < 0.6
    crops, crop_labels = training.crops(draws)
    mean = images.numpy().mean(axis=0)[4:28, 4:28]
    for crop, label, (index, row, column, flip) in zip(crops, crop_labels, draws):
        expected = images[index, row : row + 24, column : column + 24].numpy()
        expected = expected[:, ::-1] if flip else expected
        np.testing.assert_allclose(crop.permute(1, 2, 0), expected - mean, atol=1e-3)
        assert label == labels[index]


def test_both_networks_of_a_seed_see_the_same_crops():
    trainings = [make_training(norm) for norm in (True, False)]
    draws = [training.draw_epoch() for training in trainings]
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], trainings[0].draw_epoch())


@pytest.mark.parametrize("factor", [1.0, 0.01])
def test_two_updates_are_those_of_the_files(factor):
    """inc = .9 inc - epsW wc w - epsW g, and w + inc; biases: epsB, no decay."""
    training = make_training(phase=pytorch_response_norm.Phase(256, 1, factor))
    before = {name: p.detach().clone() for name, p in training.parameters.items()}
    gradients = {name: torch.randn_like(p) for name, p in before.items()}
    for _ in range(2):
        training.update(gradients)
    decays = {"local3.kernel": 0.004, "local4.kernel": 0.004, "fc10.kernel": 0.004}
    for name, value in before.items():
        rate = factor * 0.001 if name.endswith("kernel") else 0.002
        increment = 0
        for _ in range(2):
            decay = decays.get(name, 0) * value
            increment = 0.9 * increment - rate * (gradients[name] + decay)
            value = value + increment
        torch.testing.assert_close(training.parameters[name].detach(), value)


def test_a_step_descends_the_gradient_of_the_loss():
    training = make_training()
    parameters = {name: p.detach().clone() for name, p in training.parameters.items()}
    draws = training.draw_epoch()[0]
    training.step(draws)
    crops, labels = training.crops(draws)
    bias = parameters["fc10.bias"].requires_grad_()
    outputs = pytorch_response_norm.logits(parameters, crops, True)
    loss = torch.nn.functional.cross_entropy(outputs, labels)
    (gradient,) = torch.autograd.grad(loss, bias)
    change = (training.parameters["fc10.bias"] - bias).detach()
    torch.testing.assert_close(change, -0.002 * gradient)


def test_trains_all_phases():
    phases = [
        pytorch_response_norm.Phase(128, 2), pytorch_response_norm.Phase(256, 1, 0.1)
    ]  # fmt: skip
    alone, trainings = make_training(), [make_training(), make_training(False)]
    pytorch_response_norm.train(trainings, phases)
    for phase in phases:
        alone.start_phase(phase)
        for _ in range(phase.epochs):
            for draws in alone.draw_epoch():
                alone.step(draws)
    for name, parameter in alone.parameters.items():
        torch.testing.assert_close(parameter, trainings[0].parameters[name])


def test_the_trainings_are_those_of_the_methods():
    epochs = {
        name: sum(phase.epochs for phase in phases)
        for name, phases in pytorch_response_norm.TRAININGS.items()
    }
    assert epochs == {"short": 160, "long": 470}


def test_errors_of_center_crops_and_of_ten_crops():
    """Only the corners are bright: ten crops see them, the center crop does not."""
    training = make_training(norm=False)
    with torch.no_grad():
        for name, parameter in training.parameters.items():
            parameter.zero_()
        # The brighter the crop, the more class 1 wins over class 0.
        training.parameters["conv1.kernel"][0, :, 2, 2] = 1.0
        training.parameters["conv2.kernel"][0, 0, 2, 2] = 1.0
        training.parameters["local3.kernel"][:, 4, 0] = 1.0
        training.parameters["local4.kernel"][:, 4, 0] = 1.0
        training.parameters["fc10.kernel"][:36, 1] = 1.0
        training.parameters["fc10.bias"][0] = 1.0
    training.mean = torch.zeros(24, 24, 3)
    images = torch.zeros(4, 32, 32, 3, dtype=torch.uint8)
    images[:2, :3] = images[:2, -3:] = 255
    labels = torch.tensor([1, 1, 0, 0])
    assert pytorch_response_norm.errors(training, images, labels) == [0.5, 0.0]


def test_the_command_appends_a_line_for_each_network(tmp_path, monkeypatch):
    module = pytorch_response_norm
    monkeypatch.setattr(
        module.pytorch_training, "read_images",
        lambda path, split: [array.numpy() for array in random_data()],
    )  # fmt: skip
    monkeypatch.setitem(module.TRAININGS, "short", [module.Phase(128, 1)])
    path = tmp_path / "runs.jsonl"
    path.write_text("{}\n")
    module.main("images.npz", path, "short", "5", "2")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["arm"], line["seed"]) for line in lines[1:]] == [
        ("short_norm", 5), ("short_no_norm", 5), ("short_norm", 6),
        ("short_no_norm", 6),
    ]  # fmt: skip
    assert all(0.7 < line["ten_crop_error"] <= 1 for line in lines[1:])
