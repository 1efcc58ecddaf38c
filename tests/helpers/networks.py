"""Small models for tests, and the outputs that `reference` computes for them."""

import dataclasses
import functools

import keras
import numpy as np

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf import presets
from helpers import reference

# Filters and units of the narrow models.
WIDTHS = dict(
    conv1=16, conv2=24, conv3=12, conv4=16, conv5=8, conv6=8,
    fc6=20, fc7=18, fc8=7,
)  # fmt: skip
CIFAR10_WIDTHS = dict(conv1=6, conv2=8, conv3=10, fc10=7)

# Height and width of the images that the narrow models are tested with. The outputs of
# pool5 are then 2 x 2 pixels, so that fc6 depends on the order in which they are
# flattened; and the last window of conv1 extends beyond the edge of the image in the
# models whose full-size conv1 does so too.
SIDES = {
    "paper": 96,
    "code2012": 96,
    "caffe": 99,
    "caffenet": 99,
    "owt": 96,
    "cifar10_full": 16,
}


@functools.cache
def reference_outputs(family):
    """Returns a batch, random weights, and what the reference computes from them.

    Args:
        family: a key of `reference.FAMILIES`.

    Returns:
        (images, labels, weights, logits, gradients); the weights and the gradients
        are {layer name: (kernel, bias)}.
    """
    rng = np.random.default_rng(7)
    images = rng.normal(0, 60, (4, SIDES[family], SIDES[family], 3))
    labels = rng.integers(0, 7, 4)
    weights = reference.draw_weights(family, narrow_widths(family), images, rng)
    logits, _ = reference.forward(family, weights, images)
    _, gradients = reference.gradients(family, weights, images, labels)
    return images, labels, weights, logits, gradients


def narrow_widths(name):
    """Returns {layer name: number of filters or units} of a preset's narrow model."""
    return CIFAR10_WIDTHS if name == "cifar10_full" else WIDTHS


def narrow_preset(name):
    """Returns a copy of the preset with few filters and units."""
    preset, widths = presets.get(name), narrow_widths(name)
    for layer in preset.layers:
        if isinstance(layer, presets.Conv):
            preset = with_layer_values(
                preset, layer.name, filters=widths[layer.name]
            )
        if isinstance(layer, presets.Dense) and layer.units:
            preset = with_layer_values(preset, layer.name, units=widths[layer.name])
    return preset


def dense_preset():
    """Returns a preset without convolutions."""
    preprocessing = presets.Preprocessing(8, 8, pca_color_std=0.0)
    recipe = presets.Recipe(batch_size=2, schedule="constant", epochs=1)
    layers = (presets.Dense("fc", None),)
    return presets.Preset("dense", layers, preprocessing, recipe)


def with_layer_values(preset, name_or_class, **values):
    """Returns a copy of `preset` with new values in some of its layers.

    Args:
        preset: a `presets.Preset`.
        name_or_class: the name of one layer, or the class of several.
        **values: new values of the fields of these layers.
    """
    layers = tuple(
        dataclasses.replace(layer, **values)
        if name_or_class in (layer.name, type(layer))
        else layer
        for layer in preset.layers
    )
    return dataclasses.replace(preset, layers=layers)


def relative_error(actual, expected):
    """Returns the largest absolute error, relative to the largest expected value."""
    return np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max()


def untrained_classifier(seed=0, **changes):
    """Returns an untrained `tiny` for 10 classes as a `Classifier`.

    Its model is built once. Further calls restore the weights of the same model.

    Args:
        seed: the random seed of the initialization.
        **changes: fields of the preset to override.
    """
    preset = presets.override(presets.get("tiny"), **changes)
    model, weights = _untrained_model_and_weights(preset, seed)
    model.set_weights(weights)
    return Classifier(
        model,
        preset,
        tuple("0123456789"),
        pixel_statistics.imagenet(preset.preprocessing),
    )


@functools.cache
def _untrained_model_and_weights(preset, seed):
    """Builds a model for `untrained_classifier`, and returns it and its weights."""
    keras.utils.set_random_seed(seed)
    model = alexnet_tf.AlexNet(preset, 10)
    # Larger logits make the probabilities of the classes differ clearly.
    kernel = model.get_layer("fc8").kernel
    kernel.assign(50 * kernel.value)
    return model, [array.copy() for array in model.get_weights()]
