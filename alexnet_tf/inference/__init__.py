"""Predictions, errors, features and exports of a trained network."""

from alexnet_tf import lazy

__getattr__, __dir__ = lazy.attributes(
    __name__,
    {
        "evaluate": "evaluation",
        "extract_features": "extraction",
        "load_classifier": "classifier",
        "predict_files": "classifier",
    },
)
