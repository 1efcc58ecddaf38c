"""Data sets, preprocessing and input pipelines: from encoded images to batches."""
