"""Training and pixel statistics of data with unreadable images."""

import dataclasses
import os
import re
import resource

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import bad_images
from alexnet_tf.data import datasets
from alexnet_tf.data import decode
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf import presets
from alexnet_tf.workdir import read_metrics
from helpers.commands import command
from helpers import damages
from helpers.images import source_with_bad_third

pytestmark = [
    pytest.mark.all_formats, pytest.mark.usefixtures("figures_as_text")
]

PREPROCESSING = presets.Preprocessing(image_size=64, crop_size=56)


@pytest.fixture(scope="module")
def damaged_folder(tmp_path_factory):
    """A folder of two classes, with all kinds of bad files in the second class.

    Each class has three files of each good kind.
    """
    root = tmp_path_factory.mktemp("images with spaces, ünd Größe, 写真")
    for class_name in ("a class", "Äther"):
        (root / class_name).mkdir()
        for name, content in damages.good().items():
            for copy in range(3):
                (root / class_name / f"{name} {copy} 日本.JPEG").write_bytes(content)
    for name, content in damages.bad().items():
        (root / "Äther" / f"{name}.JPEG").write_bytes(content)
    (root / "Äther" / "loop.jpg").symlink_to("loop.jpg")
    (root / "Äther" / "nowhere.jpg").symlink_to("gone.jpg")
    return root


NUM_GOOD = 2 * 3 * len(damages.good())
NUM_BAD = len(damages.bad()) + 2  # The two links can't be read either.


@pytest.mark.parametrize("kind", damages.good())
def test_reads_unusual_images(kind):
    encoded = damages.good()[kind]
    assert decode.ensure_readable(encoded).numpy() == encoded


@pytest.mark.parametrize("kind", damages.bad())
def test_rejects_unreadable_images(kind):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode.ensure_readable(damages.bad()[kind])


def test_allow_bad_images_replaces_them_at_their_positions(damaged_folder):
    source = datasets.load(f"folder:{damaged_folder}", "train")
    tolerant = source.allow_bad_images()
    assert source.num_examples == tolerant.num_examples == NUM_GOOD + NUM_BAD
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
    source = make_source(6, classes=4)  # The labels are 0, 1, 2, 3, 0, 1.
    three_classes = dataclasses.replace(source, classes=("0", "1", "2"))
    examples = three_classes.allow_bad_images().examples()
    labels = [int(example["label"]) for example in examples]
    assert labels == [0, 1, 2, -1, 0, 1]


def test_a_wrong_count_is_not_blamed_on_an_allowed_bad_image(make_source):
    source = source_with_bad_third(make_source, image=b"no image").allow_bad_images()
    miscounted = dataclasses.replace(source, num_examples=7)
    with pytest.raises(ValueError, match="Expected 7 images.*Received: only 6"):
        with bad_images.diagnosing(miscounted, lambda: (0, -1)):
            list(miscounted.examples())


def test_statistics_skip_bad_images(damaged_folder):
    source = datasets.load(f"folder:{damaged_folder}", "train").allow_bad_images()
    statistics = pixel_statistics.compute(source, PREPROCESSING, verbose=0)
    squares = [
        preprocess.center_square(content, PREPROCESSING).numpy().astype(np.float64)
        for content in damages.good().values()
    ]
    mean_image = np.mean(squares, axis=0)
    np.testing.assert_allclose(statistics.mean_image, mean_image, rtol=1e-6)


def train(folder, tmp_path, *flags):
    """Returns (exit status, stdout, stderr) of an epoch of training on a folder."""
    return command(
        "train", f"--dataset=folder:{folder}", "--eval_split=train", "--preset=tiny",
        "--ablate=norm,conv2,conv3,conv4,conv5", "--epochs=1", "--batch_size=10",
        f"--workdir={tmp_path}/run", *flags,
    )  # fmt: skip


def test_training_names_the_first_bad_image(damaged_folder, tmp_path):
    code, _, err = train(damaged_folder, tmp_path)
    assert code == 1
    assert re.search("(Expected a JPEG, .* or WebP image|could not be read)", err)
    assert "Äther" in err


@pytest.mark.large
def test_training_skips_and_counts_bad_images(damaged_folder, tmp_path):
    code, out, err = train(damaged_folder, tmp_path, "--on_bad_image=skip")
    assert code == 0, err
    lines = read_metrics(str(tmp_path / "run"))
    evaluated = [line["bad_images"] for line in lines if line["split"] == "eval"]
    assert evaluated == [NUM_BAD]
    # Training skips the last images of an epoch if they do not fill a batch of ten.
    for line in lines:
        assert NUM_BAD - 10 < line["bad_images"] <= NUM_BAD


@pytest.mark.large
def test_too_many_bad_images_stop_training(damaged_folder, tmp_path):
    code, _, err = train(
        damaged_folder, tmp_path, "--on_bad_image=skip", "--max_bad_images=9"
    )
    assert code == 1 and "Expected at most 9 unreadable images" in err


def test_rejects_a_data_set_without_readable_images(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    for index in range(3):
        (tmp_path / "images" / "a" / f"{index}.jpg").write_bytes(b"no image")
    source = datasets.load(f"folder:{tmp_path}/images", "train").allow_bad_images()
    message = "Expected at least one readable image in folder:"
    with pytest.raises(ValueError, match=message):
        pixel_statistics.compute(source, PREPROCESSING, verbose=0)


@pytest.mark.parametrize(
    "content, problem",
    [
        (
            damages.bad()["compressed bmp"],
            "The BMP has RLE8 compression, which cannot be read. Convert it to PNG. "
            "Repair",
        ),
        (damages.bad()["gif without an image"], "The GIF has no image. Repair"),
        (b"", "Input is empty. Repair the image"),
        (b"no image", "Unknown image file format. Repair the image"),
    ],
)  # fmt: skip
def test_says_what_is_wrong_with_an_image(make_source, content, problem):
    source = source_with_bad_third(make_source, image=content)
    error = bad_images.find_bad_image(source, source.examples())
    assert f"images 2 of images, split train ({len(content)} bytes): {problem}" in str(
        error
    )


@pytest.mark.large
def test_memory_stays_bounded_for_ten_thousand_images(tmp_path):
    """Memory does not grow by 500 MB while all kinds of files are read.

    An image of 30,000 x 30,000 pixels would take 2.7 GB if it were decoded.
    """
    bad = damages.bad()
    kinds = list((damages.good() | bad).items())
    (tmp_path / "images" / "a").mkdir(parents=True)
    num_bad = 0
    for index in range(10_000):
        name, content = kinds[index % len(kinds)]
        num_bad += name in bad
        (tmp_path / "images" / "a" / f"{index} {name}.JPEG").write_bytes(content)
    source = datasets.load(f"folder:{tmp_path}/images", "train").allow_bad_images()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    labels = [int(example["label"]) for example in source.examples()]
    assert labels.count(-1) == num_bad and len(labels) == 10_000
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert growth < 500_000  # In KB.
