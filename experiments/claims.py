"""The claims of the paper that are measured here, each a module."""

ALL = (
    "relu_tanh", "ablations", "initialisation", "blog", "geometries",
    "dropout_forms",
)  # fmt: skip
COMPUTED = ("geometries", "dropout_forms")  # Without runs.
