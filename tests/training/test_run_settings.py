"""Tests which runs may be resumed, and what the errors and messages say."""

import dataclasses
import functools

import numpy as np
import pytest

from alexnet_tf.network_json import write_network
from alexnet_tf import presets
from alexnet_tf.training.checkpoints import Progress
from alexnet_tf.training.fine_tuning import FineTuning
from alexnet_tf.training import loop
from alexnet_tf.training.options import TrainingOptions
from alexnet_tf.training import run_settings
from helpers.runs import shallow_preset


def describe(**changes):
    values = dict(
        seed=0, precision="float32", shuffle_buffer=99, fine_tuning=FineTuning(),
        options=TrainingOptions(),
    )
    return run_settings.describe(**values | changes)


def test_describes_settings_as_json_values(tmp_path):
    plan = FineTuning(tmp_path, freeze=("conv1",), lr_mult={"fc8": 2.0})
    options = TrainingOptions(eval_every=2)
    described = describe(fine_tuning=plan, options=options, augment=describe)
    assert described["weights"] == str(tmp_path)
    assert described["freeze"] == ["conv1"] and described["lr_mult"] == {"fc8": 2.0}
    assert described["eval_every"] == 2 and "warmup_epochs" not in described
    assert described["augment"] == f"{__name__}.describe"


def test_integers_of_numpy_are_integers():
    """Otherwise, a run with another value could not be told from this one."""
    options = TrainingOptions(eval_every=np.int64(2))
    described = describe(shuffle_buffer=np.int64(7), options=options)
    assert (described["shuffle_buffer"], described["eval_every"]) == (7, 2)


def test_function_names_contain_the_module():
    class Augment:
        def __call__(self):
            pass

    name = run_settings.function_name(Augment())
    assert name == f"{__name__}.{Augment.__qualname__}"
    partial = functools.partial(functools.partial(describe, seed=1))
    assert run_settings.function_name(partial) == f"{__name__}.describe"


def with_recipe(preset, **values):
    recipe = dataclasses.replace(preset.recipe, **values)
    return dataclasses.replace(preset, recipe=recipe)


def with_width(preset, width):
    conv1, *others = preset.layers
    conv1 = dataclasses.replace(conv1, filters=width)
    return dataclasses.replace(preset, layers=(conv1, *others))


PRESET = shallow_preset()


@pytest.mark.parametrize(
    "preset, settings, message",
    [
        (with_recipe(PRESET, momentum=0.5), {}, "momentum=0.9. Received: momentum=0.5"),
        (shallow_preset(dropout=0.25), {}, "drop7.rate=0.5. Received: drop7.rate=0.25"),
        (shallow_preset(flip=False), {}, "flip=True. Received: flip=False"),
        (with_width(PRESET, 8), {}, "conv1.filters=16. Received: conv1.filters=8"),
        (
            dataclasses.replace(PRESET, layers=PRESET.layers[1:]),
            {},
            "layers=conv1:Conv relu1:ReLU .* Received: layers=relu1:ReLU norm1",
        ),
        (PRESET, {"seed": 1}, "seed=0. Received: seed=1"),
        (PRESET, {"precision": "mixed_bfloat16"}, "precision=float32. Received: preci"),
        (PRESET, {"fine_tuning": FineTuning(freeze=("fc7",))}, r"freeze=\['fc7'\]"),
        (PRESET, {"options": TrainingOptions(warmup_epochs=2)}, ": warmup_epochs=2. G"),
        (PRESET, {"augment": describe}, "no augment. Received: augment=.*describe"),
    ],
)
def test_rejects_another_preset_and_other_settings(
    tmp_path, preset, settings, message
):
    write_network(str(tmp_path), PRESET, ("a", "b"), describe())
    run_settings.check_same(str(tmp_path), PRESET, describe())
    with pytest.raises(ValueError, match=message) as error:
        run_settings.check_same(str(tmp_path), preset, describe(**settings))
    assert "another work directory" in str(error.value)


def test_accepts_values_that_may_change_and_runs_without_settings(tmp_path):
    """Version 0.1 did not record the settings beside the preset."""
    path = str(tmp_path)
    options = TrainingOptions(early_stopping_patience=3)
    write_network(path, PRESET, ("a", "b"), describe(options=options))
    run_settings.check_same(path, with_recipe(PRESET, epochs=7), describe())
    write_network(path, PRESET, ("a", "b"))
    run_settings.check_same(path, PRESET, describe(seed=1))
    with pytest.raises(ValueError, match="momentum"):
        run_settings.check_same(path, with_recipe(PRESET, momentum=0.5), describe())


@pytest.mark.parametrize(
    "before, now, message",
    [
        (("cat", "dog"), ("dog", "zebra"), "with 'cat'. Received: 2 .* with 'zebra'. "),
        (
            ("cat", "dog"), ("dog", "cat"),
            ", cat, dog. Received: the same classes in the order dog, cat. Restore",
        ),
        (("a", "b"), ("a", "b", "c"), "2 classes .* Received: 3 classes with 'c'. "),
        (
            tuple("abcdef"), tuple("uvwxyz"),
            "'a', 'b', 'c' and 3 others. Received: 6 classes with 'u', 'v', 'w' and 3",
        ),
    ],
)  # fmt: skip
def test_rejects_other_classes(tmp_path, before, now, message):
    write_network(str(tmp_path), PRESET, before)
    with pytest.raises(ValueError, match=message) as error:
        run_settings.check_same_classes(str(tmp_path), now)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    "before, now",
    [
        (("0", "1"), ("0", "1")),
        (("caf\u00e9", "tea"), ("cafe\u0301", "tea")),  # As macOS writes it.
        (("caf\udce9", "tea"), ("caf\udce9", "tea")),  # A name that is not UTF-8.
    ],
)
def test_accepts_the_same_classes(tmp_path, before, now):
    write_network(str(tmp_path), PRESET, before)
    run_settings.check_same_classes(str(tmp_path), now)


def check_length(path, before, now, *, step, errors, prefix="", **options):
    """Checks a run of 10 steps per epoch that has trained to `step`."""
    write_network(str(path), with_recipe(PRESET, **before), ("a", "b"))
    progress = Progress()
    progress.step, progress.errors = step, errors
    recipe = with_recipe(PRESET, **now).recipe
    run_settings.check_length(
        str(path), recipe, TrainingOptions(**options), progress, 10, prefix
    )


@pytest.mark.parametrize("schedule", ["constant", "step", "plateau"])
def test_accepts_any_number_of_epochs_from_the_completed_ones_on(tmp_path, schedule):
    for epochs in (2, 3, 9):
        check_length(
            tmp_path, dict(epochs=4), dict(epochs=epochs, schedule=schedule),
            step=20, errors=[0.5, 0.4],
        )


def test_a_schedule_over_all_epochs_allows_no_other_number_of_epochs(tmp_path):
    schedule = dict(schedule="stepped_exponential")
    check_length(
        tmp_path, dict(epochs=4), dict(epochs=4, **schedule), step=5, errors=[]
    )
    for epochs in (3, 5):
        with pytest.raises(
            ValueError,
            match=f"--epochs=4, as in .* Received: --epochs={epochs}. The schedule "
            "stepped_exponential spreads .* weights: --weights=.* another --workdir",
        ):
            check_length(
                tmp_path, dict(epochs=4), dict(epochs=epochs, **schedule),
                step=5, errors=[], prefix="--",
            )


def test_rejects_fewer_epochs_than_are_completed(tmp_path):
    arguments = tmp_path, dict(epochs=4), dict(epochs=2)
    check_length(*arguments, step=20, errors=[0.5])
    with pytest.raises(
        ValueError, match="trained, 2.5 epochs. Received: --epochs=2, .* ends after 2."
    ):
        check_length(*arguments, step=25, errors=[0.5, 0.4], prefix="--")


def test_rejects_a_patience_with_which_the_run_would_have_ended(tmp_path):
    arguments = tmp_path, dict(epochs=9), dict(epochs=9)
    errors = [0.5, 0.6, 0.7, 0.4]
    check_length(*arguments, step=40, errors=errors, early_stopping_patience=3)
    with pytest.raises(ValueError, match="early_stopping_patience=2, .* ends after 3"):
        check_length(*arguments, step=40, errors=errors, early_stopping_patience=2)


@pytest.mark.parametrize(
    "schedule, reason, message",
    [
        ("constant", "epochs", "after 2 epochs. With a larger number of epochs (--ep"),
        ("stepped_exponential", "epochs", "does not allow more. To train its network"),
        ("plateau", "plateau", "2 epochs, at the fourth plateau of its validation"),
        ("step", "early_stopping", "With a larger --early_stopping_patience it goes"),
    ],
)
def test_says_why_a_run_has_ended_and_how_to_go_on(schedule, reason, message):
    recipe = presets.Recipe(schedule=schedule)
    text = run_settings.describe_end("runs/a", recipe, [0.5, 0.4], reason)
    assert text.startswith("The run in runs/a has already finished after 2 epochs")
    assert message in text


@pytest.mark.parametrize(
    "arguments, received",
    [
        (("tiny", "textures", "textures"), "preset to be a Preset. Received: .*'tiny'"),
        ((PRESET, "textures", "textures"), "source to be a Source. Received: .*'textu"),
    ],
)
def test_the_loop_names_the_function_that_takes_names(tmp_path, arguments, received):
    with pytest.raises(ValueError, match=f"{received}.*training.train_dataset"):
        loop.train(*arguments, str(tmp_path))
