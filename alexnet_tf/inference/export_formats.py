"""Writes a trained network in the formats that other programs run.

`saved_model`, `tflite` and `onnx` write the network of a `Classifier`, run the written
file on images of noise, and return the largest difference from the probabilities of the
network. Each function raises a ValueError and keeps no file if the outputs differ too
much.
"""

import contextlib
import functools
import glob
import importlib
import os

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.files import atomic_write
from alexnet_tf.files import remove_unfinished
from alexnet_tf.inference.classifier import load_classifier

# The largest relative errors that `_difference` accepts. Between the outputs of two
# different networks the error is about 1.4, even if both networks give nearly equal
# probabilities to all classes.
_TOLERANCE = 1e-3
_TOLERANCE_8_BITS = 0.5


def export(weights, output, format="saved_model", *, preset=None, layout=None):
    """Writes a network in another format, as `python -m alexnet_tf.export` does.

    Args:
        weights, preset, layout: the network, see `load_classifier`.
        output: the file to write; a directory for "saved_model". The path must
            not exist.
        format: "saved_model", "tflite", "tflite_8_bits" (with weights stored in 8
            bits) or "onnx".

    Returns:
        The largest difference from the network's probabilities.

    Raises:
        FileExistsError: if `output` exists.
        OSError: if the folder of `output` does not exist or cannot be written to, or
            the weights are missing.
        ValueError: if the format is unknown, the weights do not fit the preset, or the
            outputs differ too much.
        ModuleNotFoundError: if the packages for ONNX are not installed.
    """
    writers = {
        "saved_model": saved_model,
        "tflite": tflite,
        "tflite_8_bits": functools.partial(tflite, eight_bits=True),
        "onnx": onnx,
    }
    if format not in writers:
        raise ValueError(
            f"Expected one of the formats {', '.join(writers)}. Received: {format=}."
        )
    # The writers check the path too, but only after the network has been loaded.
    _check_new(output)
    return writers[format](load_classifier(weights, preset, layout), output)


def saved_model(classifier, path):
    """Writes a SavedModel that preprocesses images of any size itself.

    Two endpoints return probabilities, float32 [B, classes]: `encoded` takes string
    [B], the bytes of JPEG, PNG, BMP or GIF files, and `pixels` takes uint8 RGB
    [B, H, W, 3]. The endpoint `classes` returns the names of the classes, string
    [classes].

    Args:
        classifier: a `Classifier`.
        path: the directory to write.
    """
    preprocessing, statistics = classifier.preset.preprocessing, classifier.statistics

    def encoded(images):
        crops = tf.map_fn(
            lambda image: preprocess.evaluation_image(
                image, preprocessing, statistics, compiled=False
            ),
            images,
            fn_output_signature=tf.TensorSpec(
                [preprocessing.crop_size, preprocessing.crop_size, 3], tf.float32
            ),
        )
        return classifier.model(crops, training=False)

    def pixels(images):
        crops = preprocess.center_crop(images, preprocessing, statistics)
        return classifier.model(crops, training=False)

    with _write_to_new_path(path) as temporary:
        archive = keras.export.ExportArchive()
        archive.track(classifier.model)
        archive.add_endpoint(
            "encoded", encoded, [tf.TensorSpec([None], tf.string)]
        )
        archive.add_endpoint(
            "pixels", pixels, [tf.TensorSpec([None, None, None, 3], tf.uint8)]
        )
        archive.add_endpoint(
            "classes", lambda: tf.constant(classifier.classes), input_signature=[]
        )
        archive.write_out(temporary, verbose=False)
        served, images = tf.saved_model.load(temporary), _noise_images(classifier)
        files = [tf.io.encode_jpeg(image).numpy() for image in images]
        expected = np.stack([classifier.probabilities(file) for file in files])
        return max(
            _difference(served.encoded(files), expected),
            _difference(served.pixels(images), _expected_outputs(classifier)),
        )


def tflite(classifier, path, eight_bits=False):
    """Writes a LiteRT (TFLite) file of the network, without preprocessing.

    Its input is float32 [B, crop, crop, 3], made by `Classifier.center_crop`, or by
    `preprocess_input` for published weights.

    Args:
        classifier: a `Classifier`.
        path: the file to write.
        eight_bits: whether to store the weights in 8 bits (dynamic range
            quantization).
    """
    with _write_to_new_path(path) as temporary:
        converter = tf.lite.TFLiteConverter.from_keras_model(classifier.model)
        if eight_bits:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        with open(temporary, "wb") as file:
            file.write(converter.convert())
        return _difference(
            _run_tflite(temporary, _inputs(classifier)),
            _expected_outputs(classifier),
            _TOLERANCE_8_BITS if eight_bits else _TOLERANCE,
        )


def onnx(classifier, path):
    """Writes an ONNX file of the network, without preprocessing.

    Its input is float32 [B, crop, crop, 3], made by `Classifier.center_crop`, or by
    `preprocess_input` for published weights.

    Args:
        classifier: a `Classifier`.
        path: the file to write.

    Raises:
        ModuleNotFoundError: if the extra `onnx` of the package is not installed.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")
        # Keras imports tf2onnx itself, but its error for a missing one is less clear.
        importlib.import_module("tf2onnx")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Expected onnxruntime and tf2onnx for ONNX. Received: no "
            f'{error.name}. Install them: pip install "alexnet_tf[onnx]".'
        ) from error
    with _write_to_new_path(path) as temporary:
        # Keras can export a model only after it has been called.
        expected = _expected_outputs(classifier)
        classifier.model.export(temporary, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(temporary)
        (model_input,) = session.get_inputs()
        (outputs,) = session.run(None, {model_input.name: _inputs(classifier)})
        return _difference(outputs, expected)


@contextlib.contextmanager
def _write_to_new_path(path):
    """Yields a temporary path that becomes `path` if the body raises no error."""
    _check_new(path)
    # Only a directory can be renamed to a path that ends in a slash.
    path = os.fspath(path).rstrip("/" + os.sep)
    # An earlier export that was killed may have left its temporary folder.
    folder, name = os.path.split(os.path.abspath(path))
    remove_unfinished(folder, glob.escape(name))
    with atomic_write(path) as temporary:
        yield temporary


def _check_new(path):
    """Raises an error if `path` exists, or cannot be written in its folder."""
    if os.path.exists(path):
        raise FileExistsError(
            f"Expected a new name to export to. Received: {path}, which exists. "
            "Remove it or choose another name."
        )
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"The output folder does not exist: {folder}. Create it first."
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"The output folder cannot be written to: {folder}.")


def _run_tflite(path, inputs):
    """Returns the outputs of a LiteRT file, float32 [B, classes]."""
    interpreter = tf.lite.Interpreter(model_path=path)
    (input_details,) = interpreter.get_input_details()
    (output_details,) = interpreter.get_output_details()
    interpreter.resize_tensor_input(input_details["index"], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(input_details["index"], inputs)
    interpreter.invoke()
    return interpreter.get_tensor(output_details["index"])


def _noise_images(classifier):
    """Returns two images of noise, uint8 [2, H, W, 3], to be resized and cropped."""
    size = classifier.preset.preprocessing.image_size
    shape = (2, size + 20, size + 40, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _inputs(classifier):
    """Returns the center crops of `_noise_images`, float32 [2, crop, crop, 3]."""
    return preprocess.center_crop(
        _noise_images(classifier),
        classifier.preset.preprocessing,
        classifier.statistics,
    ).numpy()


def _expected_outputs(classifier):
    return classifier.model(_inputs(classifier), training=False).numpy()


def _difference(outputs, expected, tolerance=_TOLERANCE):
    """Returns the largest difference between probabilities, [B, classes] each.

    Raises:
        ValueError: if the `_relative_error` is larger than `tolerance`.
    """
    outputs = np.asarray(outputs)
    error = _relative_error(outputs, expected)
    if not error <= tolerance:
        raise ValueError(
            f"Expected outputs with a relative error within {tolerance}. Received: "
            f"{error}; nothing was kept. The installed versions can't export this "
            "network."
        )
    return float(np.abs(outputs - expected).max())


def _relative_error(outputs, expected):
    """Returns the relative error of the logarithms of probabilities.

    The mean over the classes is subtracted from the logarithms of each image, so that a
    factor that all probabilities of an image share is no error. The result is the root
    mean square of the differences, divided by that of the expected logarithms.
    """
    outputs, expected = (np.log(np.maximum(p, 1e-30)) for p in (outputs, expected))
    outputs, expected = (
        logs - logs.mean(axis=-1, keepdims=True) for logs in (outputs, expected)
    )
    return np.sqrt(np.mean((outputs - expected) ** 2) / np.mean(expected**2))
