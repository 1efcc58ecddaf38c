"""Checks of arguments and settings, and names in arguments."""

import re

import pytest

from alexnet_tf import settings
from alexnet_tf.settings import as_names
from alexnet_tf.settings import check_same
from alexnet_tf.settings import suggest


@pytest.mark.parametrize(
    "value, names",
    [("fc8", ("fc8",)), (["fc7", "fc8"], ("fc7", "fc8")), ((), ()), (None, ())],
)
def test_a_single_name_stands_for_a_list_of_one(value, names):
    assert as_names(value) == names


def test_suggests_a_similar_name_if_there_is_one():
    assert suggest("epoch", ("epochs", "flip")) == " Did you mean epochs?"
    assert suggest(3, ("epochs", "flip")) == ""


@pytest.mark.parametrize("value", [0, 1.0, True, "2"])
def test_an_integer_is_neither_small_nor_a_boolean(value):
    settings.check_integer("steps", 1, 1)
    expected = f"steps to be an integer of at least 1. Received: steps={value!r}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        settings.check_integer("steps", value, 1)


def test_a_choice_may_be_none():
    settings.check_choice("mode", None, ("a", None))
    with pytest.raises(ValueError, match='mode to be "a" or None. Received: mode=3'):
        settings.check_choice("mode", 3, ("a", None))


def test_check_same_accepts_equal_settings():
    check_same({"seed": 3, "layer": None}, {"seed": 3}, "the run", "Stop.")


@pytest.mark.parametrize(
    "before, now, message",
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "the run: b=2. Received: b=3. Stop."),
        ({"a": 1}, {"a": 1, "b": 3}, "the run: no b. Received: b=3. Stop."),
        ({"a": 1, "b": 2}, {"b": 2}, "the run: a=1. Received: no a. Stop."),
        ({"a": 1, "b": 2}, {"a": 3, "b": 4}, "a=1 b=2. Received: a=3 b=4. Stop."),
    ],
)
def test_check_same_names_the_changed_settings(before, now, message):
    with pytest.raises(ValueError) as error:
        check_same(before, now, "the run", "Stop.")
    assert str(error.value).endswith(message)
