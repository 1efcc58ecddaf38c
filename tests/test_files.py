"""Atomic writes, the removal of temporary folders, checks of output paths, and locks.

test_windows.py tests the locks of Windows.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import stat

import pytest

from alexnet_tf.files import atomic_text
from alexnet_tf.files import atomic_write
from alexnet_tf.files import check_output
from alexnet_tf.files import expand_home
from alexnet_tf.files import lock_folder
from alexnet_tf.files import map_file
from alexnet_tf.files import remove_unfinished
from alexnet_tf.files import write_text


def test_atomic_write_replaces_a_file_at_the_end_of_the_body(tmp_path):
    path = tmp_path / "file.txt"
    write_text(str(path), "old")
    with atomic_write(str(path)) as temporary:
        assert os.path.basename(temporary) == "file.txt"
        with open(temporary, "w") as file:
            file.write("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_write_text_accepts_a_path_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("file.txt", "text")
    assert os.listdir() == ["file.txt"]


def test_text_may_contain_names_that_are_not_utf_8(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "é " + os.fsdecode(b"\xff") + "\r\n")
    assert path.read_bytes() == b"\xc3\xa9 \xff\r\n"
    with pytest.raises(RuntimeError), atomic_text(path) as file:
        file.write("new")
        raise RuntimeError
    assert path.read_bytes() == b"\xc3\xa9 \xff\r\n"


def test_atomic_write_can_write_a_directory(tmp_path):
    with atomic_write(str(tmp_path / "model")) as temporary:
        os.makedirs(os.path.join(temporary, "variables"))
    assert (tmp_path / "model" / "variables").is_dir()


def test_an_error_keeps_the_old_file_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(str(path), "old")
    with pytest.raises(RuntimeError):
        with atomic_write(str(path)) as temporary:
            with open(temporary, "w") as file:
                file.write("half")
            raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_text(str(tmp_path / "folder"), "text")
    assert os.listdir(tmp_path) == ["folder"]
    assert (tmp_path / "folder" / "inside").is_dir()


def test_two_writers_of_a_file_use_different_temporary_paths(tmp_path):
    path = str(tmp_path / "file.txt")
    with atomic_write(path) as first, atomic_write(path) as second:
        for temporary in (first, second):
            with open(temporary, "w") as file:
                file.write(temporary)
        assert first != second
    with open(path) as file:
        # The file that is written last remains: the outer context ends last.
        assert file.read() == first


def test_remove_unfinished_removes_temporary_folders(tmp_path):
    for name in (".a.txt.x1.tmp", ".b.txt.y2.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.txt").write_text("old")
    remove_unfinished(str(tmp_path), "a.txt")
    assert set(os.listdir(tmp_path)) == {"a.txt", ".b.txt.y2.tmp"}
    remove_unfinished(str(tmp_path))
    assert os.listdir(tmp_path) == ["a.txt"]


def test_remove_unfinished_keeps_files_whose_names_begin_with_the_name(tmp_path):
    for name in (".a.txt.x1.tmp", ".a.y2.tmp"):
        (tmp_path / name).mkdir()
    remove_unfinished(str(tmp_path), "a")
    assert os.listdir(tmp_path) == [".a.txt.x1.tmp"]


def test_check_output_rejects_paths_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="--output does not exist: .*/none"):
        check_output("--output", str(tmp_path / "none" / "a.png"))
    with pytest.raises(IsADirectoryError, match="path of --output is a folder"):
        check_output("--output", str(tmp_path))
    with pytest.raises(ValueError, match="--output to end in .png"):
        check_output("--output", str(tmp_path / "a.jpg"), ".png")
    with pytest.raises(ValueError, match="to end in .png or .csv. Received: .*a.jpg"):
        check_output("--output", tmp_path / "a.jpg", ".png", ".csv")
    for name in ("a.png", "a.PNG", "a.csv"):
        check_output("--output", tmp_path / name, ".png", ".csv")
    check_output("--output", tmp_path / "a.any")


def test_check_output_rejects_folders_that_cannot_be_written_to(tmp_path, monkeypatch):
    """The superuser, who may run the tests, is allowed to write everywhere."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.png").symlink_to("folder/a.png")
    monkeypatch.setattr(os, "access", lambda path, mode: path == str(tmp_path))
    for name in ("folder/a.png", "link.png"):
        with pytest.raises(PermissionError, match="of --output cannot .*/folder. Ch"):
            check_output("--output", tmp_path / name)
    check_output("--output", tmp_path / "a.png")


def test_a_tilde_stands_for_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for path in ("~/a.txt", pathlib.Path("~/a.txt")):
        assert expand_home(path) == str(tmp_path / "a.txt")
        write_text(path, "text")
        assert (tmp_path / "a.txt").read_text() == "text"
        os.remove(tmp_path / "a.txt")
        check_output("--output", path)
    for other in (pathlib.Path("a"), "a/~", None, 5):
        assert expand_home(other) is other
    with pytest.raises(FileNotFoundError, match=f"exist: {tmp_path}/none. Create"):
        check_output("--output", "~/none/a.txt")


def test_a_link_is_kept_and_its_target_is_written(tmp_path):
    for folder in ("links", "files"):
        (tmp_path / folder).mkdir()
    for name in ("old", "new"):
        (tmp_path / "links" / f"{name}.txt").symlink_to(f"../files/{name}")
    (tmp_path / "files" / "old").write_text("old")
    for name in ("old", "new"):
        with atomic_write(tmp_path / "links" / f"{name}.txt") as temporary:
            # The file is renamed, which works only within a file system.
            assert temporary.startswith(f"{tmp_path}/files/.{name}.")
            assert os.path.basename(temporary) == f"{name}.txt"
            with open(temporary, "w") as file:
                file.write("text")
        assert (tmp_path / "links" / f"{name}.txt").is_symlink()
        assert (tmp_path / "files" / name).read_text() == "text"
    assert sorted(os.listdir(tmp_path / "links")) == ["new.txt", "old.txt"]
    assert sorted(os.listdir(tmp_path / "files")) == ["new", "old"]


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="/pipe is a device or a pipe"):
        write_text(str(tmp_path / "pipe"), "text")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(OSError, match="/link is a device or a pipe"):
        write_text(str(tmp_path / "link"), "text")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


@pytest.fixture
def refuse_replace(monkeypatch):
    """A function that makes the next `count` calls of `os.replace` fail.

    refuse_replace(count, winerror) returns the list of the failed calls. `winerror` is
    the number of the error on Windows; None for an error of another system.
    """
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    replace, calls = os.replace, []

    def refuse(count, winerror):
        def fail_or_replace(source, target):
            if len(calls) == count:
                return replace(source, target)
            calls.append(target)
            error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
            if winerror:
                error.winerror = winerror
            raise error

        monkeypatch.setattr(os, "replace", fail_or_replace)
        return calls

    return refuse


@pytest.mark.parametrize("winerror", [5, 32])
def test_a_file_that_is_open_for_a_moment_on_windows_is_replaced(
    tmp_path, refuse_replace, winerror
):
    calls = refuse_replace(3, winerror)
    write_text(str(tmp_path / "file.txt"), "new")
    assert len(calls) == 3
    assert (tmp_path / "file.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_file_that_stays_open_on_windows_is_reported(tmp_path, refuse_replace):
    (tmp_path / "file.txt").write_text("old")
    calls = refuse_replace(1000, 32)
    with pytest.raises(PermissionError, match="Close the programs .*/file.txt") as info:
        write_text(str(tmp_path / "file.txt"), "new")
    assert info.value.strerror.startswith("The file could not be replaced.")
    assert len(calls) == 10
    assert (tmp_path / "file.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_other_errors_of_replacing_a_file_are_raised_at_once(tmp_path, refuse_replace):
    calls = refuse_replace(1000, None)
    with pytest.raises(PermissionError, match="Permission denied: .*/file.txt"):
        write_text(str(tmp_path / "file.txt"), "new")
    assert len(calls) == 1


def test_a_folder_is_locked_by_one_process(tmp_path):
    with lock_folder(str(tmp_path)) as is_locked:
        assert is_locked
        with pytest.raises(BlockingIOError):
            with lock_folder(str(tmp_path)):
                pass
        assert os.listdir(tmp_path) == []
        # Earlier versions lock the folder in the same way.
        descriptor = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(BlockingIOError):
        with lock_folder(str(tmp_path)):
            pass
    os.close(descriptor)
    with pytest.raises(BlockingIOError, match="of the body"):
        with lock_folder(str(tmp_path)):
            raise BlockingIOError("an error of the body")


def test_a_lock_is_waited_for(tmp_path, monkeypatch):
    """The other lock is released during the third pause."""
    calls, first = [], contextlib.ExitStack()

    def sleep(seconds):
        calls.append("pause")
        if len(calls) == 4:
            first.close()

    monkeypatch.setattr("time.sleep", sleep)
    first.enter_context(lock_folder(str(tmp_path)))
    with lock_folder(str(tmp_path), lambda: calls.append("wait")) as is_locked:
        assert is_locked
        assert calls == ["wait", "pause", "pause", "pause"]
        with pytest.raises(BlockingIOError):
            with lock_folder(str(tmp_path)):
                pass


def test_nothing_is_locked_on_a_file_system_without_locks(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock_folder(str(tmp_path)) as is_locked:
        assert not is_locked
    with pytest.raises(FileNotFoundError):
        with lock_folder(str(tmp_path / "none")):
            pass


def test_an_empty_file_is_mapped_as_no_bytes(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    assert bytes(map_file(path)) == b""
    path.write_bytes(b"ab")
    assert bytes(map_file(path)) == b"ab"
