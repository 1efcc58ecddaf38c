"""Computes the values that the figures of activations and weights show."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.models.layers import LocalResponseNormalization


@dataclasses.dataclass(frozen=True)
class NormalizedPixel:
    """Activations at one pixel before and after response normalization across maps.

    Attributes:
        layer: the `layers.LocalResponseNormalization`.
        row, column: the position of the pixel in the maps.
        maps: int [N], the indices of N neighboring maps of one tower.
        before, after: float32 [N], the inputs and the outputs of the layer.
        divisors: float32 [N], the numbers by which the inputs were divided,
            (bias + alpha * sum of squares)^beta.
    """

    layer: keras.layers.Layer
    row: int
    column: int
    maps: np.ndarray
    before: np.ndarray
    after: np.ndarray
    divisors: np.ndarray


def normalized_pixel(classifier, encoded, count=20):
    """Returns the `NormalizedPixel` with the strongest activations of one image.

    The layer is the first response normalization across maps; the pixel is the one with
    the largest sum of squares over all maps; and the maps are those around the map with
    the largest activation at this pixel.

    Args:
        classifier: a `Classifier`.
        encoded: the bytes of the image file, whose center crop is the input.
        count: the largest number of maps.

    Raises:
        ValueError: if the network has no response normalization across maps.
    """
    layer = _first_normalization(classifier)
    model = keras.Model(classifier.model.input, [layer.input, layer.output])
    crop = classifier.center_crop(encoded)[tf.newaxis]
    before, after = (values.numpy()[0] for values in model(crop, training=False))
    sums = np.square(before).sum(axis=-1)
    row, column = map(int, np.unravel_index(sums.argmax(), sums.shape))
    before, after = before[row, column], after[row, column]
    maps = _maps_around(int(before.argmax()), count, len(before) // layer.groups)
    divisors = _divisors(layer, before)
    return NormalizedPixel(
        layer, row, column, maps, before[maps], after[maps], divisors[maps]
    )


def _first_normalization(classifier):
    for layer in classifier.model.layers:
        if isinstance(layer, LocalResponseNormalization):
            return layer
    raise ValueError(
        "Expected a network with response normalization across maps. Received: preset "
        f"{classifier.preset.name}, which has none."
    )


def _maps_around(strongest_map, count, tower_size):
    """Returns the indices of at most `count` maps around one, all in its tower."""
    first_of_tower = strongest_map // tower_size * tower_size
    count = min(count, tower_size)
    first = np.clip(
        strongest_map - count // 2,
        first_of_tower,
        first_of_tower + tower_size - count,
    )
    return np.arange(first, first + count)


def _divisors(layer, values):
    """Returns (bias + alpha * sum of squares)^beta for the values [C] of all maps."""
    radius = layer.depth_radius
    squares = np.square(values).reshape(layer.groups, -1)
    # At the borders of a tower there are fewer neighbors.
    padded = np.pad(squares, ((0, 0), (radius, radius)))
    window = np.ones(2 * radius + 1)
    sums = [np.convolve(tower, window, mode="valid") for tower in padded]
    return (layer.bias + layer.alpha * np.concatenate(sums)) ** layer.beta


def activations(classifier, encoded):
    """Returns {layer: float32 [H, W, C] or [units]}, the activations for one image.

    The layers are those of `alexnet.activation_names`; the last entry, "prob", holds
    the probabilities of the classes. The input is the center crop.

    Args:
        classifier: a `Classifier`.
        encoded: the bytes of the image file.
    """
    model = classifier.model
    outputs = {
        name: alexnet.features(model, name).output
        for name in alexnet.activation_names(model)
    }
    extractor = keras.Model(model.input, {**outputs, "prob": model.output})
    crop = classifier.center_crop(encoded)[tf.newaxis]
    values = extractor(crop, training=False)
    return {
        name: values[name].numpy()[0].astype(np.float32) for name in (*outputs, "prob")
    }


def by_confidence(probabilities, labels, count):
    """Returns (right, wrong, least sure), three lists of indices.

    The first two are the correct and the wrong predictions with the largest
    probabilities, the largest first. The third are the predictions with the smallest
    probabilities, right or wrong, the smallest first. No image is in two lists.

    Args:
        probabilities: float [N, classes].
        labels: int [N].
        count: the largest number of images in all lists. Each has a third of them, or
            fewer if there are not enough such images.
    """
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    surest_first = np.argsort(-confidence, kind="stable")
    right = surest_first[is_right[surest_first]][: (count + 2) // 3].tolist()
    wrong = surest_first[~is_right[surest_first]][: (count + 1) // 3].tolist()
    least_sure_first = np.argsort(confidence, kind="stable").tolist()
    others = [index for index in least_sure_first if index not in {*right, *wrong}]
    return right, wrong, others[: count // 3]


def strongest(maps, count):
    """Returns the indices of the maps with the largest sums, in descending order.

    Args:
        maps: float [H, W, C].
        count: the number of indices, at most C.
    """
    return np.argsort(-maps.sum(axis=(0, 1)), kind="stable")[:count]


def dropout_passes(classifier, encoded, passes, seed=0):
    """Returns probabilities with dropout active, float32 [passes, N, classes].

    In each pass dropout samples one network per image (paper, section 4.2). The seed
    is assigned to the dropout layers of the classifier's model. The layers before the
    first dropout are applied once, since their outputs are the same in all passes.

    Args:
        classifier: a `Classifier`.
        encoded: the bytes of N image files; the inputs are their center crops.
        passes: the number of passes.
        seed: the random seed of dropout.

    Raises:
        ValueError: if the network has no dropout.
    """
    states = alexnet.dropout_states(classifier.model)
    if not states:
        raise ValueError(
            "Expected a network with dropout. Received: preset "
            f"{classifier.preset.name}, which has none."
        )
    for index, state in enumerate(states):
        state.assign([seed, index])
    before_dropout, after_dropout = _split_at_dropout(classifier.model)
    crops = tf.stack([classifier.center_crop(image) for image in encoded])
    with compiled_normalization():
        inputs = [
            before_dropout(crops[start : start + 64], training=False)
            for start in range(0, len(crops), 64)
        ]

    @tf.function
    def predict(batch):
        return after_dropout(batch, training=True)

    return np.stack(
        [
            np.concatenate([predict(batch).numpy() for batch in inputs])
            for _ in range(passes)
        ]
    )


def geometric_mean(probabilities):
    """Returns geometric means of distributions, normalized, float [..., classes].

    The paper's network with all units approximates this mean over the networks that
    dropout samples (section 4.2).

    Args:
        probabilities: float [networks, ..., classes].
    """
    with np.errstate(divide="ignore"):  # log 0 is minus infinity, whose exp is 0.
        logits = np.log(probabilities).mean(axis=0)
    means = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return means / means.sum(axis=-1, keepdims=True)


# The averages over networks, see `geometric_mean`.
AVERAGES = {
    "arithmetic mean": functools.partial(np.mean, axis=0),
    "geometric mean": geometric_mean,
}


def _split_at_dropout(model):
    """Returns two models: the layers before the first active dropout, and the rest."""
    first = next(
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0
    )
    return (
        keras.Model(model.input, first.input),
        keras.Model(first.input, model.output),
    )


@dataclasses.dataclass(frozen=True)
class Norms:
    """The magnitudes of the weights of a layer, without its biases.

    Attributes:
        layer: the name of the layer.
        kernel_rms: the root mean square of the layer's kernel.
        initial_kernel_rms: the root mean square of a kernel that was initialized
            randomly, as the preset says.
        unit_norms: float32 [units], the Euclidean norm of the weights of each unit.
    """

    layer: str
    kernel_rms: float
    initial_kernel_rms: float
    unit_norms: np.ndarray


def norms(model, preset, seed=0):
    """Returns a list with the `Norms` of each layer of `model` that has a kernel.

    The global random seed of Keras is set to `seed`.

    Args:
        model: a model that was built from `preset`.
        preset: a `presets.Preset`.
        seed: the random seed of the initialization to compare with.
    """
    keras.utils.set_random_seed(seed)
    initial_model = alexnet.AlexNet(preset, model.output.shape[-1])
    layer_norms = []
    for layer, initial_layer in zip(model.layers, initial_model.layers):
        if hasattr(layer, "kernel"):
            kernel = layer.get_weights()[0]
            flat = kernel.reshape(-1, kernel.shape[-1])
            layer_norms.append(
                Norms(
                    layer.name,
                    _root_mean_square(kernel),
                    _root_mean_square(initial_layer.get_weights()[0]),
                    np.linalg.norm(flat, axis=0),
                )
            )
    return layer_norms


def _root_mean_square(values):
    return float(np.sqrt(np.mean(values**2)))
