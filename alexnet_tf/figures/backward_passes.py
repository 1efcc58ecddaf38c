"""Backward passes from a layer to the pixels, with three rules for the ReLU.

    rule         a ReLU with the input x turns the signal g into   source
    "gradient"   g where x > 0, else 0                             Simonyan et al. 2014
    "guided"     g where x > 0 and g > 0, else 0                   Springenberg et al.
                                                                   2015
    "deconvnet"  g where g > 0, else 0                             Zeiler, Fergus 2014

Every other layer passes the signal back as it passes a gradient back. A convolution
applies the transposed kernel of each group without the bias. Max pooling does the
unpooling of Zeiler and Fergus: each value goes to the position of the maximum, which
they call a switch, and values of overlapping windows at the same position are added.
The rule "deconvnet" differs in one more kind of layer: response normalization passes
the signal on unchanged, as in the paper of Zeiler and Fergus (section 2.1).
"""

import keras
import tensorflow as tf

from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf.models.layers import SpatialResponseNormalization

RULES = ("gradient", "guided", "deconvnet")


def backward(model, inputs, layer, signal, rule="gradient"):
    """Returns the signal that arrives at the pixels, float32 [B, H, W, 3].

    Dropout is inactive. The channels are those of the network's input.

    Args:
        model: a model that `AlexNet` built.
        inputs: float32 [B, H, W, 3], inputs of the model.
        layer: the name of the layer at which the signal starts.
        signal: float32, of the shape of the layer's outputs for these inputs.
        rule: one of `RULES`.

    Raises:
        ValueError: if `rule` changes the ReLU, and the network has none.
    """
    layers = layers_up_to(model, layer)
    has_relu = any(isinstance(step, keras.layers.ReLU) for step in model.layers)
    if rule != "gradient" and not has_relu:
        raise ValueError(
            f"Expected a network with ReLUs, whose gradients {rule} changes. Received: "
            f"{model.name}, which has none. Draw a saliency map, which needs no ReLU."
        )
    inputs = tf.convert_to_tensor(inputs, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = inputs
        for step in layers:
            outputs = _apply(step, outputs, rule)
    return tape.gradient(outputs, inputs, tf.cast(signal, outputs.dtype)).numpy()


def layers_up_to(model, layer):
    """Returns the layers from the one after the input to the one called `layer`."""
    names = [step.name for step in model.layers]
    return model.layers[1 : names.index(layer) + 1]


def _apply(layer, inputs, rule):
    """Applies a layer whose gradient follows `rule`."""
    if rule != "gradient" and isinstance(layer, keras.layers.ReLU):
        return _with_backward(layer, _RECTIFY_SIGNAL[rule])(inputs)
    is_normalization = isinstance(
        layer, LocalResponseNormalization | SpatialResponseNormalization
    )
    if rule == "deconvnet" and is_normalization:
        return _with_backward(layer, lambda _, signal: signal)(inputs)
    # All other layers behave as in inference if they are called without `training`.
    return layer(inputs)


_RECTIFY_SIGNAL = {
    "guided": lambda x, signal: tf.where(
        x > 0, tf.nn.relu(signal), tf.zeros_like(signal)
    ),
    "deconvnet": lambda _, signal: tf.nn.relu(signal),
}


def _with_backward(layer, backward_function):
    """Returns a function like `layer` with another backward pass.

    Args:
        layer: a layer without weights.
        backward_function: a function of the layer's input and of the signal at its
            output, which returns the signal at the input.
    """

    @tf.custom_gradient
    def apply(x):
        return layer(x), lambda signal: backward_function(x, signal)

    return apply
