"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012) in TensorFlow and Keras.

    import alexnet_tf
    model = alexnet_tf.AlexNet("paper", classes=1000)

The commands are run as modules, for example `python -m alexnet_tf.train --help`.
"""

from alexnet_tf import lazy

__version__ = "0.2.0"

# {public name: the module that defines it, relative to this package}.
_MODULES = {
    "AlexNet": "models.alexnet",
    "PRESETS": "presets",
    "WEIGHTS": "published",
    "decode_predictions": "models.labels",
    "download": "published",
    "features": "models.alexnet",
    "load_weights": "models.weights",
    "preprocess_input": "inference.classifier",
    "save_weights": "models.weights",
}
__all__ = list(_MODULES)

__getattr__, __dir__ = lazy.attributes(__name__, _MODULES)


def _register_layers():
    """Lets Keras load saved models of this package, if it runs on TensorFlow."""
    import importlib

    import keras

    if keras.config.backend() == "tensorflow":
        for module in ("inference.input_layer", "models.layers"):
            importlib.import_module(f"alexnet_tf.{module}")


lazy.after_import("keras", _register_layers)
