"""Training and statistics with all kinds of unreadable images."""

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

PREPROCESSING = presets.Preprocessing(image_size=64, crop_size=56)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes with three files of each good kind, one also with all bad files."""
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
def test_reads_unusual_images(kind):
    encoded = damages.good()[kind]
    assert decode.readable(encoded).numpy() == encoded


@pytest.mark.parametrize("kind", damages.bad())
def test_rejects_unreadable_images(kind):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode.readable(damages.bad()[kind])


def test_allow_bad_images_replaces_them_in_place(folder):
    source = datasets.load(f"folder:{folder}", "train")
    tolerant = source.allow_bad_images()
    assert source.num_examples == tolerant.num_examples == GOOD + BAD
    paths = [element["name"].numpy() for element in source.read(3)]
    examples = list(tolerant.examples(3).as_numpy_iterator())
    replaced = {
        os.path.basename(path.decode())
        for path, example in zip(paths, examples)
        if example["name"] != path
    }
    assert replaced == {f"{name}.JPEG" for name in damages.bad()} | {
        "loop.jpg", "nowhere.jpg"
    }
    for example in examples:
        assert (example["label"] == -1) == (example["name"] == b"bad")


def test_allow_bad_images_replaces_images_with_invalid_labels(make_source):
    source = make_source(6, classes=4)  # Labels 0 1 2 3 0 1.
    three_classes = dataclasses.replace(source, classes=("0", "1", "2"))
    labels = [int(e["label"]) for e in three_classes.allow_bad_images().examples()]
    assert labels == [0, 1, 2, -1, 0, 1]


def test_statistics_skip_bad_images(folder):
    source = datasets.load(f"folder:{folder}", "train").allow_bad_images()
    statistics = pixel_statistics.compute(source, PREPROCESSING, verbose=0)
    squares = [
        preprocess.center_square(content, PREPROCESSING).numpy().astype(np.float64)
        for content in damages.good().values()
    ]
    mean_image = np.mean(squares, axis=0)
    np.testing.assert_allclose(statistics.mean_image, mean_image, rtol=1e-6)


def train(folder, tmp_path, *flags):
    return command(
        "train", f"--dataset=folder:{folder}", "--eval_split=train", "--preset=tiny",
        "--epochs=2", "--batch_size=10", f"--workdir={tmp_path}/run", *flags,
    )  # fmt: skip


def test_training_names_the_first_bad_image(folder, tmp_path):
    code, _, err = train(folder, tmp_path)
    assert code == 1
    assert re.search("(Expected a JPEG, PNG, BMP or GIF image|could not be read)", err)
    assert "Äther" in err


def test_training_skips_and_counts_bad_images(folder, tmp_path):
    code, out, err = train(folder, tmp_path, "--on_bad_image=skip")
    assert code == 0, err
    lines = read_metrics(str(tmp_path / "run"))
    evaluated = [line["bad_images"] for line in lines if line["split"] == "eval"]
    assert evaluated == [BAD, BAD]
    # Fewer than ten images, the last ones of an epoch, are not in a full batch.
    for line in lines:
        assert BAD - 10 < line["bad_images"] <= BAD


def test_too_many_bad_images_stop_training(folder, tmp_path):
    code, _, err = train(
        folder, tmp_path, "--on_bad_image=skip", "--max_bad_images=9"
    )
    assert code == 1 and "Expected at most 9 unreadable images" in err


def test_rejects_a_data_set_without_readable_images(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    for i in range(3):
        (tmp_path / "images" / "a" / f"{i}.jpg").write_bytes(b"no image")
    source = datasets.load(f"folder:{tmp_path}/images", "train").allow_bad_images()
    message = "Expected at least one readable image in folder:"
    with pytest.raises(ValueError, match=message):
        pixel_statistics.compute(source, PREPROCESSING, verbose=0)


@pytest.mark.large
def test_ten_thousand_images_take_no_more_memory(tmp_path):
    """Each of the images of 30,000 x 30,000 pixels would take 2.7 GB if decoded."""
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
