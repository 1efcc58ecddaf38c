"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) in TensorFlow and Keras.

    import alexnet_tf
    model = alexnet_tf.AlexNet("paper", classes=1000)

The commands are modules: `python -m alexnet_tf.train --help`.
"""

__version__ = "0.1.0"
_HOMES = {
    "AlexNet": "models.alexnet",
    "PRESETS": "presets",
    "decode_predictions": "models.labels",
    "features": "models.alexnet",
    "load_weights": "models.weights",
    "preprocess_input": "inference.classifier",
    "save_weights": "models.weights",
}
__all__ = list(_HOMES)


def __getattr__(name):
    # Looked up on first use, because TensorFlow takes seconds to import and
    # `python -m alexnet_tf.train --help`, which passes here, needs none of it.
    import importlib

    if name in _HOMES:
        home = importlib.import_module(f"alexnet_tf.{_HOMES[name]}")
        return getattr(home, name)
    raise AttributeError(f"module 'alexnet_tf' has no attribute {name!r}")
