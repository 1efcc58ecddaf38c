"""Readers of weights files, one module for each container."""
