"""Checks of the values of `TrainingOptions`."""

import pytest

from alexnet_tf.training.options import TrainingOptions


def test_lists_the_options_that_are_not_at_their_defaults():
    assert TrainingOptions().changed() == {}
    options = TrainingOptions(keep_best=True, eval_every=2, warmup_epochs=0)
    assert options.changed() == {"keep_best": True, "eval_every": 2}


@pytest.mark.parametrize(
    "values, message",
    [
        ({"early_stopping_patience": 0}, "at least 1. Received: early_stopping.*=0"),
        ({"warmup_epochs": -1}, "at least 0. Received: warmup_epochs=-1"),
        ({"reference_batch_size": 12.5}, "an integer .* reference_batch_size=12.5"),
        ({"warmup_epochs": True}, "warmup_epochs to be an integer .*=True"),
        ({"eval_every": None}, "eval_every=None"),
        ({"class_weights": "even"}, "class_weights to be .*or None.*='even'"),
    ],
)
def test_rejects_values_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**values)
