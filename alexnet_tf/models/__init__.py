"""Builds Keras models from presets, and loads and saves their weights."""
