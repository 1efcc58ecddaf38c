"""Atomic writes, which replace a file completely or not at all."""

import contextlib
import fnmatch
import glob
import os
import shutil
import tempfile


@contextlib.contextmanager
def atomic_write(path):
    """Yields a temporary path that replaces `path` if the body raises no error.

    The temporary path is in a temporary folder beside `path` and has the same file
    name, because some writers choose the format by its extension. The body writes a
    file or a directory there. An error in the body leaves the old file unchanged, and
    the temporary folder is removed. Several processes may write the same `path` at
    once.

    Args:
        path: the file to write, or a directory that does not exist yet.

    Raises:
        OSError: if the folder of `path` does not exist or cannot be written to, if the
            body writes nothing, or if an existing directory would be replaced.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    try:
        yield os.path.join(temporary, name)
        os.replace(os.path.join(temporary, name), path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path, text):
    """Writes a UTF-8 text file atomically, see `atomic_write`."""
    with atomic_write(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)


def remove_unfinished(folder, name="*"):
    """Removes the temporary folders of processes that were killed while writing.

    No other process may be writing these files, because its temporary folders would
    be removed too.

    Args:
        folder: the folder of the files.
        name: the file name, or a glob pattern of file names.
    """
    for path in glob.glob(os.path.join(glob.escape(folder), f".{name}.*.tmp")):
        # The pattern for "a" matches ".a.txt.x1.tmp" too, which belongs to "a.txt".
        file_name = os.path.basename(path)[1:].rsplit(".", 2)[0]
        if fnmatch.fnmatchcase(file_name, name):
            shutil.rmtree(path, ignore_errors=True)


def check_output(name, path, suffix=""):
    """Raises an error if an output file cannot be written, before any work is done.

    Args:
        name: the name of the argument or of the flag that gives the path.
        path: the path of the file.
        suffix: the file name extension that the path must have, such as ".html"; by
            default, any is accepted.

    Raises:
        ValueError: if `path` does not end in `suffix`.
        OSError: if the folder of `path` does not exist, or `path` is a folder.
    """
    path = os.fspath(path)
    if not path.endswith(suffix):
        raise ValueError(
            f"Expected {name} to end in {suffix}. Received: {name}={path!r}."
        )
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"The folder of {name} does not exist: {folder}. Create it first."
        )
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"Expected {name} to be a file. Received: {path}, which is a folder."
        )
