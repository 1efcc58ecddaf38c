"""Tests the list of differences; test_pages.py tests the page docs/differences.md."""

from alexnet_tf.figures import differences


def test_rows_are_numbered_and_complete():
    rows = (*differences.FROM_PAPER, *differences.FROM_OTHER_SOURCES)
    assert [row.number for row in rows] == [f"D{i}" for i in range(1, len(rows) + 1)]
    assert all(row.source and row.here for row in rows)
    assert all(row.where for row in differences.FROM_PAPER)
