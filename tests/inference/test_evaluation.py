"""The paper's protocol: views, ensembles, intervals, dense evaluation."""

import csv
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.data import pixel_statistics
from alexnet_tf.data import preprocess
from alexnet_tf.inference import evaluation
from alexnet_tf.inference import retrieval
from alexnet_tf.models import alexnet
from alexnet_tf import presets
from helpers.commands import command
from helpers import images
from helpers import networks
from helpers.networks import untrained_classifier

PIXELS = presets.get("tiny").preprocessing


@pytest.mark.parametrize("protocol", evaluation.PROTOCOLS)
@pytest.mark.parametrize(
    "batch_size",
    [
        4,
        pytest.param(7, marks=pytest.mark.large),
        pytest.param(20, marks=pytest.mark.large),
    ],
)
def test_each_image_once_in_order(make_source, protocol, batch_size):
    source, net = make_source(11), untrained_classifier()
    found, labels = evaluation.probabilities(
        net, source, protocol, batch_size, verbose=0
    )
    assert labels.tolist() == [*range(10), 0]
    one_by_one = [
        net.probabilities(e["image"].numpy(), ten_crop=protocol == "ten_crop")
        for e in source.examples()
    ]
    np.testing.assert_allclose(found, one_by_one, atol=1e-6)


def test_ten_views_differ_from_one(make_source):
    source, net = make_source(11), untrained_classifier()
    one, ten = (
        evaluation.probabilities(net, source, protocol, verbose=0)[0]
        for protocol in evaluation.PROTOCOLS
    )
    assert np.abs(one - ten).max() > 1e-3


def test_probabilities_are_averaged_and_not_logits(make_source):
    source, net = make_source(3), untrained_classifier()
    (example, *_) = source.examples()
    views = preprocess.ten_crop(
        example["image"], net.preset.preprocessing, net.statistics
    )
    each = net.model(views).numpy().astype(float)
    found, _ = evaluation.probabilities(net, source, "ten_crop", verbose=0)
    np.testing.assert_allclose(found[0], each.mean(axis=0), atol=1e-6)
    geometric = np.exp(np.log(each).mean(axis=0))
    assert np.abs(found[0] - geometric / geometric.sum()).max() > 1e-6


@pytest.mark.parametrize("holds", [10, 12])
def test_a_source_that_miscounts_is_refused(make_source, holds):
    source = dataclasses.replace(make_source(holds), num_examples=11)
    with pytest.raises(ValueError, match="Expected 11 images"):
        evaluation.probabilities(untrained_classifier(), source, "center", 5, verbose=0)
    with pytest.raises(ValueError, match="Expected 11 images"):
        evaluation.dense_probabilities(untrained_classifier(), source, [73], verbose=0)


@pytest.mark.parametrize("protocol", ["center", "dense"])
def test_labels_of_no_class_are_refused(make_source, protocol):
    """Such as the -1 of images whose class is kept secret."""
    source, net = images.bad_third(make_source, label=-1), untrained_classifier()
    with pytest.raises(ValueError, match="label from 0 to 9.*2 of .*label is -1"):
        if protocol == "dense":
            evaluation.dense_probabilities(net, source, [64], verbose=0)
        else:
            evaluation.probabilities(net, source, protocol, verbose=0)


def test_images_that_were_prepared_otherwise_are_refused(make_source):
    net, source = untrained_classifier(), make_source(11)
    squashed = {"image_size": 73, "resize": "squash"}
    other = dataclasses.replace(source, prepared=squashed)
    with pytest.raises(ValueError, match="which was prepared for 73 pixels with resize=squash"):
        evaluation.probabilities(net, other, verbose=0)
    with pytest.raises(ValueError, match="which was prepared"):
        next(retrieval.features(net, other, verbose=0))


def test_the_fingerprint_is_of_all_that_makes_a_view():
    net = untrained_classifier()
    statistics = dataclasses.replace(
        net.statistics, covariance=2 * net.statistics.covariance
    )
    other = dataclasses.replace(net, statistics=statistics)
    assert other.fingerprint != net.fingerprint == untrained_classifier().fingerprint


def test_names_and_numbers_of_as_many_classes_go_together(make_source):
    net, source = untrained_classifier(), make_source(10)
    named = dataclasses.replace(net, classes=tuple("abcdefghij"))
    for each in (net, named):
        evaluation.probabilities(each, source, "center", verbose=0)
    letters = dataclasses.replace(source, classes=tuple("ABCDEFGHIJ"))
    with pytest.raises(ValueError, match="such as A, B, C. Received.*a, b, c"):
        evaluation.probabilities(named, letters)


def test_other_classes_are_refused(make_source):
    with pytest.raises(ValueError, match="5 such as 0, 1, 2. Received.* of 10"):
        evaluation.probabilities(untrained_classifier(), make_source(10, classes=5))


def test_errors_by_hand():
    probabilities = np.array(
        [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.2, 0.7, 0.1], [0.4, 0.4, 0.2]]
    )
    labels = np.array([0, 2, 0, 1], np.int32)
    hits = evaluation.hits(probabilities, labels, 1)
    assert hits.tolist() == [1, 0, 0, 0.5]  # The last is a tie of two.
    assert evaluation.hits(probabilities, labels, 2).tolist() == [1, 1, 1, 1]
    assert evaluation.per_class(probabilities, labels) == [
        (0, 2, 0.5, 0.0), (1, 1, 0.5, 0.0), (2, 1, 1.0, 0.0),
    ]  # fmt: skip
    assert evaluation.confusions(probabilities, labels) == [
        (0, 1, 1), (1, 0, 1), (2, 1, 1),
    ]  # fmt: skip
    assert evaluation.confusions(probabilities, labels, most=1) == [(0, 1, 1)]


def test_the_most_frequent_confusion_comes_first():
    labels = np.array([0, 1, 1, 1, 2], np.int32)
    guesses = np.eye(3)[[1, 2, 2, 1, 0]]
    assert evaluation.confusions(guesses, labels) == [(1, 2, 2), (0, 1, 1), (2, 0, 1)]


def test_the_interval_is_that_of_a_binomial():
    hits = np.zeros(400, np.float32)
    hits[:300] = 1
    low, high = evaluation.interval(hits)
    spread = 1.96 * (0.25 * 0.75 / 400) ** 0.5
    assert low == pytest.approx(0.25 - spread, abs=0.006)
    assert high == pytest.approx(0.25 + spread, abs=0.006)
    assert evaluation.interval(hits) == (low, high) != evaluation.interval(hits, 1)


def test_an_ensemble_averages_probabilities():
    one, two = np.eye(2)[[0, 1]], np.full((2, 2), 0.5)
    np.testing.assert_allclose(
        evaluation.average([one, two]), [[0.75, 0.25], [0.25, 0.75]]
    )
    np.testing.assert_allclose(
        evaluation.average([one, two], [0.9, 0.1]), [[0.95, 0.05], [0.05, 0.95]]
    )


def test_the_search_finds_who_is_right():
    """Of three networks one knows, one errs by more, one says nothing."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 8, 60).astype(np.int32)
    right = np.eye(8)[labels]
    wrong = np.roll(right, 1, axis=1)
    knows = 0.3 * right + 0.7 / 8
    errs = 0.6 * wrong + 0.4 * random.dirichlet(np.ones(8), 60)
    nothing = np.full((60, 8), 1 / 8)
    networks = [nothing, errs, knows]
    weights = evaluation.search_weights(networks, labels)
    assert weights.sum() == pytest.approx(1) and weights[2] > 2 * weights[1]
    mixed = evaluation.average(networks, weights)
    assert evaluation.hits(mixed, labels, 1).mean() == 1
    assert evaluation.hits(evaluation.average(networks), labels, 1).mean() < 1
    np.testing.assert_array_equal(
        evaluation.search_weights([knows, knows], labels), [0.5, 0.5]
    )


# ---- The fully convolutional form ----------------------------------------------


@pytest.mark.parametrize("family", ["paper", "code2012", "caffe", "caffenet", "owt"])
def test_one_place_gives_the_same_outputs(family):
    keras.utils.set_random_seed(0)
    preset = presets.override(networks.narrow_preset(family), init="torch")
    side = networks.SIDES[family]
    model = alexnet.AlexNet(preset, 7, input_shape=(side, side, 3))
    images = np.random.default_rng(0).normal(0, 50, (3, side, side, 3))
    convolutional = alexnet.to_fully_convolutional(model)
    found = convolutional(images.astype("f4")).numpy()
    assert found.shape == (3, 1, 1, 7)
    np.testing.assert_allclose(found[:, 0, 0], model(images), atol=1e-5)


@pytest.mark.large
@pytest.mark.parametrize("family", ["paper", "caffe"])
def test_one_place_gives_the_same_outputs_at_full_size(family):
    model = alexnet.AlexNet(family)
    side = model.input.shape[1]
    images = np.random.default_rng(0).normal(0, 50, (2, side, side, 3))
    found = alexnet.to_fully_convolutional(model)(images.astype("f4"))
    np.testing.assert_allclose(found[:, 0, 0], model(images), atol=1e-5)


def test_places_are_32_pixels_apart():
    """Far from the edges each is the network on the pixels around it.

    Its windows of 99 pixels, and the borders that convolutions pad, see the
    neighbors' pixels in place of zeros: the means agree, the edges do not.
    """
    keras.utils.set_random_seed(0)
    preset = networks.narrow_preset("caffe")
    # Unpadded convolutions, so that a place does not see where its edge is.
    for name in ("conv2", "conv3", "conv4", "conv5"):
        preset = networks.with_layer_values(preset, name, padding="valid", init="torch")
    preset = presets.override(preset, init="torch")
    model = alexnet.AlexNet(preset, 7, input_shape=(227, 227, 3))
    images = np.random.default_rng(0).normal(0, 50, (1, 227 + 64, 259, 3))
    images = images.astype("f4")
    found = alexnet.to_fully_convolutional(model)(images).numpy()
    assert found.shape == (1, 3, 2, 7)
    for y in range(3):
        for x in range(2):
            part = images[:, 32 * y : 32 * y + 227, 32 * x : 32 * x + 227]
            np.testing.assert_allclose(found[:, y, x], model(part), atol=1e-5)


def test_dense_at_the_networks_own_size_is_the_central_view(make_source):
    """Of square images, not cut: one place."""
    source = make_source(6)
    square = dataclasses.replace(
        source,
        read=lambda seed: source.read(seed).map(
            lambda e: {
                **e,
                "image": tf.io.encode_png(
                    tf.io.decode_jpeg(e["image"])[:72, :72]
                ),
            }
        ),
    )
    net = untrained_classifier(image_size=64, crop_size=64)
    dense, labels = evaluation.dense_probabilities(net, square, [64], verbose=0)
    one, _ = evaluation.probabilities(net, square, "center", verbose=0)
    assert labels.tolist() == [*range(6)]
    np.testing.assert_allclose(dense, one, atol=1e-5)
    two, _ = evaluation.dense_probabilities(net, square, [64, 96], verbose=0)
    other, _ = evaluation.dense_probabilities(net, square, [96], verbose=0)
    np.testing.assert_allclose(two, (one + other) / 2, atol=1e-5)
    with pytest.raises(ValueError, match="at least 64 pixels.*63"):
        evaluation.dense_probabilities(net, square, [96, 63])


@pytest.mark.parametrize("shape, short, sides", [
    ((90, 120), 60, (60, 80)), ((120, 90), 60, (80, 60)), ((50, 50), 75, (75, 75)),
])  # fmt: skip
def test_a_whole_image_is_resized_and_not_cut(shape, short, sides):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    known = pixel_statistics.imagenet(PIXELS)
    found = preprocess.whole_image(
        tf.io.encode_png(pixels), short, PIXELS, known
    )
    assert found.shape == (1, *sides, 3)
    resized = np.rint(tf.image.resize(pixels, sides, antialias=True))
    wanted = (resized - known.channel_mean) / known.channel_std
    np.testing.assert_allclose(found[0], wanted, atol=1.01 / 70)


# ---- The command -----------------------------------------------------------------


def test_evaluate_prints_a_row_and_writes_classes(tmp_path):
    """From a run, whose classes have the names of the folders."""
    from helpers.images import write_image_folder

    data = write_image_folder(tmp_path / "data", classes=2, count=5)
    path, table = tmp_path / "run", tmp_path / "classes.csv"
    assert command(
        "train", f"--dataset={data}", "--eval_split=train", "--preset=tiny",
        "--epochs=1", f"--workdir={path}",
    )[0] == 0  # fmt: skip

    def evaluate(*args):
        return command(
            "evaluate", f"--dataset={data}", "--split=train", *args
        )

    code, out, err = evaluate(f"--weights={path}", f"--per_class={table}")
    assert code == 0, err
    row = next(line for line in out.splitlines() if line.startswith("| 1 net"))
    assert "ten views, 10 images of folder:" in row
    rows = [*csv.DictReader(table.open())]
    assert [(r["class"], r["images"]) for r in rows] == [
        ("class0", "5"), ("class1", "5"),
    ]  # fmt: skip
    mean = np.mean([float(r["top1_error"]) for r in rows])
    assert row.split("|")[2].split()[0] == f"{mean:.1%}"

    # A file of the same weights has numbers for names, and another mean.
    model = alexnet_tf.AlexNet("tiny", 2, weights=path)
    alexnet_tf.save_weights(model, tmp_path / "w.npy")
    code, out, err = evaluate(
        f"--weights={tmp_path / 'w.npy'}", "--preset=tiny", "--protocol=center"
    )
    assert code == 0 and "central view, 10 images" in out, err

    both = f"--weights={path},{path}"
    code, out, _ = evaluate(both, "--protocol=dense", "--scales=73,80")
    assert code == 0 and "| 2 networks |" in out
    assert "all places at 73, 80 pixels" in out
    code, out, _ = evaluate(both, "--split=train[:6]", "--search_split=train[6:]")
    assert code == 0 and out.startswith("Weights: 0.500, 0.500\n")
    code, _, err = evaluate(both, "--split=train[:6]", "--search_split=train[50%:]")
    assert code == 1 and "of which 1 are in train[:6] too" in err.splitlines()[-1]
    code, _, err = evaluate(both, "--preset=tiny,tiny,tiny")
    assert code == 1 and "for each of 2 weights" in err.splitlines()[-1]
