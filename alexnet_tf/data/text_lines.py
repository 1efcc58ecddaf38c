"""Reads the lines of text files that users have written on any system."""

import codecs


def read_lines(path):
    """Returns the lines of a text file without the spaces at their ends.

    The file is UTF-8, or UTF-16 with a byte order mark, which PowerShell writes. Bytes
    that are not UTF-8 are preserved, because file names may have such bytes.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it begins as UTF-16, but is not.
    """
    with open(path, "rb") as file:
        is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    encoding = "utf-16" if is_utf16 else "utf-8-sig"
    with open(path, encoding=encoding, errors="surrogateescape") as lines:
        try:
            return [line.strip() for line in lines]
        except UnicodeError as error:
            raise ValueError(
                f"{path} cannot be read as text in UTF-8 or UTF-16: it is damaged or "
                "another kind of file."
            ) from error
