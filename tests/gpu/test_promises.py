"""The promises that `pytest --gpu` tests on GPUs, and prints a verdict for.

The first line of a test's docstring is the promise. `pytest --pretend_gpu` runs the
same tests on virtual CPU devices, which tests only the tests. Numbers are compared
relative to the largest one, because a GPU adds in another order than a CPU.
"""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import GroupedConv2D
from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf.models.layers import SpatialResponseNormalization
from alexnet_tf import presets
from alexnet_tf.training import loop
from alexnet_tf.training import metrics
from alexnet_tf.training import steps
from helpers import networks
from helpers.runs import final_arrays
from helpers.runs import small_preset

pytestmark = pytest.mark.gpu

CPU = "/device:CPU:0"
TOLERANCE = 1e-4
# Differences grow in each step.
TOLERANCE_OF_STEPS = 1e-3

LAYERS = {
    "grouped convolution": lambda: GroupedConv2D(32, 5, padding="same", groups=2),
    "response normalization": LocalResponseNormalization,
    "response normalization in towers": lambda: LocalResponseNormalization(groups=2),
    "normalization within maps": SpatialResponseNormalization,
    "overlapping max pooling": lambda: keras.layers.MaxPooling2D(3, 2),
}


def assert_close(actual, expected, tolerance=TOLERANCE):
    """Compares nested arrays, relative to the largest value of each."""
    pairs = zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True)
    for actual_array, expected_array in pairs:
        error = np.abs(actual_array - expected_array).max()
        assert error <= tolerance * np.abs(expected_array).max()


def compute_on(device, function, layers=()):
    """Returns the arrays of the tensors that a function computes on a device.

    Args:
        device: the name of the device.
        function: a function without arguments.
        layers: layers whose grouped convolutions are native on a GPU, and not on a CPU.
    """
    for layer in layers:
        if isinstance(layer, GroupedConv2D):
            layer.implementation = "split" if device == CPU else "native"
    with tf.device(device):
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), function())


@pytest.mark.parametrize("name", LAYERS)
def test_layers(gpus, name):
    """Layers and their gradients equal those on a CPU."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(0, 30, (4, 13, 13, 32)).astype(np.float32)
    layer = LAYERS[name]()
    upstream = rng.normal(0, 1, layer(inputs).shape).astype(np.float32)

    def outputs_and_gradients():
        x = tf.constant(inputs)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        sources = [x, *(variable.value for variable in layer.trainable_variables)]
        return [y, *tape.gradient(y, sources, tf.constant(upstream))]

    expected = compute_on(CPU, outputs_and_gradients, [layer])
    assert_close(compute_on(gpus[0], outputs_and_gradients, [layer]), expected)


@pytest.mark.parametrize("name", ["paper", "code2012", "caffe", "owt"])
def test_networks(gpus, name):
    """Logits of networks, and the gradients of all weights, equal those on a CPU."""
    preset, side = networks.narrow_preset(name), networks.SIDES[name]
    keras.utils.set_random_seed(0)
    model = alexnet.AlexNet(
        presets.override(preset, init="he"), 7, classifier_activation=None,
        input_shape=(side, side, 3),
    )  # fmt: skip
    rng = np.random.default_rng(1)
    images = rng.normal(0, 30, (8, side, side, 3)).astype(np.float32)
    labels = rng.integers(0, 7, 8).astype(np.int32)

    def logits_and_gradients():
        with tf.GradientTape() as tape:
            logits = model(images, training=False)
            loss = tf.reduce_mean(metrics.cross_entropy(logits, labels))
        variables = [variable.value for variable in model.trainable_variables]
        return [logits, *tape.gradient(loss, variables)]

    expected = compute_on(CPU, logits_and_gradients, model.layers)
    assert_close(compute_on(gpus[0], logits_and_gradients, model.layers), expected)


def train_ten_steps(device, precision="float32", dropout=0.0):
    """Returns the losses of ten steps on one batch, and the state after them."""
    preset = small_preset(init="he", learning_rate=1e-3, dropout=dropout)
    rng = np.random.default_rng(2)
    images = rng.normal(0, 1, (12, 64, 64, 3)).astype(np.float32)
    labels = rng.integers(0, 10, 12).astype(np.int32)
    batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    keras.utils.set_random_seed(3)
    with tf.device(device):
        with steps.dtype_policy(precision):
            model = alexnet.AlexNet(preset, 10, classifier_activation=None)
            optimizer = steps.make_optimizer(model, preset.recipe, precision)
        for layer in model.layers:
            if isinstance(layer, GroupedConv2D) and device == CPU:
                layer.implementation = "split"
        run_steps = steps.make_run_steps(
            model, optimizer, tf.distribute.get_strategy(), preset.recipe, seed=4
        )
        losses = run_steps(batches, 0, 10)[:, 0] / len(labels)
    variables = model.weights + optimizer.variables
    return losses, [variable.numpy() for variable in variables]


def test_training(gpus):
    """Ten steps with dropout give the weights and velocities of a CPU."""
    expected = train_ten_steps(CPU, dropout=0.5)
    actual = train_ten_steps(gpus[0], dropout=0.5)
    assert_close(actual, expected, TOLERANCE_OF_STEPS)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_precision(gpus, precision):
    """Ten steps have about the losses of float32."""
    expected, _ = train_ten_steps(gpus[0])
    losses, _ = train_ten_steps(gpus[0], precision)
    assert expected[-1] < 0.9 * expected[0]
    # With float16, a step whose gradients overflow is skipped.
    np.testing.assert_allclose(losses[0], expected[0], rtol=0.05)
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.compiled
def test_input_pipeline(gpus, make_source, monkeypatch):
    """Crops that XLA augments on the CPU equal those without XLA."""
    preprocessing = presets.override(
        presets.get("paper"), image_size=72, crop_size=64
    ).preprocessing

    def batches():
        return [
            images
            for images, _ in input_pipeline.training_batches(
                make_source(12), preprocessing,
                pixel_statistics.imagenet(preprocessing),
                batch_size=6, seed=0, epoch=0, steps=2,
            ).as_numpy_iterator()
        ]  # fmt: skip

    compiled = batches()
    monkeypatch.setattr(preprocess, "_compiled", preprocess._uncompiled)
    assert_close(compiled, batches())


def train(path, source, **kwargs):
    """Trains `tiny` for two epochs; returns the arrays of the last checkpoint."""
    path.mkdir()
    preset = small_preset(init="he", learning_rate=1e-3, dropout=kwargs.pop("dropout"))
    loop.train(preset, source, source, str(path), **kwargs)
    return [array for _, array in sorted(final_arrays(path).items())]


@pytest.fixture
def two_gpus(gpus):
    """The names of two logical GPUs."""
    if len(gpus) < 2:
        pytest.skip("there is only one GPU")
    return tuple(gpus[:2])


@pytest.mark.usefixtures("figures_as_text")
def test_replicas(two_gpus, make_source, tmp_path):
    """Two GPUs that share the batches give the weights of one GPU."""
    # TensorFlow sums over GPUs by itself; on CPUs it needs this.
    reduction = tf.distribute.ReductionToOneDevice() if "CPU" in two_gpus[0] else None
    expected, actual = (
        train(
            tmp_path / str(len(devices)), make_source(24), dropout=0.0,
            strategy=tf.distribute.MirroredStrategy(devices, reduction),
        )
        for devices in (two_gpus[:1], two_gpus)
    )
    assert_close(actual, expected, TOLERANCE_OF_STEPS)


@pytest.mark.usefixtures("figures_as_text")
def test_towers(two_gpus, make_source, tmp_path):
    """Two GPUs with a tower each give the weights of one device, with dropout."""
    expected = train(tmp_path / "one", make_source(24), dropout=0.5)
    actual = train(
        tmp_path / "two", make_source(24), dropout=0.5, tower_devices=two_gpus
    )
    assert_close(actual, expected, TOLERANCE_OF_STEPS)


def run_train(path, image_folder, epochs):
    """Runs the command in a process whose operations are deterministic."""
    flags = (
        f"--dataset=folder:{image_folder}", "--preset=tiny", "--train_split=train",
        "--eval_split=train", "--batch_size=10", f"--epochs={epochs}",
        f"--workdir={path}",
    )  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "alexnet_tf.train", *flags],
        env=os.environ
        | {"TF_DETERMINISTIC_OPS": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
        check=True,
    )


@pytest.mark.usefixtures("gpus")
def test_resuming(image_folder, tmp_path):
    """With TF_DETERMINISTIC_OPS=1, a resumed run equals a straight one, bit for bit."""
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    run_train(straight, image_folder, 2)
    run_train(resumed, image_folder, 1)
    run_train(resumed, image_folder, 2)
    expected = final_arrays(straight)
    for name, array in final_arrays(resumed).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
