"""What goes on inside a network: the numbers behind the images of it."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.models import alexnet


def normalized(values, n, bias, alpha, beta):
    """float64 [N]: values divided by (bias + alpha * sum of squares)^beta.

    The sum runs over `n` neighbors, from n // 2 before on, fewer at the ends
    (CC2 src/conv_util.cu:1162-1211, which so settles what an even n means). The
    paper's own bounds, i - n/2 to i + n/2, are five neighbors for n = 4 and
    for n = 5.

    Args:
        values: float [N].
        n, bias, alpha, beta: of section 3.3 of the paper, where bias is k.
    """
    values = np.asarray(values, np.float64)
    before = n // 2
    padded = np.pad(values**2, (before, n - 1 - before))
    sums = np.convolve(padded, np.ones(n), mode="valid")
    return values / (bias + alpha * sums) ** beta


def activations(network, encoded):
    """{layer: float32 [H, W, C] or [C]} of one image's central view.

    Of `alexnet.activation_names`, and of the last layer the probabilities, as "prob".

    Args:
        network: a `Classifier`.
        encoded: the bytes of the image.
    """
    model = network.model
    names = alexnet.activation_names(model)
    outputs = [alexnet.features(model, name).output for name in names]
    probe = keras.Model(model.input, [*outputs, model.output])
    view = network.view(encoded)[tf.newaxis]
    found = probe(view, training=False)
    return {
        name: output.numpy()[0]
        for name, output in zip([*names, "prob"], found)
    }


def strongest(maps, count):
    """int64 [count]: the maps with the largest sums, the first one first.

    Args:
        maps: float [H, W, C], 0 and up.
        count: at most C.
    """
    return np.argsort(-maps.sum(axis=(0, 1)), kind="stable")[:count]


def dropout_passes(network, encoded, passes, seed=0):
    """float32 [passes, N, classes]: probabilities with dropout left on.

    Each pass is of one thinned network an image (paper, section 4.2).

    Args:
        network: a `Classifier`.
        encoded: the bytes of N images, seen in their central view.
        passes: how many.
        seed: of what is dropped.

    Raises:
        ValueError: if the network drops nothing.
    """
    states = alexnet.dropout_states(network.model)
    if not states:
        raise ValueError(
            "Expected a network with dropout. Received: preset "
            f"{network.preset.name}, which has none."
        )
    for number, state in enumerate(states):
        state.assign([seed, number])
    views = tf.data.Dataset.from_tensor_slices(
        tf.stack([network.view(each) for each in encoded])
    )
    run = tf.function(lambda batch: network.model(batch, training=True))
    return np.stack(
        [
            np.concatenate([run(batch).numpy() for batch in views.batch(64)])
            for _ in range(passes)
        ]
    )


@dataclasses.dataclass(frozen=True)
class Norms:
    """How large the weights of a layer are.

    Attributes:
        layer: its name.
        kernel: the root mean square of its kernel.
        start: the same of the preset's random start.
        units: float32 [units], the lengths of the kernels of single units.
    """

    layer: str
    kernel: float
    start: float
    units: np.ndarray


def norms(model, preset, seed=0):
    """The `Norms` of each layer of `model` with weights, in order.

    Args:
        model: a network built from `preset`.
        preset: a `presets.Preset`.
        seed: of the random start that it is held against.
    """
    keras.utils.set_random_seed(seed)
    beginning = alexnet.AlexNet(preset, model.output.shape[-1])
    found = []
    for layer, fresh in zip(model.layers, beginning.layers):
        if layer.weights:
            kernel = layer.get_weights()[0]
            flat = kernel.reshape(-1, kernel.shape[-1])
            found.append(
                Norms(
                    layer.name,
                    float(np.sqrt(np.mean(flat**2))),
                    float(np.sqrt(np.mean(fresh.get_weights()[0] ** 2))),
                    np.linalg.norm(flat, axis=0),
                )
            )
    return found
