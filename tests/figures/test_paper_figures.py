"""Tests the values that the figures pass to `plots`."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

import alexnet_tf
from alexnet_tf.data import preprocess
from alexnet_tf.data.source import PADDING_LABEL
from alexnet_tf.figures import internals
from alexnet_tf.figures import paper_figures
from alexnet_tf.inference import evaluation
from alexnet_tf import plots
from alexnet_tf import presets
from helpers.networks import dense_preset
from helpers.networks import untrained_classifier


@pytest.fixture
def plotted(monkeypatch):
    """Returns plotted(name), the arguments that `plots.NAME` was called with.

    Nothing is drawn.
    """
    calls = {}
    for name in (
        "kernels", "predictions", "neighbors", "crops", "activations", "norms",
        "dropout", "normalization", "receptive_fields",
    ):  # fmt: skip
        monkeypatch.setattr(
            plots, name, lambda *args, name=name: calls.update({name: args})
        )
    return calls.__getitem__


def center_square(classifier, example):
    """Returns the center square of an example's image, uint8 RGB."""
    return preprocess.center_square(
        example["image"], classifier.preset.preprocessing
    ).numpy()


def test_kernels_shows_kernels_of_conv1(plotted):
    classifier = untrained_classifier()
    paper_figures.kernels(classifier, "out.png")
    kernels, *others = plotted("kernels")
    np.testing.assert_array_equal(kernels, classifier.model.get_layer("conv1").kernel)
    assert others == ["out.png", "conv1 of tiny", 2]


def test_predictions_shows_the_five_most_probable_classes(plotted, make_source):
    classifier, source = untrained_classifier(), make_source(11)
    examples = source.take_indices([10, 4])
    paper_figures.predictions(classifier, source, examples, "out.png")
    [(heading, rows)], path, title = plotted("predictions")
    assert title == "Predictions of tiny: the most probable classes" and not heading
    assert [row[0] for row in rows] == [row[3] for row in rows] == ["0", "4"]
    assert path == "out.png"
    for (_, image, classes, _), example in zip(rows, examples, strict=True):
        np.testing.assert_array_equal(image, center_square(classifier, example))
        probabilities = classifier.probabilities(example["image"])
        best = np.argsort(-probabilities)[:5]
        assert [class_id for class_id, _, _ in classes] == best.tolist()
        np.testing.assert_allclose(
            [probability for *_, probability in classes], probabilities[best]
        )


def test_predictions_by_confidence_has_three_groups(plotted, make_source):
    classifier, source = untrained_classifier(), make_source(4)
    probabilities = np.full((4, 10), 0.01)
    probabilities[range(4), [0, 1, 3, 3]] = [0.9, 0.8, 0.7, 0.6]  # Image 2 is wrong.
    paper_figures.predictions_by_confidence(
        classifier, source, probabilities, np.arange(4), 4, "out.png"
    )
    groups, _, title = plotted("predictions")
    assert [(heading, [row[0] for row in rows]) for heading, rows in groups] == [
        ("right, the surest first", ["0", "1"]), ("wrong, the surest first", ["2"]),
        ("the least sure", ["3"]),
    ]  # fmt: skip
    assert title.endswith("\n3 of 4 images are right (images, split train).")
    paper_figures.predictions_by_confidence(
        classifier, source, probabilities[:1], np.arange(1), 1, "out.png"
    )
    assert [heading for heading, _ in plotted("predictions")[0]][1:] == [
        "wrong, the surest first: no image", "the least sure: no image"
    ]  # fmt: skip


def test_images_without_a_class_have_the_names_of_their_files(plotted, make_source):
    classifier, source = untrained_classifier(), make_source(3)
    (query,) = make_source(1, name="/folder/cat.jpg").take_indices([0])
    query["label"] = PADDING_LABEL
    paper_figures.predictions(classifier, source, [query], "out.png")
    [(_, [(title, _, _, true_name)])], _, _ = plotted("predictions")
    assert (title, true_name) == ("cat.jpg 0", None)
    rows = [[query, *source.take_indices([2])]]
    paper_figures.neighbors(classifier, source, rows, "out.png")
    [images], _, neighbors_title = plotted("neighbors")
    assert neighbors_title == (
        "Images (left) and their 1 nearest neighbors among the training images of "
        "images, by the features of tiny (Euclidean distance)"
    )
    assert [(name, kind) for name, _, kind in images] == [
        ("cat.jpg 0", "query"), ("2", "neighbor")
    ]  # fmt: skip


@pytest.mark.parametrize("figure", ["predictions", "dropout"])
def test_rejects_sources_with_other_classes(make_source, figure):
    classifier, source = untrained_classifier(), make_source(11, classes=5)
    arguments = [classifier, source, source.take_indices([0])]
    if figure == "dropout":
        arguments.append(0)  # The seed.
    with pytest.raises(ValueError, match="Expected .* classes of images"):
        getattr(paper_figures, figure)(*arguments, "out.png")


def test_neighbors_keeps_the_order_of_rows(plotted, make_source):
    classifier, source = untrained_classifier(), make_source(14)
    rows = [source.take_indices([3, 10, 13]), source.take_indices([1, 2, 5])]
    paper_figures.neighbors(classifier, source, rows, "out.png", "fc6", "cosine")
    images, _, title = plotted("neighbors")
    assert [[(name, kind) for name, _, kind in row] for row in images] == [
        [("3", "query"), ("0", "other class"), ("3", "same class")],
        [("1", "query"), ("2", "other class"), ("5", "other class")],
    ]
    assert title == (
        "Images (left) and their 2 nearest neighbors among the training images of "
        "images, by the features of fc6 of tiny (cosine distance)"
    )
    for (_, image, _), example in zip(sum(images, []), sum(rows, [])):
        np.testing.assert_array_equal(image, center_square(classifier, example))


def find_offset(crop, square):
    """Finds a crop in the center square, and returns its ((y, x), flipped).

    Pixels may differ by one gray level, since both images are rounded.
    """
    size = len(crop)
    for y, x in np.ndindex(*(side - size + 1 for side in square.shape[:2])):
        pixels = square[y : y + size, x : x + size].astype(int)
        for flipped in (False, True):
            if np.abs(crop - (pixels[:, ::-1] if flipped else pixels)).max() <= 1:
                return (y, x), flipped
    raise AssertionError("not a crop of the image")


@pytest.mark.parametrize(
    "preset",
    ["tiny", pytest.param("caffe", marks=pytest.mark.large), "code2012"],
)
def test_crops_shows_crops_of_training(plotted, make_source, preset):
    """The presets subtract three kinds of mean, which the figure does not show."""
    classifier = untrained_classifier()
    preprocessing = dataclasses.replace(
        presets.get(preset).preprocessing,
        image_size=72,
        crop_size=64,
        pca_color_std=0.0,
    )
    classifier = dataclasses.replace(
        classifier,
        preset=dataclasses.replace(classifier.preset, preprocessing=preprocessing),
        statistics=dataclasses.replace(
            classifier.statistics,
            mean_image=np.random.default_rng(0).uniform(0, 255, (72, 72, 3)),
        ),
    )
    (example,) = make_source(11).take_indices([3])
    paper_figures.crops(classifier, example, 6, 5, "out.png")
    images, _, title = plotted("crops")
    (_, square), *crops = images
    np.testing.assert_array_equal(square, center_square(classifier, example))
    offsets = [find_offset(crop, square) for _, crop in crops]
    # Training draws the same offsets and flips with these seeds.
    for index, (offset, flipped) in enumerate(offsets):
        seeds = tf.unstack(tf.random.split(tf.constant([5, index]), 3))
        expected = preprocess.random_offset(seeds[0], preprocessing).numpy()
        assert offset == tuple(expected)
        assert flipped == bool(preprocess.random_flip(seeds[1]))
    assert {flipped for _, flipped in offsets} == {False, True}
    assert title == (
        "6 training crops of one image for tiny\nThere are 9 x 9 x 2 = 162 crops and "
        "flips. There is no PCA color augmentation."
    )


@pytest.mark.parametrize(
    "changes, text",
    [
        ({}, "33 x 33 x 2 = 2,178 crops and flips (the paper counts 2,048). "),
        pytest.param(
            {"flip": False},
            "33 x 33 x 1 = 1,089 crops and flips. The standard",
            marks=pytest.mark.large,
        ),
        pytest.param(
            {"random_crop": False},
            "1 x 1 x 2 = 2 crops and flips. The standard",
            marks=pytest.mark.large,
        ),
        ({"crop_size": 227, "mean": "channel"}, "30 x 30 x 2 = 1,800 crops"),
    ],
)
def test_title_of_crops_counts_possible_crops(plotted, make_source, changes, text):
    classifier = untrained_classifier()
    preprocessing = dataclasses.replace(
        presets.get("paper").preprocessing, **changes
    )
    preset = dataclasses.replace(classifier.preset, preprocessing=preprocessing)
    classifier = dataclasses.replace(classifier, preset=preset)
    paper_figures.crops(classifier, *make_source(11).take_indices([0]), 1, 0, "out.png")
    _, _, title = plotted("crops")
    assert text in title and title.startswith("1 training crop of one image for tiny")
    assert title.endswith("standard deviation of the PCA color augmentation is 0.1.")


def test_crops_shows_pca_color_augmentation(plotted, make_source):
    classifier = untrained_classifier(pca_color_std=0.5, flip=False, random_crop=False)
    (example,) = make_source(11).take_indices([0])
    paper_figures.crops(classifier, example, 1, 0, "out.png")
    preprocessing = classifier.preset.preprocessing
    first = (preprocessing.image_size - preprocessing.crop_size) // 2
    last = first + preprocessing.crop_size
    (_, square), (_, crop) = plotted("crops")[0]
    pixels = square[first:last, first:last].astype(float)
    seed = tf.unstack(tf.random.split(tf.constant([0, 0]), 3))[2]
    shift = preprocess.pca_color_shift(seed, classifier.statistics, 0.5).numpy()
    assert np.abs(shift).max() > 2
    # Both the pixels of the crop and their sums with the shift are rounded.
    np.testing.assert_allclose(crop, np.clip(pixels + shift, 0, 255), atol=1.51)


def test_activations_shows_the_strongest_maps(plotted, make_source):
    classifier = untrained_classifier()
    (example,) = make_source(11).take_indices([7])
    paper_figures.activations(classifier, example, 3, "out.png")
    image, convolutions, dense_layers, classes, _, title = plotted("activations")
    assert title.startswith("Activations of tiny for one image\n")
    preprocessing = classifier.preset.preprocessing
    first = (preprocessing.image_size - preprocessing.crop_size) // 2
    last = first + preprocessing.crop_size
    pixels = center_square(classifier, example)[first:last, first:last]
    np.testing.assert_allclose(image, pixels.astype(int), atol=1)
    outputs = internals.activations(classifier, example["image"])
    title, field, maps = convolutions[1]
    assert title == (
        "conv2: 3 strongest of 32 maps, 7 x 7; an output sees 51 x 51 pixels"
    )
    # The receptive fields of the 7 outputs are 8 pixels apart, and the first begins at
    # pixel -16. The central output is the fourth.
    assert field == (3 * 8 - 16, 3 * 8 - 16 + 50)
    conv2 = np.moveaxis(outputs["conv2"], -1, 0)
    strongest = np.argsort(-conv2.sum(axis=(1, 2)))[:3]
    np.testing.assert_array_equal(maps, conv2[strongest])
    titles = [title for title, _ in dense_layers]
    assert titles == ["fc6: 128 units", "fc7: 128 units"]
    np.testing.assert_array_equal(dense_layers[1][1], outputs["fc7"])
    assert [(name, probability) for _, name, probability in classes] == [
        (str(label), outputs["prob"][label]) for label in np.argsort(-outputs["prob"])
    ]


def test_norms_shows_norms_of_all_layers(plotted):
    classifier = untrained_classifier()
    paper_figures.norms(classifier, 3, "out.png")
    layers, _, title = plotted("norms")
    expected = internals.norms(classifier.model, classifier.preset, 3)
    assert [layer.kernel_rms for layer in layers] == [
        layer.kernel_rms for layer in expected
    ]
    assert title == "Magnitudes of the weights of tiny, without biases"


def test_dropout_repeats_averages_of_1_to_32_networks(
    plotted, make_source, monkeypatch
):
    monkeypatch.setattr(paper_figures, "_REPETITIONS", 2)
    classifier, source = untrained_classifier(), make_source(12)
    examples = source.take_indices([*range(12)])
    paper_figures.dropout(classifier, source, examples, 2, "out.png")
    errors, full_error, pairs, _, title, note = plotted("dropout")
    labels = np.arange(12, dtype=np.int32) % 10
    encoded = [example["image"] for example in examples]
    passes = internals.dropout_passes(classifier, encoded, 2 * 32, 2)
    averages = {
        "arithmetic mean": lambda networks: networks.mean(axis=0),
        "geometric mean": lambda networks: networks.prod(axis=0) ** (1 / len(networks)),
    }
    assert [*errors] == [*averages]
    for name, average in averages.items():
        assert [*errors[name]] == [1, 2, 4, 8, 16, 32]
        for count, repeated in errors[name].items():
            for repetition, error in enumerate(repeated):
                first = 32 * repetition
                networks = passes[first : first + count].astype(np.float64)
                predicted = average(networks).argmax(axis=1)
                assert error == pytest.approx((predicted != labels).mean())
            assert len(repeated) == 2
    full, _ = evaluation.probabilities(classifier, source, "center", verbose=0)
    assert full_error == pytest.approx((full.argmax(axis=1) != labels).mean())
    means = averages["geometric mean"](passes[:32].astype(np.float64))
    means /= means.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(pairs[:, 0], means[range(12), labels], rtol=1e-5)
    np.testing.assert_allclose(pairs[:, 1], full[range(12), labels], atol=1e-6)
    assert title == "Averages of networks that dropout samples from tiny"
    assert "12 images of images, split train, center crop; one image is 8.3%." in note
    assert "n = 2 repetitions" in note


def test_normalization_states_the_constants_of_the_layer(plotted, make_source):
    classifier = untrained_classifier()
    (example,) = make_source(1).take_indices([0])
    paper_figures.normalization(classifier, example, "out.png")
    maps, before, after, increases, _, title, note = plotted("normalization")
    pixel = internals.normalized_pixel(classifier, example["image"])
    np.testing.assert_array_equal(maps, pixel.maps)
    np.testing.assert_array_equal(before, pixel.before)
    np.testing.assert_array_equal(after, pixel.after)
    np.testing.assert_allclose(increases, pixel.divisors / 2**0.75 - 1)
    assert title == "Response normalization norm1 of tiny"
    assert note.splitlines() == [
        f"16 neighboring maps for one image at row {pixel.row}, column {pixel.column}.",
        "divisor = (k + alpha * sum of the squares of n maps)^beta",
        "k = 2, n = 5, alpha = 0.0001, beta = 0.75; the divisor is at least 1.68.",
    ]


def test_receptive_fields_are_those_of_convolutions_and_poolings(plotted, make_source):
    classifier = untrained_classifier()
    paper_figures.draw_receptive_fields(classifier, "out.png")
    rows, side, _, title, image = plotted("receptive_fields")
    # The sizes are those of `paper`. The central output of conv1 is the eighth of 15,
    # at a stride of 4 pixels.
    assert rows[0] == ("conv1: 11 x 11", 28, 38)
    assert [label for label, _, _ in rows[1:]] == [
        "pool1: 19 x 19", "conv2: 51 x 51", "pool2: 67 x 67", "conv3: 99 x 99",
        "conv4: 131 x 131", "conv5: 163 x 163", "pool5: 195 x 195",
    ]  # fmt: skip
    assert side == 64 and image is None and title.endswith("64 x 64 pixels.")
    (example,) = make_source(1).take_indices([0])
    paper_figures.draw_receptive_fields(classifier, "out.png", example)
    square = center_square(classifier, example)[4:68, 4:68]
    np.testing.assert_allclose(plotted("receptive_fields")[4], square, atol=1)


def test_receptive_fields_need_a_layer_that_sees_several_pixels():
    model, preset = alexnet_tf.AlexNet(dense_preset(), 3), dense_preset()
    classifier = types.SimpleNamespace(model=model, preset=preset)
    with pytest.raises(ValueError, match="convolution or a pooling.*Received: dense"):
        paper_figures.draw_receptive_fields(classifier, "out.png")
