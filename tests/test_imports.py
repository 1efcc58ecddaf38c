"""Which module may import which, and that importing one costs nothing."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "alexnet_tf"
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__init__")
)
COMMANDS = {
    "benchmark", "evaluate", "export", "predict", "prepare", "report", "serve_data",
    "train", "visualize",
}  # fmt: skip

BASE = {"presets", "files", "settings", "plots"}
# The package's import directions, one row for each layer: a module may import
# those of its own row (for folders: of its own folder) and what is listed.
ROWS = {
    "presets": set(),
    "files": set(),
    "settings": set(),
    "plots": set(),
    "lazy": set(),
    "cli": {"presets"},
    "data": BASE,
    "models": BASE,
    "workdir": BASE,
    "training": BASE | {"data", "models", "workdir"},
    "inference": BASE | {"data", "models", "workdir", "training"},
    "figures": BASE | {"data", "models", "workdir", "training", "inference"},
    "commands": BASE
    | {"cli", "data", "models", "workdir", "training", "inference", "figures"},
}
# Modules that the commands may import at the top: none of them imports TensorFlow.
LIGHT = {"cli", "data.data_service", "files", "presets", "workdir"}


def imported(path):
    """The names of all modules that a file imports, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path):
    """The modules and folders of the package that a file imports."""
    prefix = "alexnet_tf."
    return {
        name.removeprefix(prefix).split(".")[0]
        for name in imported(path)
        if name.startswith(prefix)
    }


def row_of(path):
    """The name of a module's row in the table: its folder, or its own name."""
    name = path.relative_to(PACKAGE).with_suffix("").parts[0]
    return "commands" if name in COMMANDS else name


def ids(path):
    return str(path.relative_to(PACKAGE).with_suffix(""))


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_follow_the_table(path):
    row = row_of(path)
    own = {row} if path.parent != PACKAGE else set()
    assert ours(path) <= ROWS[row] | own


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_only_commands_read_flags(path):
    reads_flags = any("absl.flags" in name for name in imported(path))
    assert reads_flags == (path.stem in COMMANDS | {"cli"})


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_no_module_is_imported_under_another_name(path):
    renamed = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("alexnet_tf")
        for alias in node.names
        if alias.asname and path.parent.name != "textures"
    ]
    assert not renamed


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
    """Pickles are read by `safe_pickle` alone, Keras' files in safe mode."""
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
    packages = "data, models, training, inference, figures"
    done = python(
        "import sys, alexnet_tf, alexnet_tf.presets\n"
        f"from alexnet_tf import {packages}\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert 'keras' not in sys.modules\n"
        "assert alexnet_tf.PRESETS['paper'].name == 'paper'\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert callable(alexnet_tf.AlexNet)\n"
    )
    assert done.returncode == 0, done.stderr


LIBRARIES = [
    ids(path).replace("/", ".")
    for path in MODULES
    if "textures" not in str(path) and path.stem not in COMMANDS
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
def test_commands_import_tensorflow_only_in_functions(command):
    """Their --help does not wait for TensorFlow."""
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


def test_the_tests_that_the_readme_names_exist():
    text = (PACKAGE.parent / "README.md").read_text()
    promised = set(re.findall(r"`(test_\w+)`", text))
    files = pathlib.Path(__file__).parent.rglob("test_*.py")
    tests = "".join(path.read_text() for path in files)
    assert promised and all(f"def {name}(" in tests for name in promised)


def test_no_test_file_imports_another():
    for path in pathlib.Path(__file__).parent.rglob("*.py"):
        assert not [n for n in imported(path) if n.split(".")[0].startswith("test_")]
