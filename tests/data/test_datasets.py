"""Names become streams: folders, lists, TFDS; and what is refused, how."""

import collections
import dataclasses
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
from helpers.images import bad_third

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "tfds"


def plant(root, *paths):
    """Files that hold their own paths; nothing here decodes them."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)


def folder(root, split=None):
    return datasets.load(f"folder:{root}", split)


def listed(path, split="train"):
    return datasets.load(f"list:{path}", split)


def contents(source, seed=None):
    """[(bytes, label)] in the order in which they come."""
    examples = []
    for example in source.examples(seed):
        assert example["label"].dtype == tf.int32
        examples.append(
            (example["image"].numpy().decode(), int(example["label"]))
        )
    assert len(examples) == source.num_examples
    return examples


def many(root, classes=4, each=25):
    plant(
        root,
        *(f"{c}/{i}.jpg" for c in "abcdefghij"[:classes] for i in range(each)),
    )


# Folders.


def test_a_folder_of_class_folders_is_all_for_training(tmp_path):
    plant(tmp_path, "zebra/1.jpg", "ant/2.jpg", "ant/1.jpg", "bee/x y.png")
    source = folder(tmp_path, "train")
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


def test_names_are_paths(tmp_path):
    plant(tmp_path, "ant/1.jpg", "bee/x y.png")
    for example in folder(tmp_path, "train").examples():
        path = tmp_path / example["image"].numpy().decode()
        assert example["name"].numpy().decode() == str(path)


def test_a_folder_of_split_folders(tmp_path):
    plant(
        tmp_path, "train/b/1.jpg", "train/a/2.jpg",
        "validation/a/3.jpg", "validation/b/4.jpg",
    )
    train, validation = folder(tmp_path, "train"), folder(tmp_path)
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
def test_which_split_evaluates(tmp_path, present, chosen):
    plant(tmp_path, *(f"{split}/a/1.jpg" for split in ("train", *present)))
    assert contents(folder(tmp_path)) == [(f"{chosen}/a/1.jpg", 0)]


def test_extensions_in_any_case_and_nothing_else(tmp_path):
    kept = ["1.JPG", "2.Jpeg", "3.png", "4.BMP", "5.gif", "6.jpg"]
    plant(tmp_path, *(f"a/{name}" for name in kept))
    plant(tmp_path, "a/notes.txt", "a/.DS_Store", "a/jpg", "notes.jpg")
    plant(tmp_path, ".git/1.jpg", "a/.thumbnails/7.jpg", "b/1.jpg")
    source = folder(tmp_path, "train")
    assert source.classes == ("a", "b")
    assert sorted(contents(source)) == [
        *((f"a/{name}", 0) for name in kept), ("b/1.jpg", 1),
    ]


def test_what_macos_puts_beside_an_image_is_none(tmp_path):
    plant(tmp_path, "a/1.jpg", "a/._1.jpg")
    assert contents(folder(tmp_path, "train")) == [("a/1.jpg", 0)]


def test_a_class_may_be_called_train(tmp_path):
    """As one of CIFAR-100's is."""
    plant(tmp_path, "car/1.jpg", "train/2.jpg")
    source = folder(tmp_path, "train")
    assert source.classes == ("car", "train")
    assert sorted(contents(source)) == [("car/1.jpg", 0), ("train/2.jpg", 1)]


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    plant(tmp_path, "pets/a/1.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert contents(folder("~/pets", "train")) == [("pets/a/1.jpg", 0)]


@pytest.mark.parametrize(
    "paths",
    [
        ("train/a/1.jpg", "val/a/2.jpg", "val/b/3.jpg"),
        ("train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg"),
    ],
    ids=["unknown in val", "missing in val"],
)
@pytest.mark.parametrize("split", ["val", "val[:50%]", "train+val", "all"])
def test_splits_have_the_same_classes(tmp_path, paths, split):
    plant(tmp_path, *paths)
    with pytest.raises(ValueError, match="class folders.*Received: b "):
        folder(tmp_path, split)


def test_a_split_that_is_not_asked_for_may_be_anything(tmp_path):
    """As the challenge's kit beside its images, or a list's notes."""
    plant(tmp_path, "train/a/1.jpg", "val/a/2.jpg", "devkit/data/meta.mat")
    assert contents(folder(tmp_path, "train")) == [("train/a/1.jpg", 0)]
    assert contents(folder(tmp_path)) == [("val/a/2.jpg", 0)]
    assert len(contents(folder(tmp_path, "train + val"))) == 2
    (tmp_path / "train.txt").write_text("train/a/1.jpg 0\n")
    (tmp_path / "README.txt").write_text("Drawn by hand.\n")
    assert contents(listed(tmp_path)) == [("train/a/1.jpg", 0)]


@pytest.mark.parametrize("paths", [(), ("a/notes.txt",), ("1.jpg",)])
def test_a_folder_without_images_is_refused(tmp_path, paths):
    plant(tmp_path, *paths)
    with pytest.raises(ValueError, match="Expected images.*Received: none"):
        folder(tmp_path, "train")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_folder_that_is_none_is_named(tmp_path, name):
    plant(tmp_path, "file")
    with pytest.raises(FileNotFoundError, match=f"Received: .*/{name}, which"):
        folder(tmp_path / name, "train")


# Parts of splits.


@pytest.mark.parametrize("each", [9, 25])
@pytest.mark.parametrize("cut", ["90%", "50%", "7"])
def test_parts_share_the_files_out(tmp_path, each, cut):
    many(tmp_path, each=each)
    one = folder(tmp_path, f"train[:{cut}]")
    other = folder(tmp_path, f"train[{cut}:]")
    whole = folder(tmp_path, "train")
    assert one.num_examples == {
        "90%": round(4 * each * 0.9), "50%": 2 * each, "7": 7,
    }[cut]
    assert contents(one) + contents(other) == contents(whole)
    assert whole.num_examples == len(set(contents(whole))) == 4 * each
    assert one.classes == other.classes == whole.classes
    assert len({s.fingerprint for s in (one, other, whole)}) == 3


def test_parts_hold_all_classes(tmp_path):
    """Files lie class by class; parts of a split do not."""
    many(tmp_path, classes=4, each=25)
    for split, fewest in [("train[:80%]", 15), ("train[80%:]", 1)]:
        labels = [label for _, label in contents(folder(tmp_path, split))]
        assert len(collections.Counter(labels)) == 4
        assert min(collections.Counter(labels).values()) >= fewest


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_an_image_more_moves_no_other_between_parts(tmp_path, kind):
    """Nor does another place: what was trained on is never evaluated on."""

    def trained_on(root, classes="abcd", each=range(25)):
        paths = [f"{c}/{i}.jpg" for c in classes for i in each]
        plant(root, *paths)
        (root / "list").write_text("".join(
            f"{path} {'abcd'.index(path[0])}\n" for path in paths
        ))
        name = f"folder:{root}" if kind == "folder" else f"list:{root}/list"
        return [path for path, _ in contents(datasets.load(name, "train[:80]"))]

    before = trained_on(tmp_path / "one")
    assert trained_on(tmp_path / "other") == before
    after = trained_on(tmp_path / "one", each=range(26))
    # Four more in a hundred push a few over the border, of which none returns.
    kept = [path for path in after if "/25." not in path]
    assert kept == before[: len(kept)] and 76 <= len(kept) <= 80


def test_parts_may_be_added(tmp_path):
    plant(tmp_path, "train/a/1.jpg", "test/a/2.jpg", "test/a/3.jpg")
    assert sorted(contents(folder(tmp_path, "train+test"))) == [
        ("test/a/2.jpg", 0), ("test/a/3.jpg", 0), ("train/a/1.jpg", 0),
    ]


@pytest.mark.parametrize(
    "split",
    ["nosuch", "train[:x]", "train[:200%]", "train[90%", "train+nosuch"],
)
def test_an_unknown_split_is_refused(tmp_path, split):
    plant(tmp_path, "train/a/1.jpg", "test/a/2.jpg")
    with pytest.raises(ValueError) as error:
        folder(tmp_path, split)
    assert "one of the splits test, train of folder:" in str(error.value)
    assert f"Received: split={split!r}" in str(error.value)


def test_an_empty_part_is_refused(tmp_path):
    many(tmp_path, classes=1, each=4)
    with pytest.raises(ValueError, match="Expected images"):
        folder(tmp_path, "train[:1%]")


def test_without_a_split_to_evaluate_on_the_way_out_is_told(tmp_path):
    plant(tmp_path, "a/1.jpg")
    with pytest.raises(ValueError, match="validation, val, valid, test") as e:
        folder(tmp_path)
    assert 'train_split="train[:90%]", eval_split="train[90%:]"' in str(e.value)


# The order.


def test_the_seed_says_the_order(tmp_path):
    many(tmp_path)
    source = folder(tmp_path, "train")
    given, one, other = (contents(source, seed) for seed in (None, 1, 2))
    assert given == contents(source) and one == contents(source, 1)
    assert given != one != other != given
    assert sorted(given) == sorted(one) == sorted(other)
    assert len(set(given)) == 100


def test_a_list_in_the_order_of_the_seed(tmp_path):
    many(tmp_path)
    (tmp_path / "list").write_text("".join(
        f"{label}/{i}.jpg {index}\n"
        for index, label in enumerate("abcd") for i in range(25)
    ))
    source = listed(tmp_path / "list")
    assert contents(source, 1) == contents(source, 1) != contents(source, 2)
    assert sorted(contents(source, 1)) == sorted(contents(source))
    for path, label in contents(source, 3):
        assert path.startswith("abcd"[label])


# Lists.


def test_a_list_of_paths_and_labels(tmp_path):
    plant(tmp_path, "here/one.jpg", "here/two words.png", "far/three")
    (tmp_path / "here" / "list.txt").write_text(
        f"one.jpg\t2\n\n  two words.png 0\n../far/three   1 \n   \n"
        f"{tmp_path}/here/two words.png 2"
    )
    source = listed(tmp_path / "here" / "list.txt")
    assert source.classes == ("0", "1", "2")
    assert source.folder == str(tmp_path / "here")
    assert sorted(contents(source)) == [
        ("far/three", 1),
        ("here/one.jpg", 2),
        ("here/two words.png", 0),
        ("here/two words.png", 2),
    ]


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_names_that_are_not_utf_8_are_found(tmp_path, kind):
    """As disks of old have them; and one that is bad is named."""
    plant(tmp_path, "a/1.jpg", "b/2.jpg")
    name = os.fsencode(tmp_path / "a") + b"/caf\xe9.jpg"
    with open(name, "w") as file:
        file.write("no image")
    (tmp_path / "list").write_bytes(b"a/1.jpg 0\na/caf\xe9.jpg 0\nb/2.jpg 1\n")
    path = f"folder:{tmp_path}" if kind == "folder" else f"list:{tmp_path}/list"
    source = datasets.load(path, "train")
    names = [e["name"].numpy() for e in source.examples()]
    assert name in names and len(contents(source)) == 3
    place = names.index(name)
    error = tf.errors.InvalidArgumentError(None, None, "")
    said = bad_images.diagnose(error, source, source.examples().skip(place))
    assert "caf\udce9.jpg" in str(said)


def test_a_list_in_the_current_folder(tmp_path, monkeypatch):
    plant(tmp_path, "1.jpg")
    (tmp_path / "list.txt").write_text("1.jpg 0\n")
    monkeypatch.chdir(tmp_path)
    source = listed("list.txt")
    assert contents(source) == [("1.jpg", 0)] and source.folder == "."


def test_a_folder_of_lists(tmp_path):
    plant(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "train.txt").write_text("1.jpg 0\n2.jpg 4\n")
    (tmp_path / "val.txt").write_text("3.jpg 1\n")
    assert listed(tmp_path, None).split == "val"
    # As many classes as training names, not as this one needs.
    assert listed(tmp_path, None).classes == tuple("01234")
    assert contents(listed(tmp_path, "val")) == [("3.jpg", 1)]
    assert sorted(contents(listed(tmp_path))) == [("1.jpg", 0), ("2.jpg", 4)]


@pytest.mark.parametrize(
    "line", ["1.jpg -1", "1.jpg 1.5", "1.jpg one", "1.jpg", "1.jpg\t-1", "7"]
)
def test_a_line_that_is_no_path_and_label_is_named(tmp_path, line):
    plant(tmp_path, "1.jpg")
    (tmp_path / "list").write_text(f"1.jpg 0\n\n{line}\n")
    with pytest.raises(ValueError, match="a space or tab and a label") as error:
        listed(tmp_path / "list")
    assert f"line 3 of {tmp_path}/list: {line!r}" in str(error.value)


def test_a_missing_image_of_a_list_is_named(tmp_path):
    plant(tmp_path, "1.jpg")
    (tmp_path / "list").write_text("1.jpg 0\nno such.jpg 1\n")
    with pytest.raises(FileNotFoundError) as error:
        listed(tmp_path / "list")
    assert f"an image at {tmp_path}/no such.jpg" in str(error.value)
    assert "line 2 of" in str(error.value)


def test_a_label_that_training_does_not_know_is_named(tmp_path):
    plant(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "train.txt").write_text("1.jpg 1\n")
    (tmp_path / "test.txt").write_text("2.jpg 2\n")
    with pytest.raises(ValueError, match="labels from 0 to 1.*Received: 2 for"):
        listed(tmp_path, "test")


@pytest.mark.parametrize("label, lines", [(999, 1), (1000, 1001), (1500, 1501)])
def test_a_short_list_may_name_many_classes(tmp_path, label, lines):
    plant(tmp_path, "1.jpg")
    (tmp_path / "list").write_text("1.jpg 0\n" * (lines - 1) + f"1.jpg {label}")
    assert len(listed(tmp_path / "list").classes) == label + 1


@pytest.mark.parametrize(
    "label, lines", [(1000, 1), (7000000, 2), (1500, 1500)]
)
def test_more_classes_than_images_are_a_slip(tmp_path, label, lines):
    plant(tmp_path, "1.jpg", "slip.jpg")
    (tmp_path / "list").write_text(
        "1.jpg 0\n" * (lines - 1) + f"slip.jpg {label}\n"
    )
    message = f"Received: label {label} for .*slip.jpg, {lines} images"
    with pytest.raises(ValueError, match=message):
        listed(tmp_path / "list")


@pytest.mark.parametrize("name", ["nowhere", "folder"])
def test_a_list_that_is_none_is_named(tmp_path, name):
    plant(tmp_path, "folder/val.txt")
    with pytest.raises(FileNotFoundError, match=f"Received: .*/{name}"):
        listed(tmp_path / name)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_list_is_refused(tmp_path, text):
    (tmp_path / "list").write_text(text)
    with pytest.raises(ValueError, match="Expected images.*Received: none"):
        listed(tmp_path / "list")


def test_another_list_has_another_fingerprint(tmp_path):
    plant(tmp_path, "1.jpg", "2.jpg")
    prints = set()
    for text in ("1.jpg 0\n", "2.jpg 0\n", "1.jpg 0\n2.jpg 0\n"):
        (tmp_path / "list").write_text(text)
        prints.add(listed(tmp_path / "list").fingerprint)
    assert len(prints) == 3


def test_another_image_at_the_same_path_has_another_fingerprint(tmp_path):
    """Else the statistics of the old images would stay."""
    plant(tmp_path, "a/1.jpg")
    before = folder(tmp_path, "train").fingerprint
    (tmp_path / "a" / "1.jpg").write_text("another image")
    assert folder(tmp_path, "train").fingerprint != before


# TFDS.


class AlexnetTfDummy(tfds.core.GeneratorBasedBuilder):
    """Twelve images in one split, of three classes."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
    }
    SPLITS = ("train",)
    prepared = 0

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(self.FEATURES)
        )

    def _split_generators(self, dl_manager):
        type(self).prepared += 1
        return {split: self._generate_examples() for split in self.SPLITS}

    def _generate_examples(self):
        for index in range(12):
            image = np.full((5, 6, 3), 20 * index, np.uint8)
            example = {"image": image, "label": index % 3, "boxes": 0}
            yield index, {name: example[name] for name in self.FEATURES}


class AlexnetTfUnlabeled(AlexnetTfDummy):
    """Images with something other than a label."""

    FEATURES = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "boxes": tfds.features.Scalar(np.int64),
    }
    prepared = 0


class AlexnetTfTested(AlexnetTfDummy):
    """With a split to evaluate on."""

    SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder that holds the dummies once they were asked for."""
    return str(tmp_path_factory.mktemp("tfds"))


def test_a_tfds_data_set_is_prepared_once(prepared):
    before = AlexnetTfDummy.prepared
    for _ in range(2):
        source = datasets.load("alexnet_tf_dummy", "train", prepared)
    assert AlexnetTfDummy.prepared <= before + 1
    assert source.classes == ("a", "b", "c") and source.num_examples == 12
    assert source.folder == f"{prepared}/alexnet_tf_dummy/1.0.0"
    seen = {}
    for example in source.examples():
        assert example["label"].dtype == tf.int32
        pixels = tf.io.decode_png(example["image"]).numpy()
        seen[int(pixels[0, 0, 0])] = int(example["label"])
        assert pixels.shape == (5, 6, 3) and np.ptp(pixels) == 0
    assert seen == {20 * index: index % 3 for index in range(12)}


def test_names_of_a_tfds_data_set_are_unique(prepared):
    source = datasets.load("alexnet_tf_dummy", "train", prepared)
    names = {e["name"].numpy().decode() for e in source.examples()}
    assert len(names) == 12
    assert all(name.startswith("alexnet_tf_dummy-train") for name in names)


def test_parts_of_a_tfds_data_set(prepared):
    one, other, whole = (
        datasets.load("alexnet_tf_dummy", split, prepared)
        for split in ("train[:75%]", "train[75%:]", "train")
    )
    assert (one.num_examples, other.num_examples) == (9, 3)
    names = [
        [e["name"].numpy() for e in source.examples()]
        for source in (one, other, whole)
    ]
    assert sorted(names[0] + names[1]) == sorted(names[2])
    assert len({s.fingerprint for s in (one, other, whole)}) == 3


def test_a_tfds_data_set_without_a_split_to_evaluate_on(prepared):
    with pytest.raises(ValueError, match="has only train. Carve one: train_sp"):
        datasets.load("alexnet_tf_dummy", None, prepared)


def test_a_tfds_data_set_evaluates_on_test(prepared):
    source = datasets.load("alexnet_tf_tested", None, prepared)
    assert source.split == "test" and source.num_examples == 12


@pytest.mark.parametrize("split", ["nosuch", "train[:x]", "train[:200%]"])
def test_an_unknown_split_of_tfds_is_refused(prepared, split):
    with pytest.raises(ValueError, match="one of the splits train of") as error:
        datasets.load("alexnet_tf_dummy", split, prepared)
    assert f"Received: split={split!r}" in str(error.value)


def test_a_tfds_data_set_without_labels_is_refused(prepared):
    with pytest.raises(ValueError, match='"image" and "label".*Received: alex'):
        datasets.load("alexnet_tf_unlabeled", "train", prepared)


def test_what_is_of_no_use_is_refused_before_it_is_fetched(prepared):
    """Detection data can take hours to download."""
    before = AlexnetTfUnlabeled.prepared
    with pytest.raises(ValueError):
        datasets.load("alexnet_tf_unlabeled:1.0.0", "train", prepared + "/new")
    assert AlexnetTfUnlabeled.prepared == before


@pytest.mark.parametrize(
    "name",
    ["no_such_data_set", "alexnet_tf_dummy:9.9.9", "foldr:x", "./images", ""],
)
def test_an_unknown_data_set_is_refused(tmp_path, name):
    with pytest.raises(ValueError) as error:
        datasets.load(name, "train", str(tmp_path))
    assert "Expected textures, folder:PATH, list:FILE" in str(error.value)
    assert f"dataset={name!r}" in str(error.value)


# The second one has configurations, which are folders in between.
@pytest.mark.parametrize("name", ["imagenet2012", "imagenet2012_subset/1pct"])
def test_imagenet_unprepared_tells_what_goes_where(tmp_path, name):
    with pytest.raises(FileNotFoundError) as error:
        datasets.load(name, "train", str(tmp_path))
    message = str(error.value)
    assert "ILSVRC2012_img_train.tar" in message
    assert "ILSVRC2012_img_val.tar" in message
    assert f" {tmp_path}/downloads/manual" in message
    assert str(tmp_path / name.split("/")[0]) in message


def test_what_stops_preparing_is_passed_on(tmp_path):
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "ILSVRC2012_img_val.tar").write_bytes(b"no archive")
    with pytest.raises(OSError, match="could not be prepared in") as error:
        datasets.load("imagenet2012", "train", str(tmp_path))
    assert type(error.value) is OSError
    assert f"{type(error.value.__cause__).__name__}: " in str(error.value)


# Real images.


def shared(name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs ../shared/tfds/{name}: real data, not in git")
    return str(SHARED)


def test_real_imagenet():
    data_dir = shared("imagenet2012")
    train = datasets.load("imagenet2012", "train", data_dir)
    validation = datasets.load("imagenet2012", None, data_dir)
    assert validation.split == "validation"
    assert train.is_imagenet and len(train.classes) == 1000
    assert train.classes[0] == "n01440764" and train.classes[355] == "n02437616"
    preprocessing = presets.get("paper").preprocessing
    batches = input_pipeline.evaluation_batches(
        validation, preprocessing, pixel_statistics.imagenet(preprocessing), batch_size=32
    )
    labels = []
    for images, batch_labels in batches.as_numpy_iterator():
        real = images[batch_labels >= 0]
        assert np.abs(real).max() <= 255
        assert real.std(axis=(1, 2, 3)).min() > 5
        labels += batch_labels[batch_labels >= 0].tolist()
    stored = [int(e["label"]) for e in validation.examples()]
    assert labels == stored and len(labels) == validation.num_examples


def test_real_cifar10():
    data_dir = shared("cifar10")
    source = datasets.load("cifar10", None, data_dir)
    assert source.split == "test" and len(source.classes) == 10
    assert source.classes[0] == "airplane"
    counts = collections.Counter(int(e["label"]) for e in source.examples())
    assert counts.total() == source.num_examples and len(counts) == 10
    first = next(iter(source.examples()))["image"]
    assert tf.io.decode_image(first).shape == (32, 32, 3)


def two_failures(first):
    """One device can't read a file, the other misses an image."""
    roots = [
        "NOT_FOUND:  a.jpg; No such file",
        "FAILED_PRECONDITION:  Input dataset was expected to contain 12 elements "
        "but contained only 11 elements.",
    ]
    types = [tf.errors.NotFoundError, tf.errors.FailedPreconditionError]
    order = [first, 1 - first]
    message = "2 root error(s) found.\n" + "\n".join(
        f"  ({number}) {roots[place]}\n\t [[{{{{node IteratorGetNext}}}}]]"
        for number, place in enumerate(order)
    )
    return types[first](None, None, message + "\n0 successful operations.")


def test_the_cause_counts_where_another_device_only_misses_an_image(
    make_source, tmp_path
):
    """Whichever of the two gives the error its type, or is not heard of."""
    source, lost = make_source(12), str(tmp_path / "a.jpg")
    unreadable = tf.data.Dataset.from_tensors(lost).map(
        lambda path: {
            "image": tf.io.read_file(path),
            "label": tf.constant(0),
            "name": path,
        }
    )
    alone = tf.errors.FailedPreconditionError(
        None, None, "was expected to contain 12 elements but contained only 11 "
        "elements.",
    )
    for error in (two_failures(0), two_failures(1), alone):
        found = bad_images.diagnose(error, source, unreadable)
        assert isinstance(found, OSError), error
        assert "a.jpg; No such file" in str(found)
    found = bad_images.diagnose(alone, source, source.examples())
    assert isinstance(found, ValueError) and "only 11" in str(found)


@pytest.mark.parametrize("values", [{"image": b"no image"}, {"label": -1}])
def test_without_the_bad_ones_all_others_stay(make_source, values):
    source = bad_third(make_source, **values)
    whole = make_source(6)
    rest = source.without_bad()
    assert rest.num_examples == 5 and not rest.allows_bad_images
    names, labels = zip(
        *((e["name"], e["label"]) for e in rest.examples().as_numpy_iterator())
    )
    assert names == tuple(b"images %d" % place for place in (0, 1, 3, 4, 5))
    assert labels == (0, 1, 3, 4, 5)
    assert rest.example_ids() == {*names} < source.example_ids() == whole.example_ids()
    assert whole.without_bad().num_examples == 6
    only = dataclasses.replace(
        source, num_examples=1, read=lambda seed: source.read(seed).skip(2).take(1)
    )
    with pytest.raises(ValueError, match="Expected images .*Received: none"):
        only.without_bad()


@pytest.mark.parametrize(
    "values, reason",
    [({"image": b"no image"}, "8 bytes"), ({"label": -1}, "its label is -1")],
)
def test_a_bad_image_that_is_to_be_shown_is_named(make_source, values, reason):
    source = bad_third(make_source, **values)
    assert [e["name"] for e in source.take_indices([5, 1])] == [b"images 5", b"images 1"]
    with pytest.raises(ValueError, match=f"images 2 of .*{reason}"):
        source.take_indices([1, 2])


def test_images_are_spread_over_the_whole(make_source):
    whole = make_source(25)
    part = whole.subsample(10)
    names = [e["name"].decode() for e in part.examples().as_numpy_iterator()]
    assert names == [f"images {number}" for number in range(0, 25, 3)]
    assert part.num_examples == 9 and str(part).endswith("one in 3")
    assert part.fingerprint != whole.fingerprint
    assert whole.subsample(25) is whole


def test_examples_in_memory_are_the_same(make_source):
    """Each read once; shuffled as a whole."""
    reads = []
    source = make_source(12)
    counted = dataclasses.replace(
        source, read=lambda seed: reads.append(seed) or source.read(seed)
    )
    kept = counted.in_memory()
    before, after = (
        [
            (e["image"], int(e["label"]), e["name"])
            for e in each.examples().as_numpy_iterator()
        ]
        for each in (source, kept)
    )
    assert after == before and reads == [None]
    orders = [
        [e["name"] for e in kept.examples(seed).as_numpy_iterator()]
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == sorted(name for *_, name in before)
    miscounted = dataclasses.replace(source, num_examples=13)
    with pytest.raises(ValueError, match="Expected 13 images.*Received: only 12"):
        miscounted.in_memory()


def test_examples_are_found_at_their_places(make_source):
    source = make_source(12)
    found = source.take_indices([7, 0, 7])
    assert [e["name"] for e in found] == [b"images 7", b"images 0", b"images 7"]
    assert source.take_indices([]) == []


def test_the_names_of_all_splits(tmp_path, textures_folder):
    names = datasets.split_names("textures", str(textures_folder))
    assert names == ["train", "validation"]
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
    names = datasets.split_names(f"folder:{tmp_path}")
    assert sorted(names) == ["train", "val"]
