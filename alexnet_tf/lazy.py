"""Imports the public names of a package on first use.

Importing TensorFlow takes seconds. Commands that do not need TensorFlow, such as
`python -m alexnet_tf.train --help`, import the packages without waiting for it.
"""

import importlib


def attributes(package, modules):
    """Returns a function for a package to use as its `__getattr__`.

    Args:
        package: the name of the package.
        modules: {public name: the module that defines it, relative to the package}.
    """

    def __getattr__(name):
        if name in modules:
            module = importlib.import_module(f"{package}.{modules[name]}")
            return getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
