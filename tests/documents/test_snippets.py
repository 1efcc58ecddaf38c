"""Runs the Python snippets of README.md and docs/, those of a page one after the other.

Weights that would be downloaded are replaced by small ones of the package, and their
presets by `tiny`.
"""

import base64
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf import inference
from alexnet_tf.inference import export_formats
from helpers.documents import page_name
from helpers.documents import PAGES
from helpers.documents import read_blocks
from helpers.documents import ROOT
from helpers.documents import write_photograph

SUBSTITUTES = (
    (r'"(torchvision|bvlc_alexnet)"', '"tiny_textures"'),
    (r'weights="imagenet"', 'weights="tiny_textures"'),
    (r'"(owt|caffe)"', '"tiny"'),
    (r'"alexnet\.pth"', 'alexnet_tf.download("tiny_textures")'),
    (r'load\("cifar10"', 'load("textures"'),
    # The small networks have no classes of ImageNet.
    (r"decode_predictions\(model\(images\)", r"\g<0>, classes=[*'0123456789']"),
    # `tiny` has groups of filters, which torchvision's network has not.
    (r', layout="torch"', ""),
    (r"\bimport onnxruntime\b", 'onnxruntime = pytest.importorskip("onnxruntime")'),
)
# Pages whose snippets take seconds: they train, evaluate or convert networks.
SLOW = (
    "docs/evaluation.md", "docs/features.md", "docs/own-networks.md",
    "docs/serving.md", "docs/training.md",
)  # fmt: skip


def snippets(path):
    """Returns the Python code of a page, a string for each block."""
    return [block.text for block in read_blocks(path) if block.language == "python"]


@pytest.fixture
def working_folder(tmp_path, monkeypatch):
    """A folder with the files that the snippets name, as the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in (
        "a.jpg", "cat.jpg", "stimuli/1.png", "stimuli/2.png", "images/x/1.jpg",
        "images/y/1.jpg",
    ):  # fmt: skip
        write_photograph(tmp_path / name)
    np.savez(tmp_path / "features.npz", fc7=np.eye(3, 4), names=["1", "2", "3"])
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, marks=pytest.mark.large if page_name(path) in SLOW else (),
            id=page_name(path),
        )
        for path in PAGES
        if snippets(path)
    ],
)  # fmt: skip
def test_snippets_run(path, working_folder, figures_as_text, request):
    if page_name(path) in SLOW:
        request.getfixturevalue("textures_by_default")
    if page_name(path) == "docs/serving.md":
        classifier = inference.load_classifier("tiny_textures")
        export_formats.saved_model(classifier, "served")
        export_formats.tflite(classifier, "tiny.tflite")
    images = np.random.default_rng(0).integers(0, 256, (8, 80, 90, 3), np.uint8)
    variables = {
        "images": images, "rgb": images, "labels": np.arange(8) % 5, "pytest": pytest,
        "__name__": "snippet",
    }  # fmt: skip
    for code in snippets(path):
        if "\nWIDE = " in code:
            (working_folder / "my_preset.py").write_text(code)
        for pattern, text in SUBSTITUTES:
            code = re.sub(pattern, text, code)
        exec(compile(code, page_name(path), "exec"), variables)


@pytest.mark.large
def test_requests_to_tensorflow_serving_fit_the_signatures(working_folder):
    """Decodes the request as TensorFlow Serving does, without the server."""
    text = (ROOT / "docs" / "serving.md").read_text()
    (request,) = re.findall(r'curl -d "(.*)" localhost', text)
    encoded = base64.b64encode((working_folder / "a.jpg").read_bytes()).decode()
    body = request.replace('\\"', '"').replace("$(base64 -w0 a.jpg)", encoded)
    (instance,) = json.loads(body)["instances"]
    classifier = inference.load_classifier("tiny_textures")
    export_formats.saved_model(classifier, "served")
    served = tf.saved_model.load("served")
    image = base64.b64decode(instance["b64"])
    outputs = served.signatures["serving_default"](tf.constant([image]))
    (probabilities,) = outputs.values()
    np.testing.assert_allclose(
        probabilities[0], classifier.probabilities(image), rtol=1e-4, atol=1e-6
    )
    (answer,) = (
        json.loads(block.text)
        for block in read_blocks(ROOT / "docs" / "serving.md")
        if block.language == "json"
    )
    assert np.shape(answer["predictions"]) == probabilities.shape
    (names,) = served.signatures["classes"]().values()
    assert [name.decode() for name in names.numpy()] == [*classifier.classes]
