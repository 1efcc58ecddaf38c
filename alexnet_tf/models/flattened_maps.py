"""Finds the maps that are flattened before a fully connected layer.

Keras flattens maps in the order H, W, C, and Caffe and PyTorch in the order C, H, W. To
convert the kernel of a fully connected layer, the shape of its maps is required. It is
found by walking back from the layer through the graph of the model.
"""

import math

import keras


class UnknownOrder(ValueError):
    """The reason why the order of a layer's inputs cannot be found."""


def find_shape(layer, num_inputs, outer_inputs, previous_outputs=None):
    """Returns the shape (positions, 1, channels) of the maps before a layer.

    The number of positions is height times width, because their order is the same in
    both layouts. The result is None if the inputs of the layer are not flattened maps,
    so that their order is that of another fully connected layer, of channels or of an
    input.

    Args:
        layer: a layer with a kernel [num_inputs, out].
        num_inputs: the number of inputs of the layer.
        outer_inputs: the result of `find_outer_inputs` for the model of the layer.
        previous_outputs: the number of filters or units of the layer with a kernel
            before this one. A layer that is not part of a graph has no flattened maps
            if this is the number of its inputs.

    Raises:
        UnknownOrder: if the layer is not part of a graph, or other layers than those
            that keep the order of values are between the maps and the layer.
    """
    # Keras has no public function for the inputs of one call of a layer.
    nodes = getattr(layer, "_inbound_nodes", ())
    if not nodes and num_inputs == previous_outputs:
        return None
    if not nodes:
        raise UnknownOrder("it is not in the graph of a functional model")
    source = _walk_back(nodes[0].input_tensors[0], outer_inputs)
    operation, _ = _producer(source)
    sizes = source.shape[1:]
    if len(sizes) == 1:
        if _mixes_positions(source, outer_inputs):
            raise UnknownOrder(f"{operation.name} is between the maps and the layer")
        return None
    if sizes[-1] == num_inputs:
        return None  # The layer is applied to each position of the maps.
    is_known = None not in sizes and math.prod(sizes) == num_inputs
    if not is_known or _permutes(operation):
        raise UnknownOrder(f"{operation.name} is between the maps and the layer")
    return math.prod(sizes[:-1]), 1, sizes[-1]


def find_outer_inputs(model):
    """Returns {id of the input layer of a nested model: tensor that is passed to it}.

    Args:
        model: a `keras.Model`.
    """
    outer_inputs = {}
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            outer_inputs |= find_outer_inputs(layer)
            nodes = getattr(layer, "_inbound_nodes", ())
            if nodes and getattr(layer, "inputs", None):
                for inner, outer in zip(layer.inputs, nodes[0].input_tensors):
                    outer_inputs[id(_producer(inner)[0])] = outer
    return outer_inputs


def _producer(tensor):
    """Returns the operation that computes a Keras tensor, and its input tensors."""
    operation, node_index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[node_index].input_tensors


def _walk_back(tensor, outer_inputs):
    """Returns the tensor whose values `tensor` has in the same order."""
    while True:
        operation, inputs = _producer(tensor)
        if isinstance(operation, keras.Model) and getattr(operation, "outputs", None):
            tensor = operation.outputs[tensor._keras_history.tensor_index]
        elif id(operation) in outer_inputs:
            tensor = outer_inputs[id(operation)]
        elif len(inputs) == 1 and _keeps_order(operation, inputs[0], tensor):
            tensor = inputs[0]
        else:
            return tensor


def _keeps_order(operation, before, after):
    # With channels_first, Flatten transposes its inputs.
    if isinstance(operation, keras.layers.Flatten):
        return operation.data_format == "channels_last"
    if isinstance(operation, keras.layers.Reshape):
        return True
    # Activations, dropout and normalization keep the shape.
    has_kernel = hasattr(operation, "kernel")
    return before.shape == after.shape and not has_kernel and not _permutes(operation)


def _permutes(operation):
    return isinstance(operation, keras.layers.Permute) or (
        type(operation).__name__ in ("Transpose", "Moveaxis", "Swapaxes", "Flip")
    )


def _mixes_positions(tensor, outer_inputs):
    """Returns whether values [B, n] come from maps and have more than one per channel.

    A pooling over all positions, for example, leaves one value for each channel.
    """
    source = _walk_back(tensor, outer_inputs)
    if len(source.shape) > 2:
        return True
    operation, inputs = _producer(source)
    if hasattr(operation, "kernel"):
        return False
    return any(
        before.shape[-1] != source.shape[-1]
        if len(before.shape) > 2
        else _mixes_positions(before, outer_inputs)
        for before in inputs
    )
