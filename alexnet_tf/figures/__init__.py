"""Figures of a trained network, and an HTML page about its training run."""
