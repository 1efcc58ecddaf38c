"""Tests the list of differences and the page that is written from it."""

from alexnet_tf.figures import differences


def test_the_page_has_a_section_for_each_difference():
    """test_pages.py compares the page with the one in docs/."""
    page = differences.markdown_page()
    rows = (*differences.FROM_PAPER, *differences.FROM_OTHER_SOURCES)
    headings = [line[4:] for line in page.splitlines() if line.startswith("### ")]
    assert headings == [row.number for row in rows]
    joined = " ".join(page.split())
    for row in rows:
        assert f": {row.source} - Here: {row.here}" in joined
        assert f"- Where: {row.where}" in joined
    assert max(map(len, page.splitlines())) <= 88


def test_rows_are_numbered_and_complete():
    rows = (*differences.FROM_PAPER, *differences.FROM_OTHER_SOURCES)
    assert [row.number for row in rows] == [f"D{i}" for i in range(1, len(rows) + 1)]
    assert all(row.source and row.here for row in rows)
    assert all(row.where for row in differences.FROM_PAPER)
