"""Tests how image files are found by paths, glob patterns, folders and lists."""

import os

import numpy as np
import pytest

from alexnet_tf.data import image_files


@pytest.fixture
def folder(tmp_path):
    """A folder of empty files; one is named as an image, and two in its subfolders."""
    for name in ("b.png", "a/2.JPEG", "a/deep/1.bmp", "notes.txt", ".hidden.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "images" / ".cache").mkdir()
    (tmp_path / "images" / ".cache" / "3.png").touch()
    return tmp_path / "images"


def find_names(patterns, folder):
    """Returns the found paths relative to a folder; checks that none has a label."""
    found = image_files.find(patterns)
    assert [label for _, label in found] == [None] * len(found)
    return [os.path.relpath(path, folder) for path, _ in found]


def test_a_folder_stands_for_its_images_at_any_depth_in_sorted_order(folder):
    assert find_names(folder, folder) == ["a/2.JPEG", "a/deep/1.bmp", "b.png"]


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("*.png", ["b.png"]),
        ("a/*", ["a/2.JPEG", "a/deep/1.bmp"]),
        ("**/*.bmp", ["a/deep/1.bmp"]),
        ("**/*", ["a/2.JPEG", "a/deep/1.bmp", "b.png", "notes.txt"]),
        ("**", ["a/2.JPEG", "a/deep/1.bmp", "b.png", "notes.txt"]),
        ("*.txt", ["notes.txt"]),
        ("*.gif", ["*.gif"]),
        ("missing.png", ["missing.png"]),
    ],
)
def test_glob_patterns(folder, pattern, expected):
    """The matched folder a/deep stands for its images, once."""
    (folder / "empty").mkdir()
    assert find_names(f"{folder}/{pattern}", folder) == expected


def test_names_left_out_images_by_kind(folder, caplog):
    (folder / "c.heic").touch()
    assert len(image_files.find(folder)) == 3
    assert image_files.find(folder)
    message = f"Some images in {folder} cannot be decoded (1 .heic, such as"
    assert [message in text for text in caplog.messages] == [True]
    (folder / "only").mkdir()
    (folder / "only" / "1.avif").touch()
    with pytest.raises(ValueError, match="Received: none, but 1 .avif, such as"):
        image_files.find(folder / "only")


def test_leaves_out_system_folders(folder):
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "thumbnail.jpg").touch()
    assert find_names(folder, folder) == ["a/2.JPEG", "a/deep/1.bmp", "b.png"]


def test_a_path_with_special_characters_is_not_a_pattern(folder):
    (folder / "[b].png").touch()
    assert find_names(f"{folder}/[b].png", folder) == ["[b].png"]


def test_several_patterns_keep_their_order(folder):
    patterns = [f"{folder}/b.png", folder / "a" / "deep", f"{folder}/*.png"]
    assert find_names(patterns, folder) == ["b.png", "a/deep/1.bmp", "b.png"]


def test_links_to_folders_are_followed_once(folder):
    (folder / "a" / "parent").symlink_to(folder)
    (folder / "z").symlink_to(folder / "a" / "deep")
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "4.png").touch()
    (folder / "link").symlink_to(elsewhere)
    assert find_names(folder, folder) == [
        "a/2.JPEG", "a/deep/1.bmp", "b.png", "link/4.png",
    ]  # fmt: skip


def test_lists_name_paths_relative_to_their_folder(folder, tmp_path):
    list_file = tmp_path / "list.txt"
    list_file.write_text(f"images/b.png\n\n  {folder}/a/2.JPEG \nimages/my 3\n")
    expected = [folder / "b.png", folder / "a/2.JPEG", folder / "my 3"]
    assert image_files.find(f"list:{list_file}") == [
        (str(path), None) for path in expected
    ]


def test_lists_have_labels_if_every_line_ends_in_an_integer(folder, tmp_path):
    list_file = tmp_path / "list.txt"
    list_file.write_text("images/b.png 7\nimages/my 3\t0\n")
    expected = [(f"{folder}/b.png", 7), (f"{folder}/my 3", 0)]
    assert image_files.find(f"list:{list_file}") == expected


def test_lists_may_have_another_unicode_form_than_the_files(tmp_path):
    """macOS writes an accented letter as two characters."""
    (tmp_path / "\u00e9.png").touch()
    (tmp_path / "list.txt").write_text("e\u0301.png 3\nmissing e\u0301.png 4\n")
    assert image_files.find(f"list:{tmp_path}/list.txt") == [
        (f"{tmp_path}/\u00e9.png", 3), (f"{tmp_path}/missing e\u0301.png", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content, message", [("\n", "is empty"), ("a\0b", "not a text file")]
)
def test_rejects_files_that_are_not_lists(tmp_path, content, message):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(ValueError, match=f"{message}.*one path per line"):
        image_files.find(f"list:{tmp_path}/list.txt")


def test_rejects_missing_lists_and_folders_without_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="no list of images at .*list.txt"):
        image_files.find(f"list:{tmp_path}/list.txt")
    with pytest.raises(ValueError, match="Expected images.*in the folder .*Rec.*none"):
        image_files.find(tmp_path)
    with pytest.raises(ValueError, match="at least one image. Received: none"):
        image_files.find([])


def test_a_source_reads_the_files_in_order(tmp_path):
    """File names need not be UTF-8."""
    paths = [os.path.join(tmp_path, name) for name in ("b", os.fsdecode(b"\xff"))]
    for index, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(bytes([index]))
    source = image_files.to_source([(paths[1], 5), (paths[0], None)])
    examples = [*source.examples().as_numpy_iterator()]
    assert [example["image"] for example in examples] == [b"\1", b"\0"]
    assert [os.fsdecode(example["name"]) for example in examples] == paths[::-1]
    assert [example["label"] for example in examples] == [5, -1]
    assert examples[0]["label"].dtype == np.int32
