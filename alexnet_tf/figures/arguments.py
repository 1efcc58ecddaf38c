"""Checks of the arguments that figures have in common."""

from alexnet_tf import files

# {argument: (its default, the figures that use it)}.
_USES = {
    "images": (
        [],
        ("predictions", "neighbors", "crops", "activations", "normalization",
         "receptive_fields", "occlusion", "saliency", "guided_backprop", "deconv"),
    ),
    "class_name": (None, ("occlusion", "saliency", "guided_backprop")),
    "unit": (None, ("deconv", "patches")),
    "layer": (None, ("neighbors", "deconv", "patches", "embedding")),
    "projection": ("pca", ("embedding",)),
    "metric": ("l2", ("neighbors",)),
    "index": (None, ("neighbors",)),
    "index_output": (None, ("neighbors",)),
}  # fmt: skip


def check_used(figure, **given):
    """Raises a ValueError if an argument is given that a figure does not use.

    Args:
        figure: the name of the figure.
        **given: values of arguments in `_USES`.
    """
    for name, value in given.items():
        default, figures = _USES[name]
        if value != default and figure not in figures:
            raise ValueError(
                f"Expected {name} only for the figures {', '.join(figures)}. "
                f"Received: {name}={value} for {figure}. Leave it out."
            )


def check_weights(figure, weights):
    """Raises a ValueError if a figure of a network gets no weights."""
    if not weights:
        raise ValueError(
            f"Expected the weights of a network for {figure}. Received: {weights=}. "
            "Give the directory of a run, a weights file, or the name of published "
            "weights."
        )


def check_output(output, *extensions):
    """Raises an error if a figure cannot be written to `output`.

    Args:
        output: the path of the file.
        *extensions: the extensions that it may have.

    Raises:
        ValueError: if there is no path, or it has another extension.
        OSError: if the folder of the file does not exist or cannot be written to, or
            the path is a folder.
    """
    if not output:
        raise ValueError(f"Expected a PNG file to write. Received: {output=}.")
    files.check_output("output", output, *extensions)


def check_count(count):
    """Raises a ValueError if a number of images is given and is not positive."""
    if count is not None and count < 1:
        raise ValueError(f"Expected a count of at least 1. Received: {count=}.")
