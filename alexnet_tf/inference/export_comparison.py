"""Compares the outputs of exported files with those of the network."""

import dataclasses

import numpy as np

# The largest relative errors that are accepted. Between the outputs of two different
# networks the error is about 1.4, even if both networks give nearly equal probabilities
# to all classes.
TOLERANCE = 1e-3
TOLERANCE_8_BITS = 0.5
# Other operations than those of the network round differently. Networks with the policy
# mixed_float16 have had errors up to 0.0007, and those with mixed_bfloat16 up to 0.007.
_TOLERANCES_OF_DTYPES = {"float16": 0.01, "bfloat16": 0.05}

# The height and width of images of noise for networks that accept any size.
_NOISE_SIDE = 227
_BATCH_SIZE = 32


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How the outputs of an exported file differ from those of the network.

    Attributes:
        difference: the largest absolute difference.
        same_class: the fraction of images for which the largest output is that of the
            same class, in [0, 1].
        num_images: the number of images that were compared.
    """

    difference: float
    same_class: float
    num_images: int


def compare(outputs, expected, tolerance=TOLERANCE):
    """Returns the `Comparison` of outputs, [N, ..., classes] each.

    Raises:
        ValueError: if the `_relative_error` is larger than `tolerance`.
    """
    outputs = np.asarray(outputs).astype(np.float32)
    error = _relative_error(outputs, expected)
    if not error <= tolerance:
        raise ValueError(
            f"Expected outputs with a relative error within {tolerance}. Received: "
            f"{error}; nothing was kept. The installed packages can't export this "
            "network correctly."
        )
    return _comparison(outputs, expected)


def tolerance(model):
    """Returns the tolerance for exports of a `keras.Model`, by its compute dtypes."""
    dtypes = {layer.compute_dtype for layer in model.layers}
    return max(_TOLERANCES_OF_DTYPES.get(dtype, TOLERANCE) for dtype in dtypes)


def compare_int8(outputs, expected):
    """Returns the `Comparison` of outputs of 8-bit arithmetic, [N, ..., classes] each.

    Probabilities themselves are compared and not their logarithms, because
    probabilities below 1/512 become 0 in 8 bits.

    Raises:
        ValueError: if the root mean square error is larger than `TOLERANCE_8_BITS`
            times that of the expected outputs.
    """
    error = _root_mean_square(outputs - expected)
    if not error <= TOLERANCE_8_BITS * _root_mean_square(expected):
        raise ValueError(
            f"Expected outputs with a relative error within {TOLERANCE_8_BITS}. "
            f"Received: {error / _root_mean_square(expected):.2f}; nothing was kept. "
            "Calibrate with images like those that the network was trained for. For "
            "some networks 8 bits are too few, such as an untrained network with many "
            "classes."
        )
    return _comparison(outputs, expected)


def run_model(model, inputs):
    """Returns the outputs of a `keras.Model` as float32, computed in batches.

    Args:
        model: the model.
        inputs: [N, ...], with N of at least 1.
    """
    batches = np.split(inputs, range(_BATCH_SIZE, len(inputs), _BATCH_SIZE))
    return np.concatenate(
        [model(batch, training=False).numpy() for batch in batches]
    ).astype(np.float32)


def noise_images(preprocessing):
    """Returns two images of noise, uint8 [2, H, W, 3], to be resized and cropped.

    Args:
        preprocessing: a `presets.Preprocessing`.
    """
    size = preprocessing.image_size
    shape = (2, size + 20, size + 40, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def noise_inputs(model):
    """Returns two inputs of a `keras.Model`, [2, H, W, C], of noise.

    Args:
        model: a model with one input. Heights and widths that may vary become 227.
    """
    (model_input,) = model.inputs
    shape = [2, *(size or _NOISE_SIDE for size in model_input.shape[1:])]
    generator = np.random.default_rng(0)
    if "int" in model_input.dtype:
        return generator.integers(0, 256, shape).astype(model_input.dtype)
    # One input has the scale of pixels that are divided by their standard deviation,
    # the other that of pixels in [-128, 127], because the network may expect either.
    scales = np.reshape([1, 50], [2] + [1] * (len(shape) - 1))
    return (scales * generator.normal(size=shape)).astype(model_input.dtype)


def _comparison(outputs, expected):
    is_same = outputs.argmax(axis=-1) == expected.argmax(axis=-1)
    return Comparison(
        float(np.abs(outputs - expected).max()), float(is_same.mean()), len(expected)
    )


def _relative_error(outputs, expected):
    """Returns the root mean square error, relative to that of the expected outputs.

    Probabilities are compared by their logarithms. The mean over the classes is
    subtracted from the logarithms of each image, so a factor that all probabilities of
    an image share is no error.
    """
    if _are_probabilities(expected):
        outputs, expected = (
            np.log(np.maximum(values, 1e-30)) for values in (outputs, expected)
        )
        outputs, expected = (
            logs - logs.mean(axis=-1, keepdims=True) for logs in (outputs, expected)
        )
    error = _root_mean_square(outputs - expected)
    # All probabilities of an untrained network may be equal but for rounding.
    return error / max(_root_mean_square(expected), 1e-3)


def _are_probabilities(outputs):
    """Returns whether outputs are those of a softmax over at least two classes."""
    return (
        outputs.shape[-1] > 1
        and outputs.min() >= 0
        and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)
    )


def _root_mean_square(values):
    return np.sqrt(np.mean(np.square(values)))
