"""Files are replaced as a whole or stay as they were."""

import os

import pytest

from alexnet_tf.files import atomic_write
from alexnet_tf.files import check_output
from alexnet_tf.files import remove_unfinished
from alexnet_tf.files import write_text


def test_replaces_a_file_as_a_whole(tmp_path):
    path = tmp_path / "file.txt"
    write_text(str(path), "old")
    with atomic_write(str(path)) as temporary:
        assert os.path.basename(temporary) == "file.txt"
        with open(temporary, "w") as file:
            file.write("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


def test_replaces_a_path_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("file.txt", "text")
    assert os.listdir() == ["file.txt"]


def test_writes_a_directory(tmp_path):
    with atomic_write(str(tmp_path / "model")) as temporary:
        os.makedirs(os.path.join(temporary, "variables"))
    assert (tmp_path / "model" / "variables").is_dir()


def test_an_error_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "file.txt"
    write_text(str(path), "old")
    with pytest.raises(RuntimeError):
        with atomic_write(str(path)) as temporary:
            with open(temporary, "w") as file:
                file.write("half")
            raise RuntimeError
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path):
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_text(str(tmp_path / "folder"), "text")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = str(tmp_path / "file.txt")
    with atomic_write(path) as first, atomic_write(path) as second:
        for temporary in (first, second):
            with open(temporary, "w") as file:
                file.write(temporary)
        assert first != second
    with open(path) as file:
        assert file.read() == first  # The outer context ends last.


def test_unfinished_files_of_killed_processes_are_removed(tmp_path):
    for name in (".a.txt.x1.tmp", ".b.txt.y2.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.txt").write_text("old")
    remove_unfinished(str(tmp_path), "a.txt")
    assert {each.name for each in tmp_path.iterdir()} == {"a.txt", ".b.txt.y2.tmp"}
    remove_unfinished(str(tmp_path))
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_remove_unfinished_spares_names_that_begin_with_the_name(tmp_path):
    for name in (".a.txt.x1.tmp", ".a.y2.tmp"):
        (tmp_path / name).mkdir()
    remove_unfinished(str(tmp_path), "a")
    assert [path.name for path in tmp_path.iterdir()] == [".a.txt.x1.tmp"]


def test_check_output_rejects_paths_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="--output does not exist: .*/none"):
        check_output("--output", str(tmp_path / "none" / "a.png"))
    with pytest.raises(IsADirectoryError, match="--output to be a file"):
        check_output("--output", str(tmp_path))
    with pytest.raises(ValueError, match="--output to end in .png"):
        check_output("--output", str(tmp_path / "a.jpg"), ".png")
    check_output("output", tmp_path / "a.png", ".png")
