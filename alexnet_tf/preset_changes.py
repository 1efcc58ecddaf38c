"""Changes of presets: other values, and networks without some of their parts.

The sources are cited by the abbreviations of `presets`.
"""

import dataclasses
from typing import Literal

from alexnet_tf import preset_checks
from alexnet_tf.preset_files import with_tuples
from alexnet_tf.preset_types import BatchNorm
from alexnet_tf.preset_types import Conv
from alexnet_tf.preset_types import Dense
from alexnet_tf.preset_types import Dropout
from alexnet_tf.preset_types import Pool
from alexnet_tf.preset_types import Preprocessing
from alexnet_tf.preset_types import Preset
from alexnet_tf.preset_types import Recipe
from alexnet_tf.preset_types import ReLU
from alexnet_tf.preset_types import ResponseNorm
from alexnet_tf.preset_types import SpatialNorm
from alexnet_tf.preset_types import Tanh
from alexnet_tf import settings

# The types of the arguments of `override`.
_OVERRIDE_TYPES = {
    "init": Literal["he", "torch"],
    "dropout": float,
    **{
        field.name: field.type
        for part in (Preprocessing, Recipe)
        for field in dataclasses.fields(part)
    },
}

# The arguments of `override` that are also flags of `alexnet_tf.train`.
OVERRIDES = (
    "batch_size", "learning_rate", "momentum", "weight_decay", "bias_lr_multiplier",
    "schedule", "boundaries", "patience", "epochs",
    "image_size", "crop_size", "resize", "mean", "divide_by_std", "random_crop", "flip",
    "pca_color_std", "pca_color_divisor", "pca_color_epochs",
    "ablate", "init", "dropout",
)  # fmt: skip


def override(preset: Preset, **values) -> Preset:
    """Returns a copy of a preset in which single values are replaced.

    Args:
        preset: the `Preset` to start from.
        **values: new values by name, where None leaves the preset's value unchanged.
            The names are the fields of `Recipe` and `Preprocessing`, and
            init: the initialization of all kernels, "he" or "torch". With "he", the
                biases are initialized to 0; with "torch", they are random too.
            dropout: the dropout rate of all dropout layers.
            ablate: the part or parts to remove, as for the function `ablate`.

    Raises:
        ValueError: if a name or a choice is unknown, a value has the wrong type, a
            number is negative or not finite, a size or a divisor is 0, the dropout rate
            or the momentum is not less than 1, the crop is larger than the image, or
            the preset does not have a part to remove.
    """
    values = {
        name: with_tuples(value) for name, value in values.items() if value is not None
    }
    _check_names(values)
    for name, value in values.items():
        if name in _OVERRIDE_TYPES:
            preset_checks.check_type(name, value, _OVERRIDE_TYPES[name])
    preset_checks.check_values(values)
    # An integer would be recorded as another text than the same number in a flag.
    values = {
        name: float(value) if _OVERRIDE_TYPES.get(name) is float else value
        for name, value in values.items()
    }
    init, dropout = values.pop("init", None), values.pop("dropout", None)
    preset = ablate(preset, *settings.as_names(values.pop("ablate", None)))
    recipe, preprocessing = (
        dataclasses.replace(
            part,
            **{
                field.name: values.pop(field.name)
                for field in dataclasses.fields(part)
                if field.name in values
            },
        )
        for part in (preset.recipe, preset.preprocessing)
    )
    preset_checks.check_crop(preprocessing)
    layers = preset.layers
    if init is not None:
        layers = replace_fields(layers, Conv | Dense, init=init, bias=0.0)
    if dropout is not None:
        layers = replace_fields(layers, Dropout, rate=dropout)
    return Preset(preset.name, layers, preprocessing, recipe)


def _check_names(values):
    names = (*_OVERRIDE_TYPES, "ablate")
    for name in values:
        if name not in names:
            raise ValueError(
                "Expected a field of Recipe or Preprocessing, init, dropout or ablate. "
                f"Received: {name}={values[name]!r}.{settings.suggest(name, names)}"
            )


def ablate(preset: Preset, *parts: str) -> Preset:
    """Returns a copy of a preset without parts that the paper or its authors ablated.

    Args:
        preset: the `Preset` to start from.
        *parts: the parts to remove:
            "norm": all response normalization layers (PAPER 3.3; CHM layers-148.cfg).
            "overlap": the overlap of pooling windows, whose side becomes 2. In networks
                with conv5, conv2 pads by 1 and conv5 does not pad (PAPER 3.4; CHM
                layers-147.cfg).
            "tower": one of the two towers. conv5 and the fully connected layers keep
                their size (PAPER 3.2; CHM layers-145-half.cfg).
            The name of a convolution other than the first: the convolution and the
                batch normalization and activation that directly follow it (PAPER 7).

    Raises:
        ValueError: if the preset does not have one of the parts.
    """
    layers = preset.layers
    for part in parts:
        previous_layers, layers = layers, _without_part(layers, part)
        if layers == previous_layers:
            removable = ", ".join(_removable_parts(layers))
            raise ValueError(
                f"Expected some of {removable}, the parts of {preset.name} that can be "
                f"removed. Received: {part!r}."
                if removable
                else f"Expected no part to remove: {preset.name} has none. Received: "
                f"{part!r}."
            )
    return dataclasses.replace(preset, layers=layers)


def _without_part(layers, part):
    """Returns the layers without a part, or the same layers if they do not have it."""
    if part == "norm":
        norms = ResponseNorm | SpatialNorm
        return tuple(layer for layer in layers if not isinstance(layer, norms))
    if part == "overlap":
        return _without_overlap(layers)
    if part == "tower":
        return _without_tower(layers)
    return _without_convolution(layers, part)


def _removable_parts(layers):
    """Returns the parts that `ablate` can remove."""
    convolutions = [layer.name for layer in layers if isinstance(layer, Conv)]
    candidates = ("norm", "overlap", "tower", *convolutions[1:])
    return [part for part in candidates if _without_part(layers, part) != layers]


def _without_overlap(layers):
    layers = replace_fields(layers, Pool, size=2, padding="same")
    # The sides of the maps are 55 (conv1), 28 (pool1), 26 (conv2), 13 (pool2), 13
    # (conv3, conv4), 11 (conv5) and 6 (pool5). For the odd sides, pooling windows have
    # to extend beyond the edge, as with "same".
    smaller_paddings = {"conv2": ((1, 1), (1, 1)), "conv5": "valid"}
    has_conv5 = any(layer.name == "conv5" for layer in layers)
    return tuple(
        dataclasses.replace(layer, padding=smaller_paddings[layer.name])
        if has_conv5 and layer.name in smaller_paddings
        else layer
        for layer in layers
    )


def _without_tower(layers):
    if all(layer.groups == 1 for layer in layers if isinstance(layer, Conv)):
        return layers
    layers = replace_fields(layers, Conv | ResponseNorm, groups=1)
    return tuple(
        dataclasses.replace(layer, filters=layer.filters // 2)
        if isinstance(layer, Conv) and layer.name != "conv5"
        else layer
        for layer in layers
    )


def _without_convolution(layers, name):
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, Conv)]
    for index in convolutions[1:]:
        if layers[index].name == name:
            end = index + 1
            for kinds in (BatchNorm, ReLU | Tanh):
                end += isinstance(layers[end], kinds)
            return (*layers[:index], *layers[end:])
    return layers


def check_used(changed: Preset, previous: Preset, values):
    """Raises a ValueError if a new value has no effect.

    Args:
        changed: the preset with the new values.
        previous: the preset before.
        values: the arguments of `override`, which had that result.
    """
    _check_used_by_schedule(changed.recipe, previous.recipe, values)
    if values.get("dropout") is not None and not any(
        isinstance(layer, Dropout) for layer in changed.layers
    ):
        raise ValueError(
            f"Expected a preset with dropout layers for dropout={values['dropout']}. "
            f"Received: preset={changed.name}, which has none. Leave dropout out."
        )
    for name in ("pca_color_divisor", "pca_color_epochs"):
        before = getattr(previous.preprocessing, name)
        if _is_new(values, name, before) and not changed.preprocessing.pca_color_std:
            raise ValueError(
                f"Expected PCA color augmentation for {name}={values[name]}. Received: "
                f"pca_color_std=0, for preset={changed.name}. Give pca_color_std, or "
                f"leave {name} out."
            )


def _is_new(values, name, before):
    """Returns whether a value is given and not the preset's.

    flags.txt, which can be given as a flagfile, has all values of the preset.
    """
    return values.get(name) not in (None, before)


def _check_used_by_schedule(recipe, previous, values):
    for name, schedule in (("boundaries", "step"), ("patience", "plateau")):
        is_new = _is_new(values, name, getattr(previous, name))
        if is_new and recipe.schedule != schedule:
            raise ValueError(
                f"Expected schedule={schedule} for {name}. Received: "
                f"{name}={values[name]}, schedule={recipe.schedule}, which does not "
                f"use it. Give schedule={schedule}, or leave {name} out."
            )
    if values.get("schedule") == "step" and not recipe.boundaries:
        raise ValueError(
            "Expected boundaries for schedule=step, the epochs before which the "
            "learning rate is divided by 10. Received: none. Give boundaries, or "
            "schedule=constant."
        )


def replace_fields(layers, kind, **values):
    """Returns the layers, with new field values in the layers of the class `kind`.

    Args:
        layers: layers of a preset.
        kind: a class of layers, or a union of classes.
        **values: {name of a field: value}.
    """
    return tuple(
        dataclasses.replace(layer, **values)
        if isinstance(layer, kind)
        else layer
        for layer in layers
    )
