"""Files that are replaced as a whole or left as they were."""

import contextlib
import os


def write_text(path, text):
    """Replaces a file as a whole, or leaves the old one."""
    with atomic_write(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)


@contextlib.contextmanager
def atomic_write(path):
    """A name to write to, which becomes `path` if nothing goes wrong.

    Else the old file stays, and nothing beside it.
    """
    temporary = f"{path}.tmp"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
