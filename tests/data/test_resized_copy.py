"""A data set resized once: what training makes of it, and faults on the way."""

import dataclasses
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

PIXELS = presets.get("tiny").preprocessing


@pytest.fixture
def data(tmp_path):
    """A folder of 2 x 11 images of 80 x 80 pixels."""
    return write_image_folder(tmp_path / "pets", classes=2, count=11)


def prepare(data, out, **values):
    args = dict(form="raw", images_per_shard=4, verbose=0)
    return resized_copy.prepare(data, str(out), PIXELS, **args | values)


def records(out):
    return {file.name: file.read_bytes() for file in out.rglob("*.tfrecord-*")}


@pytest.mark.parametrize(
    "dataset, resize, form, name",
    [
        ("imagenet2012", "short_side", "jpeg", "imagenet2012_256"),
        ("imagenet2012", "squash", "jpeg", "imagenet2012_256_squash"),
        ("cifar10:3.0.2", "short_side", "raw", "cifar10_256_raw"),
        ("folder:/data/My Pets/", "short_side", "jpeg", "my_pets_256"),
        ("list:/data/some-list.txt", "short_side", "jpeg", "some_list_256"),
        ("folder:/data/2012", "squash", "raw", "images_2012_256_squash_raw"),
    ],
)
def test_names_are_tfds_s(dataset, resize, form, name):
    assert resized_copy.data_set_name(dataset, 256, resize, form) == name


def test_what_was_prepared_otherwise_is_refused(tmp_path, data):
    """Squares that were cut out can't be squashed any more."""
    squash = dataclasses.replace(PIXELS, resize="squash")
    names = [
        resized_copy.prepare(data, str(tmp_path), pixels, verbose=0)[0]
        for pixels in (PIXELS, squash)
    ]
    assert names == ["pets_73", "pets_73_squash"]
    cut, squashed = (datasets.load(name, "train", str(tmp_path)) for name in names)
    cut.check_fits(PIXELS), squashed.check_fits(squash)
    cut.check_fits(dataclasses.replace(PIXELS, image_size=64))
    with pytest.raises(ValueError, match="by resize=squash.*pets_73.*short_side"):
        cut.check_fits(squash)
    with pytest.raises(ValueError, match="by resize=short_side.*73_squash.*=squash"):
        squashed.subsample(9).check_fits(PIXELS)
    with pytest.raises(ValueError, match="of 80 pixels.*prepared for 73"):
        cut.check_fits(dataclasses.replace(PIXELS, image_size=80))
    with pytest.raises(ValueError, match="which was prepared"):
        tiny = presets.override(presets.get("tiny"), batch_size=4)
        loop.train(tiny, squashed, squashed, str(tmp_path))
    datasets.load(data, "train").check_fits(squash)


def test_raw_images_give_the_same_bits(tmp_path, data):
    """Views in training, statistics, and what TFDS decodes by itself."""
    name, whole = prepare(data, tmp_path / "out")
    assert (name, whole) == ("pets_73_raw", True)
    before = datasets.load(data, "train")
    after = datasets.load(name, "train", str(tmp_path / "out"))
    assert after.classes == before.classes and after.num_examples == 22
    squares = tfds.load(name, split="train", data_dir=str(tmp_path / "out"))
    originals = [e for e in before.examples()]
    for one, other, square in zip(originals, after.examples(), squares, strict=True):
        labels = {int(each["label"]) for each in (one, other, square)}
        assert len(labels) == 1
        wanted = preprocess.center_square(one["image"], PIXELS)
        np.testing.assert_array_equal(square["image"], wanted)
        for seed in range(4):
            found, wanted = (
                preprocess.training_image(
                    e["image"], tf.constant([0, seed]), PIXELS,
                    pixel_statistics.imagenet(PIXELS),
                )
                for e in (other, one)
            )
            np.testing.assert_array_equal(found, wanted)
    one, other = (pixel_statistics.compute(s, PIXELS, verbose=0) for s in (before, after))
    np.testing.assert_array_equal(one.mean_image, other.mean_image)
    np.testing.assert_array_equal(one.covariance, other.covariance)
    batches = input_pipeline.training_batches(
        after, PIXELS, one, batch_size=11, seed=0, epoch=0, steps=2
    )
    assert [images.shape for images, _ in batches] == [(11, 64, 64, 3)] * 2


def test_jpeg_images_are_near(tmp_path, data):
    def distance(quality):
        out = tmp_path / str(quality)
        name, _ = prepare(data, out, form="jpeg", quality=quality)
        pairs = zip(
            datasets.load(data, "train").examples(),
            datasets.load(name, "train", str(out)).examples(),
        )
        return np.mean(
            [
                np.abs(
                    preprocess.center_square(one["image"], PIXELS).numpy().astype(int)
                    - tf.io.decode_jpeg(other["image"])
                ).mean()
                for one, other in pairs
            ]
        )

    # Of noise, whose colors JPEG halves.
    assert distance(100) < distance(90) < distance(30)


def test_machines_share_the_work(tmp_path, data):
    prepare(data, tmp_path / "one")
    wholes = [
        prepare(data, tmp_path / "three", worker_index=i, num_workers=3)[1]
        for i in (2, 0, 1)
    ]
    assert wholes == [False, False, True]
    assert records(tmp_path / "three") == records(tmp_path / "one")
    assert len(records(tmp_path / "one")) == 6


def test_what_is_written_is_not_written_again(tmp_path, data):
    """A file of records that is missing in the middle is made; others stay."""
    out = tmp_path / "out"
    prepare(data, out)
    before = records(out)
    lost = next(out.rglob("*-00002-of-*"))
    lost.unlink()
    times = {file: file.stat().st_mtime_ns for file in out.rglob("*.tfrecord-*")}
    prepare(data, out)
    assert records(out) == before
    assert times == {file: file.stat().st_mtime_ns for file in times}


def test_a_part_is_what_it_is_in_the_whole(tmp_path):
    """Of a data set in several files, which TFDS reads 16 images at a time."""
    name, _ = prepare(
        write_image_folder(tmp_path / "pets", classes=2, count=20),
        tmp_path, images_per_shard=20,
    )  # fmt: skip
    whole, *parts = (
        [
            example["name"].numpy()
            for example in datasets.load(name, split, str(tmp_path)).examples()
        ]
        for split in ("train", "train[:7]", "train[7:25]", "train[25:]")
    )
    assert sum(parts, []) == whole == sorted(whole, key=_place)
    out, args = tmp_path / "out", dict(images_per_shard=10, data_dir=tmp_path)
    prepare(name, out, **args)
    before = records(out)
    next(out.rglob("*-00001-of-*")).unlink()
    prepare(name, out, **args)
    assert records(out) == before and len(before) == 4


def _place(name):
    """(file, record) of what TFDS calls an image."""
    file, _, record = name.decode().rpartition("__")
    return file, int(record)


def test_other_settings_are_refused(tmp_path, data):
    prepare(data, tmp_path / "out", form="jpeg")
    with pytest.raises(ValueError, match="quality=95. Received: quality=90. Give"):
        prepare(data, tmp_path / "out", form="jpeg", quality=90)


def test_a_bad_image_is_named_and_leaves_whole_files(tmp_path, data):
    folder = tmp_path / "pets"
    bad = folder / "class1" / "3.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"Received: {bad} of"):
        prepare(data, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert not list((tmp_path / "out").rglob("dataset_info.json"))
    # Once it is mended, the rest is made; its size tells a folder's images.
    for file in (tmp_path / "out").rglob("*.tfrecord-*"):
        count = sum(1 for _ in tf.data.TFRecordDataset(str(file)))
        assert count == 4


@pytest.mark.parametrize("name", ["two\nlines", "space "])
def test_class_names_that_tfds_would_change_are_refused(tmp_path, name):
    data = write_image_folder(tmp_path / "pets", count=1)
    (tmp_path / "pets/class1").rename(tmp_path / "pets" / name)
    with pytest.raises(ValueError, match=re.escape(f"Received: {name!r}. Rename")):
        prepare(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_in_the_data_lead_nowhere_else(tmp_path):
    """Of classes and images; they are never parts of a path written to."""
    data = write_image_folder(tmp_path / "in/pets", count=2)
    (tmp_path / "in/pets/class1").rename(tmp_path / "in/pets/$HOME;..\\%2e%2e")
    for image in list(tmp_path.rglob("0.jpg")):
        image.rename(image.with_name("..\\..\\-rf $(touch x)\n.jpg"))
    before = set(tmp_path.rglob("*"))
    name, _ = prepare(data, tmp_path / "out")
    new = set(tmp_path.rglob("*")) - before - {tmp_path / "out"}
    assert new and all((tmp_path / "out" / name) in {p, *p.parents} for p in new)
    kept = datasets.load(name, "train", str(tmp_path / "out"))
    assert sorted(kept.classes) == ["$HOME;..\\%2e%2e", "class0"]


def test_a_full_disk_is_said(tmp_path, data, monkeypatch):
    class Full(tf.io.TFRecordWriter):
        def write(self, record):
            raise tf.errors.ResourceExhaustedError(None, None, "No space left")

    monkeypatch.setattr(tf.io, "TFRecordWriter", Full)
    with pytest.raises(OSError, match="Expected to write .*tfrecord.*No space left"):
        prepare(data, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*tfrecord*"))


def test_the_command_writes_what_training_reads(tmp_path, data):
    args = [
        f"--dataset={data}", f"--out={tmp_path / 'out'}", "--format=raw",
        "--image_size=73", "--images_per_shard=10",
    ]  # fmt: skip
    code, out, err = command("prepare", *args, "--num_workers=2")
    assert code == 0, err
    assert out == "Written; the files of other machines are still to come.\n"
    code, out, err = command("prepare", *args, "--num_workers=2", "--worker_index=1")
    assert code == 0, err
    wanted = f"--dataset=pets_73_raw --data_dir={tmp_path / 'out'}"
    assert out == f"python -m alexnet_tf.train {wanted}\n"
    assert len(list((tmp_path / "out").rglob("alexnet_tf_statistics_*"))) == 1
    code, _, err = command(
        "train", *wanted.split(), "--preset=tiny", "--epochs=1",
        "--eval_split=train", f"--workdir={tmp_path / 'run'}",
    )  # fmt: skip
    assert code == 0, err
    code, _, err = command("prepare", *args, "--num_workers=2", "--worker_index=2")
    assert code == 1 and "worker_index below num_workers=2" in err
    code, _, err = command("prepare", *args, "--image_size=64")
    assert code == 0, err
    code, _, err = command("prepare", *args, "--images_per_shard=9")
    assert code == 1 and "begun with" in err
