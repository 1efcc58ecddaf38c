"""Keras models of the presets, and the loading and saving of their weights."""

from alexnet_tf import lazy

__getattr__, __dir__ = lazy.attributes(
    __name__,
    {
        "AlexNet": "alexnet",
        "features": "alexnet",
        "load_weights": "weights",
        "save_weights": "weights",
    },
)
