"""Batches and a model become trained weights."""
