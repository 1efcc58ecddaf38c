"""A trained network at work: predictions, errors, features, exports."""
