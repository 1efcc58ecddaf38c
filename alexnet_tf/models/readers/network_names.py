"""Tells AlexNet from CaffeNet, which have weights of the same shapes."""


def infer_network(norms, pools, name):
    """Returns "AlexNet", "CaffeNet", or None if neither can be inferred.

    AlexNet normalizes before it pools, and CaffeNet pools before it normalizes. The
    name is used only if no pooling layer and normalization layer are connected, because
    some files of CaffeNet are named after AlexNet.

    Args:
        norms: (inputs, outputs) of each normalization layer, two collections of names.
        pools: (inputs, outputs) of each pooling layer.
        name: the name of the network in the file, which may be empty.
    """
    if _are_connected(pools, norms):
        return "CaffeNet"
    if _are_connected(norms, pools):
        return "AlexNet"
    for network in ("CaffeNet", "AlexNet"):
        if network.lower() in name.lower():
            return network
    return None


def _are_connected(layers, next_layers):
    """Returns whether an output of `layers` is an input of `next_layers`."""
    outputs = {name for _, names in layers for name in names}
    return any(name in outputs for names, _ in next_layers for name in names)
