"""Predictions, errors, features and exports of a trained network."""

from alexnet_tf import lazy

__getattr__ = lazy.attributes(
    __name__,
    {
        "evaluate": "evaluation",
        "load_classifier": "classifier",
        "predict_files": "classifier",
    },
)
