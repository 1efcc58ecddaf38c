"""Data sets by name: class folders, list files and TFDS, and their errors."""

import collections
import dataclasses
import logging
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data import bad_images
from alexnet_tf.data import datasets
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf import presets
from helpers.folders import write_files
from helpers.images import source_with_bad_third

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "tfds"


def write_list(path, classes=4, per_class=25):
    """Writes a list file of the files that `write_classes` writes."""
    lines = [
        f"{class_name}/{index}.jpg {label}\n"
        for label, class_name in enumerate("abcdefghij"[:classes])
        for index in range(per_class)
    ]
    path.write_text("".join(lines))


def load_folder(root, split=None):
    return datasets.load(f"folder:{root}", split)


def load_list(path, split="train"):
    return datasets.load(f"list:{path}", split)


def contents(source, seed=None):
    """Returns [(text of the file, label), ...] of all examples.

    Args:
        source: a `Source` of files that `write_files` has written.
        seed: the shuffle seed, or None for the order of the source.
    """
    examples = []
    for example in source.examples(seed):
        assert example["label"].dtype == tf.int32
        examples.append(
            (example["image"].numpy().decode(), int(example["label"]))
        )
    assert len(examples) == source.num_examples
    return examples


def write_classes(root, classes=4, per_class=25):
    """Writes class folders "a", "b", ..., with files "0.jpg", "1.jpg", ..."""
    write_files(
        root,
        *(
            f"{class_name}/{index}.jpg"
            for class_name in "abcdefghij"[:classes]
            for index in range(per_class)
        ),
    )


# ---- Class folders --------------------------------------------------------------


def test_a_folder_of_class_folders_is_the_training_split(tmp_path):
    write_files(tmp_path, "zebra/1.jpg", "ant/2.jpg", "ant/1.jpg", "bee/x y.png")
    source = load_folder(tmp_path, "train")
    assert source.classes == ("ant", "bee", "zebra")
    assert sorted(contents(source)) == [
        ("ant/1.jpg", 0),
        ("ant/2.jpg", 0),
        ("bee/x y.png", 1),
        ("zebra/1.jpg", 2),
    ]
    assert source.folder == str(tmp_path) and source.split == "train"
    assert not source.is_imagenet
    assert str(source) == f"folder:{tmp_path}, split train"


def test_names_of_examples_are_the_paths_of_the_files(tmp_path):
    write_files(tmp_path, "ant/1.jpg", "bee/x y.png")
    for example in load_folder(tmp_path, "train").examples():
        path = tmp_path / example["image"].numpy().decode()
        assert example["name"].numpy().decode() == str(path)


def test_loads_a_folder_of_split_folders(tmp_path):
    write_files(
        tmp_path, "train/b/1.jpg", "train/a/2.jpg",
        "validation/a/3.jpg", "validation/b/4.jpg",
    )
    train, validation = load_folder(tmp_path, "train"), load_folder(tmp_path)
    assert validation.split == "validation"
    assert train.classes == validation.classes == ("a", "b")
    assert sorted(contents(train)) == [
        ("train/a/2.jpg", 0), ("train/b/1.jpg", 1),
    ]
    assert sorted(contents(validation)) == [
        ("validation/a/3.jpg", 0), ("validation/b/4.jpg", 1),
    ]
    assert train.fingerprint != validation.fingerprint


@pytest.mark.parametrize(
    "present, chosen",
    [
        (("test", "valid", "val", "validation"), "validation"),
        (("test", "valid", "val"), "val"),
        (("test", "valid"), "valid"),
        (("test", "extra"), "test"),
    ],
)
def test_selects_the_split_to_evaluate_on(tmp_path, present, chosen):
    write_files(tmp_path, *(f"{split}/a/1.jpg" for split in ("train", *present)))
    assert contents(load_folder(tmp_path)) == [(f"{chosen}/a/1.jpg", 0)]


def test_finds_image_extensions_in_any_case_and_no_other_files(tmp_path):
    kept = ["1.JPG", "2.Jpeg", "3.png", "4.BMP", "5.gif", "6.jpg"]
    write_files(tmp_path, *(f"a/{name}" for name in kept))
    write_files(tmp_path, "a/notes.txt", "a/.DS_Store", "a/jpg", "notes.jpg")
    write_files(tmp_path, ".git/1.jpg", "a/.thumbnails/7.jpg", "b/1.jpg")
    source = load_folder(tmp_path, "train")
    assert source.classes == ("a", "b")
    assert sorted(contents(source)) == [
        *((f"a/{name}", 0) for name in kept), ("b/1.jpg", 1),
    ]


def test_ignores_the_files_that_macos_puts_beside_images(tmp_path):
    write_files(tmp_path, "a/1.jpg", "a/._1.jpg")
    assert contents(load_folder(tmp_path, "train")) == [("a/1.jpg", 0)]


def test_a_class_may_be_called_train(tmp_path):
    """CIFAR-100 has such a class."""
    write_files(tmp_path, "car/1.jpg", "train/2.jpg")
    source = load_folder(tmp_path, "train")
    assert source.classes == ("car", "train")
    assert sorted(contents(source)) == [("car/1.jpg", 0), ("train/2.jpg", 1)]


def test_expands_the_home_folder(tmp_path, monkeypatch):
    write_files(tmp_path, "pets/a/1.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert contents(load_folder("~/pets", "train")) == [("pets/a/1.jpg", 0)]


@pytest.mark.parametrize(
    "paths",
    [
        ("train/a/1.jpg", "val/a/2.jpg", "val/b/3.jpg"),
        ("train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg"),
    ],
    ids=["unknown in val", "missing in val"],
)
@pytest.mark.parametrize("split", ["val", "val[:50%]", "train+val", "all"])
def test_rejects_splits_with_different_classes(tmp_path, paths, split):
    write_files(tmp_path, *paths)
    with pytest.raises(ValueError, match="class folders.*Received: b "):
        load_folder(tmp_path, split)


def test_splits_that_are_not_used_may_contain_anything(tmp_path):
    """Examples are the development kit of ILSVRC, and a README beside list files."""
    write_files(tmp_path, "train/a/1.jpg", "val/a/2.jpg", "devkit/data/meta.mat")
    assert contents(load_folder(tmp_path, "train")) == [("train/a/1.jpg", 0)]
    assert contents(load_folder(tmp_path)) == [("val/a/2.jpg", 0)]
    assert len(contents(load_folder(tmp_path, "train + val"))) == 2
    (tmp_path / "train.txt").write_text("train/a/1.jpg 0\n")
    (tmp_path / "README.txt").write_text("Photographs.\n")
    assert contents(load_list(tmp_path)) == [("train/a/1.jpg", 0)]


@pytest.mark.parametrize("paths", [(), ("a/notes.txt",), ("1.jpg",)])
def test_rejects_a_folder_without_images(tmp_path, paths):
    write_files(tmp_path, *paths)
    with pytest.raises(ValueError, match="Expected images.*Received: none"):
        load_folder(tmp_path, "train")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_names_a_folder_that_does_not_exist(tmp_path, name):
    write_files(tmp_path, "file")
    with pytest.raises(FileNotFoundError, match=f"There is no folder .*/{name}\\."):
        load_folder(tmp_path / name, "train")


# ---- Parts of splits ------------------------------------------------------------


@pytest.mark.parametrize("per_class", [9, 25])
@pytest.mark.parametrize("cut", ["90%", "50%", "7"])
def test_two_parts_make_up_a_split_of_folders(tmp_path, per_class, cut):
    write_classes(tmp_path, per_class=per_class)
    first = load_folder(tmp_path, f"train[:{cut}]")
    second = load_folder(tmp_path, f"train[{cut}:]")
    train = load_folder(tmp_path, "train")
    assert first.num_examples == {
        "90%": round(4 * per_class * 0.9), "50%": 2 * per_class, "7": 7,
    }[cut]
    assert contents(first) + contents(second) == contents(train)
    assert train.num_examples == len(set(contents(train))) == 4 * per_class
    assert first.classes == second.classes == train.classes
    fingerprints = {source.fingerprint for source in (first, second, train)}
    assert len(fingerprints) == 3


def test_parts_have_images_of_all_classes(tmp_path):
    """Parts are taken from a shuffled split, since files are listed class by class."""
    write_classes(tmp_path, classes=4, per_class=25)
    for split, min_count in [("train[:80%]", 15), ("train[80%:]", 1)]:
        labels = [label for _, label in contents(load_folder(tmp_path, split))]
        counts = collections.Counter(labels)
        assert len(counts) == 4 and min(counts.values()) >= min_count


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_adding_images_moves_few_others_between_parts(tmp_path, kind):
    """Moving the folder moves no image between the parts.

    Otherwise a run would later be evaluated on some of its training images.
    """

    def training_files(root, per_class=25):
        write_classes(root, per_class=per_class)
        write_list(root / "list", per_class=per_class)
        name = f"folder:{root}" if kind == "folder" else f"list:{root}/list"
        return [path for path, _ in contents(datasets.load(name, "train[:80]"))]

    before = training_files(tmp_path / "first")
    assert training_files(tmp_path / "second") == before
    after = training_files(tmp_path / "first", per_class=26)
    # The training part has 80 images, so four new images push at most four out.
    kept = [path for path in after if "/25." not in path]
    assert kept == before[: len(kept)] and 76 <= len(kept) <= 80


def test_adds_splits(tmp_path):
    write_files(tmp_path, "train/a/1.jpg", "test/a/2.jpg", "test/a/3.jpg")
    assert sorted(contents(load_folder(tmp_path, "train+test"))) == [
        ("test/a/2.jpg", 0), ("test/a/3.jpg", 0), ("train/a/1.jpg", 0),
    ]


@pytest.mark.parametrize(
    "split",
    ["nosuch", "train[:x]", "train[:200%]", "train[90%", "train+nosuch"],
)
def test_rejects_an_unknown_split(tmp_path, split):
    write_files(tmp_path, "train/a/1.jpg", "test/a/2.jpg")
    with pytest.raises(ValueError) as error:
        load_folder(tmp_path, split)
    assert "one of the splits test, train of folder:" in str(error.value)
    assert f"Received: split={split!r}" in str(error.value)


def test_rejects_an_empty_part(tmp_path):
    write_classes(tmp_path, classes=1, per_class=4)
    with pytest.raises(ValueError, match="Expected images"):
        load_folder(tmp_path, "train[:1%]")


@pytest.mark.parametrize(
    "split, problem",
    [
        ("train[:1000]", "split='train[:1000]', but train has only 20 images."),
        ("train[:-21]", "split='train[:-21]', but train has only 20 images."),
        ("train[10:5]", "because the slice from 10 to 5 of the 20 images of train"),
        ("train[-5:10]", "because the slice from 15 to 10 of the 20 images of train"),
        ("train[:1%]", "because the slice from 0 to 0 of the 20 images of train"),
        ("train[:5]+train[9:7]", "because the slice from 9 to 7 of the 20 images"),
    ],
)
def test_says_why_a_slice_has_no_images(tmp_path, split, problem):
    write_classes(tmp_path, classes=2, per_class=10)
    with pytest.raises(ValueError) as error:
        load_folder(tmp_path, split)
    assert problem in str(error.value)


def test_one_part_of_several_may_be_empty(tmp_path):
    """The first of ten folds is train[:0%]+train[10%:]."""
    write_classes(tmp_path, classes=2, per_class=10)
    assert load_folder(tmp_path, "train[:0%]+train[10%:]").num_examples == 18


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_training_without_a_split_to_evaluate_on_uses_80_percent(
    tmp_path, caplog, kind
):
    caplog.set_level(logging.INFO, "alexnet_tf")
    write_classes(tmp_path, classes=2, per_class=10)
    write_list(tmp_path / "list", classes=2, per_class=10)
    name = f"folder:{tmp_path}" if kind == "folder" else f"list:{tmp_path}/list"
    splits = datasets.training_splits(name)
    assert splits == ("train[:80%]", "train[80%:]")
    train, evaluation = (datasets.load(name, split) for split in splits)
    assert (train.num_examples, evaluation.num_examples) == (16, 4)
    assert not train.example_ids() & evaluation.example_ids()
    assert f"{name} has no split to evaluate on." in caplog.text
    assert "by --train_split and --eval_split." in caplog.text
    assert datasets.training_splits(name, "train[:10]") == ("train[:10]", None)
    assert datasets.training_splits(name, None, "train") == ("train", "train")


def test_training_uses_the_splits_of_a_data_set(tmp_path):
    write_files(tmp_path, "train/a/1.jpg", "val/a/2.jpg")
    assert datasets.training_splits(f"folder:{tmp_path}") == ("train", None)
    other = tmp_path / "other"
    write_files(other, "train/a/1.jpg", "Test/a/2.jpg")
    assert datasets.training_splits(f"folder:{other}") == ("train", None)
    with pytest.raises(ValueError, match='only Test, train. Choose eval_split="Test"'):
        load_folder(other)


def test_without_a_split_to_evaluate_on_the_error_suggests_one(tmp_path):
    write_files(tmp_path, "a/1.jpg")
    with pytest.raises(ValueError, match="validation, val, valid, test") as error:
        load_folder(tmp_path)
    assert 'train_split="train[:90%]", eval_split="train[90%:]"' in str(error.value)


# ---- The order of the examples --------------------------------------------------


def test_the_seed_determines_the_order_of_a_folder(tmp_path):
    write_classes(tmp_path)
    source = load_folder(tmp_path, "train")
    unshuffled, first, second = (contents(source, seed) for seed in (None, 1, 2))
    assert unshuffled == contents(source) and first == contents(source, 1)
    assert unshuffled != first != second != unshuffled
    assert sorted(unshuffled) == sorted(first) == sorted(second)
    assert len(set(unshuffled)) == 100


def test_the_seed_determines_the_order_of_a_list(tmp_path):
    write_classes(tmp_path)
    write_list(tmp_path / "list")
    source = load_list(tmp_path / "list")
    assert contents(source, 1) == contents(source, 1) != contents(source, 2)
    assert sorted(contents(source, 1)) == sorted(contents(source))
    for path, label in contents(source, 3):
        assert path.startswith("abcd"[label])


# ---- List files -----------------------------------------------------------------


def test_loads_a_list_of_paths_and_labels(tmp_path):
    write_files(tmp_path, "here/one.jpg", "here/two words.png", "far/three")
    (tmp_path / "here" / "list.txt").write_text(
        f"one.jpg\t2\n\n  two words.png 0\n../far/three   1 \n   \n"
        f"{tmp_path}/here/two words.png 2"
    )
    source = load_list(tmp_path / "here" / "list.txt")
    assert source.classes == ("0", "1", "2")
    assert source.folder == str(tmp_path / "here")
    assert sorted(contents(source)) == [
        ("far/three", 1),
        ("here/one.jpg", 2),
        ("here/two words.png", 0),
        ("here/two words.png", 2),
    ]


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_file_names_need_not_be_utf_8(tmp_path, kind):
    """Old disks have such names, and errors name these files too."""
    write_files(tmp_path, "a/1.jpg", "b/2.jpg")
    path = os.fsencode(tmp_path / "a") + b"/caf\xe9.jpg"
    with open(path, "w") as file:
        file.write("no image")
    (tmp_path / "list").write_bytes(b"a/1.jpg 0\na/caf\xe9.jpg 0\nb/2.jpg 1\n")
    name = f"folder:{tmp_path}" if kind == "folder" else f"list:{tmp_path}/list"
    source = datasets.load(name, "train")
    names = [example["name"].numpy() for example in source.examples()]
    assert path in names and len(contents(source)) == 3
    examples = source.examples().skip(names.index(path))
    error = tf.errors.InvalidArgumentError(None, None, "")
    assert "caf\udce9.jpg" in str(bad_images.diagnose(error, source, examples))


def test_loads_a_list_in_the_working_directory(tmp_path, monkeypatch):
    write_files(tmp_path, "1.jpg")
    (tmp_path / "list.txt").write_text("1.jpg 0\n")
    monkeypatch.chdir(tmp_path)
    source = load_list("list.txt")
    assert contents(source) == [("1.jpg", 0)] and source.folder == "."


def test_loads_a_folder_of_lists(tmp_path):
    write_files(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "train.txt").write_text("1.jpg 0\n2.jpg 4\n")
    (tmp_path / "val.txt").write_text("3.jpg 1\n")
    validation = load_list(tmp_path, None)
    assert validation.split == "val"
    # val.txt has no label above 1: the training list determines the classes.
    assert validation.classes == tuple("01234")
    assert contents(load_list(tmp_path, "val")) == [("3.jpg", 1)]
    assert sorted(contents(load_list(tmp_path))) == [("1.jpg", 0), ("2.jpg", 4)]


@pytest.mark.parametrize(
    "line", ["1.jpg -1", "1.jpg 1.5", "1.jpg one", "1.jpg", "1.jpg\t-1", "7"]
)
def test_names_a_line_that_is_not_a_path_and_a_label(tmp_path, line):
    write_files(tmp_path, "1.jpg")
    (tmp_path / "list").write_text(f"1.jpg 0\n\n{line}\n")
    with pytest.raises(ValueError, match="a space or tab and a label") as error:
        load_list(tmp_path / "list")
    assert f"line 3 of {tmp_path}/list: {line!r}" in str(error.value)


def test_names_a_missing_image_of_a_list(tmp_path):
    write_files(tmp_path, "1.jpg")
    (tmp_path / "list").write_text("1.jpg 0\nno such.jpg 1\n")
    with pytest.raises(FileNotFoundError) as error:
        load_list(tmp_path / "list")
    assert f"no image at {tmp_path}/no such.jpg" in str(error.value)
    assert "line 2 of" in str(error.value)


def test_a_folder_in_a_list_is_not_an_image(tmp_path):
    write_files(tmp_path, "album.jpg/1.jpg")
    (tmp_path / "list").write_text("album.jpg 0\n")
    message = f"no image at {tmp_path}/album.jpg, which is a folder"
    with pytest.raises(FileNotFoundError, match=message):
        load_list(tmp_path / "list")


def test_a_list_may_name_files_in_another_unicode_form(tmp_path):
    """A list that was written on macOS may be used on Linux, and the reverse."""
    write_files(tmp_path, "caf\u00e9.jpg")
    (tmp_path / "list").write_text("cafe\u0301.jpg 0\n", encoding="utf-8")
    assert contents(load_list(tmp_path / "list")) == [("caf\u00e9.jpg", 0)]


@pytest.mark.parametrize("first, warns", [(0, False), (1, True), (2, False)])
def test_warns_of_labels_that_begin_at_1(tmp_path, caplog, first, warns):
    write_files(tmp_path, "1.jpg")
    (tmp_path / "list").write_text(f"1.jpg {first}\n1.jpg {first + 1}\n")
    assert len(load_list(tmp_path / "list").classes) == first + 2
    assert ("subtract 1 from each" in caplog.text) == warns


def test_names_a_label_above_those_of_the_training_list(tmp_path):
    write_files(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "train.txt").write_text("1.jpg 1\n")
    (tmp_path / "test.txt").write_text("2.jpg 2\n")
    with pytest.raises(ValueError, match="labels from 0 to 1.*Received: 2 for"):
        load_list(tmp_path, "test")


@pytest.mark.parametrize("label, lines", [(999, 1), (1000, 1001), (1500, 1501)])
def test_a_short_list_may_have_many_classes(tmp_path, label, lines):
    write_files(tmp_path, "1.jpg")
    (tmp_path / "list").write_text("1.jpg 0\n" * (lines - 1) + f"1.jpg {label}")
    assert len(load_list(tmp_path / "list").classes) == label + 1


@pytest.mark.parametrize(
    "label, lines", [(1000, 1), (7000000, 2), (1500, 1500)]
)
def test_rejects_more_classes_than_images(tmp_path, label, lines):
    write_files(tmp_path, "1.jpg", "wrong.jpg")
    (tmp_path / "list").write_text(
        "1.jpg 0\n" * (lines - 1) + f"wrong.jpg {label}\n"
    )
    message = f"Received: label {label} for .*wrong.jpg, in a list of {lines} "
    with pytest.raises(ValueError, match=message):
        load_list(tmp_path / "list")


@pytest.mark.parametrize("name", ["nowhere", "folder"])
def test_names_a_list_that_does_not_exist(tmp_path, name):
    write_files(tmp_path, "folder/val.txt")
    message = f"no list of training images at .*/{name}\\."
    with pytest.raises(FileNotFoundError, match=message):
        load_list(tmp_path / name)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_rejects_an_empty_list(tmp_path, text):
    (tmp_path / "list").write_text(text)
    with pytest.raises(ValueError, match="Expected images.*Received: none"):
        load_list(tmp_path / "list")


def test_the_fingerprint_depends_on_the_list(tmp_path):
    write_files(tmp_path, "1.jpg", "2.jpg")
    fingerprints = set()
    for text in ("1.jpg 0\n", "2.jpg 0\n", "1.jpg 0\n2.jpg 0\n"):
        (tmp_path / "list").write_text(text)
        fingerprints.add(load_list(tmp_path / "list").fingerprint)
    assert len(fingerprints) == 3


def test_the_fingerprint_of_a_list_depends_on_its_labels(tmp_path):
    """Otherwise a resized copy would keep labels that have been corrected."""
    write_files(tmp_path, "1.jpg", "2.jpg")
    fingerprints = set()
    for labels in ("01", "10"):
        (tmp_path / "list").write_text("1.jpg {}\n2.jpg {}\n".format(*labels))
        fingerprints.add(load_list(tmp_path / "list").fingerprint)
    assert len(fingerprints) == 2


def test_other_lists_need_no_training_images(tmp_path):
    write_files(tmp_path, "2.jpg")
    (tmp_path / "train.txt").write_text("1.jpg 4\n")
    (tmp_path / "val.txt").write_text("2.jpg 1\n")
    source = datasets.load(f"list:{tmp_path}", "val")
    assert source.num_examples == 1 and len(source.classes) == 5
    with pytest.raises(FileNotFoundError, match="1.jpg, the path on line 1 of .*train"):
        datasets.load(f"list:{tmp_path}", "train")


def test_the_fingerprint_depends_on_the_contents_of_a_file(tmp_path):
    """Otherwise the stored pixel statistics of other images would be used."""
    write_files(tmp_path, "a/1.jpg")
    before = load_folder(tmp_path, "train").fingerprint
    (tmp_path / "a" / "1.jpg").write_text("another image")
    assert load_folder(tmp_path, "train").fingerprint != before


# ---- TFDS -----------------------------------------------------------------------


class AlexnetTfDummy(tfds.core.GeneratorBasedBuilder):
    """A data set of twelve images of three classes in one split."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
    }
    SPLITS = ("train",)
    times_prepared = 0

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(self.FEATURES)
        )

    def _split_generators(self, dl_manager):
        type(self).times_prepared += 1
        return {split: self._generate_examples() for split in self.SPLITS}

    def _generate_examples(self):
        for index in range(12):
            image = np.full((5, 6, 3), 20 * index, np.uint8)
            example = {"image": image, "label": index % 3, "boxes": 0}
            yield index, {name: example[name] for name in self.FEATURES}


class AlexnetTfUnlabeled(AlexnetTfDummy):
    """A data set with boxes instead of labels."""

    FEATURES = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "boxes": tfds.features.Scalar(np.int64),
    }
    times_prepared = 0


class AlexnetTfTested(AlexnetTfDummy):
    """A data set that also has a split to evaluate on."""

    SPLITS = ("train", "test")


class AlexnetTfUnlabeledTest(AlexnetTfTested):
    """A data set whose labels are all -1, as those of test splits may be."""

    def _generate_examples(self):
        for index, example in super()._generate_examples():
            yield index, example | {"label": -1}


@pytest.fixture(scope="module")
def tfds_data_dir(tmp_path_factory):
    """The data_dir into which the data sets above are prepared when they are loaded."""
    return str(tmp_path_factory.mktemp("tfds"))


def test_prepares_a_tfds_data_set_once(tfds_data_dir):
    before = AlexnetTfDummy.times_prepared
    for _ in range(2):
        source = datasets.load("alexnet_tf_dummy", "train", tfds_data_dir)
    assert AlexnetTfDummy.times_prepared <= before + 1
    assert source.classes == ("a", "b", "c") and source.num_examples == 12
    assert source.folder == f"{tfds_data_dir}/alexnet_tf_dummy/1.0.0"
    labels = {}
    for example in source.examples():
        assert example["label"].dtype == tf.int32
        pixels = tf.io.decode_png(example["image"]).numpy()
        labels[int(pixels[0, 0, 0])] = int(example["label"])
        assert pixels.shape == (5, 6, 3) and np.ptp(pixels) == 0
    assert labels == {20 * index: index % 3 for index in range(12)}


def test_names_of_a_tfds_data_set_are_unique(tfds_data_dir):
    source = datasets.load("alexnet_tf_dummy", "train", tfds_data_dir)
    names = {example["name"].numpy().decode() for example in source.examples()}
    assert len(names) == 12
    assert all(name.startswith("alexnet_tf_dummy-train") for name in names)


def test_two_parts_make_up_a_split_of_tfds(tfds_data_dir):
    first, second, train = (
        datasets.load("alexnet_tf_dummy", split, tfds_data_dir)
        for split in ("train[:75%]", "train[75%:]", "train")
    )
    assert (first.num_examples, second.num_examples) == (9, 3)
    names = [
        [example["name"].numpy() for example in source.examples()]
        for source in (first, second, train)
    ]
    assert sorted(names[0] + names[1]) == sorted(names[2])
    fingerprints = {source.fingerprint for source in (first, second, train)}
    assert len(fingerprints) == 3


def test_rejects_a_tfds_data_set_without_a_split_to_evaluate_on(tfds_data_dir):
    message = "has only train. Use parts of a split: train_split="
    with pytest.raises(ValueError, match=message):
        datasets.load("alexnet_tf_dummy", None, tfds_data_dir)


def test_selects_the_test_split_of_a_tfds_data_set(tfds_data_dir):
    source = datasets.load("alexnet_tf_tested", None, tfds_data_dir)
    assert source.split == "test" and source.num_examples == 12


@pytest.mark.parametrize(
    "split, problem",
    [
        ("train[:1000]", "split='train[:1000]', but train has only 12 images."),
        ("train[10:5]", "because the slice from 10 to 5 of the 12 images of train"),
        ("train[:10]+train[10:5]", "because the slice from 10 to 5 of the 12 images"),
    ],
)
def test_says_why_a_slice_of_tfds_has_no_images(tfds_data_dir, split, problem):
    """TFDS gives train[10:5] a length of -5."""
    with pytest.raises(ValueError) as error:
        datasets.load("alexnet_tf_dummy", split, tfds_data_dir)
    assert problem in str(error.value)


def test_rejects_an_unlabeled_split_as_the_default_to_evaluate_on(tfds_data_dir):
    """Features of an unlabeled split can be extracted if it is named."""
    message = "whose labels are -1.*--eval_split="
    with pytest.raises(ValueError, match=message):
        datasets.load("alexnet_tf_unlabeled_test", None, tfds_data_dir)
    source = datasets.load("alexnet_tf_unlabeled_test", "test", tfds_data_dir)
    assert source.num_examples == 12
    with pytest.raises(ValueError, match="its label is -1, which marks unlabeled"):
        source.take_indices([0])


@pytest.mark.parametrize("split", ["nosuch", "train[:x]", "train[:200%]"])
def test_rejects_an_unknown_split_of_tfds(tfds_data_dir, split):
    with pytest.raises(ValueError, match="one of the splits train of") as error:
        datasets.load("alexnet_tf_dummy", split, tfds_data_dir)
    assert f"Received: split={split!r}" in str(error.value)


def test_rejects_a_tfds_data_set_without_labels(tfds_data_dir):
    with pytest.raises(ValueError, match='"image" and "label".*Received: alex'):
        datasets.load("alexnet_tf_unlabeled", "train", tfds_data_dir)


def test_rejects_a_data_set_without_labels_before_downloading_it(tfds_data_dir):
    """Data for object detection can take hours to download."""
    before = AlexnetTfUnlabeled.times_prepared
    with pytest.raises(ValueError):
        datasets.load("alexnet_tf_unlabeled:1.0.0", "train", tfds_data_dir + "/new")
    with pytest.raises(ValueError):
        datasets.split_names("alexnet_tf_unlabeled:1.0.0", tfds_data_dir + "/new")
    assert AlexnetTfUnlabeled.times_prepared == before


@pytest.mark.parametrize(
    "name",
    [
        "no_such_data_set",
        "alexnet_tf_dummy:9.9.9",
        "alexnet_tf_dummy/no_such_option=1",
        "foldr:x",
        "./images",
        "",
    ],
)
def test_rejects_an_unknown_data_set(tmp_path, name):
    with pytest.raises(ValueError) as error:
        datasets.load(name, "train", str(tmp_path))
    assert "Expected textures, folder:PATH, list:FILE" in str(error.value)
    assert f"dataset={name!r}" in str(error.value)


# The second data set has configurations, each of which is a folder in the folder of
# the data set.
@pytest.mark.parametrize("name", ["imagenet2012", "imagenet2012_subset/1pct"])
def test_without_imagenet_the_error_says_which_archives_go_where(tmp_path, name):
    with pytest.raises(FileNotFoundError) as error:
        datasets.load(name, "train", str(tmp_path))
    message = str(error.value)
    assert "ILSVRC2012_img_train.tar" in message
    assert "ILSVRC2012_img_val.tar" in message
    assert f" {tmp_path}/downloads/manual" in message
    assert str(tmp_path / name.split("/")[0]) in message


def test_the_error_names_the_versions_that_are_prepared(tmp_path):
    for path in ("5.0.0", "other/1.2.0"):
        folder = tmp_path / "imagenet2012" / path
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    message = "is prepared there: imagenet2012:5.0.0, imagenet2012/other:1.2.0.$"
    with pytest.raises(FileNotFoundError, match=message):
        datasets.load("imagenet2012", "train", str(tmp_path))


def test_the_error_names_the_cause_when_preparing_fails(tmp_path):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "ILSVRC2012_img_val.tar").write_bytes(b"no archive")
    with pytest.raises(OSError, match="could not be prepared in") as error:
        datasets.load("imagenet2012", "train", str(tmp_path))
    assert type(error.value) is OSError
    assert f"{type(error.value.__cause__).__name__}: " in str(error.value)


# ---- Real images ----------------------------------------------------------------


def shared_data_dir(name):
    """Returns the data_dir with a real data set; skips the test if there is none."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs ../shared/tfds/{name}: real data, not in git")
    return str(SHARED)


def test_loads_imagenet():
    data_dir = shared_data_dir("imagenet2012")
    train = datasets.load("imagenet2012", "train", data_dir)
    validation = datasets.load("imagenet2012", None, data_dir)
    assert validation.split == "validation"
    assert train.is_imagenet and len(train.classes) == 1000
    assert train.classes[0] == "n01440764" and train.classes[355] == "n02437616"
    preprocessing = presets.get("paper").preprocessing
    statistics = pixel_statistics.imagenet(preprocessing)
    batches = input_pipeline.evaluation_batches(
        validation, preprocessing, statistics, batch_size=32
    )
    labels = []
    for images, batch_labels in batches.as_numpy_iterator():
        is_image = batch_labels >= 0  # The others are padding.
        assert np.abs(images[is_image]).max() <= 255
        assert images[is_image].std(axis=(1, 2, 3)).min() > 5
        labels += batch_labels[is_image].tolist()
    stored_labels = [int(example["label"]) for example in validation.examples()]
    assert labels == stored_labels and len(labels) == validation.num_examples


def test_loads_cifar10():
    data_dir = shared_data_dir("cifar10")
    source = datasets.load("cifar10", None, data_dir)
    assert source.split == "test" and len(source.classes) == 10
    assert source.classes[0] == "airplane"
    labels = [int(example["label"]) for example in source.examples()]
    assert len(labels) == source.num_examples and len(set(labels)) == 10
    first_image = next(iter(source.examples()))["image"]
    assert tf.io.decode_image(first_image).shape == (32, 32, 3)


# ---- Errors of pipelines --------------------------------------------------------


def error_of_two_devices(first):
    """Returns the error that TensorFlow raises if both of two devices fail.

    One device cannot read a missing file, and the other one receives one image
    fewer than `num_examples`.

    Args:
        first: 0 if the missing file is the first cause, 1 if the wrong count is. The
            first cause determines the type of the error.
    """
    causes = [
        "NOT_FOUND:  a.jpg; No such file",
        "FAILED_PRECONDITION:  Input dataset was expected to contain 12 elements "
        "but contained only 11 elements.",
    ]
    types = [tf.errors.NotFoundError, tf.errors.FailedPreconditionError]
    message = "2 root error(s) found.\n" + "\n".join(
        f"  ({number}) {causes[index]}\n\t [[{{{{node IteratorGetNext}}}}]]"
        for number, index in enumerate([first, 1 - first])
    )
    return types[first](None, None, message + "\n0 successful operations.")


def test_a_missing_file_is_named_if_another_device_lacks_an_image(
    make_source, tmp_path
):
    """TensorFlow may report either cause first, or only the wrong count."""
    source, missing = make_source(12), str(tmp_path / "a.jpg")
    examples = tf.data.Dataset.from_tensors(missing).map(
        lambda path: {
            "image": tf.io.read_file(path),
            "label": tf.constant(0),
            "name": path,
        }
    )
    wrong_count = tf.errors.FailedPreconditionError(
        None,
        None,
        "was expected to contain 12 elements but contained only 11 elements.",
    )
    for error in (error_of_two_devices(0), error_of_two_devices(1), wrong_count):
        diagnosis = bad_images.diagnose(error, source, examples)
        assert isinstance(diagnosis, OSError), error
        assert "a.jpg; No such file" in str(diagnosis)
    diagnosis = bad_images.diagnose(wrong_count, source, source.examples())
    assert isinstance(diagnosis, ValueError) and "only 11" in str(diagnosis)


@pytest.mark.parametrize(
    "error_type, reason",
    [
        (tf.errors.UnknownError, "Input/output error"),
        (tf.errors.FailedPreconditionError, "Is a directory"),
        (tf.errors.UnknownError, "Too many levels of symbolic links"),
        (tf.errors.ResourceExhaustedError, "Too many open files"),
        (tf.errors.AbortedError, "Stale file handle"),
        (tf.errors.PermissionDeniedError, "Permission denied"),
    ],
)
def test_all_errors_of_the_file_system_are_explained(make_source, error_type, reason):
    source = make_source(3)
    message = f"{{{{function_node f}}}} a.jpg; {reason}\n\t [[{{{{node ReadFile}}}}]]"
    error = error_type(None, None, message)
    diagnosis = bad_images.diagnose(error, source, source.examples())
    assert type(diagnosis) is OSError
    assert f"could not be read completely: a.jpg; {reason}." in str(diagnosis)
    other = tf.errors.UnknownError(None, None, "No algorithm worked!")
    assert bad_images.diagnose(other, source, source.examples()) is other


@pytest.mark.parametrize(
    "target, reason",
    [
        ("loop.jpg", "loop.jpg; Too many levels of symbolic links"),
        ("nowhere.jpg", "loop.jpg; No such file or directory"),
    ],
)
def test_names_a_link_that_leads_nowhere(tmp_path, target, reason):
    write_files(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "loop.jpg").symlink_to(target)
    source = load_folder(tmp_path, "train")
    with pytest.raises(OSError, match=reason):
        with bad_images.diagnosing(source, lambda: (0, -1)):
            list(source.examples())


def test_names_a_folder_that_replaced_an_image(tmp_path):
    write_files(tmp_path, "a/1.jpg")
    source = load_folder(tmp_path, "train")
    (tmp_path / "a" / "1.jpg").unlink()
    (tmp_path / "a" / "1.jpg").mkdir()
    with pytest.raises(OSError, match="1.jpg; Is a directory"):
        with bad_images.diagnosing(source, lambda: (0, -1)):
            list(source.examples())


# ---- Sources derived from other sources -----------------------------------------


@pytest.mark.parametrize(
    "values",
    [{"image": b"no image"}, pytest.param({"label": -1}, marks=pytest.mark.large)],
)
def test_without_bad_images_keeps_the_good_images(make_source, values):
    source = source_with_bad_third(make_source, **values)
    undamaged = make_source(6)
    readable = source.without_bad_images()
    assert readable.num_examples == 5 and not readable.allows_bad_images
    assert readable.num_bad_images == 1
    examples = list(readable.examples().as_numpy_iterator())
    names = tuple(example["name"] for example in examples)
    labels = tuple(int(example["label"]) for example in examples)
    assert names == tuple(b"images %d" % index for index in (0, 1, 3, 4, 5))
    assert labels == (0, 1, 3, 4, 5)
    assert readable.example_ids() == {*names} < source.example_ids()
    assert source.example_ids() == undamaged.example_ids()
    assert undamaged.without_bad_images().num_examples == 6
    only_bad = dataclasses.replace(
        source, num_examples=1, read=lambda seed: source.read(seed).skip(2).take(1)
    )
    with pytest.raises(ValueError, match="Expected images .*Received: none"):
        only_bad.without_bad_images()


@pytest.mark.parametrize(
    "values, reason",
    [({"image": b"no image"}, "8 bytes"), ({"label": -1}, "its label is -1")],
)
def test_take_indices_names_a_bad_image(make_source, values, reason):
    source = source_with_bad_third(make_source, **values)
    names = [example["name"] for example in source.take_indices([5, 1])]
    assert names == [b"images 5", b"images 1"]
    with pytest.raises(ValueError, match=f"images 2 of .*{reason}"):
        source.take_indices([1, 2])


def test_subsample_takes_every_nth_image(make_source):
    source = make_source(25)
    sample = source.subsample(10)
    examples = sample.examples().as_numpy_iterator()
    names = [example["name"].decode() for example in examples]
    assert names == [f"images {index}" for index in range(0, 25, 3)]
    assert sample.num_examples == 9 and str(sample).endswith("one in 3")
    assert sample.fingerprint != source.fingerprint
    assert source.subsample(25) is source


def test_examples_in_memory_are_the_same(make_source):
    """The source is read once, and shuffling mixes all examples."""
    reads = []
    source = make_source(12)
    counted = dataclasses.replace(
        source, read=lambda seed: reads.append(seed) or source.read(seed)
    )
    in_memory = counted.in_memory()
    expected = list(source.examples().as_numpy_iterator())
    assert list(in_memory.examples().as_numpy_iterator()) == expected
    assert reads == [None]
    orders = [
        [example["name"] for example in in_memory.examples(seed).as_numpy_iterator()]
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == sorted(example["name"] for example in expected)
    miscounted = dataclasses.replace(source, num_examples=13)
    with pytest.raises(ValueError, match="Expected 13 images.*Received: only 12"):
        miscounted.in_memory()


def test_take_indices_keeps_the_order_of_the_indices(make_source):
    source = make_source(12)
    examples = source.take_indices([7, 0, 7])
    names = [example["name"] for example in examples]
    assert names == [b"images 7", b"images 0", b"images 7"]
    assert source.take_indices([]) == []


# ---- Names of splits ------------------------------------------------------------


def test_lists_the_names_of_all_splits(tmp_path, textures_data_dir):
    names = datasets.split_names("textures", str(textures_data_dir))
    assert names == ["train", "validation"]
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
    names = datasets.split_names(f"folder:{tmp_path}")
    assert sorted(names) == ["train", "val"]


def test_the_order_does_not_depend_on_the_spelling_of_a_path(tmp_path, monkeypatch):
    write_classes(tmp_path, classes=2, per_class=10)
    write_list(tmp_path / "train.txt", classes=2, per_class=10)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for spellings in (
        ("folder:.", "folder:./", "folder:~", f"folder:{tmp_path}//"),
        ("list:train.txt", "list:./train.txt", f"list:{tmp_path}/train.txt"),
    ):
        orders = [
            [
                example["name"].numpy().decode()[-7:]
                for example in datasets.load(name, "train[:60%]").elements()
            ]
            for name in spellings
        ]
        assert all(order == orders[0] for order in orders) and len(orders[0]) == 12
        assert all(datasets.is_same(name, spellings[0]) for name in spellings)
    assert not datasets.is_same("folder:a", "list:a")
    assert not datasets.is_same("folder:a", "folder:b")
    assert not datasets.is_same("cifar10/", "cifar10")


def test_canonical_names():
    for name, expected in (
        ("cifar10", "cifar10"),
        ("folder:a//", "folder:a"),
        ("folder:/", "folder:/"),
        ("list:train.txt", "list:./train.txt"),
        ("list:a/train.txt", "list:a/train.txt"),
    ):
        assert datasets.canonical_name(name) == expected


def test_the_default_splits_are_found_without_reading_the_lists(tmp_path):
    (tmp_path / "train.txt").write_text("not a list\n")
    assert datasets.training_splits(f"list:{tmp_path}/train.txt") == (
        "train[:80%]", "train[80%:]"
    )
    (tmp_path / "val.txt").write_text("")
    assert datasets.split_names(f"list:{tmp_path}") == ["train", "val"]
    assert datasets.training_splits(f"list:{tmp_path}") == ("train", None)
