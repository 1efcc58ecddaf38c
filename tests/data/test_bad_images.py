"""Training with every kind of damage among the images."""

import dataclasses
import os
import re
import resource

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import datasets
from alexnet_tf.data import decode
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf import presets
from alexnet_tf.workdir import read_metrics
from helpers.commands import command
from helpers import damages

PIXELS = presets.Preprocessing(image_size=64, crop_size=56)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes: each good kind thrice in either, each bad one once, and links."""
    root = tmp_path_factory.mktemp("images with spaces, ünd Größe, 写真")
    for label in ("a class", "Äther"):
        (root / label).mkdir()
        for name, content in damages.good().items():
            for copy in range(3):
                (root / label / f"{name} {copy} 日本.JPEG").write_bytes(content)
    for name, content in damages.bad().items():
        (root / "Äther" / f"{name}.JPEG").write_bytes(content)
    (root / "Äther" / "loop.jpg").symlink_to("loop.jpg")
    (root / "Äther" / "nowhere.jpg").symlink_to("gone.jpg")
    return root


GOOD = 2 * 3 * len(damages.good())
BAD = len(damages.bad()) + 2


@pytest.mark.parametrize("kind", damages.good())
def test_good_kinds_are_read(kind):
    encoded = damages.good()[kind]
    assert decode.readable(encoded).numpy() == encoded


@pytest.mark.parametrize("kind", damages.bad())
def test_bad_kinds_are_not(kind):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode.readable(damages.bad()[kind])


def test_bad_images_are_replaced_where_they_stand(folder):
    source = datasets.load(f"folder:{folder}", "train")
    mended = source.allow_bad_images()
    assert source.num_examples == mended.num_examples == GOOD + BAD
    places = [e["name"].numpy() for e in source.read(3)]
    found = list(mended.examples(3).as_numpy_iterator())
    names = [example["name"] for example in found]
    bad = {os.path.basename(place.decode()) for place, name in zip(places, names)
           if name != place}  # fmt: skip
    assert bad == {f"{name}.JPEG" for name in damages.bad()} | {
        "loop.jpg", "nowhere.jpg"
    }
    for example in found:
        assert (example["label"] == -1) == (example["name"] == b"bad")


def test_labels_of_no_class_are_bad(make_source):
    source = make_source(6, classes=4)  # Labels 0 1 2 3 0 1.
    fewer = dataclasses.replace(source, classes=("0", "1", "2"))
    labels = [int(e["label"]) for e in fewer.allow_bad_images().examples()]
    assert labels == [0, 1, 2, -1, 0, 1]


def test_statistics_leave_bad_images_out(folder, make_source):
    source = datasets.load(f"folder:{folder}", "train")
    found = pixel_statistics.compute(source.allow_bad_images(), PIXELS, verbose=0)
    squares = [
        preprocess.center_square(content, PIXELS).numpy().astype(np.float64)
        for content in damages.good().values()
    ]
    np.testing.assert_allclose(found.mean_image, np.mean(squares, axis=0), rtol=1e-6)


def train(folder, tmp_path, *flags):
    return command(
        "train", f"--dataset=folder:{folder}", "--eval_split=train", "--preset=tiny",
        "--epochs=2", "--batch_size=10", f"--workdir={tmp_path}/run", *flags,
    )  # fmt: skip


def test_by_default_the_first_bad_one_is_named(folder, tmp_path):
    code, _, err = train(folder, tmp_path)
    assert code == 1
    assert re.search("Expected (a JPEG, PNG, BMP or GIF image|to read)", err)
    assert "Äther" in err


def test_skipping_trains_on_and_counts(folder, tmp_path):
    code, out, err = train(folder, tmp_path, "--on_bad_image=skip")
    assert code == 0, err
    lines = read_metrics(str(tmp_path / "run"))
    evaluated = [line["bad_images"] for line in lines if line["split"] == "eval"]
    assert evaluated == [BAD, BAD]
    # All images are in full batches but for fewer than ten.
    for line in lines:
        assert BAD - 10 < line["bad_images"] <= BAD


def test_too_many_bad_ones_end_it(folder, tmp_path):
    code, _, err = train(
        folder, tmp_path, "--on_bad_image=skip", "--max_bad_images=9"
    )
    assert code == 1 and "Expected at most 9 bad images" in err


def test_a_data_set_of_bad_ones_alone_is_refused(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    for i in range(3):
        (tmp_path / "images" / "a" / f"{i}.jpg").write_bytes(b"no image")
    source = datasets.load(f"folder:{tmp_path}/images", "train").allow_bad_images()
    with pytest.raises(ValueError, match="Expected at least one readable image in folder:"):
        pixel_statistics.compute(source, PIXELS, verbose=0)


@pytest.mark.large
def test_ten_thousand_images_take_no_more_memory(tmp_path):
    """The decoded huge ones alone would be 2.7 GB each."""
    kinds = list((damages.good() | damages.bad()).items())
    (tmp_path / "images" / "a").mkdir(parents=True)
    for i in range(10_000):
        name, content = kinds[i % len(kinds)]
        (tmp_path / "images" / "a" / f"{i} {name}.JPEG").write_bytes(content)
    source = datasets.load(f"folder:{tmp_path}/images", "train").allow_bad_images()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    labels = [int(e["label"]) for e in source.examples()]
    bad = sum(kinds[i % len(kinds)][0] in damages.bad() for i in range(10_000))
    assert labels.count(-1) == bad and len(labels) == 10_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 500_000  # KB
