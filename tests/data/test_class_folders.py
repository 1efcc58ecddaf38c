"""Trees of class folders: which images are found, and hints for other layouts."""

import logging
import os
import unicodedata

import pytest

from alexnet_tf.data import class_folders
from alexnet_tf.data import datasets
from helpers.folders import write_files


def read(root, split="train"):
    """Returns {path relative to the root: class name} of a split."""
    readers, classes, _ = class_folders.scan(str(root))
    return {
        os.path.relpath(path, root): classes[label] for path, label in readers[split]()
    }


def error_of(root, split="train"):
    """Returns the message of the ValueError, with "ROOT" for the folder."""
    with pytest.raises(ValueError) as error:
        read(root, split)
    return str(error.value).replace(str(root), "ROOT")


def test_images_below_a_class_folder_belong_to_the_class(tmp_path, caplog):
    """Keras and torchvision find them too."""
    caplog.set_level(logging.INFO, "alexnet_tf")
    write_files(tmp_path, "cat/1.jpg", "cat/kaggle/2.jpg", "dog/a/b/3.png")
    assert read(tmp_path) == {
        "cat/1.jpg": "cat", "cat/kaggle/2.jpg": "cat", "dog/a/b/3.png": "dog",
    }  # fmt: skip
    read(tmp_path)
    assert caplog.messages == [
        f"{tmp_path} has 3 images, 2 of them in folders below the class folders."
    ]


def test_system_folders_are_neither_classes_nor_splits(tmp_path):
    write_files(
        tmp_path, "cat/1.jpg", "dog/2.jpg", "__MACOSX/cat/3.jpg", "lost+found/4.jpg",
        "cat/@eaDir/1.jpg/thumbnail.jpg",
    )  # fmt: skip
    (tmp_path / "$RECYCLE.BIN").mkdir()
    assert read(tmp_path) == {"cat/1.jpg": "cat", "dog/2.jpg": "dog"}
    splits = tmp_path / "splits"
    write_files(splits, "train/a/1.jpg", "__MACOSX/train/a/2.jpg")
    assert datasets.split_names(f"folder:{splits}") == ["train"]


@pytest.mark.parametrize(
    "names, received",
    [
        ([], "none."),
        (["fox/1.heic", "fox/a/2.heic"], "none, but 2 .heic, such as ROOT/fox/1.heic"),
        (["fox/notes.txt"], "none, but 1 other file(s), such as ROOT/fox/notes.txt"),
    ],
)
def test_names_a_class_folder_without_images(tmp_path, names, received):
    write_files(tmp_path, "cat/1.jpg", *names)
    (tmp_path / "fox").mkdir(exist_ok=True)
    message = error_of(tmp_path)
    assert "in each class folder, such as ROOT/fox" in message
    assert f"Received: {received}" in message


def test_a_class_need_not_have_validation_images(tmp_path):
    write_files(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "val/b/3.jpg")
    (tmp_path / "val" / "a").mkdir()
    assert read(tmp_path, "val") == {"val/b/3.jpg": "b"}


def test_names_left_out_images_by_kind_once(tmp_path, caplog):
    write_files(tmp_path, "a/1.jpg", "a/2.heic", "b/3.jpg", "b/4.heic", "b/5.tif")
    write_files(tmp_path, "6.jpg")
    for _ in range(2):
        assert len(read(tmp_path)) == 2
    assert caplog.messages == [
        f"Some images in {tmp_path} cannot be decoded (2 .heic and 1 .tif, such as "
        f"{tmp_path}/a/2.heic: convert them to JPEG). They are left out.",
        f"Left out of {tmp_path}: 1 image(s) in no class folder, such as "
        f"{tmp_path}/6.jpg.",
    ]


@pytest.mark.parametrize(
    "names, hints",
    [
        (
            ["Train/cat/1.jpg", "Train/dog/2.jpg", "Test/cat/3.jpg", "Test/dog/4.jpg"],
            ["ROOT with Test and Train", "ROOT/Test to ROOT/test, ROOT/Train to ROOT/t",
             "dataset=folder:ROOT/Train."],
        ),
        (
            ["training/cat/1.jpg", "training/dog/2.jpg", "validation/cat/3.jpg"],
            ["Move ROOT/training to ROOT/train.", "dataset=folder:ROOT/training."],
        ),
        (
            [f"{kind}_set/{kind}_set/{name}/1.jpg"
             for kind in ("test", "training") for name in ("cats", "dogs")],
            ["Move ROOT/test_set/test_set to ROOT/test, "
             "ROOT/training_set/training_set to ROOT/train.",
             "dataset=folder:ROOT/training_set/training_set."],
        ),
        (
            ["train/cat.0.jpg", "train/dog.0.jpg", "test1/1.jpg"],
            ["2 image(s) outside of class folders, such as ROOT/train/cat.0.jpg",
             "cat/cat.0.jpg and dog/dog.0.jpg", "list:FILE"],
        ),
        (["7.jpg", "8.jpg"], ["such as ROOT/7.jpg", "as in CLASS/7.jpg"]),
        (
            ["archive/cat/1.jpg", "archive/dog/2.jpg"],
            ["one folder, archive", "cat, dog in", "use folder:ROOT/archive."],
        ),
        (
            ["train/train/cat/1.jpg", "train/train/dog/2.jpg", "val/val/cat/3.jpg"],
            ["one folder, train", "use folder:ROOT/train/train."],
        ),
    ],
    ids=["capitals", "training", "kaggle", "flat train", "flat", "inner", "twice"],
)  # fmt: skip
def test_hints_at_the_right_layout(tmp_path, names, hints):
    write_files(tmp_path, *names)
    message = error_of(tmp_path)
    for hint in hints:
        assert hint in message


@pytest.mark.parametrize(
    "names",
    [
        ["train/1.jpg", "bus/2.jpg"],
        ["training/1.jpg", "resting/2.jpg"],
        ["a/1.jpg", "a/x/2.jpg", "a/y/3.jpg"],
        ["test/1.jpg", "device/2.jpg"],
    ],
)
def test_takes_classes_that_only_resemble_splits(tmp_path, names):
    write_files(tmp_path, *names)
    assert read(tmp_path) == {name: name.split("/")[0] for name in names}


def test_an_unlabeled_test_folder_gets_a_hint(tmp_path):
    """Kaggle's test images are in one folder."""
    write_files(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "test/3.jpg")
    message = error_of(tmp_path, "test")
    assert "1 image(s) without class folders, such as ROOT/test/3.jpg" in message
    assert 'eval_split="train[80%:]"' in message


def test_names_where_class_folders_differ(tmp_path):
    write_files(
        tmp_path, "train/a/1.jpg", "train/b/2.jpg", "val/b/3.jpg", "val/c/4.jpg"
    )
    message = error_of(tmp_path, "val")
    assert "Received: a only in ROOT/train and c only in ROOT/val." in message


def test_names_at_most_four_class_folders_that_differ(tmp_path):
    for name in ("train/x", "val/x", *(f"train/c{index}" for index in range(200))):
        (tmp_path / name).mkdir(parents=True)
    readers, _, _ = class_folders.scan(str(tmp_path))
    with pytest.raises(ValueError, match="c0, c1, c10 and 197 others only in .*train"):
        readers["val"]()


def test_classes_match_in_other_unicode_forms(tmp_path):
    """macOS writes names in the form NFD, other systems in NFC."""
    composed, decomposed = (
        unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")
    )
    write_files(
        tmp_path, f"train/{composed}/1.jpg", "train/z/2.jpg", f"val/{decomposed}/3.jpg",
        "val/z/4.jpg",
    )  # fmt: skip
    assert read(tmp_path, "val") == {
        f"val/{decomposed}/3.jpg": composed, "val/z/4.jpg": "z",
    }  # fmt: skip
    (tmp_path / "train" / decomposed).mkdir()
    message = error_of(tmp_path)
    assert "'caf\\xe9'" in message and "'cafe\\u0301'" in message
