"""Exports: by `export_formats`, by the command, and by users' own code."""

import importlib
import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf.inference.classifier import Classifier
from alexnet_tf.inference.classifier import load_classifier
from alexnet_tf.inference import export_formats
from alexnet_tf.inference import litert_files
from alexnet_tf.models import layers
from alexnet_tf.models.layers import compiled_normalization
from alexnet_tf.models.weights import save_weights
from alexnet_tf import presets
from helpers.commands import command
from helpers.images import write_image_folder
from helpers import networks

# Functions that XLA has to compile are marked in a SavedModel by these bytes.
MUST_COMPILE = b"_XlaMustCompile\x12\x02(\x01"


def every_kind_of_layer(family):
    """Returns a `Classifier` with few maps, but with all layers of a preset."""
    preset = presets.override(
        networks.narrow_preset(family), init="he", crop_size=99, image_size=110
    )
    keras.utils.set_random_seed(0)
    return Classifier(
        alexnet_tf.AlexNet(preset, 5),
        preset,
        tuple("abcde"),
        pixel_statistics.imagenet(preset.preprocessing),
    )


def tensor_types(path):
    """Returns the names of the dtypes of all tensors in a LiteRT file."""
    # A delegate would hide some of the tensors.
    interpreter = tf.lite.Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=(
            tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    interpreter.allocate_tensors()
    return {np.dtype(each["dtype"]).name for each in interpreter.get_tensor_details()}


# ---- Exports by users' own code ------------------------------------------------


@pytest.fixture(scope="module")
def own():
    """A model with groups and both normalizations, inputs, and its outputs for them."""
    model = every_kind_of_layer("code2012").model
    inputs = np.random.default_rng(0).normal(0, 50, (2, 99, 99, 3)).astype(np.float32)
    outputs = model(inputs).numpy()
    # Exports must not contain what evaluation by this package has traced before.
    with compiled_normalization():
        np.testing.assert_allclose(model(inputs), outputs, atol=1e-5)
    return model, inputs, outputs


def write_by_keras(model, path):
    model.export(path, verbose=False)


@pytest.mark.parametrize("write", [write_by_keras, tf.saved_model.save])
def test_a_saved_model_of_a_user_has_plain_operations(own, tmp_path, write):
    model, inputs, outputs = own
    path = str(tmp_path / "saved")
    write(model, path)
    loaded = tf.saved_model.load(path)
    (served,) = loaded.signatures["serving_default"](tf.constant(inputs)).values()
    np.testing.assert_allclose(served, outputs, atol=1e-5)
    content = (tmp_path / "saved" / "saved_model.pb").read_bytes()
    assert b"LRN" in content and MUST_COMPILE not in content


def write_with_converter(model, path):
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    with open(path, "wb") as file:
        file.write(content)


def write_litert(model, path):
    model.export(path, format="litert", verbose=False)


@pytest.mark.parametrize("write", [write_with_converter, write_litert])
def test_a_litert_file_of_a_user_needs_no_tensorflow(own, tmp_path, write):
    model, inputs, outputs = own
    path = str(tmp_path / "a.tflite")
    write(model, path)
    np.testing.assert_allclose(litert_files.run(path, inputs), outputs, atol=1e-5)
    # Operations of TensorFlow itself are custom operations with names such as FlexLRN.
    with open(path, "rb") as file:
        assert b"Flex" not in file.read()


def test_a_frozen_graph_of_a_user_has_no_functions(own):
    model, inputs, outputs = own
    function = tf.function(lambda x: model(x)).get_concrete_function(
        tf.TensorSpec(inputs.shape)
    )
    frozen = convert_to_constants.convert_variables_to_constants_v2(function)
    (frozen_outputs,) = frozen(tf.constant(inputs))
    np.testing.assert_allclose(frozen_outputs, outputs, atol=1e-5)
    graph = frozen.graph.as_graph_def()
    assert not graph.library.function
    types = {node.op for node in graph.node}
    assert {"LRN", "AvgPool", "Conv2D"} <= types
    assert not {name for name in types if "Call" in name or "Xla" in name}


def test_an_onnx_file_of_a_user_gives_the_same_outputs(own, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    model, inputs, outputs = own
    path = str(tmp_path / "a.onnx")
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    (result,) = session.run(None, {session.get_inputs()[0].name: inputs})
    np.testing.assert_allclose(result, outputs, atol=1e-5)


# ---- export_formats --------------------------------------------------------------


def test_a_saved_model_gives_the_same_probabilities(make_source, tmp_path):
    pixels = np.stack(
        [
            tf.io.decode_jpeg(example["image"])
            for example in make_source(5).examples().as_numpy_iterator()
        ]
    )
    images = [tf.io.encode_png(image).numpy() for image in pixels]
    path = tmp_path / "served"
    args = ["--weights=tiny_textures", f"--output={path}"]
    code, out, err = command("export", *args)
    assert code == 0, err
    # The prediction is compiled, and the exported network is not.
    assert float(re.search("within (.*) of the network's.$", out.strip())[1]) < 1e-6
    classifier = load_classifier("tiny_textures")
    served = tf.saved_model.load(str(path))
    expected = [classifier.probabilities(image) for image in images]
    np.testing.assert_allclose(served.encoded(images), expected, atol=1e-6)
    classes = [name.decode() for name in served.classes().numpy()]
    assert classes == [*classifier.classes]
    inputs = alexnet_tf.preprocess_input(pixels, classifier.preset)
    assert inputs.shape == (5, 64, 64, 3)
    np.testing.assert_allclose(served.pixels(pixels), expected, atol=1e-5)
    # A program that serves the model may lack XLA.
    content = (path / "saved_model.pb").read_bytes()
    assert b"LRN" in content and MUST_COMPILE not in content


@pytest.mark.parametrize(
    "family",
    [pytest.param(n, marks=pytest.mark.large) for n in ("code2012", "caffe", "owt")],
)
def test_exports_every_kind_of_layer(tmp_path, family):
    """Narrow networks have groups, both normalizations and padding at the edges."""
    classifier = every_kind_of_layer(family)
    for name, export_to in [
        ("saved", export_formats.saved_model),
        ("a.tflite", export_formats.tflite),
    ]:
        assert export_to(classifier, str(tmp_path / name)).difference < 1e-5
    comparison = export_formats.tflite(
        classifier, str(tmp_path / "8.tflite"), eight_bits=True
    )
    assert comparison.difference > 1e-5
    # The probabilities of an untrained network change much with small errors.
    features = alexnet_tf.features(classifier.model, "fc6")
    images = np.random.default_rng(0).normal(0, 50, (9, 99, 99, 3)).astype(np.float32)
    path = tmp_path / "int8.tflite"
    comparison = export_formats.tflite_int8(features, path, images)
    assert 0 < comparison.difference < 0.1 * np.max(features(images))
    assert comparison.num_images == 9
    assert tensor_types(path) == {"int8", "int32"}
    assert os.path.getsize(path) < 0.5 * os.path.getsize(tmp_path / "a.tflite")


@pytest.mark.parametrize(
    "name, format, expected",
    [
        ("out", None, "saved_model"),
        ("served-1.0", None, "saved_model"),
        ("m.keras", None, "keras"),
        ("m.ONNX", None, "onnx"),
        ("m.tflite", None, "tflite"),
        ("m.tflite", "tflite_int8", "tflite_int8"),
        ("out", "onnx", "onnx"),
    ],
)
def test_the_extension_chooses_the_format(name, format, expected):
    assert export_formats.find_format(name, format) == expected


@pytest.mark.parametrize(
    "name, format, message",
    [
        ("m.onnx", "saved_model", "onnx for a file that ends in .onnx. Received: form"),
        ("m.keras", "tflite", "keras for a file that ends in .keras"),
        ("m.tflite", "onnx", "tflite or tflite_8_bits or tflite_int8 for a file that"),
        ("m", "keras", "output to end in .keras for the format keras. Received: out"),
    ],
)
def test_rejects_formats_that_contradict_the_extension(tmp_path, name, format, message):
    code, _, err = command(
        "export", "--weights=none", f"--format={format}", f"--output={tmp_path / name}"
    )
    assert code == 1 and message in err.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def test_a_keras_file_is_loaded_by_keras(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    path = tmp_path / "a.keras"
    code, out, err = command("export", "--weights=tiny_textures", f"--output={path}")
    assert code == 0, err
    assert out.startswith(f"{path}: keras, probabilities within 0.0e+00 of the")
    model = keras.saving.load_model(path)
    classifier = load_classifier("tiny_textures")
    crop = np.random.default_rng(0).normal(0, 50, (2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(model(crop), classifier.model(crop))
    # Groups and both normalizations are registered too.
    own = every_kind_of_layer("code2012")
    assert export_formats.keras_file(own, "~/b.keras").difference == 0
    assert (tmp_path / "b.keras").is_file()
    export_formats.export("tiny_textures", tmp_path / "c.KERAS")
    assert [*tmp_path.glob("c.*")] == [tmp_path / "c.KERAS"]
    inputs = keras.Input([4, 4, 3], name="image")
    model = keras.Model({"image": inputs}, [keras.layers.Dense(1, "sigmoid")(inputs)])
    assert export_formats.keras_file(model, tmp_path / "c.keras").difference == 0
    with pytest.raises(ValueError, match="path to end in .keras"):
        export_formats.keras_file(own, tmp_path / "b.h5")


def test_exports_of_half_precision_have_a_larger_tolerance(tmp_path, monkeypatch):
    """With oneDNN, which tests do without, the errors of bfloat16 are about 0.005."""
    tolerances, compare = [], export_formats.compare
    monkeypatch.setattr(
        export_formats, "compare",
        lambda *args: tolerances.append(args[2]) or compare(*args),
    )  # fmt: skip
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        classifier = load_classifier("tiny_textures")
        export_formats.saved_model(classifier, tmp_path / "saved")
        export_formats.saved_model(classifier.model, tmp_path / "model")
        export_formats.keras_file(classifier, tmp_path / "a.keras")
    finally:
        keras.config.set_dtype_policy(previous)
    assert tolerances == [0.05] * 4


class Unregistered(keras.layers.Layer):
    def call(self, x):
        return 2 * x


@pytest.mark.parametrize(
    "layer",
    [Unregistered(), keras.layers.Lambda(lambda x: 2 * x)],
    ids=["own", "lambda"],
)
def test_a_keras_file_that_cannot_be_loaded_is_not_kept(tmp_path, layer):
    """Keras loads Lambda layers only outside of its safe mode."""
    inputs = keras.Input([4, 4, 3])
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(ValueError, match="load the file of this network again. Regis"):
        export_formats.keras_file(model, tmp_path / "a.keras")
    assert os.listdir(tmp_path) == []


def test_exports_onnx(tmp_path):
    path = tmp_path / "a.onnx"
    args = ["--weights=tiny_textures", "--format=onnx", f"--output={path}"]
    try:
        importlib.import_module("onnxruntime")
        importlib.import_module("tf2onnx")
    except ModuleNotFoundError:
        code, _, err = command("export", *args)
        assert code == 1 and "Exporting to ONNX needs" in err
        pytest.skip("needs the extra onnx; the error without it was tested")
    assert command("export", *args)[0] == 0 and path.exists()
    comparison = export_formats.onnx(
        every_kind_of_layer("code2012"), str(tmp_path / "b.onnx")
    )
    assert comparison.difference < 1e-5


@pytest.mark.large
def test_the_command_writes_a_network_of_8_bit_integers(textures_data_dir, tmp_path):
    path = tmp_path / "a.tflite"
    code, out, err = command(
        "export", "--weights=tiny_textures", "--format=tflite_int8",
        f"--output={path}", f"--data_dir={textures_data_dir}",
        "--split=validation", "--calibration_images=40",
    )  # fmt: skip
    assert code == 0, err
    same_class = re.search(r"network's for (\S+)% of the 40 rep", out)[1]
    assert float(same_class) >= 95
    assert tensor_types(path) == {"int8", "int32"}
    interpreter = tf.lite.Interpreter(model_path=str(path))
    for details in (interpreter.get_input_details(), interpreter.get_output_details()):
        assert details[0]["dtype"] == np.int8


@pytest.mark.parametrize(
    "export_to",
    [
        export_formats.saved_model,
        pytest.param(export_formats.tflite, marks=pytest.mark.large),
        lambda model, path: export_formats.tflite_int8(
            model, path, np.random.default_rng(0).normal(size=(4, 64, 64, 3))
        ),
    ],
    ids=["saved_model", "tflite", "tflite_int8"],
)
def test_exports_any_keras_model(tmp_path, export_to):
    """One class, other layers around the network, and names for input and output."""
    keras.utils.set_random_seed(0)
    base = alexnet_tf.AlexNet("tiny", include_top=False, input_shape=(64, 64, 3))
    inputs = keras.Input([64, 64, 3], name="image")
    maps = base(keras.layers.Lambda(lambda x: 2 * x)(inputs))
    means = keras.layers.GlobalAveragePooling2D()(maps)
    outputs = keras.layers.Dense(1, "sigmoid")(means)
    model = keras.Model({"image": inputs}, [outputs])
    comparison = export_to(model, str(tmp_path / "out"))
    assert comparison.difference < 0.02
    assert (tmp_path / "out").exists()


@pytest.mark.large
def test_exports_a_network_with_one_class(tmp_path):
    keras.utils.set_random_seed(0)
    model = alexnet_tf.AlexNet("tiny", 1)
    preset = presets.get("tiny")
    statistics = pixel_statistics.imagenet(preset.preprocessing)
    classifier = Classifier(model, preset, ("only",), statistics)
    for network, export_to in [
        (model, export_formats.saved_model),
        (classifier, export_formats.tflite),
    ]:
        assert export_to(network, tmp_path / export_to.__name__).difference == 0


def test_rejects_models_and_images_that_do_not_fit(tmp_path):
    path = str(tmp_path / "out")
    inputs = keras.Input([4, 4, 3])
    outputs = keras.layers.Rescaling(2.0)(inputs)
    for model, message in [
        (keras.Model(inputs, [inputs, outputs]), "one output.* 1 inputs and 2 outputs"),
        (keras.Sequential([keras.layers.Dense(2)]), "whose input shape is known"),
        ("tiny", "Expected a Classifier, or a.*keras.Model.*Received: 'tiny'"),
    ]:
        for export_to in (export_formats.saved_model, export_formats.tflite):
            with pytest.raises(ValueError, match=message):
                export_to(model, path)
    model = keras.Model(inputs, outputs)
    for images in (5, [], np.zeros([4, 4, 3]), np.zeros([0, 4, 4, 3])):
        with pytest.raises(ValueError, match=r"one image.* \(None, 4, 4, 3\). Rec"):
            export_formats.tflite_int8(model, path, images)
    assert os.listdir(tmp_path) == []


def test_reports_models_that_the_converter_does_not_support(tmp_path):
    padding = keras.layers.ZeroPadding2D(dtype="mixed_float16")
    model = keras.Sequential([keras.Input([4, 4, 3]), padding])
    with pytest.raises(ValueError, match="this network.*dtype policy.* says: Could"):
        litert_files.convert(model, str(tmp_path / "out"))


def test_only_int8_files_need_and_take_a_data_set(tmp_path):
    weights, output = str(tmp_path / "w.npy"), str(tmp_path / "out")
    save_weights(alexnet_tf.AlexNet("tiny", 2), weights)
    arguments = [weights, output, "tflite_int8"]
    with pytest.raises(ValueError, match="a data set.*w.npy alone. Add --dataset"):
        export_formats.export(*arguments, preset="tiny")
    with pytest.raises(ValueError, match="calibration_images.*at least 1"):
        export_formats.export(*arguments, preset="tiny", calibration_images=0)
    with pytest.raises(ValueError, match="only for.*'tflite' and split='train'."):
        export_formats.export(weights, output, "tflite", preset="tiny", split="train")
    with pytest.raises(ValueError, match="one of the formats.*format='h5'"):
        export_formats.export(weights, output, "h5", preset="tiny")
    name = write_image_folder(tmp_path / "images")
    comparison = export_formats.export(
        *arguments, preset="tiny", dataset=name, calibration_images=3
    )
    assert comparison.num_images == 3 and os.path.exists(output)


def test_the_command_passes_on_all_flags_of_the_network(monkeypatch, tmp_path):
    received = []
    monkeypatch.setattr(
        export_formats, "load_classifier", lambda *args: received.append(args) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("alexnet_tf.export").main(
            ["export", "--weights=w", "--preset=tiny", "--layout=caffe", "--mean=m.npy",
             "--checkpoint=best", f"--output={tmp_path / 'out'}"]
        )  # fmt: skip
    assert received == [("w", "tiny", "caffe", "m.npy", "best")]


def test_never_replaces_a_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    classifier = load_classifier("tiny_textures")
    for export_to in (export_formats.saved_model, export_formats.tflite):
        with pytest.raises(FileExistsError, match="already a file or directory"):
            export_to(classifier, str(path))
    code, _, err = command("export", "--weights=tiny_textures", f"--output={path}")
    assert code == 1 and "There is already a file" in err.splitlines()[-1]
    assert path.read_text() == "notes"


@pytest.mark.parametrize("content", ["file", "directory"])
def test_an_export_appears_when_it_is_complete(tmp_path, content):
    path, leftover = tmp_path / "out", tmp_path / ".out.killed.tmp"
    unrelated = tmp_path / ".out.tflite.killed.tmp"

    def write(path):
        os.mkdir(path) if content == "directory" else open(path, "w").close()

    # Exports that were killed leave such folders.
    leftover.mkdir()
    unrelated.mkdir()
    write(leftover / "out")
    with export_formats._write_to_new_path(str(path)) as temporary:
        assert not os.path.exists(temporary)
        write(temporary)
        assert not path.exists()
    # Only the folder of the killed export to this path is removed.
    assert path.exists() and {*os.listdir(tmp_path)} == {"out", unrelated.name}
    with export_formats._write_to_new_path(f"{tmp_path}/other/") as temporary:
        # Layers that are traced here can run on a CPU, even if there is a GPU.
        assert layers._portable_scope.active
        write(temporary)
    assert not layers._portable_scope.active
    assert (tmp_path / "other").exists()
    for taken in (str(path), f"{tmp_path}/other/"):
        with pytest.raises(FileExistsError, match="There is already"):
            with export_formats._write_to_new_path(taken):
                pass
    with pytest.raises(FileNotFoundError, match="folder of output does not exist"):
        with export_formats._write_to_new_path(f"{tmp_path}/none/a/"):
            pass


@pytest.mark.parametrize("content", ["file", "directory"])
def test_an_export_that_fails_is_removed(tmp_path, content):
    with pytest.raises(RuntimeError):
        with export_formats._write_to_new_path(str(tmp_path / "out")) as path:
            os.mkdir(path) if content == "directory" else open(path, "w").close()
            raise RuntimeError("no such operation")
    assert os.listdir(tmp_path) == []
