"""Evaluation: crops, errors, intervals, ensembles, whole images, the command."""

import csv
import dataclasses
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf import inference
from alexnet_tf.inference import evaluation
from alexnet_tf.inference import retrieval
from alexnet_tf.models import alexnet
from alexnet_tf import presets
from helpers.commands import command
from helpers.images import source_with_bad_third
from helpers.images import write_image_folder
from helpers import networks
from helpers.networks import untrained_classifier
from helpers.simulation import simulated_runs

PREPROCESSING = presets.get("tiny").preprocessing


@pytest.mark.parametrize("protocol", evaluation.PROTOCOLS)
@pytest.mark.parametrize(
    "batch_size",
    [
        4,
        pytest.param(7, marks=pytest.mark.large),
        pytest.param(20, marks=pytest.mark.large),
    ],
)
def test_evaluates_each_image_once_in_order(make_source, protocol, batch_size):
    source, classifier = make_source(11), untrained_classifier()
    probabilities, labels = evaluation.probabilities(
        classifier, source, protocol, batch_size, verbose=0
    )
    assert labels.tolist() == [*range(10), 0]
    ten_crop = protocol == "ten_crop"
    expected = [
        classifier.probabilities(example["image"].numpy(), ten_crop)
        for example in source.examples()
    ]
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_ten_crop_differs_from_the_center_crop(make_source):
    source, classifier = make_source(11), untrained_classifier()
    center, ten_crop = (
        evaluation.probabilities(classifier, source, protocol, verbose=0)[0]
        for protocol in evaluation.PROTOCOLS
    )
    assert np.abs(center - ten_crop).max() > 1e-3


def test_probabilities_are_averaged_and_not_logits(make_source):
    source, classifier = make_source(3), untrained_classifier()
    (example, *_) = source.examples()
    crops = preprocess.ten_crop(
        example["image"], classifier.preset.preprocessing, classifier.statistics
    )
    of_crops = classifier.model(crops).numpy().astype(float)
    averaged = evaluation.probabilities(classifier, source, "ten_crop", verbose=0)[0][0]
    np.testing.assert_allclose(averaged, of_crops.mean(axis=0), atol=1e-6)
    geometric = np.exp(np.log(of_crops).mean(axis=0))
    assert np.abs(averaged - geometric / geometric.sum()).max() > 1e-6


@pytest.mark.parametrize("count", [10, 12])
def test_rejects_a_source_with_a_wrong_count(make_source, count):
    source = dataclasses.replace(make_source(count), num_examples=11)
    with pytest.raises(ValueError, match="Expected 11 images"):
        evaluation.probabilities(untrained_classifier(), source, "center", 5, verbose=0)
    with pytest.raises(ValueError, match="Expected 11 images"):
        evaluation.dense_probabilities(untrained_classifier(), source, [73], verbose=0)


@pytest.mark.parametrize("protocol", ["center", "dense"])
def test_rejects_labels_that_are_not_classes(make_source, protocol):
    """Images whose class is secret have the label -1."""
    source = source_with_bad_third(make_source, label=-1)
    classifier = untrained_classifier()
    with pytest.raises(ValueError, match="label from 0 to 9.*2 of .*label is -1"):
        if protocol == "dense":
            evaluation.dense_probabilities(classifier, source, [64], verbose=0)
        else:
            evaluation.probabilities(classifier, source, protocol, verbose=0)


def test_rejects_images_that_were_resized_differently(make_source):
    classifier = untrained_classifier()
    squashed = dataclasses.replace(
        make_source(11), prepared={"image_size": 73, "resize": "squash"}
    )
    message = "which was prepared for 73 pixels with resize=squash"
    with pytest.raises(ValueError, match=message):
        evaluation.probabilities(classifier, squashed, verbose=0)
    with pytest.raises(ValueError, match="which was prepared"):
        next(retrieval.features(classifier, squashed, verbose=0))


def test_the_fingerprint_depends_on_the_statistics():
    """The covariance, too, may change the crops."""
    classifier = untrained_classifier()
    statistics = dataclasses.replace(
        classifier.statistics, covariance=2 * classifier.statistics.covariance
    )
    changed = dataclasses.replace(classifier, statistics=statistics)
    assert changed.fingerprint != classifier.fingerprint
    assert classifier.fingerprint == untrained_classifier().fingerprint


def test_class_names_match_numbers_but_not_other_names(make_source):
    numbered, source = untrained_classifier(), make_source(10)
    named = dataclasses.replace(numbered, classes=tuple("abcdefghij"))
    for classifier in (numbered, named):
        evaluation.probabilities(classifier, source, "center", verbose=0)
    other_names = dataclasses.replace(source, classes=tuple("ABCDEFGHIJ"))
    with pytest.raises(ValueError, match="such as A, B, C. Received.*a, b, c"):
        evaluation.probabilities(named, other_names)


def test_rejects_another_number_of_classes(make_source):
    with pytest.raises(ValueError, match="5 classes .* 0, 1, 2. Received.* 10 classes"):
        evaluation.probabilities(untrained_classifier(), make_source(10, classes=5))


def test_errors_of_a_small_table():
    probabilities = np.array(
        [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.2, 0.7, 0.1], [0.4, 0.4, 0.2]]
    )
    labels = np.array([0, 2, 0, 1], np.int32)
    hits = evaluation.hits(probabilities, labels, 1)
    assert hits.tolist() == [1, 0, 0, 0.5]  # Two classes tie in the last row.
    assert evaluation.hits(probabilities, labels, 2).tolist() == [1, 1, 1, 1]
    assert evaluation.per_class(probabilities, labels) == [
        (0, 2, 0.5), (1, 1, 0.5), (2, 1, 1.0),
    ]  # fmt: skip
    assert evaluation.confusions(probabilities, labels) == [
        (0, 1, 1), (1, 0, 1), (2, 1, 1),
    ]  # fmt: skip
    assert evaluation.confusions(probabilities, labels, max_pairs=1) == [(0, 1, 1)]


def test_errors_are_exact_and_described_briefly(make_source):
    """In float32, 1 - 3 / 5 is .39999998."""
    probabilities = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 2]]
    labels = np.zeros(5, np.int32)
    result = evaluation.Evaluation(make_source(1), probabilities, labels)
    assert result.error(1) == 0.4
    assert result.per_class() == [(0, 5, 0.4)]
    expected = "Evaluation(images, split train, 5 images, top-1 error 40.00%)"
    assert repr(result) == expected


def test_errors_of_classes_include_top_5_with_more_than_five_classes():
    probabilities = np.array([[0.3, 0.2, 0.2, 0.1, 0.1, 0.1]])
    assert evaluation.per_class(probabilities[:, :5], np.array([4])) == [(4, 1, 1)]
    (row,) = evaluation.per_class(probabilities, np.array([5]))
    assert row == (5, 1, 1, pytest.approx(1 / 3))  # Three classes tie for two places.


@pytest.mark.parametrize("protocol", ["center", "dense"])
def test_classes_in_another_order_are_compared_by_name(
    make_source, monkeypatch, protocol
):
    source = dataclasses.replace(make_source(11), classes=tuple("abcdefghij"))
    reordered = dataclasses.replace(
        source, classes=source.classes[::-1],
        read=lambda seed: source.read(seed).map(
            lambda example: example | {"label": 9 - example["label"]}
        ),
    )  # fmt: skip
    monkeypatch.setattr(
        evaluation, "load_classifier", lambda *args: dataclasses.replace(
            untrained_classifier(), classes=source.classes
        )
    )  # fmt: skip
    expected, result = (
        evaluate_source(monkeypatch, images, protocol) for images in (source, reordered)
    )
    np.testing.assert_allclose(
        result.probabilities[:, ::-1], expected.probabilities, rtol=1e-5
    )
    assert result.labels.tolist() == [*range(9, -1, -1), 9]
    assert result.error(1) == expected.error(1)
    classifier = evaluation.load_classifier()
    with pytest.raises(ValueError, match="same classes in another order: "):
        evaluation.check_fits(classifier, reordered)


def evaluate_source(monkeypatch, source, protocol):
    monkeypatch.setattr(inference.classifier.RunData, "source", lambda data: source)
    scales = [72] if protocol == "dense" else None
    return evaluation.evaluate("w.npz", protocol=protocol, scales=scales, verbose=0)


def test_numbers_are_names_in_a_run_and_positions_in_a_weights_file(
    make_source, monkeypatch
):
    """The classes of a data set may be numbers in any order, such as 0, 1, 10, 2."""
    source = dataclasses.replace(make_source(10), classes=tuple("9876543210"))
    run = untrained_classifier()
    file = dataclasses.replace(run, has_class_names=False)
    evaluation.check_fits(file, source)
    with pytest.raises(ValueError, match="same classes in another order: 0, 1, 2"):
        evaluation.check_fits(run, source)
    results = {}
    for name in ("file", "run"):  # The outputs of `run` are put in another order.
        classifier = {"file": file, "run": run}[name]
        monkeypatch.setattr(evaluation, "load_classifier", lambda *_: classifier)
        results[name] = evaluate_source(monkeypatch, source, "center").probabilities
    np.testing.assert_allclose(results["run"], results["file"][:, ::-1], rtol=1e-5)


def test_all_networks_are_checked_before_the_first_one_is_measured(
    make_source, monkeypatch
):
    source = make_source(10)
    monkeypatch.setattr(inference.classifier.RunData, "source", lambda data: source)
    fitting = untrained_classifier()
    other = dataclasses.replace(fitting, classes=tuple("abc"))
    classifiers = iter([fitting, other] * 2)
    monkeypatch.setattr(evaluation, "load_classifier", lambda *_: next(classifiers))
    for name in ("probabilities", "dense_probabilities"):
        monkeypatch.delattr(evaluation, name)
    with pytest.raises(ValueError, match="10 classes .*Received: .* 3 classes"):
        evaluation.evaluate(["a.npz", "b.npz"])
    monkeypatch.setattr(evaluation, "check_fits", lambda *_: None)
    with pytest.raises(ValueError, match="sizes of at least 64 .*scales=.63"):
        evaluation.evaluate(["a.npz", "b.npz"], protocol="dense", scales=63)


def test_the_most_frequent_confusion_comes_first():
    labels = np.array([0, 1, 1, 1, 2], np.int32)
    probabilities = np.eye(3)[[1, 2, 2, 1, 0]]
    assert evaluation.confusions(probabilities, labels) == [
        (1, 2, 2), (0, 1, 1), (2, 0, 1),
    ]  # fmt: skip


def test_the_interval_is_that_of_a_binomial():
    hits = np.zeros(400, np.float32)
    hits[:300] = 1
    low, high = evaluation.interval(hits)
    half_width = 1.96 * (0.25 * 0.75 / 400) ** 0.5
    assert low == pytest.approx(0.25 - half_width, abs=0.006)
    assert high == pytest.approx(0.25 + half_width, abs=0.006)
    assert evaluation.interval(hits) == (low, high) != evaluation.interval(hits, 1)


def test_the_interval_without_errors_or_without_hits_is_exact():
    """The probability of no error in 17 images is 2.5% at the upper end."""
    low, high = evaluation.interval(np.ones(17, np.float32))
    assert low == 0 and (1 - high) ** 17 == pytest.approx(0.025)
    assert high == pytest.approx(0.1951, abs=1e-4)
    assert evaluation.interval(np.zeros(17, np.float32)) == (1 - high, 1)


def test_an_ensemble_averages_probabilities():
    both = [np.eye(2), np.full((2, 2), 0.5)]
    np.testing.assert_allclose(
        evaluation.average(both), [[0.75, 0.25], [0.25, 0.75]]
    )
    np.testing.assert_allclose(
        evaluation.average(both, [0.9, 0.1]), [[0.95, 0.05], [0.05, 0.95]]
    )


def test_the_search_prefers_the_network_that_is_right():
    """One network is right, one is more confident and wrong, and one is uniform."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 60).astype(np.int32)
    one_hot = np.eye(8)[labels]
    right = 0.3 * one_hot + 0.7 / 8
    wrong = 0.6 * np.roll(one_hot, 1, axis=1) + 0.4 * rng.dirichlet(np.ones(8), 60)
    uniform = np.full((60, 8), 1 / 8)
    outputs = [uniform, wrong, right]
    weights = evaluation.search_weights(outputs, labels)
    assert weights.sum() == pytest.approx(1) and weights[2] > 2 * weights[1]
    averaged = evaluation.average(outputs, weights)
    assert evaluation.hits(averaged, labels, 1).mean() == 1
    assert evaluation.hits(evaluation.average(outputs), labels, 1).mean() < 1
    np.testing.assert_array_equal(
        evaluation.search_weights([right, right], labels), [0.5, 0.5]
    )


# ---- Fully convolutional models ------------------------------------------------


@pytest.mark.parametrize("family", ["paper", "code2012", "caffe", "caffenet", "owt"])
def test_a_fully_convolutional_model_gives_the_same_outputs(family):
    keras.utils.set_random_seed(0)
    preset = presets.override(networks.narrow_preset(family), init="torch")
    side = networks.SIDES[family]
    model = alexnet.AlexNet(preset, 7, input_shape=(side, side, 3))
    images = np.random.default_rng(0).normal(0, 50, (3, side, side, 3))
    convolutional = alexnet.to_fully_convolutional(model)
    outputs = convolutional(images.astype("f4")).numpy()
    assert outputs.shape == (3, 1, 1, 7)
    np.testing.assert_allclose(outputs[:, 0, 0], model(images), atol=1e-5)


@pytest.mark.large
@pytest.mark.parametrize("family", ["paper", "caffe"])
def test_a_full_size_fully_convolutional_model_gives_the_same_outputs(family):
    model = alexnet.AlexNet(family)
    side = model.input.shape[1]
    images = np.random.default_rng(0).normal(0, 50, (2, side, side, 3))
    outputs = alexnet.to_fully_convolutional(model)(images.astype("f4"))
    np.testing.assert_allclose(outputs[:, 0, 0], model(images), atol=1e-5)


def test_positions_are_32_pixels_apart():
    """At each position the outputs are those of the model for the pixels there."""
    keras.utils.set_random_seed(0)
    preset = networks.narrow_preset("caffe")
    # A padded convolution would use the pixels of the next position where the model
    # alone uses zeros.
    for name in ("conv2", "conv3", "conv4", "conv5"):
        preset = networks.with_layer_values(preset, name, padding="valid", init="torch")
    preset = presets.override(preset, init="torch")
    model = alexnet.AlexNet(preset, 7, input_shape=(227, 227, 3))
    images = np.random.default_rng(0).normal(0, 50, (1, 227 + 64, 259, 3))
    images = images.astype("f4")
    outputs = alexnet.to_fully_convolutional(model)(images).numpy()
    assert outputs.shape == (1, 3, 2, 7)
    for y in range(3):
        for x in range(2):
            window = images[:, 32 * y : 32 * y + 227, 32 * x : 32 * x + 227]
            np.testing.assert_allclose(outputs[:, y, x], model(window), atol=1e-5)


def test_dense_evaluation_at_the_input_size_equals_the_center_crop(make_source):
    """For a square image of the input size there is one position, without cropping."""
    source = make_source(6)

    def square(example):
        pixels = tf.io.decode_jpeg(example["image"])[:72, :72]
        return {**example, "image": tf.io.encode_png(pixels)}

    squares = dataclasses.replace(
        source, read=lambda seed: source.read(seed).map(square)
    )
    classifier = untrained_classifier(image_size=64, crop_size=64)

    def dense(scales):
        return evaluation.dense_probabilities(classifier, squares, scales, verbose=0)

    small, labels = dense([64])
    center, _ = evaluation.probabilities(classifier, squares, "center", verbose=0)
    assert labels.tolist() == [*range(6)]
    np.testing.assert_allclose(small, center, atol=1e-5)
    large, _ = dense([96])
    both, _ = dense([64, 96])
    np.testing.assert_allclose(both, (center + large) / 2, atol=1e-5)
    np.testing.assert_array_equal(dense(np.int64(64))[0], small)
    with pytest.raises(ValueError, match="at least 64 pixels.*63"):
        dense([96, 63])
    with pytest.raises(ValueError, match="at least one size. Received: scales=\\[\\]"):
        dense([])


@pytest.mark.parametrize("shape, short_side, sides", [
    ((90, 120), 60, (60, 80)), ((120, 90), 60, (80, 60)), ((50, 50), 75, (75, 75)),
])  # fmt: skip
def test_a_whole_image_is_resized_and_not_cropped(shape, short_side, sides):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    statistics = pixel_statistics.imagenet(PREPROCESSING)
    image = preprocess.whole_image(
        tf.io.encode_png(pixels), short_side, PREPROCESSING, statistics
    )
    assert image.shape == (1, *sides, 3)
    resized = np.rint(tf.image.resize(pixels, sides, antialias=True))
    expected = (resized - statistics.channel_mean) / statistics.channel_std
    np.testing.assert_allclose(image[0], expected, atol=1.01 / 70)


# ---- The function and the command evaluate ---------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one step: (name of its data set, work directory).

    The data set has the classes class0 and class1 with five images each.
    """
    folder = tmp_path_factory.mktemp("evaluation")
    dataset = write_image_folder(folder / "data", classes=2, count=5)
    with simulated_runs():
        assert command(
            "train", f"--dataset={dataset}", "--eval_split=train", "--preset=tiny",
            "--batch_size=10", "--epochs=1", f"--workdir={folder / 'run'}",
        )[0] == 0  # fmt: skip
    return dataset, folder / "run"


def evaluate_command(dataset, *args):
    return command("evaluate", f"--dataset={dataset}", "--split=train", *args)


def test_evaluate_prints_a_row_and_writes_classes(trained, tmp_path):
    """The classes have the names of the folders."""
    dataset, workdir = trained
    table = tmp_path / "classes.csv"
    code, out, err = evaluate_command(
        dataset, f"--weights={workdir}", f"--per_class={table}"
    )
    assert code == 0, err
    (printed,) = [line for line in out.splitlines() if line.startswith("| run |")]
    assert "ten crops, 10 images of folder:" in printed
    rows = [*csv.DictReader(table.open())]
    assert [(row["class"], row["images"]) for row in rows] == [
        ("class0", "5"), ("class1", "5"),
    ]  # fmt: skip
    mean = np.mean([float(row["top1_error"]) for row in rows])
    assert printed.split("|")[2].split()[0] == f"{mean:.1%}"


def test_evaluate_returns_what_the_command_prints(trained, tmp_path):
    """Errors, intervals, confusions, and the errors of each class."""
    dataset, workdir = trained
    table = tmp_path / "classes.csv"
    code, out, err = evaluate_command(
        dataset, f"--weights={workdir}", f"--per_class={table}"
    )
    assert code == 0, err
    # By default the data set and the eval_split of the run are used.
    result = inference.evaluate(str(workdir), "tiny", verbose=0)
    low, high = result.interval(1)
    error = f"{result.error(1):.1%} ({low:.1%} to {high:.1%})"
    assert f"| run | {error} | ten crops, 10 images of {dataset}" in out
    assert "top-5" not in out  # There are two classes.
    classes = result.source.classes
    confusions = [
        f"{classes[label]} classified as {classes[predicted]}: {count}"
        for label, predicted, count in result.confusions()
    ]
    assert [line for line in out.splitlines() if "classified as" in line] == confusions
    wrong = sum(count for *_, count in result.confusions())
    assert result.error(1) == pytest.approx(wrong / 10)
    rows = [*csv.DictReader(table.open())]
    for row, (label, count, top1) in zip(rows, result.per_class(), strict=True):
        assert (int(row["label"]), row["class"]) == (label, classes[label])
        assert int(row["images"]) == count
        assert float(row["top1_error"]) == pytest.approx(top1, abs=1e-6)
        assert "top5_error" not in row
    classifier = inference.load_classifier(str(workdir))
    examples = [*result.source.examples()]
    assert result.labels.tolist() == [int(example["label"]) for example in examples]
    np.testing.assert_allclose(
        result.probabilities[0],
        classifier.probabilities(examples[0]["image"].numpy(), ten_crop=True),
        atol=1e-6,
    )
    assert result.ensemble_weights is None


def test_evaluate_names_and_counts_images_that_are_left_out(trained, tmp_path):
    dataset, workdir = trained
    shutil.copytree(dataset.removeprefix("folder:"), tmp_path / "data")
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "data" / "class1" / "4.jpg").write_bytes(b"no image")
    (tmp_path / "run" / "flags.txt").write_text(
        f"--dataset=folder:{tmp_path}/data\n--eval_split=train\n--on_bad_image=skip\n"
    )
    code, out, err = command(
        "evaluate", f"--weights={tmp_path}/run/", "--protocol=center"
    )
    assert code == 0, err
    counts = f"9 images of folder:{tmp_path}/data, split train, 1 unreadable left out |"
    assert "\n| run |" in out and counts in out
    assert f"Unreadable image left out: {tmp_path}/data/class1/4.jpg." in err


def test_evaluate_takes_a_weights_file(trained, tmp_path):
    """The classes are numbers, and the mean is that of ImageNet."""
    dataset, workdir = trained
    model = alexnet_tf.AlexNet("tiny", 2, weights=workdir)
    alexnet_tf.save_weights(model, tmp_path / "w.npy")
    code, out, err = evaluate_command(
        dataset, f"--weights={tmp_path / 'w.npy'}", "--preset=tiny",
        "--protocol=center",
    )  # fmt: skip
    assert code == 0 and "center crop, 10 images" in out, err
    for weights, has_names in ((tmp_path / "w.npy", False), (workdir, True)):
        classifier = inference.load_classifier(str(weights), "tiny")
        assert classifier.has_class_names == has_names


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(protocol="tencrop"), "\"ten_crop\" or \"dense\".*protocol='tencrop'"),
        (dict(preset=["tiny", presets.get("owt")]), "each of 1 weights.*: 2 presets"),
        (dict(scales=[384]), "\"dense\" only.*protocol='ten_crop', scales=.384"),
        (dict(search_split="train"), "several networks for search_split.*one network"),
    ],
)
def test_evaluate_rejects_options_that_do_not_go_together(arguments, message):
    with pytest.raises(ValueError, match=message):
        inference.evaluate("tiny_textures", **arguments)


@pytest.mark.large
def test_evaluate_takes_an_ensemble(trained):
    dataset, workdir = trained
    both = f"--weights={workdir},{workdir}"
    code, out, _ = evaluate_command(
        dataset, both, "--protocol=dense", "--scales=73,80"
    )
    assert code == 0 and "| 2 networks |" in out
    assert "dense at 73, 80 pixels" in out
    code, out, _ = evaluate_command(
        dataset, both, "--split=train[:6]", "--search_split=train[6:]"
    )
    assert code == 0 and out.startswith("Ensemble weights: 0.500, 0.500\n")
    code, _, err = evaluate_command(
        dataset, both, "--split=train[:6]", "--search_split=train[50%:]"
    )
    assert code == 1
    assert "which shares 1 image(s) with train[:6]." in err.splitlines()[-1]
    code, _, err = evaluate_command(dataset, both, "--preset=tiny,tiny,tiny")
    assert code == 1 and "for each of 2 weights" in err.splitlines()[-1]
