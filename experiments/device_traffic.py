"""The devices of the operations of a graph, and the bytes that cross between them."""

import tensorflow as tf


def device_of(operation, graph):
    """Returns the device of an operation, such as "CPU:1", or "" if it has none.

    An operation that reads or changes a variable runs on the device of the variable.

    Args:
        operation: a `tf.Operation` of `graph`.
        graph: the graph of a concrete function.
    """
    device = operation.device
    if not device and operation.inputs and operation.inputs[0].dtype == tf.resource:
        captured = {inner.name: outer for outer, inner in graph.captures}
        device = captured[operation.inputs[0].name].device
    return device.rpartition("device:")[2]


def crossings(graph):
    """Returns {(name of a tensor, device that reads it): bytes}.

    A tensor that several operations of a device read is sent to the device once. The
    arguments of the function and captured variables have no device, and do not count.

    Args:
        graph: the graph of a concrete function whose shapes are known.
    """
    devices = {op.name: device_of(op, graph) for op in graph.get_operations()}
    return {
        (tensor.name, devices[operation.name]): _size(tensor)
        for operation in graph.get_operations()
        for tensor in operation.inputs
        if devices[tensor.op.name] not in ("", devices[operation.name])
        and devices[operation.name]
    }


def _size(tensor):
    return tensor.shape.num_elements() * tensor.dtype.size
