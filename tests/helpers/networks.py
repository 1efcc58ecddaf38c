"""Small networks, and what an independent reference makes of them."""

import dataclasses
import functools

import keras
import numpy as np

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf import presets
from helpers import reference

# Narrow copies: pool5 is 2x2, so that the order of its maps matters to fc6,
# and conv1's last window hangs over the edge where the full network's does.
WIDTHS = dict(
    conv1=16, conv2=24, conv3=12, conv4=16, conv5=8, conv6=8,
    fc6=20, fc7=18, fc8=7,
)  # fmt: skip

CIFAR10_WIDTHS = dict(conv1=6, conv2=8, conv3=10, fc10=7)

SIDES = {
    "paper": 96,
    "code2012": 96,
    "caffe": 99,
    "caffenet": 99,
    "owt": 96,
    "cifar10_full": 16,
}


@functools.cache
def expected(family):
    """Pictures, labels, weights, and the reference's logits and gradients."""
    rng = np.random.default_rng(7)
    images = rng.normal(0, 60, (4, SIDES[family], SIDES[family], 3))
    labels = rng.integers(0, 7, 4)
    weights = reference.draw(family, narrow_widths(family), images, rng)
    logits, _ = reference.forward(family, weights, images)
    _, gradients = reference.gradients(family, weights, images, labels)
    return images, labels, weights, logits, gradients


def narrow_widths(name):
    return CIFAR10_WIDTHS if name == "cifar10_full" else WIDTHS


def narrow(name):
    """The preset's layers with few filters and units."""
    preset, widths = presets.get(name), narrow_widths(name)
    for layer in preset.layers:
        if isinstance(layer, presets.Conv):
            preset = changed(preset, layer.name, filters=widths[layer.name])
        if isinstance(layer, presets.Dense) and layer.units:
            preset = changed(preset, layer.name, units=widths[layer.name])
    return preset


def changed(preset, which, **values):
    """`preset` with `values` in the layers of that name or class."""
    layers = tuple(
        dataclasses.replace(layer, **values)
        if which in (layer.name, type(layer))
        else layer
        for layer in preset.layers
    )
    return dataclasses.replace(preset, layers=layers)


def relative(found, wanted):
    return np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max()


def network(seed=0, **changes):
    """An untrained `tiny` for 10 classes that has opinions."""
    keras.utils.set_random_seed(seed)
    preset = presets.override(presets.get("tiny"), **changes)
    model = alexnet_tf.AlexNet(preset, 10)
    kernel = model.get_layer("fc8").kernel
    kernel.assign(50 * kernel.value)
    return Classifier(
        model,
        preset,
        tuple("0123456789"),
        pixel_statistics.imagenet(preset.preprocessing),
    )
