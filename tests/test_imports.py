"""Tests of import rules, uses of flags, test names in docs/, and unsafe calls."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "alexnet_tf"
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
)
COMMANDS = {
    "benchmark", "evaluate", "export", "extract", "predict", "prepare", "report",
    "serve_data", "train", "visualize",
}  # fmt: skip

BASE = {"presets", "protobuf", "published", "files", "settings", "plots"}
RUNS = BASE | {"network_json", "workdir"}
# {module, folder or "commands": the modules and folders that it may import}.
# The modules of a folder may also import each other.
ALLOWED_IMPORTS = {
    "preset_types": set(),
    "preset_checks": {"preset_types"},
    "preset_files": {"preset_types"},
    "preset_changes": {"preset_checks", "preset_files", "preset_types", "settings"},
    "presets": {
        "preset_changes", "preset_checks", "preset_files", "preset_types", "published",
        "settings",
    },
    "files": set(),
    "settings": set(),
    "plots": {"files"},
    "protobuf": set(),
    "__main__": set(),
    "lazy": set(),
    "native_messages": set(),
    "onednn": set(),
    "published": {"files"},
    "network_json": {"files", "presets", "published", "workdir"},
    "cli": {"native_messages", "onednn", "presets", "published"},
    "data": BASE,
    "models": BASE | {"network_json"},
    "workdir": {"files", "settings"},
    "training": RUNS | {"data", "models", "onednn"},
    "inference": RUNS | {"data", "models", "training"},
    "figures": RUNS | {"data", "models", "training", "inference"},
    "commands": RUNS | {"cli", "data", "models", "training", "inference", "figures"},
}
# Modules that the commands may import outside functions. Importing these modules does
# not import TensorFlow.
LIGHT_MODULES = {
    "cli", "data.data_service", "files", "network_json", "presets", "workdir"
}  # fmt: skip


def imported_names(path):
    """Returns the full names of everything that a file imports, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_parts(path):
    """Returns the modules and folders of the package that a file imports."""
    prefix = "alexnet_tf."
    return {
        name.removeprefix(prefix).split(".")[0]
        for name in imported_names(path)
        if name.startswith(prefix)
    }


def part_of(path):
    """Returns the key of a module in `ALLOWED_IMPORTS`."""
    name = path.relative_to(PACKAGE).with_suffix("").parts[0]
    return "commands" if name in COMMANDS else name


def module_id(path):
    """Returns the path of a module in the package, without ".py"."""
    return str(path.relative_to(PACKAGE).with_suffix(""))


each_module = pytest.mark.parametrize("path", MODULES, ids=module_id)


@each_module
def test_modules_import_only_allowed_parts_of_the_package(path):
    part = part_of(path)
    own_folder = {part} if path.parent != PACKAGE else set()
    assert imported_parts(path) <= ALLOWED_IMPORTS[part] | own_folder


@each_module
def test_only_cli_uses_flags(path):
    uses_flags = any("absl.flags" in name for name in imported_names(path))
    assert uses_flags == (path.stem == "cli")


@each_module
def test_no_module_is_imported_under_another_name(path):
    renaming_imports = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("alexnet_tf")
        for alias in node.names
        if alias.asname
    ]
    assert not renaming_imports


@each_module
def test_no_private_module_of_a_library_is_imported(path):
    private = ("tensorflow.python", "keras.src", "tensorflow_datasets.core")
    assert not [name for name in imported_names(path) if name.startswith(private)]


def find_calls(path):
    """Yields (name of the function, {keyword: constant value}) of each call."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            keywords = {
                keyword.arg: keyword.value.value
                for keyword in node.keywords
                if isinstance(keyword.value, ast.Constant)
            }
            yield ast.unparse(node.func), keywords


@each_module
def test_nothing_is_loaded_that_could_run_code(path):
    """Pickles are parsed by `safe_pickle`, and Keras files are loaded in safe mode.

    Only a Python file that the user names as the preset is executed.
    """
    assert "runpy" not in imported_names(path) or path.stem == "preset_files"
    unsafe = {"pickle", "dill", "joblib", "marshal", "shelve", "yaml"}
    assert not {name.split(".")[0] for name in imported_names(path)} & unsafe
    for name, keywords in find_calls(path):
        assert name not in ("eval", "exec", "compile", "os.system")
        if name == "np.load":
            assert keywords["allow_pickle"] is False
        if name == "torch.load":
            assert keywords["weights_only"] is True
        if name.endswith(("load_model", "deserialize_keras_object")):
            assert keywords.get("safe_mode", True) is True
        assert not name.endswith((".extract", ".extractall"))


# Textures are omitted because importing them registers a data set with TFDS.
LIBRARY_MODULES = [
    module_id(path).replace("/", ".")
    for path in MODULES
    if "textures" not in str(path)
]


@pytest.mark.large
def test_importing_the_modules_initializes_no_device():
    modules = ", ".join(f"alexnet_tf.{name}" for name in LIBRARY_MODULES)
    code = (
        f"import {modules}\n"
        "import tensorflow as tf\n"
        # Raises an error if TensorFlow has set up its devices.
        "tf.config.set_logical_device_configuration(\n"
        "    tf.config.list_physical_devices('CPU')[0],\n"
        "    [tf.config.LogicalDeviceConfiguration()] * 2)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_commands_import_tensorflow_only_in_functions(command):
    """Otherwise --help would spend seconds importing TensorFlow."""
    tree = ast.parse((PACKAGE / f"{command}.py").read_text())
    names = {
        f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    light_modules = {f"alexnet_tf.{name}" for name in LIGHT_MODULES}
    assert names <= light_modules | {"absl.app"}


def test_an_unknown_name_of_the_package_raises_an_attribute_error():
    import alexnet_tf

    with pytest.raises(AttributeError, match="no attribute 'ResNet'"):
        alexnet_tf.ResNet


def test_the_tests_that_the_documents_name_exist():
    pages = (PACKAGE.parent / "docs").glob("*.md")
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    names = set(re.findall(r"`(test_\w+)`", text))
    paths = pathlib.Path(__file__).parent.rglob("test_*.py")
    test_code = "".join(path.read_text() for path in paths)
    assert names and not [name for name in names if f"def {name}(" not in test_code]


def test_no_test_file_imports_another():
    for path in pathlib.Path(__file__).parent.rglob("*.py"):
        assert not [name for name in imported_names(path) if name.startswith("test_")]
