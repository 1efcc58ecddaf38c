"""Training with one tower of the network on each of two devices."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf import presets
from alexnet_tf.training import distribution
from alexnet_tf.training import metrics
from alexnet_tf.training.run import train_dataset
from alexnet_tf.training import steps
from alexnet_tf.training import towers
from alexnet_tf.workdir import read_flags
from helpers import networks
from helpers.runs import final_arrays
from helpers.runs import run_weights
from helpers.runs import small_preset

# The first device is that of operations without a device.
DEVICES = ("/device:CPU:1", "/device:CPU:2")


def two_tower_preset():
    """Returns `tiny` with three convolutions, one hidden layer and no normalization."""
    preset = small_preset()
    names = "conv1 relu1 pool1 conv2 relu2 conv3 relu3 pool5 fc6 relu6 drop6 fc8"
    layers = tuple(layer for layer in preset.layers if layer.name in names.split())
    return dataclasses.replace(preset, layers=layers)


def make_network(preset, side=64):
    """Returns a model for 7 classes with random weights, and its optimizer.

    The towers have 4 and 3 classes.
    """
    model = alexnet.AlexNet(
        preset, 7, classifier_activation=None, input_shape=(side, side, 3)
    )
    optimizer = steps.make_optimizer(model, preset.recipe, "float32")
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        # Every unit has another bias, and outputs are about as large as inputs.
        fan_in = np.prod(variable.shape[:-1]) if len(variable.shape) > 1 else 100
        variable.assign(rng.normal(0, fan_in**-0.5, variable.shape))
    for velocity in optimizer.momentums:
        velocity.assign(rng.normal(0, 1e-4, velocity.shape))
    optimizer.learning_rate = 1e-4
    return model, optimizer


def make_batch(side=64):
    rng = np.random.default_rng(1)
    images = rng.normal(0, 30, (4, side, side, 3))
    return tf.constant(images, tf.float32), tf.constant([0, 3, 4, 6])


def loss_of(model, images, labels):
    logits = model(images, training=False)
    return tf.reduce_mean(metrics.cross_entropy(logits, labels)), logits


def assert_close(actual, expected):
    """Compares arrays to 1e-5 of the largest value."""
    assert networks.relative_error(actual, expected) < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        "paper",
        "code2012",
        *(
            pytest.param(name, marks=pytest.mark.large)
            for name in ("caffe", "caffenet", "paper_conv6", "tiny")
        ),
    ],
)
def test_outputs_and_gradients_equal_those_of_one_device(name):
    preset = networks.narrow_preset(name)
    side = networks.SIDES.get(name, 96)
    model, optimizer = make_network(preset, side)
    two_towers = towers.Towers(model, optimizer, DEVICES)
    images, labels = make_batch(side)

    @tf.function
    def differentiate():
        with tf.GradientTape() as tape:
            loss, logits = loss_of(model, images, labels)
        expected = logits, *tape.gradient(loss, model.trainable_variables)
        with tf.device(DEVICES[0]):
            loss, logits = loss_of(two_towers, images, labels)
        return expected, (logits, two_towers.gradients(loss))

    (expected_logits, *expected), (logits, halves) = differentiate()
    assert_close(logits, expected_logits)
    joined = [np.concatenate(pair, -1) for pair in zip(halves[::2], halves[1::2])]
    for actual, gradient in zip(joined, expected, strict=True):
        assert_close(actual, gradient)


def train_ten_steps(devices=None):
    """Returns the `metrics.batch_sums` and the state of a network after ten steps.

    Args:
        devices: the devices of two towers; None for one device.
    """
    made = model, optimizer = make_network(two_tower_preset())
    if devices:
        model = towers.Towers(*made, devices)
        optimizer = model.optimizer
    steps.set_multipliers(optimizer, 2.0, {"conv2": 0.0}, {"fc8": 3.0})
    run_steps = steps.make_run_steps(
        model, optimizer, tf.distribute.get_strategy(), presets.Recipe(batch_size=4), 5
    )
    batches = tf.data.Dataset.from_tensors(make_batch()).repeat()
    sums = run_steps(iter(batches), 0, 10)
    if devices:
        model.update_model()
    variables = made[0].weights + made[1].variables
    return [sums, *(variable.numpy() for variable in variables)]


def test_ten_training_steps_equal_those_of_one_device():
    """Dropout is active: both devices use their halves of the mask of one device."""
    states = zip(train_ten_steps(DEVICES), train_ten_steps(), strict=True)
    for actual, expected in states:
        assert_close(actual, expected)


def test_each_half_of_a_weight_and_of_its_velocity_is_on_the_device_of_its_tower():
    model, optimizer = make_network(two_tower_preset())
    two_towers = towers.Towers(model, optimizer, DEVICES)
    for wholes, halves in (
        (model.trainable_variables, two_towers.trainable_variables),
        (optimizer.momentums, two_towers.optimizer.momentums),
    ):
        pairs = zip(halves[::2], halves[1::2])
        for whole, pair in zip(wholes, pairs, strict=True):
            assert [half.value.device[-5:] for half in pair] == ["CPU:1", "CPU:2"]
            sizes = [half.shape[-1] for half in pair]
            assert sizes[0] - sizes[1] in (0, 1)
            joined = np.concatenate([half.numpy() for half in pair], axis=-1)
            np.testing.assert_array_equal(joined, whole.numpy())


def test_the_state_of_the_model_is_taken_over_and_given_back_bit_for_bit():
    model, optimizer = make_network(two_tower_preset())
    optimizer.iterations.assign(3)
    variables = model.weights + optimizer.variables
    expected = [variable.numpy() for variable in variables]
    two_towers = towers.Towers(model, optimizer, DEVICES)
    for variable in variables:
        variable.assign(tf.zeros_like(variable.value))
    two_towers.update_model()
    for variable, array in zip(variables, expected, strict=True):
        np.testing.assert_array_equal(variable.numpy(), array, err_msg=variable.path)


def test_frozen_layers_are_not_trained():
    model, _ = make_network(two_tower_preset())
    model.get_layer("conv1").trainable = False
    optimizer = steps.make_optimizer(model, presets.Recipe(), "float32")
    two_towers = towers.Towers(model, optimizer, DEVICES)
    paths = [variable.path for variable in two_towers.trainable_variables]
    assert paths[::2] == [v.path for v in model.trainable_variables] == paths[1::2]
    assert "conv1/kernel" not in paths


@pytest.mark.usefixtures("figures_as_text")
@pytest.mark.large
def test_callbacks_change_the_weights_but_not_the_learning_rate(
    image_folder, tmp_path, caplog
):
    """The weights that the callback sets to 0 stay near 0 in the second epoch."""

    class SetToZero(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                weights = self.model.get_weights()
                self.model.set_weights([0 * array for array in weights])
                self.model.optimizer.learning_rate = 5.0

    sizes = {}
    for parallelism in ("towers", "data"):
        train_dataset(
            f"folder:{image_folder}", two_tower_preset(), tmp_path / parallelism,
            parallelism=parallelism, train_split="train", eval_split="train",
            batch_size=10, epochs=2, callbacks=SetToZero(), dropout=0.0,
        )
        assert "set the learning rate to 5, which has no effect" in caplog.text
        caplog.clear()
        arrays = run_weights(tmp_path / parallelism)
        sizes[parallelism] = [np.abs(array).sum() for array in arrays]
    assert sizes["towers"] == pytest.approx(sizes["data"], rel=1e-4, abs=1e-6)
    assert 0 < sum(sizes["data"]) < 10


@pytest.mark.usefixtures("figures_as_text")
@pytest.mark.large
def test_a_run_with_towers_is_resumed_without_them(image_folder, tmp_path):
    kwargs = dict(
        preset=two_tower_preset(), train_split="train", eval_split="train", seed=1,
        batch_size=10, learning_rate=0.02,
    )  # fmt: skip
    dataset = f"folder:{image_folder}"
    divided, whole = tmp_path / "divided", tmp_path / "whole"
    train_dataset(dataset, workdir=divided, parallelism="towers", epochs=1, **kwargs)
    assert read_flags(str(divided))["parallelism"] == "towers"
    for path in (divided, whole):
        train_dataset(dataset, workdir=path, epochs=2, **kwargs)
    arrays, expected = final_arrays(divided), final_arrays(whole)
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "preset, kwargs, message",
    [
        ("owt", {}, "paper, code2012, .* Received: owt, whose .* have 1 group[.]"),
        ("paper", {"precision": "mixed_float16"}, "Received: precision=mixed_float16"),
        ("paper", {"has_own_optimizer": True}, "Received: an optimizer of your own"),
        ("paper", {"cache_features": True}, "Received: cache_features"),
        ("paper", {"has_strategy": True}, "Received: a strategy"),
    ],
)
def test_rejects_settings_that_two_towers_cannot_compute(preset, kwargs, message):
    defaults = dict(precision="float32", has_own_optimizer=False, cache_features=False)
    with pytest.raises(ValueError, match=message):
        towers.check(presets.get(preset), **defaults | kwargs)


def test_rejects_batch_normalization():
    preset = presets.get("tiny")
    layers = presets.BatchNorm("bn0"), *preset.layers
    preset = dataclasses.replace(preset, layers=layers)
    with pytest.raises(ValueError, match="Received: batch normalization. Use"):
        towers.check(preset, "float32", False, False)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"parallelism": "model"}, 'parallelism to be "data" or "towers"'),
        ({"num_devices": 3}, "Expected --num_devices=2 .* Received: --num_devices=3"),
        ({"strategy": "multi_worker"}, "multi_worker. Received: both"),
    ],
)
def test_rejects_arguments_that_exclude_towers(kwargs, message, tmp_path):
    arguments = {"parallelism": "towers", "workdir": tmp_path, **kwargs}
    with pytest.raises(ValueError, match=message):
        train_dataset("textures", **arguments)


def test_tower_devices_are_the_first_two_or_an_error(monkeypatch):
    assert distribution.tower_devices() == ("/device:CPU:0", "/device:CPU:1")
    for name in ("list_physical_devices", "list_logical_devices"):
        monkeypatch.setattr(tf.config, name, lambda kind: ["a GPU"])
    with pytest.raises(ValueError, match="Received: one GPU. .*CUDA_VISIBLE_DEVICES"):
        distribution.tower_devices()
