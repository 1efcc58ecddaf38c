"""Which files in a folder are images, and which cannot be decoded."""

import os
import unicodedata

import pytest

from alexnet_tf.data import folder_contents
from helpers.folders import write_files


def find(folder, **options):
    """Returns the result of `find_images` with paths relative to the folder."""
    return [
        [os.path.relpath(path, folder) for path in paths]
        for paths in folder_contents.find_images(str(folder), **options)
    ]


def test_sorts_files_by_kind_at_any_depth(tmp_path):
    write_files(
        tmp_path, "b.webp", "a/1.JFIF", "a/deep/2.jpg", "3.HEIC", "a/4.tiff",
        "notes.txt", "a/5.npy", ".hidden.jpg", ".cache/6.jpg",
    )  # fmt: skip
    assert find(tmp_path) == [
        ["a/1.JFIF", "a/deep/2.jpg", "b.webp"],
        ["3.HEIC", "a/4.tiff"],
        ["a/5.npy", "notes.txt"],
    ]
    assert find(tmp_path, recursive=False) == [["b.webp"], ["3.HEIC"], ["notes.txt"]]


@pytest.mark.parametrize(
    "name",
    ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found", "System Volume Information",
     ".ipynb_checkpoints"],
)  # fmt: skip
def test_leaves_out_system_folders_at_any_depth(tmp_path, name):
    write_files(tmp_path, f"{name}/1.jpg", f"a/{name}/2.jpg", "a/3.jpg")
    assert find(tmp_path)[0] == ["a/3.jpg"]
    assert folder_contents.subfolders(tmp_path) == ["a"]


def test_a_folder_named_as_an_image_is_a_folder(tmp_path):
    write_files(tmp_path, "album.jpg/1.jpg")
    assert find(tmp_path)[0] == ["album.jpg/1.jpg"]


def test_links_are_followed_once_and_a_link_to_itself_is_a_file(tmp_path):
    write_files(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "parent").symlink_to(tmp_path)
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert find(tmp_path)[0] == ["a/1.jpg", "loop.jpg"]


@pytest.mark.parametrize("flags, is_animated", [(2, True), (0x12, True), (0x10, False)])
def test_recognizes_animated_webp_by_its_header(tmp_path, flags, is_animated):
    header = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0" + bytes([flags, 0, 0, 0])
    (tmp_path / "1.webp").write_bytes(header)
    images, undecodable, _ = find(tmp_path)
    assert (undecodable if is_animated else images) == ["1.webp"]
    assert not (images if is_animated else undecodable)


def test_describes_undecodable_images_by_kind(tmp_path):
    header = b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x02"
    (tmp_path / "4.webp").write_bytes(header)
    paths = ["a/1.heic", "a/2.HEIC", "a/3.heic", f"{tmp_path}/4.webp"]
    assert folder_contents.describe_undecodable(paths) == (
        "3 .heic and 1 animated .webp, such as a/1.heic: convert them to JPEG"
    )


@pytest.mark.parametrize(
    "name, prefix",
    [
        ("cat.0.jpg", "cat"),
        ("dogs_vs_cats-017.png", "dogs_vs_cats"),
        ("cat (1).jpg", "cat"),
        ("0001.jpg", ""),
        ("cat.jpg", ""),
    ],
)
def test_the_prefix_of_a_name_is_what_precedes_its_number(name, prefix):
    assert folder_contents.name_prefix(f"folder7/{name}") == prefix


@pytest.mark.parametrize("stored, asked", [("NFC", "NFD"), ("NFD", "NFC")])
def test_finds_a_file_whose_name_has_another_unicode_form(tmp_path, stored, asked):
    stored_path, asked_path = (
        str(tmp_path / unicodedata.normalize(form, "caf\u00e9.jpg"))
        for form in (stored, asked)
    )
    assert folder_contents.find_file(asked_path) is None
    open(stored_path, "w").close()
    assert folder_contents.find_file(stored_path) == stored_path
    # On macOS, both forms name the same file.
    assert os.path.samefile(folder_contents.find_file(asked_path), stored_path)
