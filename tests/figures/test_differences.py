"""Tests the table rows, and that README.md contains the tables."""

import pathlib

from alexnet_tf.figures import differences

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_readme_contains_exactly_the_generated_tables():
    text = README.read_text(encoding="utf-8")
    tables = differences.markdown_tables()
    for table in tables:
        assert f"\n\n{table}\n\n" in text
    rows = [line for line in text.splitlines() if line.startswith("| D")]
    generated = [line for table in tables for line in table.splitlines()[2:]]
    assert rows == generated


def test_rows_are_numbered_and_complete():
    rows = (*differences.FROM_PAPER, *differences.FROM_OTHER_SOURCES)
    assert [row.number for row in rows] == [f"D{number}" for number in range(1, 21)]
    assert all(row.source and row.here for row in rows)
    assert all(row.where for row in differences.FROM_PAPER)
