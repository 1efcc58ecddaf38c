"""Trains models on batches of images."""

from alexnet_tf import lazy

__getattr__, __dir__ = lazy.attributes(
    __name__, {"train": "loop", "train_dataset": "run", "TrainingInterrupted": "loop"}
)
