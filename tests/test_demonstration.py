"""The demonstration, `python -m alexnet_tf.train`: its error and its kernels."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data.textures import textures_dataset_builder
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.models import alexnet
from alexnet_tf import presets
from alexnet_tf.training import steps
from helpers.commands import command


def count_smooth(model):
    """Returns how many kernels of conv1 are smooth.

    A kernel is smooth if neighboring weights, one below or beside the other, have a
    correlation of at least .75. The correlation of independent weights is about 0.
    """
    kernels = np.moveaxis(model.get_layer("conv1").kernel.numpy(), -1, 0)
    correlations = [
        max(
            np.corrcoef(kernel[1:].ravel(), kernel[:-1].ravel())[0, 1],
            np.corrcoef(kernel[:, 1:].ravel(), kernel[:, :-1].ravel())[0, 1],
        )
        for kernel in kernels
    ]
    return np.count_nonzero(np.array(correlations) >= 0.75)


def normalized_textures(count):
    """Returns images float32 [count, 64, 64, 3] and labels int32 [count]."""
    labels, images = np.arange(count) % 10, []
    for index, label in enumerate(labels):
        class_name = textures_dataset_builder.CLASSES[label]
        pixels = textures_dataset_builder.draw(class_name, (0, index))
        side = min(pixels.shape[:2])
        images.append(tf.image.resize(pixels[:side, :side], [64, 64], antialias=True))
    images = np.stack(images)
    mean, std = images.mean(axis=(0, 1, 2)), images.std(axis=(0, 1, 2))
    return ((images - mean) / std).astype(np.float32), labels.astype(np.int32)


def test_conv1_of_tiny_learns_smooth_kernels():
    """conv1 learns faster if fc8 follows directly: 150 steps suffice for smoothness."""
    tiny = presets.get("tiny")
    names = ("conv1", "relu1", "norm1", "pool1", "fc8")
    layers = tuple(layer for layer in tiny.layers if layer.name in names)
    keras.utils.set_random_seed(0)
    model = alexnet.AlexNet(
        dataclasses.replace(tiny, layers=layers), 10, classifier_activation=None
    )
    assert count_smooth(model) == 0
    run_steps = steps.make_run_steps(
        model, steps.make_optimizer(model, tiny.recipe, "float32"),
        tf.distribute.get_strategy(), tiny.recipe, seed=0,
    )  # fmt: skip
    batches = tf.data.Dataset.from_tensor_slices(normalized_textures(200))
    run_steps(iter(batches.shuffle(200, seed=1).repeat().batch(32)), 0, 150)
    assert count_smooth(model) >= 13


def test_packaged_kernels_are_smooth():
    assert count_smooth(load_classifier("tiny_textures").model) >= 13


@pytest.mark.large
@pytest.mark.parametrize("seed", range(5))
def test_error_and_kernels_of_the_demonstration(tmp_path, textures_data_dir, seed):
    """All errors were at most 2%, with and without oneDNN."""
    status, out, err = command(
        "train", f"--seed={seed}", f"--data_dir={textures_data_dir}",
        f"--workdir={tmp_path}/run",
    )
    assert status == 0, err
    error = float(out.split("Validation error: top-1 ")[1].split("%")[0])
    assert error <= 2.0
    assert count_smooth(load_classifier(str(tmp_path / "run")).model) >= 13
