"""Functions that do not slow down the start of the pipelines that call them.

TensorFlow optimizes the graph of a pipeline each time that the pipeline starts,
together with the functions that the graph calls. These are skipped if they have the
attribute "_tf_data_function", which is meant for functions that `tf.data` has optimized
already, and so are the functions that they call. However, if TensorFlow 2.21 optimizes
a single function, it forgets to skip those without an attribute of their own, which are
the branches of conditions and the bodies of loops. All functions that remain calls need
the attribute, therefore.
"""

import tensorflow as tf

# `experimental_attributes` of such a `tf.function`. For the decoders of BMP and GIF,
# optimizing takes .7 seconds of one CPU core.
NOT_OPTIMIZED = {"_tf_data_function": True}


def separate_graph(*specs):
    """Returns a decorator for a function that most pipelines call never or rarely.

    The result is a `tf.function` that is traced once. TensorFlow does not copy its
    operations into the graphs that call it ("_noinline"), and does not optimize it with
    each of these graphs. For the decoders of BMP and GIF, copying takes two seconds
    when a pipeline starts.

    Args:
        *specs: (shape, dtype) of each argument.
    """
    return tf.function(
        input_signature=[tf.TensorSpec(*spec) for spec in specs],
        autograph=False,
        experimental_attributes={"_noinline": True, **NOT_OPTIMIZED},
    )
