"""Data sets, preprocessing and input pipelines: from encoded images to batches."""

from alexnet_tf import lazy

__getattr__, __dir__ = lazy.attributes(__name__)
