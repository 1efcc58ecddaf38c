"""Tests when a run is evaluated, when it ends, and which epoch is the best."""

import pytest

from alexnet_tf import presets
from alexnet_tf.training import stopping
from alexnet_tf.training.options import TrainingOptions

CONSTANT = presets.Recipe(schedule="constant", epochs=9)


@pytest.mark.parametrize(
    "epochs, eval_every, expected",
    [(4, 1, [1, 2, 3, 4]), (6, 3, [3, 6]), (7, 3, [3, 6, 7]), (2, 5, [2])],
)
def test_every_nth_epoch_and_the_last_are_evaluated(epochs, eval_every, expected):
    evaluated = [
        epoch
        for epoch in range(1, epochs + 1)
        if stopping.is_evaluated(epoch, epochs, eval_every)
    ]
    assert evaluated == expected


def test_a_longer_run_lacks_the_last_evaluation_of_a_shorter_one():
    errors = [None, 0.5, 0.4]
    assert stopping.without_extra_evaluations(errors, 3, 2) == errors
    assert stopping.without_extra_evaluations(errors, 4, 2) == [None, 0.5, None]


@pytest.mark.parametrize(
    "errors, since_best, is_best",
    [
        ([], 0, False),
        ([0.5], 0, True),
        ([0.5, 0.5], 1, False),  # An equal error is not lower.
        ([0.5, 0.4], 0, True),
        ([0.5, 0.4, 0.6, 0.45], 2, False),
        ([0.5, None], 0, False),  # The last epoch was not evaluated.
        ([None, 0.5, None, 0.6], 1, False),
        ([None, 0.5, None, 0.4], 0, True),
    ],
)
def test_the_best_epoch_has_the_lowest_error(errors, since_best, is_best):
    assert stopping.evaluations_since_best(errors) == since_best
    assert stopping.is_best(errors) == is_best


@pytest.mark.parametrize(
    "errors, expected",
    [
        ([0.5, 0.4, 0.3, 0.2], None),
        ([0.5, 0.6], None),
        ([0.5, 0.6, 0.5], "early_stopping"),
        ([0.5, 0.6, 0.4, 0.5], None),
        ([0.5, None, 0.6, None], None),  # Epochs without evaluation do not count.
        ([0.5, None, 0.6, None, 0.7], "early_stopping"),
        (9 * [0.5], "epochs"),
    ],
)
def test_early_stopping_ends_a_run_after_its_patience(errors, expected):
    options = TrainingOptions(early_stopping_patience=2)
    assert stopping.end_reason(CONSTANT, errors, options) == expected
    without = stopping.end_reason(CONSTANT, errors, TrainingOptions())
    assert without == ("epochs" if len(errors) == 9 else None)


def test_a_run_ends_at_the_fourth_plateau_of_its_evaluations():
    recipe = presets.Recipe(schedule="plateau", patience=2, epochs=90)
    errors, options = [0.5] + 7 * [0.6], TrainingOptions()
    assert stopping.end_reason(recipe, errors, options) is None
    assert stopping.end_reason(recipe, [*errors, 0.6], options) == "plateau"
    sparse = [value for error in [*errors, 0.6] for value in (None, error)]
    assert stopping.end_reason(recipe, sparse[:-1], options) is None
    assert stopping.end_reason(recipe, sparse, options) == "plateau"


def test_last_epoch_is_the_first_after_which_a_run_ends():
    errors = [0.5, 0.6, 0.7, 0.4]
    for patience, expected in ((1, 2), (2, 3), (3, None)):
        options = TrainingOptions(early_stopping_patience=patience)
        assert stopping.last_epoch(CONSTANT, errors, options) == expected
    recipe = presets.Recipe(schedule="constant", epochs=3)
    assert stopping.last_epoch(recipe, errors, TrainingOptions()) == 3
