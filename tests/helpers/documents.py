"""Reads the pages README.md and docs/*.md, and writes the images that they name."""

import pathlib
import re
import typing

from helpers.encoded_images import encode
from helpers.encoded_images import photograph

ROOT = pathlib.Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(typing.NamedTuple):
    """A fenced block: its language ("" for commands), text and first line number."""

    language: str
    text: str
    line: int


def page_name(path):
    """Returns the path of a page in the repository, with slashes."""
    return path.relative_to(ROOT).as_posix()


def read_blocks(path):
    """Returns the fenced blocks of a page as a list of `Block`."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 2)
        for match in _FENCE.finditer(text)
    ]


def read_commands(path):
    """Returns the lines of all blocks without a language; continued ones are joined."""
    return [
        line
        for block in read_blocks(path)
        if not block.language
        for line in block.text.replace("\\\n", " ").splitlines()
        if line
    ]


def read_prose(path):
    """Returns the text of a page without its fenced blocks."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def write_photograph(path):
    """Writes a JPEG or PNG of 90 x 120 pixels, and creates its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image_format = "png" if path.suffix == ".png" else "jpeg"
    path.write_bytes(encode(photograph(90, 120), image_format))
