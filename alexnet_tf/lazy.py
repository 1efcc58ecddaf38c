"""Imports the parts of a package on first use.

Importing TensorFlow takes seconds. Commands that do not need TensorFlow, such as
`python -m alexnet_tf.train --help`, import the packages without waiting for it.
"""

import functools
import importlib
import pkgutil
import sys


def attributes(package, modules=()):
    """Returns the functions `__getattr__` and `__dir__` of a package.

    The attributes of the package are then its public names and its modules.

    Args:
        package: the name of the package.
        modules: {public name: the module that defines it, relative to the package}.
    """
    modules = dict(modules)

    def __getattr__(name):
        if name in modules:
            module = importlib.import_module(f"{package}.{modules[name]}")
            return getattr(module, name)
        if name in _module_names(package):
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*vars(sys.modules[package]), *modules, *_module_names(package)})

    return __getattr__, __dir__


@functools.cache
def _module_names(package):
    """Returns the names of the modules and packages in a package."""
    paths = sys.modules[package].__path__
    return {module.name for module in pkgutil.iter_modules(paths)}


def after_import(name, action):
    """Calls `action` when a module has been imported; immediately if it already has.

    Args:
        name: the name of a top-level module or package, such as "keras".
        action: a function without arguments.
    """
    if name in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _Finder(name, action))


class _Finder:
    """Finds a module as the other finders do, and adds an action to its loader."""

    def __init__(self, name, action):
        self._name = name
        self._action = action

    def find_spec(self, fullname, path, target=None):
        if fullname != self._name:
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                spec.loader = _Loader(spec.loader, self._action)
                return spec
        return None


class _Loader:
    """Loads a module with another loader, and calls an action afterwards."""

    def __init__(self, loader, action):
        self._loader = loader
        self._action = action

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._action()
