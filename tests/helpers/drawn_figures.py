"""Captures figures instead of writing them, and reads what they show."""

from matplotlib import image as matplotlib_image
from matplotlib import text as matplotlib_text

from alexnet_tf.figures import layout


def capture_figures(monkeypatch):
    """Returns a list to which figures are added instead of being written."""
    figures = []
    monkeypatch.setattr(layout, "save", lambda fig, path: figures.append(fig))
    return figures


def texts(fig):
    """Returns the strings in a figure as a list, with spaces for line breaks."""
    found = fig.findobj(matplotlib_text.Text)
    return [text.get_text().replace("\n", " ") for text in found if text.get_text()]


def shown_images(fig):
    """Returns the arrays of the images and maps in a figure, in the order drawn."""
    return [
        image.get_array().data for image in fig.findobj(matplotlib_image.AxesImage)
    ]
