"""Atomic writes, which replace a file completely or not at all; mapping; locks.

All of them work on Linux, macOS and Windows.
"""

import contextlib
import fnmatch
import functools
import glob
import mmap
import os
import shutil
import tempfile
import time

# On Windows, a folder cannot be opened, and this file in the folder is locked instead.
_LOCK_FILE = ".alexnet_tf.lock"
_POLL_SECONDS = 0.2  # The time between two attempts to lock or to replace something.
_REPLACE_ATTEMPTS = 10
# The errors ERROR_ACCESS_DENIED and ERROR_SHARING_VIOLATION of Windows.
_OPEN_ELSEWHERE = (5, 32)


def map_file(path):
    """Returns the bytes of a file as an `mmap.mmap`, which reads them on access.

    An empty file, which cannot be mapped, is returned as bytes.

    Raises:
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as file:
        if not file.read(1):
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def expand_home(path):
    """Returns a path with the home directory in place of a ~ at its beginning.

    Other paths, and values that are not paths, are returned as they are.
    """
    if isinstance(path, str | os.PathLike) and os.fspath(path).startswith("~"):
        return os.path.expanduser(path)
    return path


@contextlib.contextmanager
def atomic_write(path):
    """Yields a temporary path that replaces `path` if the body raises no error.

    The temporary path is in a temporary folder beside `path` and has the same file
    name, because some writers choose the format by its extension. The body writes a
    file or a directory there. An error in the body leaves the old file unchanged, and
    the temporary folder is removed. Several processes may write the same `path` at
    once.

    Args:
        path: the file to write, or a directory that does not exist yet. A ~ is
            expanded. If it is a symbolic link, its target is written and the link
            stays.

    Raises:
        OSError: if the folder of `path` does not exist or cannot be written to, if the
            body writes nothing, or if a device or an existing directory would be
            replaced. On Windows, also if another program has `path` open.
    """
    path = os.path.abspath(expand_home(path))
    _check_no_device(path)
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    folder = tempfile.mkdtemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
    # The extension of a link may differ from that of its target.
    temporary = os.path.join(folder, os.path.basename(path))
    try:
        yield temporary
        _replace(temporary, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_no_device(path):
    """Raises an error for /dev/null or NUL, which a file would replace."""
    is_replaceable = os.path.isfile(path) or os.path.isdir(path)
    if os.path.exists(path) and not is_replaceable:
        raise OSError(
            f"{path} is a device or a pipe, which a file must not replace. Give the "
            "path of a file."
        )


def _replace(source, path):
    """Renames a file or a directory, and replaces an existing file.

    Windows refuses to replace a file that another program has open. Virus scanners and
    search indexers do so only for a moment, and therefore it is tried again.
    """
    for _ in range(_REPLACE_ATTEMPTS):
        try:
            os.replace(source, path)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _OPEN_ELSEWHERE:
                raise
            last_error = error
        time.sleep(_POLL_SECONDS)
    raise PermissionError(
        last_error.errno,
        "The file could not be replaced. Close the programs that have it open and try "
        "again",
        os.fspath(path),
    ) from last_error


@contextlib.contextmanager
def atomic_text(path):
    """Opens a UTF-8 text file that replaces `path` as `atomic_write` does.

    Line ends are kept. Names of files that are not UTF-8 are written as their bytes.
    """
    with (
        atomic_write(path) as temporary,
        open(
            temporary, "w", encoding="utf-8", errors="surrogateescape", newline=""
        ) as file,
    ):
        yield file


def write_text(path, text):
    """Writes a text file, see `atomic_text`."""
    with atomic_text(path) as file:
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


def check_output(name, path, *suffixes):
    """Raises an error if an output file cannot be written, before any work is done.

    Args:
        name: the name of the argument or of the flag that gives the path.
        path: the path of the file. A ~ is expanded.
        *suffixes: the file name extensions that the path may have, such as ".html", in
            lower or upper case. Without any, all are accepted.

    Raises:
        ValueError: if `path` does not end in one of `suffixes`.
        OSError: if the folder of `path` does not exist or cannot be written to, or
            `path` is a folder.
    """
    path = os.fspath(expand_home(path))
    if suffixes and not path.lower().endswith(suffixes):
        raise ValueError(
            f"Expected {name} to end in {' or '.join(suffixes)}. Received: "
            f"{name}={path!r}."
        )
    # A link is kept, and its target is written.
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"The folder of {name} does not exist: {folder}. Create it first."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(
            f"The folder of {name} cannot be written to: {folder}. Choose another one, "
            "or change its permissions."
        )
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"The path of {name} is a folder: {path}. Give the path of a file."
        )


@contextlib.contextmanager
def lock_folder(folder, on_wait=None):
    """Locks a folder against other processes until the body ends.

    The operating system releases the lock when the process ends, even if it is killed.
    A file system without locks locks nothing.

    Args:
        folder: an existing folder.
        on_wait: a function without arguments that is called if another process has
            locked the folder, before the wait for the lock. By default, an error is
            raised instead.

    Yields:
        Whether the folder is locked.

    Raises:
        BlockingIOError: if another process has locked the folder and `on_wait` is None.
        OSError: if the folder does not exist or cannot be opened.
    """
    with _open_lock(folder) as acquire:
        is_locked = True
        try:
            acquire()
        except BlockingIOError:
            if on_wait is None:
                raise
            on_wait()
            _wait(acquire)
        except OSError:
            is_locked = False  # The file system does not support locks.
        yield is_locked


def _open_lock(folder):
    """Returns a context manager that yields a function, which locks a folder.

    The function raises `BlockingIOError` if another process has locked the folder, and
    another OSError if it cannot be locked. The context manager releases the lock.
    """
    try:
        import fcntl
    except ImportError:  # The system is Windows.
        return _open_lock_file(os.path.join(folder, _LOCK_FILE))
    return _open_lock_folder(folder, fcntl)


@contextlib.contextmanager
def _open_lock_folder(folder, fcntl):
    """Locks with `flock`; see `_open_lock`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield functools.partial(
            fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB
        )
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _open_lock_file(path):
    """Locks the first byte of a file, as Windows does it; see `_open_lock`."""
    import msvcrt

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    is_locked = False

    def acquire():
        nonlocal is_locked
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(error.errno, error.strerror, path) from error
        is_locked = True

    try:
        yield acquire
    finally:
        os.close(descriptor)
        if is_locked:
            # Windows does not remove the file if another process waits for the lock.
            with contextlib.suppress(OSError):
                os.remove(path)


def _wait(acquire):
    """Calls a function of `_open_lock` until it locks the folder."""
    while True:
        time.sleep(_POLL_SECONDS)
        with contextlib.suppress(BlockingIOError):
            acquire()
            return
