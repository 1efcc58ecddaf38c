"""The claims of the paper that are measured here, each a module."""

ALL = (
    "relu_tanh", "ablations", "initialization", "blog", "geometries",
    "dropout_forms", "needs_imagenet",
)  # fmt: skip
COMPUTED = ("geometries", "dropout_forms", "needs_imagenet")  # Without runs.
