"""Files that are replaced as a whole or stay as they were."""

import contextlib
import glob
import os
import shutil
import tempfile


@contextlib.contextmanager
def atomic_write(path):
    """Yields a temporary path that replaces `path` if the body raises no error.

    The temporary path has the same file name, in a temporary folder beside `path`,
    so that writers which look at the extension find it. A file or a directory may be
    written to it. After an error the old file stays, and nothing is left beside it;
    several processes may write the same `path` at once.

    Args:
        path: the file to write; a directory only if `path` does not exist yet.

    Raises:
        OSError: if the folder does not exist or cannot be written to.
    """
    folder, name = os.path.split(os.path.abspath(path))
    temporary = tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    try:
        yield os.path.join(temporary, name)
        os.replace(os.path.join(temporary, name), path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path, text):
    """Writes a UTF-8 text file, replacing an old one as a whole."""
    with atomic_write(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)


def remove_unfinished(folder, name="*"):
    """Removes the temporary folders of processes that were killed while writing.

    Only for a process that is the only one to write these files: it would remove
    those of a running process too.

    Args:
        folder: the folder that the files are in.
        name: the file name, or a pattern of file names.
    """
    for path in glob.glob(os.path.join(glob.escape(folder), f".{name}.*.tmp")):
        shutil.rmtree(path, ignore_errors=True)


def check_output(name, path, suffix=""):
    """Refuses an output file that could not be written, before the work starts.

    Args:
        name: the name of the argument or of the flag that gives the path.
        path: the path of the file.
        suffix: the suffix that the path must have.

    Raises:
        ValueError: if the path has another suffix.
        OSError: if its folder does not exist, or the path is a folder.
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
