"""Tests the list of differences; test_pages.py tests the page docs/differences.md."""

import pytest

from alexnet_tf.figures import differences
from alexnet_tf import presets


def test_rows_are_numbered_and_complete():
    rows = (*differences.FROM_PAPER, *differences.FROM_OTHER_SOURCES)
    # References stay valid: new rows get new numbers, wherever they are inserted.
    numbers = sorted(int(row.number.removeprefix("D")) for row in rows)
    assert numbers == [*range(1, len(rows) + 1)]
    assert all(row.source and row.here for row in rows)
    assert all(row.where for row in differences.FROM_PAPER)


@pytest.mark.parametrize(
    "preset, numbers",
    [
        ("paper", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 21, 22, 20]),
        ("code2012", [*range(1, 13), 21, 22, 13, 20]),
        ("caffe", [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 21, 22, 14, 19, 20, 23]),
        ("single_tower", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 21, 22, 20]),
        ("owt", [4, 6, 7, 8, 10, 11, 12, 21, 22, 15, 17, 20]),
        ("cifar10_full", [8, 9, 10, 11, 21, 22, 18, 20]),
        ("tiny", [1, 2, 3, 4, 6, 8, 10, 11, 21, 22]),
    ],
)
def test_differences_concern_presets_with_the_parts_that_differ(preset, numbers):
    rows = differences.concerning(presets.get(preset))
    assert [row.number for row in rows] == [f"D{number}" for number in numbers]


def test_batch_size_concerns_tiny_only_if_it_was_changed():
    changed = presets.override(presets.get("tiny"), batch_size=20)
    assert "D20" in [row.number for row in differences.concerning(changed)]
