"""Public names of a package that are imported on first use.

TensorFlow takes seconds to import, and `python -m alexnet_tf.train --help`, which
imports the packages, needs none of it.
"""

import importlib


def attributes(package, modules):
    """Returns a `__getattr__` for a package.

    Args:
        package: the name of the package.
        modules: {public name: the module of the package that defines it}.
    """

    def __getattr__(name):
        if name in modules:
            module = importlib.import_module(f"{package}.{modules[name]}")
            return getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
