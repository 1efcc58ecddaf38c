"""Which module may know which, and that importing one costs nothing."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "alexnet_tf"
MODULES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if not path.name.startswith("__init__")
)
COMMANDS = {
    "benchmark", "evaluate", "export", "predict", "prepare", "report", "train",
}  # fmt: skip
COMMANDS |= {"serve_data", "visualize"}
DATA = {"datasets", "input_pipeline", "preprocess", "statistics"}
DATA |= {"textures_dataset_builder"}
LIGHT = {"console", "data_service", "presets", "workdir"}
FILES = {"pickles", "weight_files", "weights"}
MODEL = {"geometry", "layers", "models"}


def imported(path):
    """Names of all modules that a file imports, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path):
    prefix = "alexnet_tf."
    return {
        name.removeprefix(prefix).split(".")[0]
        for name in imported(path)
        if name.startswith(prefix)
    }


def ids(path):
    return path.stem


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_only_commands_read_flags(path):
    reads_flags = any("absl.flags" in name for name in imported(path))
    assert reads_flags == (path.stem in COMMANDS | {"console"})


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_run_one_way(path):
    names = ours(path)
    if path.stem in DATA:
        assert not names & (
            MODEL | FILES | {"training", "optimizer", "evaluation"}
        )
    if path.stem in MODEL:
        assert names <= {"layers", "presets", "weights"}
    if path.stem in FILES:
        assert names <= FILES
    if path.stem == "presets":
        assert not names
    if path.stem not in COMMANDS:
        assert not names & COMMANDS


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_no_private_modules_of_the_libraries(path):
    private = ("tensorflow.python", "keras.src", "tensorflow_datasets.core")
    assert not [n for n in imported(path) if n.startswith(private)]


def calls(path):
    """(name of the function, {keyword: value}) of all calls in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            keywords = {
                k.arg: k.value.value
                for k in node.keywords
                if isinstance(k.value, ast.Constant)
            }
            yield ast.unparse(node.func), keywords


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_nothing_is_loaded_that_could_run_code(path):
    """No pickles but by `pickles`, Keras' files in its safe mode."""
    unsafe = {"pickle", "dill", "joblib", "marshal", "shelve", "yaml"}
    assert not {name.split(".")[0] for name in imported(path)} & unsafe
    for name, keywords in calls(path):
        assert name not in ("eval", "exec", "compile", "os.system")
        if name == "np.load":
            assert keywords["allow_pickle"] is False
        if name == "torch.load":
            assert keywords["weights_only"] is True
        if name.endswith(("load_model", "deserialize_keras_object")):
            assert keywords.get("safe_mode", True) is True
        assert not name.endswith((".extract", ".extractall"))


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )


def test_importing_the_package_imports_no_tensorflow():
    done = python(
        "import sys, alexnet_tf, alexnet_tf.presets\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert 'keras' not in sys.modules\n"
        "assert alexnet_tf.PRESETS['paper'].name == 'paper'\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert callable(alexnet_tf.AlexNet)\n"
    )
    assert done.returncode == 0, done.stderr


LIBRARIES = [
    path.stem
    for path in MODULES
    if path.parent == PACKAGE and path.stem not in COMMANDS
]


def test_importing_all_libraries_touches_no_device():
    modules = ", ".join(f"alexnet_tf.{name}" for name in LIBRARIES)
    done = python(
        f"import {modules}\n"
        "import tensorflow as tf\n"
        # Fails once TensorFlow has set its devices up.
        "tf.config.set_logical_device_configuration(\n"
        "    tf.config.list_physical_devices('CPU')[0],\n"
        "    [tf.config.LogicalDeviceConfiguration()] * 2)\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands_import_nothing_heavy_but_in_functions(command):
    """--help waits for none of it."""
    tree = ast.parse((PACKAGE / f"{command}.py").read_text())
    names = {
        f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    light = {f"alexnet_tf.{name}" for name in LIGHT}
    assert names <= light | {"absl.app", "absl.flags"}


def test_an_unknown_name_is_an_attribute_error():
    import alexnet_tf

    with pytest.raises(AttributeError, match="no attribute 'ResNet'"):
        alexnet_tf.ResNet


def test_what_the_readme_promises_has_its_tests():
    text = (PACKAGE.parent / "README.md").read_text()
    promised = set(re.findall(r"`(test_\w+)`", text))
    files = pathlib.Path(__file__).parent.glob("test_*.py")
    tests = "".join(path.read_text() for path in files)
    assert promised and all(f"def {name}(" in tests for name in promised)
