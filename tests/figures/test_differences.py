"""Tests the list of differences; test_pages.py tests the page docs/differences.md."""

import pytest

from alexnet_tf.figures import differences
from alexnet_tf import presets


def test_rows_are_numbered_and_complete():
    rows = (*differences.FROM_PAPER, *differences.FROM_OTHER_SOURCES)
    assert [row.number for row in rows] == [f"D{i}" for i in range(1, len(rows) + 1)]
    assert all(row.source and row.here for row in rows)
    assert all(row.where for row in differences.FROM_PAPER)


@pytest.mark.parametrize(
    "preset, numbers",
    [
        ("paper", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20]),
        ("code2012", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 20]),
        ("caffe", [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 14, 19, 20]),
        ("single_tower", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20]),
        ("owt", [4, 6, 7, 8, 10, 11, 12, 15, 17, 20]),
        ("cifar10_full", [8, 9, 10, 11, 18, 20]),
        ("tiny", [1, 2, 3, 4, 6, 8, 10, 11]),
    ],
)
def test_differences_concern_presets_with_the_parts_that_differ(preset, numbers):
    rows = differences.concerning(presets.get(preset))
    assert [row.number for row in rows] == [f"D{number}" for number in numbers]


def test_batch_size_concerns_tiny_only_if_it_was_changed():
    changed = presets.override(presets.get("tiny"), batch_size=20)
    assert "D20" in [row.number for row in differences.concerning(changed)]
