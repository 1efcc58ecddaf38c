"""The preset of a run, from its arguments, its weights or the run to resume."""

import dataclasses

from alexnet_tf.network_json import preset_of_weights
from alexnet_tf.network_json import read_network
from alexnet_tf import presets
from alexnet_tf.training.run_names import default_workdir
from alexnet_tf.workdir import has_checkpoint
from alexnet_tf.workdir import read_flags

# Pretrained networks diverge at the preset's learning rate of .01.
_FINE_TUNING_DIVISOR = 10


def resolve_preset(dataset, name=None, weights=None, workdir=None, **overrides):
    """Returns the `presets.Preset` of a run; arguments are those of `train_dataset`.

    Raises:
        ValueError: if `name` is not the preset of `weights`, or is missing for a file,
            and the errors of `presets.override`.
        FileNotFoundError: if `weights` is a directory, but not that of a run.
    """
    recorded = has_divided_rate = False
    if isinstance(name, presets.Preset):
        preset = presets.check(name)
    elif weights:
        recorded = bool(workdir and has_checkpoint(workdir))
        try:
            # The weights that a resumed run started from may have been deleted.
            preset = preset_of_weights(workdir if recorded else weights, name)
            recipe = _own_recipe(preset, name)
        except (OSError, ValueError):
            # The file with the preset may have been deleted, too.
            if not (recorded and _began_with(workdir, name)):
                raise
            preset, recipe = read_network(workdir)[0], None
        if recipe:
            preset = dataclasses.replace(preset, recipe=recipe)
        has_divided_rate = recorded and recipe is None
    else:
        default = "tiny" if dataset == "textures" else "paper"
        preset, recorded = _get_preset(name or default, dataset, workdir)
    if recorded:
        # The preset in the work directory does not have the ablated parts any more.
        overrides["ablate"] = None
    is_given = overrides.get("learning_rate") is not None
    if weights and not (is_given or has_divided_rate):
        overrides["learning_rate"] = preset.recipe.learning_rate / _FINE_TUNING_DIVISOR
    changed = presets.override(preset, **overrides)
    if not has_checkpoint(workdir or default_workdir(dataset, preset.name)):
        presets.check_used(changed, preset, overrides)
    return changed


def _own_recipe(preset, name):
    """Returns the recipe of a preset, without the overrides of the run it comes from.

    The result is None for a preset of which only the run is known.

    Args:
        preset: the `presets.Preset` of the run.
        name: the argument `preset` of `train_dataset`.
    """
    if preset.name in presets.PRESETS:
        return presets.PRESETS[preset.name].recipe
    return None if name in (None, preset.name) else presets.get(name).recipe


def _get_preset(name, dataset, workdir):
    """Returns the preset of this name, and whether it is that of the run to resume.

    The work directory of a run contains its preset, so that the run can be resumed
    without the file that its preset came from, and with the layers that a preset of
    this name had when the run began.
    """
    try:
        preset = presets.get(name)
    except (OSError, ValueError):
        if not (workdir and _began_with(workdir, name)):
            raise
        return read_network(workdir)[0], True
    workdir = workdir or default_workdir(dataset, preset.name)
    if name in presets.PRESETS and _began_with(workdir, name):
        return dataclasses.replace(preset, layers=read_network(workdir)[0].layers), True
    return preset, False


def _began_with(workdir, name):
    """Returns whether a run in `workdir` with a checkpoint began with this preset."""
    return has_checkpoint(workdir) and read_flags(workdir).get("preset") == name
