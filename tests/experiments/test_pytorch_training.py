"""The networks in PyTorch compute what those of `confirmations` compute."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf import presets
from alexnet_tf.training import optimizers
from experiments import confirmations
from experiments import harness
from experiments import pytorch_confirmations

pytest.importorskip("torch")

import torch  # noqa: E402

from experiments import pytorch_training  # noqa: E402

ARMS = [
    (study, arm) for study, each in confirmations.STUDIES.items() for arm in each.arms
]


def keras_model(study, arm):
    """Returns a model without dropout and its preset."""
    keras.utils.set_random_seed(0)
    preset = presets.override(confirmations.STUDIES[study].arms[arm], dropout=0.0)
    model = alexnet.AlexNet(preset, 10, classifier_activation=None)
    # Larger kernels make the response normalization and all layers matter.
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        fan_in = np.prod(variable.shape[:-1])
        variable.assign(rng.normal(0, 1.4 / np.sqrt(fan_in), variable.shape))
    return model, preset


def torch_parameters(model):
    """Returns the parameters of a Keras model in the layout of `pytorch_training`."""
    parameters = {}
    for variable in model.trainable_variables:
        layer, _, name = variable.path.partition("/")
        value = variable.numpy()
        if value.ndim == 4:  # [height, width, inputs, outputs]
            value = value.transpose(3, 2, 0, 1).reshape(value.shape[3], -1)
        parameters[f"{layer}.{name}"] = torch.tensor(value)[None]
    return parameters


def random_batch(count=6):
    rng = np.random.default_rng(1)
    images = rng.normal(0, 60, (count, 24, 24, 3)).astype(np.float32)
    return images, rng.integers(0, 10, count)


@pytest.mark.parametrize("study, arm", ARMS)
def test_logits_are_those_of_the_keras_model(study, arm):
    model, _ = keras_model(study, arm)
    images, _ = random_batch()
    ours = model(images, training=False).numpy()
    theirs = pytorch_training.logits(
        torch_parameters(model),
        torch.tensor(images).permute(0, 3, 1, 2)[None],
        pytorch_training.ARMS[arm],
    )[0]
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4 * np.abs(ours).max())


@pytest.mark.parametrize("study, arm", ARMS)
def test_two_steps_are_those_of_the_optimizer(study, arm):
    model, preset = keras_model(study, arm)
    images, labels = random_batch()
    parameters = torch_parameters(model)
    velocities = {name: torch.zeros_like(value) for name, value in parameters.items()}
    recipe = preset.recipe
    optimizer = optimizers.MomentumSGD(
        1e-4, recipe.momentum, recipe.weight_decay, recipe.bias_lr_multiplier
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    for _ in range(2):
        model.train_on_batch(images, labels)
        gradients = pytorch_training.gradients_of(
            parameters,
            torch.tensor(images).permute(0, 3, 1, 2)[None],
            torch.tensor(labels)[None],
            pytorch_training.ARMS[arm],
            masks=None,
        )
        pytorch_training.step(parameters, velocities, gradients, 1e-4)
    before = torch_parameters(keras_model(study, arm)[0])
    for name, expected in torch_parameters(model).items():
        change = (expected - before[name]).numpy()
        rounding = np.spacing(expected.abs().max().numpy())
        np.testing.assert_allclose(
            parameters[name] - before[name],
            change,
            atol=1e-3 * np.abs(change).max() + 2 * rounding,
        )


@pytest.mark.parametrize("study, arm", ARMS)
def test_settings_are_those_of_the_presets(study, arm):
    preset = confirmations.STUDIES[study].arms[arm]
    recipe, preprocessing = preset.recipe, preset.preprocessing
    theirs = pytorch_training.STUDIES[study]
    assert theirs.epochs == recipe.epochs and theirs.boundaries == recipe.boundaries
    assert pytorch_training.BATCH_SIZE == recipe.batch_size
    assert pytorch_training._LEARNING_RATE == recipe.learning_rate
    assert pytorch_training._MOMENTUM == recipe.momentum
    assert pytorch_training._WEIGHT_DECAY == recipe.weight_decay
    assert pytorch_training._BIAS_FACTOR == recipe.bias_lr_multiplier
    assert (preprocessing.image_size, preprocessing.crop_size) == (32, 24)
    assert pytorch_training.ARMS[arm].color_std == preprocessing.pca_color_std
    assert theirs.arms == tuple(confirmations.STUDIES[study].arms)
    split = confirmations.STUDIES[study].train_split
    assert split in ("train", f"train[:{theirs.num_images}]")


def test_an_epoch_has_a_random_crop_of_each_image():
    """Pixels have the values row, column and index of the image."""
    images = np.zeros((128, 32, 32, 3), np.uint8)
    images[..., 0] = np.arange(32)[:, np.newaxis]
    images[..., 1] = np.arange(32)
    images[..., 2] = np.arange(128)[:, np.newaxis, np.newaxis]
    generator = torch.Generator().manual_seed(0)
    batches = pytorch_training.Batches(
        torch.tensor(images), torch.arange(128), 3, 0.0, generator
    )
    np.testing.assert_array_equal(batches.mean[..., 2], 63.5)
    np.testing.assert_array_equal(batches.mean[5, 7, :2], [9, 11])
    crops, labels = map(torch.cat, zip(*batches.epoch()))
    crops = (crops + batches.mean.permute(2, 0, 1)).round().numpy()
    assert crops.shape == (6, 64, 3, 24, 24)
    # Two batches of three seeds, which have different orders.
    orders = labels.reshape(2, 3, 64).transpose(0, 1).reshape(3, 128)
    assert all(sorted(order) == [*range(128)] for order in orders.tolist())
    assert not torch.equal(orders[0], orders[1])
    np.testing.assert_array_equal(crops[:, :, 2, 3, 5], labels)
    first_rows = crops[:, :, 0, 0, 0]
    rows = crops[:, :, 0, :, 9] - first_rows[..., np.newaxis]
    np.testing.assert_array_equal(rows, np.broadcast_to(range(24), rows.shape))
    steps = crops[:, :, 1, 0, 1] - crops[:, :, 1, 0, 0]
    assert {*steps.ravel()} == {-1, 1} and 0.4 < (steps == -1).mean() < 0.6
    first_columns = crops[:, :, 1].min(axis=(2, 3))
    for offsets in (first_rows, first_columns):
        assert {*offsets.ravel()} == {*range(9)}


def test_colors_are_those_of_the_package():
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    images[..., 1] = images[..., 0] // 2  # Channels that are correlated.
    batches = pytorch_training.Batches(
        torch.tensor(images), torch.zeros(64).long(), 1, 0.1,
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    pixels = images.reshape(-1, 3).astype(float)
    covariance = np.cov(pixels.T, bias=True)
    # `pca_color_shift` adds draws * stds along the components: the covariance of the
    # shifts is .1^2 times that of the pixels.
    colors = batches._colors.numpy()
    np.testing.assert_allclose(colors.T @ colors, covariance, rtol=1e-4)
    crops, _ = next(batches.epoch())
    plain = pytorch_training.Batches(
        torch.tensor(images), torch.zeros(64).long(), 1, 0.0,
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    shifts = (crops - next(plain.epoch())[0])[0].numpy()  # [64, 3, 24, 24]
    np.testing.assert_allclose(
        shifts, np.broadcast_to(shifts[..., :1, :1], shifts.shape), atol=1e-3
    )
    assert shifts[:, :, 0, 0].std(axis=0) == pytest.approx(
        0.1 * np.sqrt(np.diag(covariance)), rel=0.3
    )


def test_errors_count_wrong_images():
    parameters = pytorch_training.initial_parameters([1, 2], (256,))
    # The second seed always predicts class 3.
    parameters["fc10.bias"][1, 3] = 100.0
    images = torch.zeros((6, 32, 32, 3), dtype=torch.uint8)
    labels = torch.tensor([3, 3, 0, 1, 2, 3])
    base, mean = pytorch_training.ARMS["base"], torch.zeros(24, 24, 3)
    measured = pytorch_training.errors(parameters, base, mean, images, labels)
    assert measured[1] == 0.5


def test_reads_the_images_that_the_other_command_writes(
    make_source, tmp_path, monkeypatch
):
    source = make_source(5)
    monkeypatch.setattr(harness, "load_cifar10", lambda split, data_dir: source)
    path = tmp_path / "images.npz"
    pytorch_confirmations.main(["", f"--output={path}"])
    images, labels = pytorch_training.read_images(path, "test")
    examples = source.take_indices(range(5))
    assert labels.tolist() == [example["label"] for example in examples]
    for image, example in zip(images, examples):
        # Decoders of JPEGs differ by a few gray levels.
        expected = tf.io.decode_image(example["image"]).numpy().astype(int)
        np.testing.assert_allclose(image, expected, atol=12)


def test_initial_parameters_have_the_distributions_of_the_preset():
    parameters = pytorch_training.initial_parameters([1, 2], (1024, 1024))
    keras.utils.set_random_seed(0)
    model = alexnet.AlexNet(confirmations.STUDIES["wide"].arms["base"], 10)
    for name, expected in torch_parameters(model).items():
        assert parameters[name].shape == (2, *expected.shape[1:])
        if name.endswith("kernel"):
            assert not torch.equal(parameters[name][0], parameters[name][1])
        for values in parameters[name]:
            assert float(values.std()) == pytest.approx(
                float(expected.std()), rel=0.1, abs=1e-9
            )
    alone = pytorch_training.initial_parameters([2], (1024, 1024))
    assert torch.equal(alone["conv2.kernel"][0], parameters["conv2.kernel"][1])
