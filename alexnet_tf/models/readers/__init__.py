"""Readers of weights files: modules for the formats, and those that they share."""

from alexnet_tf import lazy

__getattr__, __dir__ = lazy.attributes(__name__)
