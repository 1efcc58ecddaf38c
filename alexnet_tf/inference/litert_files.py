"""Writes and runs LiteRT (TFLite) files."""

import tempfile
import warnings

import numpy as np
import tensorflow as tf


def convert(model, path, configure=None):
    """Writes the LiteRT file of a `keras.Model`.

    Args:
        model: the model.
        path: the file to write.
        configure: a function that sets attributes of the `tf.lite.TFLiteConverter`;
            None for float32.

    Raises:
        ValueError: if the converter does not support the model.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The converter warns that it lacks statistics of the inputs, although it
        # computes them from the representative images.
        warnings.simplefilter("ignore")
        # `TFLiteConverter.from_keras_model` would print the inputs of the model.
        model.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if configure is not None:
            configure(converter)
        try:
            content = converter.convert()
        except Exception as error:  # The class of the converter's errors is private.
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(
                "The converter of LiteRT does not support this network. Possible "
                "causes are a dtype policy other than float32, and preprocessing in "
                f"the network. The converter says: {reason[:300]}"
            ) from error
    with open(path, "wb") as file:
        file.write(content)


def run(path, inputs):
    """Returns the outputs of a file with float32 outputs, [N, ...].

    Args:
        path: the file.
        inputs: [N, ...], of the dtype of the file's input.
    """
    interpreter, model_input, model_output = _load(path, inputs.shape)
    interpreter.set_tensor(model_input["index"], inputs)
    interpreter.invoke()
    return interpreter.get_tensor(model_output["index"])


def run_int8(path, inputs):
    """Returns the outputs of a file with int8 input and output, float32 [N, ...].

    Args:
        path: the file.
        inputs: float32 [N, ...]. They are converted to int8 by the file's own scale. If
            the model takes uint8, so does the file, and `inputs` are uint8.
    """
    interpreter, model_input, model_output = _load(path, (1, *inputs.shape[1:]))
    scale, zero_point = model_input["quantization"]
    if scale:
        inputs = (np.round(inputs / scale) + zero_point).clip(-128, 127)
    outputs = []
    for example in inputs.astype(model_input["dtype"]):
        interpreter.set_tensor(model_input["index"], example[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(model_output["index"]))
    scale, zero_point = model_output["quantization"]
    return (np.concatenate(outputs).astype(np.float32) - zero_point) * scale


def _load(path, input_shape):
    """Returns (interpreter, details of its input, details of its output)."""
    with warnings.catch_warnings():
        # TensorFlow recommends the interpreter of a package that it does not require.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_path=path)
    (model_input,) = interpreter.get_input_details()
    (model_output,) = interpreter.get_output_details()
    interpreter.resize_tensor_input(model_input["index"], input_shape)
    interpreter.allocate_tensors()
    return interpreter, model_input, model_output
