"""Names and modules that are imported on first use, and actions after an import."""

import importlib
import subprocess
import sys

import keras
import pytest

import alexnet_tf
from alexnet_tf import lazy
from alexnet_tf.models import layers


@pytest.fixture
def make_module(tmp_path, monkeypatch):
    """Returns a function that writes a module, which is removed after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    def make(name, code):
        (tmp_path / f"{name}.py").write_text(code)
        importlib.invalidate_caches()
        # The entry is removed after the test.
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]

    return make


def test_an_action_follows_the_import_of_a_module(make_module):
    make_module("module_a", "value = 3")
    calls = []
    lazy.after_import(
        "module_a", lambda: calls.append(sys.modules["module_a"].value)
    )
    assert importlib.util.find_spec("module_a") and not calls
    import module_a

    assert calls == [3]
    # The module cannot be told from one that is imported without an action.
    assert isinstance(module_a.__loader__, importlib.machinery.SourceFileLoader)
    assert module_a.__spec__.loader is module_a.__loader__
    importlib.import_module("module_a")
    assert calls == [3]


def test_several_actions_follow_the_import_of_a_module(make_module):
    make_module("module_d", "")
    calls = []
    for name in "ab":
        lazy.after_import("module_d", lambda name=name: calls.append(name))
    importlib.import_module("module_d")
    assert sorted(calls) == ["a", "b"]


def test_an_action_is_immediate_if_the_module_has_been_imported():
    calls = []
    finders = list(sys.meta_path)
    lazy.after_import("keras", lambda: calls.append(1))
    assert calls == [1] and sys.meta_path == finders


def test_no_action_follows_a_failed_import(make_module):
    make_module("module_b", "raise ZeroDivisionError")
    calls = []
    lazy.after_import("module_b", lambda: calls.append(1))
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("module_b")
    lazy.after_import("module_c", lambda: calls.append(1))
    with pytest.raises(ModuleNotFoundError, match="module_c"):
        importlib.import_module("module_c")
    assert not calls


def test_the_package_imports_no_tensorflow_and_keras_loads_saved_models(tmp_path):
    """No name of the package has been used before Keras loads the models."""
    model = keras.Sequential(
        [
            keras.Input((4, 4, 4)),
            layers.GroupedConv2D(4, 3, groups=2),
            layers.LocalResponseNormalization(alpha=0.5),
            layers.SpatialResponseNormalization(3),
        ]
    )
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    (tmp_path / "model.json").write_text(model.to_json())
    code = (
        "import sys, alexnet_tf, alexnet_tf.presets\n"
        "from alexnet_tf import data, models, training, inference, figures\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert 'keras' not in sys.modules\n"
        "assert alexnet_tf.PRESETS['paper'].name == 'paper'\n"
        "assert alexnet_tf.training.__name__ == 'alexnet_tf.training'\n"
        "assert alexnet_tf.data.data_service is data.data_service\n"
        "assert {'AlexNet', 'models', 'train', 'cli'} <= {*dir(alexnet_tf)}\n"
        "assert {'train_dataset', 'loop'} <= {*dir(training)}\n"
        "assert 'tensorflow' not in sys.modules\n"
        "import keras\n"
        f"folder = {str(tmp_path)!r}\n"
        "keras.models.load_model(f'{folder}/model.keras')\n"
        "keras.models.load_model(f'{folder}/model.h5')\n"
        "model = keras.models.model_from_json(open(f'{folder}/model.json').read())\n"
        "assert model.layers[1].alpha == 0.5\n"
        "assert callable(alexnet_tf.AlexNet)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


def test_other_backends_of_keras_are_refused_when_layers_are_imported(monkeypatch):
    """Importing the package itself is not refused."""
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")
    importlib.reload(alexnet_tf)
    spec = importlib.util.find_spec("alexnet_tf.models.layers")
    with pytest.raises(ImportError, match="the backend torch.*KERAS_BACKEND=tensorf"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_attributes_of_packages_are_names_and_modules():
    assert alexnet_tf.models.labels.decode_predictions is alexnet_tf.decode_predictions
    assert alexnet_tf.models.AlexNet is alexnet_tf.AlexNet
    with pytest.raises(AttributeError, match="'alexnet_tf.models' has no .*'resnet'"):
        alexnet_tf.models.resnet
    assert {"alexnet", "readers", "__path__"} <= {*dir(alexnet_tf.models)}
