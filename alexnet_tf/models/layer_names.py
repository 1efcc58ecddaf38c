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
                  Keras' default names, in a file without names such as conv1, or fc6
                  for dense
"""

import re

from alexnet_tf.models.readers.stored import printable

# Any number of components, each followed by a dot.
_PREFIX = r"(?:\w+\.)*?"
_NUMBER = r"(\d{1,6})"
# Convolutions and fully connected layers that are numbered in the order of the layers.
_NUMBERED = {
    "conv": re.compile(
        rf"{_PREFIX}features\.(?:{_NUMBER}|stage{_NUMBER}\.unit{_NUMBER}\.conv)"
    ),
    "fc": re.compile(
        rf"{_PREFIX}(?:classifier\.{_NUMBER}|output\.fc{_NUMBER}(?:\.fc)?)"
    ),
}
_NUMBERED_BY_KERAS = {
    "conv": re.compile(rf"conv2d(?:_{_NUMBER})?"),
    "fc": re.compile(rf"dense(?:_{_NUMBER})?"),
}
# The names of Caffe, also in a nested model.
_NAMED_AS_IN_CAFFE = {
    kind: re.compile(rf"(?:.*/)?{kind}\d+") for kind in _NUMBERED_BY_KERAS
}
_NAMED = re.compile(rf"{_PREFIX}(?:features|classifier)\.((?:conv|fc)\d+)")
_FC8 = re.compile(rf"{_PREFIX}classifier")
# The number of the first layer of each kind.
_FIRST_NUMBERS = {"conv": 1, "fc": 6}
# The component of names that `torch.nn.DataParallel` adds, in any position.
_DATA_PARALLEL = "module"


def to_caffe_names(layers, kept_names=()):
    """Returns the names of Caffe's layers for the names in a file.

    Numbered layers are renamed in ascending order of their numbers: the convolution
    with the lowest number becomes conv1. Layers whose kernel has one axis are
    normalization layers: they are not counted, and their names are treated as unknown
    ones. Unknown names are returned without the first components that all names have in
    common, such as "model" in model.conv1.

    Args:
        layers: {name in the file: {"kernel": array, "bias": array}}. Only the shapes of
            the arrays are used.
        kept_names: the names in the file that are not to be changed. If one of these or
            of the other names is that of a fully connected layer of Caffe, dense is an
            unknown name, because it is more likely a new layer than fc6. The same
            applies to convolutions.

    Returns:
        (names, is_torch): {name in the file: name of the layer}, and whether any name
        follows a convention of PyTorch.

    Raises:
        ValueError: if two names in the file belong to the same layer.
    """
    components = {
        name: [part for part in name.split(".") if part != _DATA_PARALLEL]
        for name in layers
    }
    common = _count_common(parts[:-1] for parts in components.values())
    short_names = {name: ".".join(parts) for name, parts in components.items()}
    renamed = {}
    for name, short_name in short_names.items():
        if match := _NAMED.fullmatch(short_name):
            renamed[name] = match[1]
        elif _FC8.fullmatch(short_name):
            renamed[name] = "fc8"
        else:
            renamed[name] = ".".join(components[name][common:])
    names = [*kept_names, *renamed.values()]
    for kind in _FIRST_NUMBERS:
        patterns = [_NUMBERED[kind]]
        if not any(map(_NAMED_AS_IN_CAFFE[kind].fullmatch, names)):
            patterns.append(_NUMBERED_BY_KERAS[kind])
        renamed |= _number(kind, patterns, layers, short_names)
    _check_unique(renamed)
    torch_patterns = (*_NUMBERED.values(), _NAMED)
    return renamed, any(
        pattern.fullmatch(name)
        for pattern in torch_patterns
        for name in short_names.values()
    )


def _count_common(names):
    """Returns how many components at the beginning of all names are equal."""
    count = 0
    for components in zip(*names):
        if len({*components}) > 1:
            break
        count += 1
    return count


def _number(kind, patterns, layers, short_names):
    """Returns {name in the file: name of the layer} of numbered layers.

    Args:
        kind: a key of `_FIRST_NUMBERS`.
        patterns: the regular expressions of the names, with groups for the numbers.
        layers: see `to_caffe_names`.
        short_names: {name in the file: the name without "module"}.
    """
    numbers = {}
    for name, short_name in short_names.items():
        matches = (pattern.fullmatch(short_name) for pattern in patterns)
        match = next(filter(None, matches), None)
        if match and not _is_normalization(layers[name]):
            numbers[name] = tuple(int(number or 0) for number in match.groups())
    _check_unique(numbers)
    ordered_names = sorted(numbers, key=numbers.get)
    return {
        name: f"{kind}{number}"
        for number, name in enumerate(ordered_names, _FIRST_NUMBERS[kind])
    }


def _is_normalization(parts):
    return "kernel" in parts and len(parts["kernel"].shape) == 1


def _check_unique(renamed):
    """Raises an error if two names in a file have the same number or layer."""
    by_layer = {}
    for name, layer in renamed.items():
        if layer in by_layer:
            raise ValueError(
                f"its names {printable(by_layer[layer])} and {printable(name)} belong "
                "to the same layer"
            )
        by_layer[layer] = name
