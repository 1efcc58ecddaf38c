"""Checks of presets: types, choices, ranges, and names of layers."""

import dataclasses
import math
import re
import typing
from typing import Literal

from alexnet_tf.preset_types import Dense
from alexnet_tf.preset_types import Layer
from alexnet_tf.preset_types import Preprocessing
from alexnet_tf.preset_types import Preset
from alexnet_tf.preset_types import Recipe

# The arguments of `override` that must not be 0.
_POSITIVE = (
    "batch_size", "epochs", "image_size", "crop_size", "patience", "pca_color_divisor"
)  # fmt: skip
_POSITIVE_OF_LAYERS = ("filters", "kernel_size", "stride", "groups", "size", "units")


def check(preset: Preset) -> Preset:
    """Returns a preset unchanged if it is valid for training.

    Raises:
        ValueError: as for `check_fields`, or if the last layer is not
            `Dense(name, None)`, or `layer_lr_multipliers` names anything but a layer
            with weights.
    """
    check_fields(preset)
    _check_last_layer(preset.layers)
    _check_layer_lr_multipliers(preset)
    return preset


def check_fields(preset: Preset) -> Preset:
    """Returns a preset unchanged if its name, its fields and its layers are valid.

    Raises:
        ValueError: if the name contains other characters than letters, digits and
            "_.-", a field has the wrong type or is none of its choices, a number of
            the recipe or of the preprocessing is out of range, or two layers have the
            same name.
    """
    if not isinstance(preset, Preset):
        raise ValueError(f"Expected a presets.Preset. Received: {preset!r:.80}.")
    if not (isinstance(preset.name, str) and re.fullmatch(r"[\w.-]+", preset.name)):
        raise ValueError(
            "Expected the name of a preset to consist of letters, digits, _, . and -. "
            f"Received: name={preset.name!r}."
        )
    _check_layers(preset.layers)
    for part, kind in ((preset.preprocessing, Preprocessing), (preset.recipe, Recipe)):
        if not isinstance(part, kind):
            raise ValueError(f"Expected a presets.{kind.__name__}. Received: {part!r}.")
        _check_fields(part, kind.__name__)
        check_values(vars(part))
    check_crop(preset.preprocessing)
    return preset


def _check_layers(layers):
    for layer in layers:
        if not isinstance(layer, Layer):
            names = (kind.__name__ for kind in typing.get_args(Layer))
            raise ValueError(
                f"Expected layers that are one of {', '.join(names)}. Received: "
                f"{layer!r}."
            )
        _check_fields(layer, f"{type(layer).__name__} {layer.name}")
        _check_sizes(layer)
    names = [layer.name for layer in layers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            "Expected layers with different names. Received more than once: "
            f"{', '.join(repeated)}."
        )


def _check_sizes(layer):
    for name in _POSITIVE_OF_LAYERS:
        value = getattr(layer, name, None)
        if value is not None and value < 1:
            raise ValueError(
                f"Expected {name} of {type(layer).__name__} {layer.name} to be at "
                f"least 1. Received: {name}={value}."
            )


def _check_last_layer(layers):
    if not (layers and isinstance(layers[-1], Dense) and layers[-1].units is None):
        raise ValueError(
            "Expected a last layer Dense(name, None), with one output for each class. "
            f"Received: {layers[-1] if layers else layers!r}."
        )


def _check_fields(part, description):
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        check_type(field.name, value, field.type, f" of {description}")


def check_type(name, value, kind, owner=""):
    """Raises a ValueError if a value has another type than a field.

    Args:
        name: the name of the field.
        value: the value.
        kind: the type of the field, see `_has_type`.
        owner: the end of the name in the error, such as " of Recipe".
    """
    if not _has_type(value, kind):
        *others, last = _type_names(kind)
        expected = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(
            f"Expected {name}{owner} to be {expected}. Received: {name}={value!r}."
        )


def _has_type(value, kind):
    """Returns whether a value has a type that can be written as JSON.

    Args:
        value: the value.
        kind: a plain type, or a union, Literal or tuple of such types. An integer is a
            float, too, but a boolean is no number.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments
        if arguments[-1] is Ellipsis:
            kinds = arguments[:1] * len(value)
        return len(value) == len(kinds) and all(map(_has_type, value, kinds))
    if arguments:  # This is a union.
        return any(_has_type(value, argument) for argument in arguments)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _type_names(kind):
    """Returns the names of the types of a union, or of a single type, for an error."""
    if kind is type(None):
        return ["None"]
    arguments = typing.get_args(kind)
    if not arguments:
        return [f"of type {kind.__name__}"]
    if typing.get_origin(kind) is tuple:
        return [f"of type {kind}"]
    if typing.get_origin(kind) is Literal:
        return [f'"{choice}"' for choice in arguments]
    return [name for argument in arguments for name in _type_names(argument)]


def _check_layer_lr_multipliers(preset):
    names = preset.weighted_layers
    for name, _, factor in preset.recipe.layer_lr_multipliers:
        if factor < 0:
            raise ValueError(
                "Expected layer_lr_multipliers of Recipe to have factors of at least "
                f"0. Received: {factor} for {name}."
            )
        if name not in names:
            raise ValueError(
                "Expected layer_lr_multipliers of Recipe to name some of the layers "
                f"{', '.join(names)}. Received: {name!r}."
            )


def check_crop(preprocessing):
    """Raises a ValueError if the crop of a `Preprocessing` is larger than the image."""
    if preprocessing.crop_size > preprocessing.image_size:
        raise ValueError(
            "Expected a crop no larger than the image. Received: crop_size="
            f"{preprocessing.crop_size}, image_size={preprocessing.image_size}."
        )


def check_values(values):
    """Raises a ValueError if a number is out of range.

    Args:
        values: {name: value} of fields of `Recipe` and `Preprocessing`, and "dropout".
    """
    for name, value in values.items():
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError(
                f"Expected {name} to be a finite number of at least 0. Received: "
                f"{name}={value}."
            )
    for name in _POSITIVE:
        if values.get(name) == 0:
            raise ValueError(
                f"Expected {name} to be greater than 0. Received: {name}=0."
            )
    if min(values.get("boundaries") or (0,)) < 0:
        raise ValueError(
            "Expected boundaries to be epochs, of at least 0. Received: boundaries="
            f"{values['boundaries']}."
        )
    for name in ("dropout", "momentum"):
        if values.get(name, 0) >= 1:
            raise ValueError(
                f"Expected {name} to be less than 1. Received: {name}={values[name]}."
            )
