"""The names of AlexNet's layers in published files, and our names, which are Caffe's.

    features.0 ... features.10, classifier.1 ... classifier.6
                  torchvision and other networks built of `torch.nn.Sequential`, whose
                  numbers count the layers without weights too
    features.conv1, classifier.fc6
                  CaffeNet in PyTorch, as in projects on domain generalization
    features.stage1.unit1.conv, output.fc1.fc
                  osmr/imgclsmob
    features.0, fc6, fc7, classifier
                  lucid-dl/alexnet
    conv2d, conv2d_1, dense
                  the names that Keras gives
"""

import re

_PREFIX = r"(?:\w+\.)*?"
# Convolutions and fully connected layers that are numbered in the order of the layers.
_NUMBERED = {
    "conv": re.compile(
        rf"{_PREFIX}(?:features\.(\d+)|features\.stage(\d+)\.unit(\d+)\.conv)"
    ),
    "fc": re.compile(rf"{_PREFIX}(?:classifier\.(\d+)|output\.fc(\d+)(?:\.fc)?)"),
}
_NUMBERED_BY_KERAS = {
    "conv": re.compile(r"conv2d(?:_(\d+))?"),
    "fc": re.compile(r"dense(?:_(\d+))?"),
}
_NAMED = re.compile(rf"{_PREFIX}(?:features|classifier)\.((?:conv|fc)\d+)")
_LAST = re.compile(rf"{_PREFIX}classifier")
# The number of the first layer of each kind.
_FIRST = {"conv": 1, "fc": 6}


def to_caffe_names(names):
    """Returns the names of Caffe's layers for the names in a file.

    A name that is not recognized is returned unchanged. Layers that a file numbers are
    named in ascending order, so that conv1 is the first convolution. Components called
    "module", which `torch.nn.DataParallel` adds, are ignored.

    Args:
        names: the names of the layers in a file.

    Returns:
        ({name in the file: name of the layer}, whether a name is one that only files of
        PyTorch have).

    Raises:
        ValueError: if two names in the file belong to the same layer.
    """
    renamed, is_torch = {}, False
    numbered = {kind: {} for kind in _FIRST}
    for name in names:
        short_name = ".".join(part for part in name.split(".") if part != "module")
        match, kind = _match_numbered(short_name, _NUMBERED)
        is_torch = is_torch or bool(
            match or _NAMED.fullmatch(short_name) or _LAST.fullmatch(short_name)
        )
        if not match:
            match, kind = _match_numbered(short_name, _NUMBERED_BY_KERAS)
        if match:
            numbered[kind][name] = tuple(int(number or 0) for number in match.groups())
        elif _LAST.fullmatch(short_name):
            renamed[name] = "fc8"
        elif match := _NAMED.fullmatch(short_name):
            renamed[name] = match[1]
        else:
            renamed[name] = short_name
    for kind, numbers in numbered.items():
        for number, name in enumerate(sorted(numbers, key=numbers.get), _FIRST[kind]):
            renamed[name] = f"{kind}{number}"
    _check_unique(renamed)
    return {name: renamed[name] for name in names}, is_torch


def _match_numbered(name, patterns):
    for kind, pattern in patterns.items():
        if match := pattern.fullmatch(name):
            return match, kind
    return None, None


def _check_unique(renamed):
    by_layer = {}
    for name, layer in renamed.items():
        if layer in by_layer:
            raise ValueError(
                f"its names {by_layer[layer]!r} and {name!r} belong to the same layer, "
                f"{layer}"
            )
        by_layer[layer] = name
