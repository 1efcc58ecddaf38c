"""Writes docs/differences.md from the list of differences in the package."""

import textwrap

from alexnet_tf.figures import differences

_INTRODUCTION = """# Differences

This page is written by `python -m experiments.reproduce --table` from
`alexnet_tf/figures/differences.py`.

## From the paper"""


def markdown_page():
    """Returns the page, with a section for each difference."""
    blocks = [_INTRODUCTION]
    blocks += [_section(row, "The paper") for row in differences.FROM_PAPER]
    blocks.append("## From the sources of other presets")
    blocks += [_section(row, "The source") for row in differences.FROM_OTHER_SOURCES]
    return "\n\n".join(blocks) + "\n"


def _section(row, source_label):
    """Returns the section of a `Difference`, whose anchor is its number, as in #d1."""
    lines = [f"{source_label}: {row.source}", f"Here: {row.here}"]
    if row.where:
        lines.append(f"Where: {row.where}")
    return f"### {row.number}\n\n" + "\n".join(map(_list_item, lines))


def _list_item(text):
    return textwrap.fill(
        f"- {text}", 88, subsequent_indent="  ", break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
