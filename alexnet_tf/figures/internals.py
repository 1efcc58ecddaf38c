"""Computes the values that the figures of activations and weights show."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.models import alexnet
from alexnet_tf.models.layers import compiled_normalization


def response_normalization(values, n, bias, alpha, beta):
    """Returns values / (bias + alpha * sum of squares)^beta, float64 [N].

    The sum is over `n` neighboring maps, of which the first is n // 2 before the map of
    the value; at both ends there are fewer. For even n the window is that of
    cuda-convnet2 (src/conv_util.cu:1162-1211), because the bounds in the paper,
    i - n/2 to i + n/2, include five maps both for n = 4 and for n = 5.

    Args:
        values: float [N], the activations of N neighboring maps at one pixel.
        n, bias, alpha, beta: the constants of section 3.3 of the paper, which calls
            the bias k.
    """
    values = np.asarray(values, np.float64)
    before = n // 2
    padded = np.pad(values**2, (before, n - 1 - before))
    sums = np.convolve(padded, np.ones(n), mode="valid")
    return values / (bias + alpha * sums) ** beta


def activations(classifier, encoded):
    """Returns {layer: float32 [H, W, C] or [units]}, the activations for one image.

    The layers are those of `alexnet.activation_names`; the last entry, "prob", holds
    the probabilities of the classes. The input is the center crop.

    Args:
        classifier: a `Classifier`.
        encoded: the bytes of the image file.
    """
    model = classifier.model
    names = alexnet.activation_names(model)
    outputs = [alexnet.features(model, name).output for name in names]
    extractor = keras.Model(model.input, [*outputs, model.output])
    crop = classifier.center_crop(encoded)[tf.newaxis]
    values = extractor(crop, training=False)
    return {
        name: output.numpy()[0] for name, output in zip([*names, "prob"], values)
    }


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
    is assigned to the dropout layers of the classifier's model.

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
    crops = tf.data.Dataset.from_tensor_slices(
        tf.stack([classifier.center_crop(image) for image in encoded])
    )

    @tf.function
    def predict(batch):
        with compiled_normalization():
            return classifier.model(batch, training=True)

    return np.stack(
        [
            np.concatenate([predict(batch).numpy() for batch in crops.batch(64)])
            for _ in range(passes)
        ]
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
