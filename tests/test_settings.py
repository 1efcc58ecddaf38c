"""Names in arguments, and the check that settings have not changed."""

import pytest

from alexnet_tf.settings import as_names
from alexnet_tf.settings import check_same


@pytest.mark.parametrize(
    "value, names",
    [("fc8", ("fc8",)), (["fc7", "fc8"], ("fc7", "fc8")), ((), ()), (None, ())],
)
def test_a_single_name_stands_for_a_list_of_one(value, names):
    assert as_names(value) == names


def test_check_same_accepts_equal_settings():
    check_same({"seed": 3, "layer": None}, {"seed": 3}, "the run", "Stop.")


@pytest.mark.parametrize(
    "before, now, message",
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "the run: b=2. Received: b=3. Stop."),
        ({"a": 1}, {"a": 1, "b": 3}, "the run: nothing. Received: b=3. Stop."),
        ({"a": 1, "b": 2}, {"b": 2}, "the run: a=1. Received: nothing. Stop."),
        ({"a": 1, "b": 2}, {"a": 3, "b": 4}, "a=1 b=2. Received: a=3 b=4. Stop."),
    ],
)
def test_check_same_names_the_changed_settings(before, now, message):
    with pytest.raises(ValueError) as error:
        check_same(before, now, "the run", "Stop.")
    assert str(error.value).endswith(message)
