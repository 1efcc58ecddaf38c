"""A trained network in the formats that other programs run.

Each function writes the network of a `Classifier`, runs what it has
written on images, and returns the largest difference from the network's own
probabilities; one that is too large is an error, and nothing is left behind.
"""

import contextlib
import os
import shutil

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.models.layers import LocalResponseNormalization

# Root mean square of what is between the logarithms of the probabilities, over
# their spread. Another network's is 1.4 off, however timid they are.
_TOLERANCE = 1e-3
_TOLERANCE_8_BITS = 0.5


def saved_model(network, path):
    """A SavedModel that takes images of any size, preprocessing inside.

    Endpoints, each of which gives float32 [B, classes]: `encoded`, of string
    [B], the bytes of JPEGs, PNGs, BMPs or GIFs; `pixels`, of uint8 [B, H, W,
    3], RGB. `classes` gives their names, string [classes].
    """
    pixels, statistics = network.preset.preprocessing, network.statistics

    def encoded(images):
        views = tf.map_fn(
            lambda image: preprocess.evaluation_image(
                image, pixels, statistics, compiled=False
            ),
            images,
            fn_output_signature=tf.TensorSpec(
                [pixels.crop_size, pixels.crop_size, 3], tf.float32
            ),
        )
        return network.model(views, training=False)

    def of_pixels(images):
        views = preprocess.center_crop(images, pixels, statistics)
        return network.model(views, training=False)

    with _new(path) as part, _plain(network.model):
        archive = keras.export.ExportArchive()
        archive.track(network.model)
        archive.add_endpoint(
            "encoded", encoded, [tf.TensorSpec([None], tf.string)]
        )
        archive.add_endpoint(
            "pixels", of_pixels, [tf.TensorSpec([None, None, None, 3], tf.uint8)]
        )
        archive.add_endpoint(
            "classes", lambda: tf.constant(network.classes), input_signature=[]
        )
        archive.write_out(part, verbose=False)
        served, images = tf.saved_model.load(part), _images(network)
        files = [tf.io.encode_jpeg(image).numpy() for image in images]
        wanted = np.stack([network.probabilities(file) for file in files])
        return max(
            _difference(served.encoded(files), wanted),
            _difference(served.pixels(images), _wanted(network)),
        )


def tflite(network, path, eight_bits=False):
    """A LiteRT (TFLite) file of the network alone, without preprocessing.

    Input: float32 [B, S, S, 3], see `preprocess_input`.

    Args:
        network: a `Classifier`.
        path: of the file.
        eight_bits: whether to store the weights in 8 bits (dynamic range).
    """
    with _new(path) as part, _plain(network.model):
        converter = tf.lite.TFLiteConverter.from_keras_model(network.model)
        if eight_bits:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        with open(part, "wb") as file:
            file.write(converter.convert())
        interpreter = tf.lite.Interpreter(model_path=part)
        (given,), (result,) = (
            interpreter.get_input_details(),
            interpreter.get_output_details(),
        )
        views = _views(network)
        interpreter.resize_tensor_input(given["index"], views.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], views)
        interpreter.invoke()
        return _difference(
            interpreter.get_tensor(result["index"]),
            _wanted(network),
            _TOLERANCE_8_BITS if eight_bits else _TOLERANCE,
        )


def onnx(network, path):
    """An ONNX file of the network alone; needs the extra `onnx`.

    Input: float32 [B, S, S, 3], see `preprocess_input`.

    Raises:
        ModuleNotFoundError: if the extra is not installed.
    """
    try:
        import onnxruntime
        import tf2onnx  # noqa: F401  Keras needs it, and says so less clearly.
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Expected onnxruntime and tf2onnx for ONNX. Received: no "
            f'{error.name}. Install them: pip install "alexnet_tf[onnx]".'
        ) from error
    with _new(path) as part, _plain(network.model):
        # Keras exports a model that has been called.
        wanted = _wanted(network)
        network.model.export(part, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(part)
        (given,) = session.get_inputs()
        (found,) = session.run(None, {given.name: _views(network)})
        return _difference(found, wanted)


@contextlib.contextmanager
def _new(path):
    """A name to write to, which becomes `path` if nothing goes wrong."""
    if os.path.exists(path):
        raise FileExistsError(
            f"Expected a new name to export to. Received: {path}, which "
            "exists. Remove it or give another."
        )
    path = path.rstrip(os.sep)
    part = f"{path}.part"
    _remove(part)
    try:
        yield part
        os.replace(part, path)
    finally:
        _remove(part)


@contextlib.contextmanager
def _plain(model):
    """Its normalization is traced as operations that any runtime has."""
    layers = [
        layer
        for layer in model.layers
        if isinstance(layer, LocalResponseNormalization)
    ]
    for layer in layers:
        layer.use_reference_op = True
    try:
        yield
    finally:
        for layer in layers:
            layer.use_reference_op = False


def _remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def _images(network):
    """uint8 [2, H, W, 3]: noise, larger than what the network sees."""
    side = network.preset.preprocessing.image_size
    shape = (2, side + 20, side + 40, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _views(network):
    """float32 [2, S, S, 3]"""
    return preprocess.center_crop(
        _images(network), network.preset.preprocessing, network.statistics
    ).numpy()


def _wanted(network):
    return network.model(_views(network), training=False).numpy()


def _difference(found, wanted, tolerance=_TOLERANCE):
    """The largest one between probabilities [B, classes].

    Raises:
        ValueError: if they are off by more than `tolerance`, see there.
    """
    found = np.asarray(found)
    error = _error(found, wanted)
    if not error <= tolerance:
        raise ValueError(
            f"Expected outputs within {tolerance} of the network's own. "
            f"Received: {error}; nothing was kept. The installed versions "
            "can't export this network."
        )
    return float(np.abs(found - wanted).max())


def _error(found, wanted):
    found, wanted = (np.log(np.maximum(p, 1e-30)) for p in (found, wanted))
    found, wanted = (p - p.mean(axis=-1, keepdims=True) for p in (found, wanted))
    return np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2))
