"""Keras models of the presets, and the loading and saving of their weights."""
