"""Rewrites a network so that LiteRT can compute all of it with 8-bit integers.

LiteRT has no integer kernels for `tf.nn.local_response_normalization`, squares and
powers. It would convert the inputs of these operations to float32 and their results
back, which takes longer and which devices without floating-point units cannot do.
"""

import keras
import numpy as np
import tensorflow as tf

from alexnet_tf.models.layers import GroupedConv2D
from alexnet_tf.models.layers import LocalResponseNormalization
from alexnet_tf.models.layers import SpatialResponseNormalization


def quantizable_copy(model):
    """Returns a copy of a model that has equal outputs and that LiteRT can quantize.

    Args:
        model: a functional or Sequential `keras.Model`, which may contain others.
    """
    copy = keras.models.clone_model(model, clone_function=_clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _clone(layer):
    """Returns a new layer that computes what `layer` computes."""
    if isinstance(layer, LocalResponseNormalization | SpatialResponseNormalization):
        return _IntegerNormalization(layer)
    if isinstance(layer, keras.layers.Lambda):
        # `Lambda.from_config` refuses Python functions, because a configuration may
        # come from a file.
        return keras.layers.Lambda(
            layer.function, arguments=layer.arguments, name=layer.name
        )
    config = layer.get_config()
    if isinstance(layer, GroupedConv2D):
        config["implementation"] = "split"
    return type(layer).from_config(config)


class _IntegerNormalization(keras.layers.Layer):
    """Computes a response normalization with operations that have integer kernels.

    Args:
        layer: a `LocalResponseNormalization` or a `SpatialResponseNormalization`.
    """

    def __init__(self, layer):
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self._layer = layer

    def call(self, inputs):
        # Let s be bias + alpha * sum of squares. The result x s^-beta is computed as
        # 2^beta x times (2 s)^-beta, in which the powers of 2 cancel out. The converter
        # records the range of a tensor after the operation that reads it
        # (github.com/tensorflow/tensorflow/issues/127842), and a multiplication may
        # overwrite its first factor. Without the scaled copy of x, it would overwrite
        # s^-beta. The recorded range would be that of the result, up to several
        # hundred, in which 8 bits cannot represent s^-beta, which is mostly below 1.
        x = tf.cast(inputs, tf.float32)
        beta = self._layer.beta
        power = tf.exp(-beta * tf.math.log(self._doubled_base(x)))
        return tf.cast(2**beta * x * power, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def _doubled_base(self, x):
        """Returns 2 (bias + alpha * sum of squares), of the shape of `x`."""
        bias, alpha = 2 * self._layer.bias, 2 * self._layer.alpha
        if isinstance(self._layer, SpatialResponseNormalization):
            margin = self._layer.size // 2
            padding = [[0, 0], [margin, margin], [margin, margin], [0, 0]]
            means = tf.nn.avg_pool2d(
                tf.pad(x * x, padding), self._layer.size, strides=1, padding="VALID"
            )
            return alpha * self._layer.size**2 * means + bias
        channels = x.shape[-1]
        neighbors = _neighbor_matrix(
            channels, self._layer.depth_radius, self._layer.groups
        )
        kernel = tf.constant(alpha * neighbors[np.newaxis, np.newaxis])
        sums = tf.nn.conv2d(x * x, kernel, strides=1, padding="VALID")
        return tf.nn.bias_add(sums, tf.fill([channels], bias))


def _neighbor_matrix(channels, radius, groups):
    """Returns a matrix [channels, channels] with 1 for neighbors and 0 for others."""
    index = np.arange(channels)
    tower = index // (channels // groups)
    is_near = np.abs(index[:, np.newaxis] - index) <= radius
    return (is_near & (tower[:, np.newaxis] == tower)).astype(np.float32)
