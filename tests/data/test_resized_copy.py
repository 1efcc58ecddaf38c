"""Resized copies of data sets: their images, their use in training, and errors."""

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from alexnet_tf.data import datasets
from alexnet_tf.data import input_pipeline
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.data import resized_copy
from alexnet_tf import presets
from alexnet_tf.training import loop
from helpers.commands import command
from helpers.images import write_image_folder

PREPROCESSING = presets.get("tiny").preprocessing


@pytest.fixture
def data(tmp_path):
    """The name of a data set of two classes of eleven images, 80 x 80 pixels each."""
    return write_image_folder(tmp_path / "pets", classes=2, count=11)


def prepare(data, output_dir, **values):
    """Calls `resized_copy.prepare` with small values, which `values` override."""
    args = dict(image_size=73, image_format="raw", images_per_shard=4, verbose=0)
    return resized_copy.prepare(data, str(output_dir), **args | values)


def records(output_dir):
    """Returns {file name: contents} of all record files."""
    return {path.name: path.read_bytes() for path in output_dir.rglob("*.tfrecord-*")}


@pytest.mark.parametrize(
    "dataset, resize, image_format, name",
    [
        ("imagenet2012", "short_side", "jpeg", "imagenet2012_256"),
        ("imagenet2012", "squash", "jpeg", "imagenet2012_256_squash"),
        ("cifar10:3.0.2", "short_side", "raw", "cifar10_256_raw"),
        ("imagenet_resized/8x8", "short_side", "raw", "imagenet_resized_8x8_256_raw"),
        ("huggingface:a/mnist", "short_side", "jpeg", "huggingface_a_mnist_256"),
        ("folder:/data/My Pets/", "short_side", "jpeg", "my_pets_256"),
        ("list:/data/some-list.txt", "short_side", "jpeg", "some_list_256"),
        ("folder:/data/2012", "squash", "raw", "images_2012_256_squash_raw"),
    ],
)
def test_names_of_copies_are_valid_in_tfds(dataset, resize, image_format, name):
    assert resized_copy.data_set_name(dataset, 256, resize, image_format) == name


def test_rejects_a_copy_with_another_preprocessing(tmp_path, data):
    """For instance, an image that was cropped to a square cannot be squashed."""
    squash = dataclasses.replace(PREPROCESSING, resize="squash")
    names = [
        resized_copy.prepare(
            data, str(tmp_path), image_size=73, resize=resize, verbose=0
        )[0]
        for resize in ("short_side", "squash")
    ]
    assert names == ["pets_73", "pets_73_squash"]
    cut, squashed = (datasets.load(name, "train", str(tmp_path)) for name in names)
    cut.check_fits(PREPROCESSING)
    squashed.check_fits(squash)
    cut.check_fits(dataclasses.replace(PREPROCESSING, image_size=64))
    with pytest.raises(ValueError, match="with resize=squash.*pets_73.*short_side"):
        cut.check_fits(squash)
    with pytest.raises(ValueError, match="with resize=short_side.*73_squash.*=squash"):
        squashed.subsample(9).check_fits(PREPROCESSING)
    with pytest.raises(ValueError, match="of 80 pixels.*prepared for 73"):
        cut.check_fits(dataclasses.replace(PREPROCESSING, image_size=80))
    with pytest.raises(ValueError, match="which was prepared"):
        tiny = presets.override(presets.get("tiny"), batch_size=4)
        loop.train(tiny, squashed, squashed, str(tmp_path))
    datasets.load(data, "train").check_fits(squash)


def test_raw_copies_are_bit_exact(tmp_path, data):
    """Training images, statistics and the images that TFDS decodes are compared."""
    name, complete = prepare(data, tmp_path / "out")
    assert (name, complete) == ("pets_73_raw", True)
    original = datasets.load(data, "train")
    copy = datasets.load(name, "train", str(tmp_path / "out"))
    assert copy.classes == original.classes and copy.num_examples == 22
    decoded = tfds.load(name, split="train", data_dir=str(tmp_path / "out"))
    for examples in zip(original.examples(), copy.examples(), decoded, strict=True):
        assert len({int(example["label"]) for example in examples}) == 1
        original_image, copied_image, decoded_image = (
            example["image"] for example in examples
        )
        expected = preprocess.center_square(original_image, PREPROCESSING)
        np.testing.assert_array_equal(decoded_image, expected)
        for seed in range(2):
            expected, actual = (
                preprocess.training_image(
                    image, tf.constant([0, seed]), PREPROCESSING,
                    pixel_statistics.imagenet(PREPROCESSING),
                )
                for image in (original_image, copied_image)
            )
            np.testing.assert_array_equal(actual, expected)
    expected, actual = (
        pixel_statistics.compute(source, PREPROCESSING, verbose=0)
        for source in (original, copy)
    )
    np.testing.assert_array_equal(actual.mean_image, expected.mean_image)
    np.testing.assert_array_equal(actual.covariance, expected.covariance)
    batches = input_pipeline.training_batches(
        copy, PREPROCESSING, actual, batch_size=11, seed=0, epoch=0, steps=2
    )
    assert [images.shape for images, _ in batches] == [(11, 64, 64, 3)] * 2


@pytest.mark.large
def test_higher_jpeg_quality_gives_smaller_errors(tmp_path, data):
    def mean_error(quality):
        output_dir = tmp_path / str(quality)
        name, _ = prepare(data, output_dir, image_format="jpeg", quality=quality)
        pairs = zip(
            datasets.load(data, "train").examples(),
            datasets.load(name, "train", str(output_dir)).examples(),
        )
        errors = []
        for original, copy in pairs:
            square = preprocess.center_square(original["image"], PREPROCESSING)
            decoded = tf.io.decode_jpeg(copy["image"])
            errors.append(np.abs(square.numpy().astype(int) - decoded).mean())
        return np.mean(errors)

    # The images are noise and JPEG halves the color resolution, so the error is large
    # even at quality 100. Only the order of the errors is checked.
    assert mean_error(90) < mean_error(30)


def test_workers_share_the_work(tmp_path, data):
    prepare(data, tmp_path / "one")
    complete = [
        prepare(data, tmp_path / "three", worker_index=i, num_workers=3)[1]
        for i in (2, 0, 1)
    ]
    assert complete == [False, False, True]
    assert records(tmp_path / "three") == records(tmp_path / "one")
    assert len(records(tmp_path / "one")) == 6


def test_writes_only_missing_files(tmp_path, data):
    """A record file that is missing is written, and the others are not touched."""
    out = tmp_path / "out"
    prepare(data, out)
    before = records(out)
    next(out.rglob("*-00002-of-*")).unlink()
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.tfrecord-*")}
    prepare(data, out)
    assert records(out) == before
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_continues_a_copy_that_version_0_1_has_begun(tmp_path, data):
    """Version 0.1 wrote two settings to prepare.json under other names."""
    out = tmp_path / "out"
    prepare(data, out)
    before = records(out)
    next(out.rglob("*-00002-of-*")).unlink()
    path = next(out.rglob("prepare.json"))
    settings = json.loads(path.read_text())
    renamed = {
        "form": settings.pop("image_format"),
        "pictures_per_shard": settings.pop("images_per_shard"),  # word: kept
    }
    path.write_text(json.dumps(renamed | settings))
    with pytest.raises(ValueError, match="images_per_shard=4. Received: .*=5. Give"):
        prepare(data, out, images_per_shard=5)
    assert prepare(data, out) == ("pets_73_raw", True)
    assert records(out) == before


def test_parts_of_a_split_keep_the_order_of_the_split(tmp_path):
    """The split has two record files, which TFDS interleaves by default."""
    name, _ = prepare(
        write_image_folder(tmp_path / "pets", classes=2, count=20),
        tmp_path, images_per_shard=20,
    )  # fmt: skip
    split_names, *part_names = (
        [
            example["name"].numpy()
            for example in datasets.load(name, split, str(tmp_path)).examples()
        ]
        for split in ("train", "train[:7]", "train[7:25]", "train[25:]")
    )
    assert sum(part_names, []) == split_names
    assert split_names == sorted(split_names, key=_position)


def test_writes_the_missing_file_of_a_copy_of_a_copy(tmp_path):
    name, _ = prepare(
        write_image_folder(tmp_path / "pets", classes=2, count=20),
        tmp_path, images_per_shard=20,
    )  # fmt: skip
    out, args = tmp_path / "out", dict(images_per_shard=10, data_dir=tmp_path)
    prepare(name, out, **args)
    before = records(out)
    next(out.rglob("*-00001-of-*")).unlink()
    prepare(name, out, **args)
    assert records(out) == before and len(before) == 4


def _position(name):
    """Returns (file name, index of the record) from TFDS's name of an example."""
    file_name, _, index = name.decode().rpartition("__")
    return file_name, int(index)


def test_rejects_other_settings_for_a_copy_that_was_begun(tmp_path, data):
    prepare(data, tmp_path / "out", image_format="jpeg")
    with pytest.raises(ValueError, match="quality=95. Received: quality=90. Give"):
        prepare(data, tmp_path / "out", image_format="jpeg", quality=90)


def test_a_bad_image_is_named_and_only_complete_files_are_left(tmp_path, data):
    folder = tmp_path / "pets"
    bad = folder / "class1" / "3.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"Received: {bad} of"):
        prepare(data, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert not list((tmp_path / "out").rglob("dataset_info.json"))
    # Files have 4 examples, except for the last one, which was not written.
    for path in (tmp_path / "out").rglob("*.tfrecord-*"):
        count = sum(1 for _ in tf.data.TFRecordDataset(str(path)))
        assert count == 4


@pytest.mark.parametrize("name", ["two\nlines", "space "])
def test_rejects_class_names_that_tfds_would_change(tmp_path, name):
    data = write_image_folder(tmp_path / "pets", count=1)
    (tmp_path / "pets/class1").rename(tmp_path / "pets" / name)
    with pytest.raises(ValueError, match=re.escape(f"Received: {name!r}. Rename")):
        prepare(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_in_the_data_never_become_paths(tmp_path):
    """No path that is written contains the name of a class or of an image."""
    data = write_image_folder(tmp_path / "in/pets", count=2)
    (tmp_path / "in/pets/class1").rename(tmp_path / "in/pets/$HOME;..\\%2e%2e")
    for image in list(tmp_path.rglob("0.jpg")):
        image.rename(image.with_name("..\\..\\-rf $(touch x)\n.jpg"))
    before = set(tmp_path.rglob("*"))
    name, _ = prepare(data, tmp_path / "out")
    new = set(tmp_path.rglob("*")) - before - {tmp_path / "out"}
    copy_dir = tmp_path / "out" / name
    assert new and all(copy_dir in {path, *path.parents} for path in new)
    copy = datasets.load(name, "train", str(tmp_path / "out"))
    assert sorted(copy.classes) == ["$HOME;..\\%2e%2e", "class0"]


class AlexnetTfTestOnly(tfds.core.GeneratorBasedBuilder):
    """A data set without a training split."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["a"]),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"test": [(0, {"image": np.zeros((5, 6, 3), np.uint8), "label": 0})]}

    def _generate_examples(self):
        pass


def test_copies_a_data_set_without_a_training_split(tmp_path):
    """Without a training split, no pixel statistics are stored."""
    name, complete = prepare("alexnet_tf_test_only", tmp_path, data_dir=str(tmp_path))
    assert (name, complete) == ("alexnet_tf_test_only_73_raw", True)
    assert datasets.load(name, None, str(tmp_path)).num_examples == 1
    assert not list(tmp_path.rglob("alexnet_tf_statistics_*"))


def test_training_on_a_copy_without_a_split_to_evaluate_on_uses_80_percent(tmp_path):
    """The parts are those of the original folder."""
    original = write_image_folder(tmp_path / "pets", classes=2, count=5)
    name, _ = prepare(original, tmp_path / "copies")
    data_dir = str(tmp_path / "copies")
    splits = datasets.training_splits(name, data_dir=data_dir)
    assert splits == ("train[:80%]", "train[80%:]")
    assert splits == datasets.training_splits(original)
    for split, count in zip(splits, (8, 2)):
        labels, original_labels = (
            [int(example["label"]) for example in source.examples()]
            for source in (
                datasets.load(name, split, data_dir), datasets.load(original, split)
            )
        )
        assert labels == original_labels and len(labels) == count
    given = datasets.training_splits(name, "train", None, data_dir)
    assert given == ("train", None)


def test_rejects_a_negative_worker_index(tmp_path, data):
    with pytest.raises(ValueError, match="non-negative worker_index below num_workers"):
        prepare(data, tmp_path / "out", worker_index=-1)


def test_reports_a_full_disk(tmp_path, data, monkeypatch):
    class FullDiskWriter(tf.io.TFRecordWriter):
        def write(self, record):
            raise tf.errors.ResourceExhaustedError(None, None, "No space left")

    monkeypatch.setattr(tf.io, "TFRecordWriter", FullDiskWriter)
    with pytest.raises(OSError, match="Could not write .*tfrecord.*No space left"):
        prepare(data, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*tfrecord*"))


@pytest.mark.usefixtures("simulated_steps")
def test_trains_on_a_copy_written_by_the_command(tmp_path, data):
    args = [
        f"--dataset={data}", f"--output_dir={tmp_path / 'out'}", "--format=raw",
        "--image_size=73", "--images_per_shard=10",
    ]  # fmt: skip
    code, out, err = command("prepare", *args, "--num_workers=2")
    assert code == 0, err
    assert out == (
        f"This worker has written its files to {tmp_path / 'out'}. The files of other "
        "workers are still missing.\n"
    )
    code, out, err = command("prepare", *args, "--num_workers=2", "--worker_index=1")
    assert code == 0, err
    data_flags = f"--dataset=pets_73_raw --data_dir={tmp_path / 'out'}"
    assert out == f"python -m alexnet_tf.train {data_flags}\n"
    assert len(list((tmp_path / "out").rglob("alexnet_tf_statistics_*"))) == 1
    code, _, err = command(
        "train", *data_flags.split(), "--preset=tiny", "--epochs=1",
        "--eval_split=train", f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert code == 0, err


def test_the_command_rejects_other_workers_and_settings(tmp_path, data):
    args = [
        f"--dataset={data}", f"--output_dir={tmp_path / 'out'}", "--format=raw",
        "--image_size=73", "--images_per_shard=10",
    ]  # fmt: skip
    assert command("prepare", *args)[0] == 0
    code, _, err = command("prepare", *args, "--num_workers=2", "--worker_index=2")
    assert code == 1 and "worker_index below num_workers=2" in err
    code, _, err = command("prepare", *args, "--image_size=64")
    assert code == 0, err
    code, _, err = command("prepare", *args, "--images_per_shard=9")
    assert code == 1 and "settings of the copy" in err


def test_copies_only_the_given_splits(tmp_path):
    """Kaggle's folders have images without classes beside those for training."""
    data = write_image_folder(tmp_path / "pets" / "train", classes=2, count=2)
    data = data.removesuffix("/train")
    (tmp_path / "pets" / "test").mkdir()
    (tmp_path / "pets" / "test" / "1.jpg").touch()
    with pytest.raises(ValueError, match="The split 'test' cannot .* as train. Exp"):
        prepare(data, tmp_path / "out")
    with pytest.raises(ValueError, match="^Expected the class folders of the training"):
        prepare(data, tmp_path / "out", splits=["test"])
    with pytest.raises(ValueError, match="Expected splits .* train. Received: .*'tra'"):
        prepare(data, tmp_path / "out", splits=["tra"])
    code, out, err = command(
        "prepare", f"--dataset={data}", f"--output_dir={tmp_path / 'my out'}",
        "--splits=train", "--image_size=73", "--format=raw",
    )  # fmt: skip
    assert code == 0, err
    assert out.endswith(f"--dataset=pets_73_raw '--data_dir={tmp_path / 'my out'}'\n")
    copy = str(tmp_path / "my out")
    assert datasets.split_names("pets_73_raw", copy) == ["train"]
    assert datasets.load("pets_73_raw", "train", copy).num_examples == 4
