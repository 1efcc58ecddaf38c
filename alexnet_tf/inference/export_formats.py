"""Writes a trained network in the formats that other programs run.

`saved_model`, `keras_file`, `tflite`, `tflite_int8` and `onnx` write a `Classifier`, or
any `keras.Model` with one input and one output:

    model = alexnet_tf.AlexNet("caffe", classes=10)
    export_formats.tflite(model, "caffe.tflite")
    export_formats.tflite_int8(model, "caffe_int8.tflite", preprocessed_images)

Each function runs the written file and returns a `Comparison` of its outputs with those
of the network. It raises a ValueError and keeps no file if they differ too much.
"""

import contextlib
import functools
import glob
import importlib
import os
import warnings

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.files import atomic_write
from alexnet_tf.files import check_output
from alexnet_tf.files import expand_home
from alexnet_tf.files import remove_unfinished
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf.inference.classifier import for_image_files
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference.export_comparison import compare
from alexnet_tf.inference.export_comparison import compare_int8
from alexnet_tf.inference.export_comparison import noise_images
from alexnet_tf.inference.export_comparison import noise_inputs
from alexnet_tf.inference.export_comparison import run_model
from alexnet_tf.inference.export_comparison import tolerance
from alexnet_tf.inference.export_comparison import TOLERANCE_8_BITS
from alexnet_tf.inference.integer_network import quantizable_copy
from alexnet_tf.inference import litert_files
from alexnet_tf.inference import representative_images
from alexnet_tf.models.layers import portable_convolutions


# {format: the file name extension that it may or, for Keras, must have}.
_EXTENSIONS = {
    "saved_model": "",
    "keras": ".keras",
    "tflite": ".tflite",
    "tflite_8_bits": ".tflite",
    "tflite_int8": ".tflite",
    "onnx": ".onnx",
}


def find_format(output, format=None):
    """Returns the format to write: `format`, or by default that of the extension.

    It is "keras" for .keras, "tflite" for .tflite, "onnx" for .onnx, and "saved_model"
    for all other paths.

    Args:
        output: the path to write.
        format: see `export`; None for the default.

    Raises:
        ValueError: if there is no such format, or it contradicts the extension.
    """
    extension = os.path.splitext(_without_slash(output))[1].lower()
    if extension not in _EXTENSIONS.values():
        extension = ""
    fitting = [name for name, each in _EXTENSIONS.items() if each == extension]
    if format is None:
        return fitting[0]
    if format not in _EXTENSIONS:
        raise ValueError(
            f"Expected one of the formats {', '.join(_EXTENSIONS)}. Received: "
            f"{format=}."
        )
    if extension and format not in fitting:
        raise ValueError(
            f"Expected the format {' or '.join(fitting)} for a file that ends in "
            f"{extension}. Received: {format=} and output={os.fspath(output)!r}. Leave "
            "the format out, or choose another name."
        )
    if format == "keras" and not extension:
        raise ValueError(
            "Expected output to end in .keras for the format keras. Received: "
            f"output={os.fspath(output)!r}."
        )
    return format


def export(
    weights,
    output,
    format=None,
    *,
    preset=None,
    layout=None,
    mean=None,
    checkpoint="last",
    dataset=None,
    split=None,
    data_dir=None,
    image_key=None,
    label_key=None,
    calibration_images=100,
):
    """Writes a network in another format, as `python -m alexnet_tf.export` does.

    A SavedModel turns image files upright by their EXIF orientation if `predict_files`
    does so by default.

    Args:
        weights, preset, layout, mean, checkpoint: the network, see `load_classifier`.
        output: the file to write; a directory for "saved_model". The path must
            not exist.
        format: "saved_model", "keras", "tflite", "tflite_8_bits" (with weights stored
            in 8 bits), "tflite_int8" (with 8-bit arithmetic, see `tflite_int8`) or
            "onnx". Default: that of the extension of `output`, see `find_format`.
        dataset, split, data_dir, image_key, label_key: the data set with the
            representative images of "tflite_int8", see `datasets.load`. Default: the
            data that the run was trained on. A weights file needs `dataset`.
        calibration_images: the number of representative images.

    Returns:
        The `export_comparison.Comparison` with the network.

    Raises:
        FileExistsError: if `output` exists.
        OSError: if the folder of `output` does not exist or cannot be written to, or
            the weights or the data are missing.
        ValueError: if the format is unknown or contradicts the extension, the weights
            do not fit the preset, there is no data set for "tflite_int8" or one for
            another format, or the outputs differ too much.
        ModuleNotFoundError: if the packages for ONNX are not installed.
    """
    writers = {
        "saved_model": saved_model,
        "keras": keras_file,
        "tflite": tflite,
        "tflite_8_bits": functools.partial(tflite, eight_bits=True),
        "tflite_int8": tflite_int8,
        "onnx": onnx,
    }
    format = find_format(output, format)
    data = {
        "dataset": dataset, "split": split, "data_dir": data_dir,
        "image_key": image_key, "label_key": label_key,
    }  # fmt: skip
    if format == "tflite_int8":
        _check_count(calibration_images)
        representative_images.check_source(weights, dataset)
    else:
        _check_no_data(format, data)
    # The writers check the path too, but only after the network has been loaded.
    _check_new(output)
    classifier = load_classifier(weights, preset, layout, mean, checkpoint)
    if format == "tflite_int8":
        images = representative_images.load_inputs(
            classifier, weights, calibration_images, **data
        )
        return tflite_int8(classifier, output, images)
    # The other formats do not decode images.
    return writers[format](for_image_files(classifier, weights), output)


def saved_model(network, path):
    """Writes a SavedModel, which `tf.saved_model.load` reads without this package.

    The SavedModel of a `Classifier` preprocesses images of any size itself. Two
    endpoints return probabilities, float32 [B, classes]: `encoded` takes string [B],
    the bytes of JPEG, PNG, BMP, GIF or WebP files, and `pixels` takes uint8 RGB
    [B, H, W, 3]. The endpoint `classes` returns the names of the classes, string
    [classes].

    The SavedModel of a `keras.Model` has the endpoint `serve`, from its inputs to its
    outputs.

    Args:
        network: a `Classifier`, or a functional or Sequential `keras.Model` with one
            input and one output.
        path: the directory to write.

    Returns:
        The `Comparison` with the network, for two images of noise.
    """
    with _write_to_new_path(path) as temporary:
        if isinstance(network, Classifier):
            return _saved_classifier(network, temporary)
        model, inputs = _plain_model(network), _noise_inputs(network)
        model.export(temporary, format="tf_saved_model", verbose=False)
        served = tf.saved_model.load(temporary)
        return compare(
            served.serve(inputs), run_model(model, inputs), tolerance(model)
        )


def _saved_classifier(classifier, path):
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

    archive = keras.export.ExportArchive()
    archive.track(classifier.model)
    archive.add_endpoint("encoded", encoded, [tf.TensorSpec([None], tf.string)])
    archive.add_endpoint(
        "pixels", pixels, [tf.TensorSpec([None, None, None, 3], tf.uint8)]
    )
    archive.add_endpoint(
        "classes", lambda: tf.constant(classifier.classes), input_signature=[]
    )
    archive.write_out(path, verbose=False)
    served, images = tf.saved_model.load(path), noise_images(preprocessing)
    files = [tf.io.encode_jpeg(image).numpy() for image in images]
    expected = np.stack([classifier.probabilities(file) for file in files])
    inputs = _noise_inputs(classifier)
    limit = tolerance(classifier.model)
    return max(
        compare(served.encoded(files), expected, limit),
        compare(served.pixels(images), run_model(classifier.model, inputs), limit),
        key=lambda comparison: comparison.difference,
    )


def keras_file(network, path):
    """Writes a .keras file of the network, without preprocessing.

    `keras.saving.load_model` reads the file after `import alexnet_tf`, which registers
    the layers. The input of a `Classifier` is float32 [B, crop, crop, 3], made by
    `Classifier.center_crop`, or by `preprocess_input` for published weights.

    Args:
        network: a `Classifier` or a `keras.Model`, see `saved_model`.
        path: the file to write, which ends in .keras.

    Returns:
        The `Comparison` with the network, for two images of noise.

    Raises:
        ValueError: if `path` does not end in .keras, or the model cannot be loaded
            again, because it has Lambda layers or a class that is not registered.
    """
    check_output("path", path, ".keras")
    model, inputs = _plain_model(network), _noise_inputs(network)
    with _write_to_new_path(path) as temporary:
        saved = network.model if isinstance(network, Classifier) else network
        # Keras accepts the extension in lower case only.
        keras_path = os.path.splitext(temporary)[0] + ".keras"
        saved.save(keras_path)
        try:
            loaded = keras.saving.load_model(keras_path, compile=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "Keras cannot load the file of this network again. Register the "
                "classes of its layers with keras.saving.register_keras_serializable, "
                "and replace Lambda layers by such classes. Keras says: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        os.replace(keras_path, temporary)
        outputs = run_model(_plain_model(loaded), inputs)
        return compare(outputs, run_model(model, inputs), tolerance(model))


def tflite(network, path, eight_bits=False):
    """Writes a LiteRT (TFLite) file of the network, without preprocessing.

    The input of a `Classifier` is float32 [B, crop, crop, 3], made by
    `Classifier.center_crop`, or by `preprocess_input` for published weights.

    Args:
        network: a `Classifier` or a `keras.Model`, see `saved_model`.
        path: the file to write.
        eight_bits: whether to store the weights in 8 bits (dynamic range
            quantization). Inputs, activations and outputs stay float32.

    Returns:
        The `Comparison` with the network, for two images of noise.
    """
    model, inputs = _plain_model(network), _noise_inputs(network)

    def store_weights_in_8_bits(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]

    configure = store_weights_in_8_bits if eight_bits else None
    limit = TOLERANCE_8_BITS if eight_bits else tolerance(model)
    with _write_to_new_path(path) as temporary:
        litert_files.convert(model, temporary, configure)
        outputs = litert_files.run(temporary, inputs)
        return compare(outputs, run_model(model, inputs), limit)


def tflite_int8(network, path, images):
    """Writes a LiteRT (TFLite) file that computes with 8-bit integers only.

    Weights, activations, the input and the output are int8, as devices without
    floating-point units require. A program that runs the file converts an input x of
    the network to round(x / scale) + zero_point, and an output y of the file to
    (y - zero_point) * scale, where

        scale, zero_point = interpreter.get_input_details()[0]["quantization"]

    and get_output_details() has the scale and the zero point of the output. Response
    normalization is computed with other operations than in a float32 file, see
    `quantizable_copy`.

    Args:
        network: a `Classifier` or a `keras.Model`, see `saved_model`.
        path: the file to write.
        images: float32 [N, H, W, C], inputs that resemble those the file will
            process. The integers represent the ranges that the activations have
            for these images. N is at least 1, and 100 are usually enough.

    Returns:
        The `Comparison` with the network, for `images`.

    Raises:
        ValueError: if the images do not fit the network.
    """
    model = _plain_model(network)
    images = _check_images(images, model)

    def quantize(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8

    with _write_to_new_path(path) as temporary:
        litert_files.convert(quantizable_copy(model), temporary, quantize)
        outputs = litert_files.run_int8(temporary, images)
        return compare_int8(outputs, run_model(model, images))


def onnx(network, path):
    """Writes an ONNX file of the network, without preprocessing.

    The input of a `Classifier` is float32 [B, crop, crop, 3], made by
    `Classifier.center_crop`, or by `preprocess_input` for published weights.

    Args:
        network: a `Classifier` or a `keras.Model`, see `saved_model`.
        path: the file to write.

    Returns:
        The `Comparison` with the network, for two images of noise.

    Raises:
        ModuleNotFoundError: if the extra `onnx` of the package is not installed.
        ValueError: if ONNX lacks an operation of the network.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")
        # Keras imports tf2onnx itself, but its error for a missing one is less clear.
        importlib.import_module("tf2onnx")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Exporting to ONNX needs {error.name}, which is not installed. Install "
            'it: pip install "alexnet_tf[onnx]".'
        ) from error
    model, inputs = _plain_model(network), _noise_inputs(network)
    with _write_to_new_path(path) as temporary:
        # Keras can export a model only after it has been called.
        expected = run_model(model, inputs)
        with warnings.catch_warnings():
            # tf2onnx uses names of NumPy that NumPy is going to remove.
            warnings.simplefilter("ignore", FutureWarning)
            model.export(temporary, format="onnx", verbose=False)
        try:
            session = onnxruntime.InferenceSession(temporary)
        except Exception as error:  # The classes of onnxruntime's errors are private.
            raise ValueError(
                "ONNX does not support an operation of this network, such as those of "
                "`preprocess_input`: export the network without it. onnxruntime says: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        (model_input,) = session.get_inputs()
        (outputs,) = session.run(None, {model_input.name: inputs})
        return compare(outputs, expected, tolerance(model))


@contextlib.contextmanager
def _write_to_new_path(path):
    """Yields a temporary path that becomes `path` if the body raises no error.

    Models that the body traces can run on a CPU, see `portable_convolutions`.
    """
    _check_new(path)
    path = _without_slash(path)
    # An earlier export that was killed may have left its temporary folder.
    folder, name = os.path.split(os.path.abspath(path))
    remove_unfinished(folder, glob.escape(name))
    with atomic_write(path) as temporary, portable_convolutions():
        yield temporary


def _check_new(path):
    """Raises an error if `path` exists, or its folder does not."""
    if os.path.exists(_without_slash(path)):
        raise FileExistsError(
            f"There is already a file or directory {path}. Remove it or choose another "
            "name."
        )
    check_output("output", _without_slash(path))


def _without_slash(path):
    """Returns a path without a slash at its end, as only directories may have one.

    A ~ is expanded.
    """
    path = os.fspath(expand_home(path))
    return path.rstrip("/" + os.sep) or path


def _check_count(calibration_images):
    if calibration_images < 1:
        raise ValueError(
            "Expected calibration_images to be at least 1. Received: "
            f"{calibration_images=}."
        )


def _check_no_data(format, data):
    given = [f"{key}={value!r}" for key, value in data.items() if value is not None]
    if given:
        raise ValueError(
            "Expected a data set only for the format tflite_int8, because no other "
            f"needs images. Received: {format=} and {', '.join(given)}."
        )


def _plain_model(network):
    """Returns a `keras.Model` from one tensor to one tensor.

    Raises:
        ValueError: if `network` has several inputs or outputs, or is something else.
    """
    model = network.model if isinstance(network, Classifier) else network
    inputs, outputs = (getattr(model, name, None) for name in ("inputs", "outputs"))
    if not isinstance(model, keras.Model) or not inputs or not outputs:
        raise ValueError(
            "Expected a Classifier, or a functional or Sequential keras.Model whose "
            f"input shape is known. Received: {network!r}."
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            "Expected a model with one input and one output. Received: "
            f"{len(inputs)} inputs and {len(outputs)} outputs."
        )
    # The input or the output of the given model may be a list or a dictionary.
    return keras.Model(inputs[0], outputs[0])


def _check_images(images, model):
    """Returns `images` as an array of the dtype of the model's input.

    Raises:
        ValueError: if there are no images, or their shape is not that of the inputs.
    """
    (model_input,) = model.inputs
    images = np.asarray(images, model_input.dtype)
    shape = tf.TensorShape(model_input.shape)
    if not images.size or not shape.is_compatible_with(images.shape):
        raise ValueError(
            f"Expected at least one image, in an array of the shape {shape}. Received: "
            f"an array of the shape {images.shape}."
        )
    return images


def _noise_inputs(network):
    """Returns inputs of a `Classifier` or `keras.Model`, [2, H, W, C], of noise."""
    if not isinstance(network, Classifier):
        return noise_inputs(network)
    preprocessing = network.preset.preprocessing
    images = noise_images(preprocessing)
    return preprocess.center_crop(images, preprocessing, network.statistics).numpy()
