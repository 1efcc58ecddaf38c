"""Readers of weights files, one module for each container."""

from alexnet_tf import lazy

__getattr__, __dir__ = lazy.attributes(__name__)
