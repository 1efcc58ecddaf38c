"""Functions that do not slow down the start of the pipelines that contain them."""

import tensorflow as tf


def separate_graph(*specs):
    """Returns a decorator for a function that most pipelines call never or rarely.

    The result is a `tf.function` that is traced once. TensorFlow does not copy its
    operations into the graphs that call it ("_noinline"), and does not optimize it with
    each of these graphs ("_tf_data_function"). For the decoders of BMP and GIF, copying
    takes two seconds when a pipeline starts, and optimizing half a second.

    Args:
        *specs: (shape, dtype) of each argument.
    """
    return tf.function(
        input_signature=[tf.TensorSpec(*spec) for spec in specs],
        autograph=False,
        experimental_attributes={"_noinline": True, "_tf_data_function": True},
    )
