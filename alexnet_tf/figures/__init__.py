"""Figures of a trained network, and an HTML page about its training run."""

from alexnet_tf import lazy

__getattr__, __dir__ = lazy.attributes(__name__)
