"""Saliency maps and guided backpropagation: pixels that change the score of a class.

The score of a class is its logit, as in the paper of Simonyan, Vedaldi and Zisserman
(Deep Inside Convolutional Networks, 2014, section 3). Guided backpropagation is that of
Springenberg et al. (Striving for Simplicity, 2015, section 3.4).
"""

import numpy as np

from alexnet_tf.figures import backward_passes
from alexnet_tf.figures import input_images
from alexnet_tf.figures import layout
from alexnet_tf.models.labels import readable_name
from alexnet_tf import plots

_TITLES = {
    "saliency": "Saliency: which pixels change the score of a class",
    "guided_backprop": "Guided backpropagation from the score of a class",
}
_NOTES = {
    "saliency": "Right: the largest absolute gradient of the class score (logit) over "
    "the three color channels. Black is 0, white the largest value in the image.",
    "guided_backprop": "Right: the gradient of the class score (logit), with negative "
    "signals removed at each ReLU. Gray is 0; each image is scaled to its largest "
    "absolute value.",
}


def saliency_maps(classifier, inputs, labels):
    """Returns the saliency maps of class scores, float32 [B, crop, crop].

    The value of a pixel is the largest absolute value of the gradient over its three
    channels.

    Args:
        classifier: a `Classifier`.
        inputs: float32 [B, crop, crop, 3], inputs of the network.
        labels: int [B], the class of each image.
    """
    gradients = _class_signals(classifier, inputs, labels, "gradient")
    return np.abs(gradients).max(axis=-1)


def guided_gradients(classifier, inputs, labels):
    """Returns the gradients of guided backpropagation, float32 RGB [B, crop, crop, 3].

    Args:
        classifier, inputs, labels: see `saliency_maps`.

    Raises:
        ValueError: if the network has no ReLU.
    """
    signals = _class_signals(classifier, inputs, labels, "guided")
    return input_images.to_rgb(signals, classifier)


def draw(figure, classifier, images, path, class_index=None):
    """Draws images beside their saliency maps or guided gradients.

    Args:
        figure: "saliency" or "guided_backprop".
        classifier: a `Classifier`.
        images: a list of `InputImage`.
        path: see `layout`.
        class_index: the index of the class. Default: the predicted class.

    Raises:
        ValueError: if `figure` is "guided_backprop", and the network has no ReLU.
    """
    inputs = np.stack([image.inputs for image in images])
    probabilities = classifier.model(inputs, training=False).numpy()
    labels = probabilities.argmax(axis=1)
    if class_index is not None:
        labels = np.full(len(images), class_index)
    if figure == "saliency":
        maps = saliency_maps(classifier, inputs, labels)
    else:
        maps = [scale_to_gray(v) for v in guided_gradients(classifier, inputs, labels)]
    titles = [
        (readable_name(classifier.classes[label]), f"{values[label]:.1%}")
        for label, values in zip(labels, probabilities)
    ]
    _plot(figure, images, maps, titles, path)


def scale_to_gray(values):
    """Returns values scaled to [0, 1]; 0 becomes 0.5.

    Args:
        values: float of any shape.
    """
    return 0.5 + values / (2 * max(np.abs(values).max(), 1e-12))


def _class_signals(classifier, inputs, labels, rule):
    """Returns what arrives at the pixels for a signal of 1 at the logit of a class."""
    model = classifier.model
    signal = np.eye(model.output.shape[-1], dtype=np.float32)[labels]
    # The last layer is the softmax.
    return backward_passes.backward(
        model, inputs, model.layers[-2].name, signal, rule
    )


def _plot(figure, images, maps, titles, path):
    pairs = 1 if len(images) < 3 else 2
    rows = -(-len(images) // pairs)
    side = layout.WIDTH / (2 * pairs)
    fig = layout.make_figure((side + 0.35) * rows, _TITLES[figure], _NOTES[figure])
    axes = fig.subplots(rows, 2 * pairs, squeeze=False).ravel()
    for index, (image, values, title) in enumerate(zip(images, maps, titles)):
        left, right = axes[2 * index : 2 * index + 2]
        length = 34 // pairs
        caption = image.caption.replace(": ", ":\n")
        caption = "\n".join(plots.shorten(t, length) for t in caption.split("\n"))
        layout.show(left, image.pixels, caption)
        name, probability = title
        title = f"{plots.shorten(name, length)}\n{probability}"
        layout.show(right, values, title, cmap="gray", vmin=0)
    for ax in axes[2 * len(images) :]:
        ax.set_axis_off()
    layout.save(fig, path)
