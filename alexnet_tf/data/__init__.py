"""Encoded images become batches."""
