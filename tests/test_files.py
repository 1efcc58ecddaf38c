"""Atomic writes, the removal of temporary folders, and the check of output paths."""

import os

import pytest

from alexnet_tf.files import atomic_write
from alexnet_tf.files import check_output
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
    with pytest.raises(IsADirectoryError, match="--output to be a file"):
        check_output("--output", str(tmp_path))
    with pytest.raises(ValueError, match="--output to end in .png"):
        check_output("--output", str(tmp_path / "a.jpg"), ".png")
    check_output("--output", tmp_path / "a.png", ".png")
