"""Presets in files of Python and JSON."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from alexnet_tf.inference import classifier
from alexnet_tf.models import alexnet
from alexnet_tf.network_json import write_network
from alexnet_tf import preset_files
from alexnet_tf import presets

OWN_PRESET = """
import dataclasses
from alexnet_tf import presets

tiny = presets.get("tiny")
OWN = dataclasses.replace(
    tiny, name="own", layers=(presets.BatchNorm("bn0", 0.5), *tiny.layers)
)
RENAMED_RECIPE = dataclasses.replace(OWN, name="tiny")
SAME = dataclasses.replace(tiny)
SPACE = dataclasses.replace(tiny, name="my own/net")
NUMBER = 3
"""


@pytest.fixture
def python_file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN_PRESET)
    return path


def test_a_variable_of_a_python_file_is_a_preset(python_file, monkeypatch):
    preset = presets.get(f"{python_file}:OWN")
    assert preset.name == "own"
    assert preset.layers[0] == presets.BatchNorm("bn0", 0.5, 0.001)
    assert preset.layers[1:] == presets.get("tiny").layers
    monkeypatch.setenv("HOME", str(python_file.parent))
    assert presets.get("~/own.py:OWN") == preset
    assert presets.get(preset) is preset


def test_a_json_file_has_the_form_of_network_json(tmp_path, python_file):
    """The file may be the network.json of a run, or contain only the preset."""
    preset = presets.get(f"{python_file}:OWN")
    write_network(str(tmp_path), preset, ["a", "b"])
    assert presets.get(f"{tmp_path}/network.json") == preset
    (tmp_path / "own.json").write_text(json.dumps(presets.to_dict(preset)))
    assert presets.get(f"{tmp_path}/own.json") == preset


def test_an_own_preset_may_have_a_name_of_version_0_1(tmp_path):
    """Caffe has another network that is called cifar10_quick."""
    preset = dataclasses.replace(presets.get("tiny"), name="cifar10_quick")
    assert presets.from_dict(presets.to_dict(preset)) == preset
    write_network(str(tmp_path), preset, ["a", "b"])
    assert presets.get(tmp_path / "network.json") == preset


@pytest.mark.parametrize("name", ["nowhere.json", "nowhere.py:OWN"])
def test_a_missing_file_is_reported_in_words(name):
    with pytest.raises(FileNotFoundError, match="preset file nowhere.* does not exist"):
        presets.get(name)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"channel_order": "BGR"}, 'channel_order of Preprocessing.*"bgr".*BGR'),
        ({"crop_size": 300}, "crop no larger than the image.*crop_size=300"),
        ({"channel_mean": [1.0, 2.0, 3.0]}, "channel_mean of Preprocessing"),
    ],
)
def test_preset_objects_are_checked(changes, message):
    tiny = presets.get("tiny")
    preprocessing = dataclasses.replace(tiny.preprocessing, **changes)
    preset = dataclasses.replace(tiny, preprocessing=preprocessing)
    with pytest.raises(ValueError, match=message):
        alexnet.AlexNet(preset)
    with pytest.raises(ValueError, match=message):
        classifier.preprocess_input(np.zeros((4, 4, 3)), preset)


def test_similar_names_are_suggested():
    with pytest.raises(ValueError, match="preset='cafe'. Did you mean caffe[?]"):
        presets.get("cafe")
    with pytest.raises(ValueError, match="Received: epoch=3. Did you mean epochs[?]"):
        presets.override(presets.get("tiny"), epoch=3)
    with pytest.raises(ValueError, match="Received: verbose=0[.]$"):
        presets.override(presets.get("tiny"), verbose=0)


def test_preprocessing_and_recipe_in_json_have_defaults(tmp_path):
    """The fields of layers have defaults, too."""
    layers = [{"type": "Conv", "name": "conv1", "filters": 8, "kernel_size": 3}]
    layers.append({"type": "Dense", "name": "fc2", "units": None})
    content = {"name": "own", "layers": layers, "recipe": {"epochs": 7}}
    (tmp_path / "own.json").write_text(json.dumps(content))
    assert presets.get(f"{tmp_path}/own.json") == presets.Preset(
        "own",
        (presets.Conv("conv1", 8, 3), presets.Dense("fc2", None)),
        presets.Preprocessing(),
        presets.Recipe(epochs=7),
    )


@pytest.mark.parametrize(
    "code, message",
    [
        ("x = 1\nraise OSError('no\\nroom')", "line 2 fails: OSError: no room$"),
        ("def f():\n    1 / 0\n\nf()\n", "own.py, line 2 fails: ZeroDivisionError"),
        ("x = (\n", "own.py, line 1 fails: SyntaxError: '.' was never closed"),
        ("import sys\nsys.exit(3)\n", "own.py, line 2 fails: SystemExit: 3"),
        ("import no_such_module\n", "line 1 fails: ModuleNotFoundError: No module"),
        ("A = 1\n", "own.py defines no variable OWN"),
    ],
)
def test_errors_in_python_files_have_one_line(python_file, code, message):
    python_file.write_text(code)
    with pytest.raises(ValueError, match=message) as error:
        presets.get(f"{python_file}:OWN")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, message",
    [
        (":RENAMED_RECIPE", "name that no other preset has. Received: 'tiny'"),
        (":SPACE", "letters, digits.*name='my own/net'"),
        (":NUMBER", "Expected a presets.Preset. Received: 3"),
        ("", "with the name of one of its variables, such as .*own.py:NAME"),
    ],
)
def test_variables_that_are_not_presets_are_refused(python_file, name, message):
    with pytest.raises(ValueError, match=message):
        presets.get(f"{python_file}{name}")


def test_a_copy_of_a_preset_of_the_table_may_have_its_name(python_file):
    assert presets.get(f"{python_file}:SAME") == presets.get("tiny")


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "own.json is not a JSON file"),
        ("[1]", "own.json contains no preset"),
        ('{"preset": 3}', "own.json contains no preset"),
        ('{"name": "own"}', "own.json is not valid: KeyError.'layers'"),
        ('{"name": "own", "layers": [{"type": "Lambda"}]}', "KeyError.'Lambda'"),
        ('{"name": "own", "layers": [{"type": "ReLU"}]}', "TypeError.*'name'"),
        ('{"name": "own", "layers": []}', "last layer Dense.name, None."),
        ('{"name": "own", "layers": [3]}', "not valid: TypeError"),
    ],
)
def test_errors_in_json_files_name_the_file(tmp_path, text, message):
    (tmp_path / "own.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        presets.get(f"{tmp_path}/own.json")


@pytest.mark.parametrize("name", ["no.json", "no.py:OWN"])
def test_missing_files_and_folders_are_errors_of_the_system(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=name.split(":")[0]):
        presets.get(f"{tmp_path}/{name}")
    (tmp_path / name.split(":")[0]).mkdir()
    with pytest.raises(IsADirectoryError):
        presets.get(f"{tmp_path}/{name}")


def test_names_of_files_may_have_a_drive():
    assert preset_files.is_file(r"C:\presets\own.py:OWN")
    assert preset_files.is_file(r"C:\presets\own.json")
    assert not preset_files.is_file("tiny")
    assert not preset_files.is_file(None)


def test_the_network_of_the_example_is_a_preset():
    """It has twice the filters of the preset that it changes."""
    folder = pathlib.Path(__file__).parents[1] / "experiments"
    wide = presets.check(presets.get(f"{folder}/own_network.py:WIDE"))
    filters = {
        layer.name: layer.filters
        for layer in wide.layers
        if isinstance(layer, presets.Conv)
    }
    assert filters == {"conv1": 64, "conv2": 64, "conv3": 128}
    types = " ".join(type(layer).__name__ for layer in wide.layers)
    assert types.count("BatchNorm ReLU") == 3 and "SpatialNorm" not in types


def edited(**changes):
    """Returns the preset tiny with other fields of the first layer or of a part."""
    tiny = presets.get("tiny")
    conv1, *others = tiny.layers
    fields = {"layers": changes.pop("layers", tiny.layers)}
    if "conv1" in changes:
        fields["layers"] = (dataclasses.replace(conv1, **changes["conv1"]), *others)
    for part in ("recipe", "preprocessing"):
        if part in changes:
            fields[part] = dataclasses.replace(getattr(tiny, part), **changes[part])
    return dataclasses.replace(tiny, **fields)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"conv1": {"filters": "16"}}, "filters of Conv conv1 .* type int.*'16'"),
        ({"conv1": {"filters": 16.0}}, "filters of Conv conv1 .* type int.*16.0"),
        ({"conv1": {"filters": True}}, "filters of Conv conv1 .* type int.*True"),
        ({"conv1": {"bias": None}}, "bias of Conv conv1 .* type float.*None"),
        ({"conv1": {"name": "fc6"}}, "different names.* more than once: fc6"),
        ({"recipe": {"momentum": "0.9"}}, "momentum of Recipe .* type float.*'0.9'"),
        ({"recipe": {"batch_size": 0}}, "batch_size=0"),
        ({"recipe": {"schedule": "cosine"}}, "schedule of Recipe .*plateau.*'cosine'"),
        ({"recipe": {"boundaries": (1, 2.5)}}, r"boundaries .* type tuple.int.*2.5"),
        (
            {"recipe": {"layer_lr_multipliers": (("conv_one", 0, 0.0),)}},
            "layer_lr_multipliers .* layers conv1, conv2, .* fc8. Received: 'conv_one'",
        ),
        (
            {"recipe": {"layer_lr_multipliers": (("relu1", 0, 0.0),)}},
            "layer_lr_multipliers .* Received: 'relu1'",
        ),
        ({"conv1": {"init": "hee"}}, 'init of Conv conv1 .* float, "he" or "torch"'),
        ({"conv1": {"padding": "full"}}, 'padding of Conv conv1 .* "valid", "same" or'),
        ({"conv1": {"padding": ((1, 1), (1,))}}, r"padding of Conv conv1 .*\(1,\)\)"),
        (
            {"layers": (presets.Pool("pool", kind="avg"), presets.Dense("fc", None))},
            "kind of Pool pool to be \"max\" or \"average\". Received: kind='avg'",
        ),
        (
            {"layers": (presets.Dense("fc6", 1.5), presets.Dense("fc7", None))},
            "units of Dense fc6 to be of type int or None. Received: units=1.5",
        ),
        ({"preprocessing": {"crop_size": 99}}, "crop_size=99, image_size=73"),
        ({"preprocessing": {"flip": 1}}, "flip of Preprocessing .* type bool"),
        ({"layers": (3, presets.Dense("fc8", None))}, "Conv, ReLU.*Received: 3"),
        ({"layers": (presets.Dense("fc8", 10),)}, "last layer Dense.name, None"),
    ],
)
def test_presets_with_wrong_fields_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        presets.check(edited(**changes))


@pytest.mark.parametrize("name", presets.PRESETS)
def test_the_presets_of_the_table_are_valid(name):
    assert presets.check(presets.get(name)) is presets.get(name)
