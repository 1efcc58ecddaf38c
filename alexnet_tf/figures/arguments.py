"""Checks of the arguments that figures have in common."""

from alexnet_tf import files


def check_weights(figure, weights):
    """Raises a ValueError if a figure of a network gets no weights."""
    if not weights:
        raise ValueError(
            f"Expected the weights of a network for {figure}. Received: {weights=}."
        )


def check_output(output, extension=".png"):
    """Raises an error if a figure cannot be written to `output`.

    Args:
        output: the path of the file.
        extension: the extension that it must have.

    Raises:
        ValueError: if there is no path, or it has another extension.
        OSError: if the folder of the file does not exist.
    """
    if not output:
        raise ValueError(f"Expected a PNG file to write. Received: {output=}.")
    files.check_output("output", output, extension)


def check_count(count):
    """Raises a ValueError if a number of images is given and is not positive."""
    if count is not None and count < 1:
        raise ValueError(f"Expected a count of at least 1. Received: {count=}.")
