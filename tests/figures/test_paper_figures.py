"""What each figure hands to `plots`: the network's own numbers."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.figures import internals
from alexnet_tf.figures import paper_figures
from alexnet_tf.inference import evaluation
from alexnet_tf.inference import retrieval
from alexnet_tf.models import alexnet
from alexnet_tf import plots
from alexnet_tf import presets
from helpers.networks import untrained_classifier


@pytest.fixture
def given(monkeypatch):
    """given(name): the arguments that `plots.NAME` was called with."""
    calls = {}
    for name in (
        "kernels", "predictions", "neighbors", "views", "activations", "norms",
        "dropout", "normalization",
    ):  # fmt: skip
        monkeypatch.setattr(
            plots, name, lambda *args, name=name: calls.update({name: args})
        )
    return calls.__getitem__


def square(network, example):
    """The whole central square, by the functions that training uses."""
    return preprocess.center_square(
        example["image"], network.preset.preprocessing
    ).numpy()


def test_kernels_are_conv1_s(given):
    net = untrained_classifier()
    paper_figures.kernels(net, "out.png")
    kernels, path, _ = given("kernels")
    np.testing.assert_array_equal(kernels, net.model.get_layer("conv1").kernel)
    assert path == "out.png"


def test_predictions_are_the_five_most_probable(given, make_source):
    net, source = untrained_classifier(), make_source(11)
    examples = source.take_indices([10, 4])
    paper_figures.predictions(net, source, examples, "out.png")
    rows, path = given("predictions")
    assert [title for title, _, _ in rows] == ["0", "4"] and path == "out.png"
    for (_, image, named), example in zip(rows, examples):
        np.testing.assert_array_equal(image, square(net, example))
        probabilities = net.probabilities(example["image"])
        best = np.argsort(-probabilities)[:5]
        assert [identity for identity, _, _ in named] == best.tolist()
        np.testing.assert_allclose([p for *_, p in named], probabilities[best])


@pytest.mark.parametrize("figure", ["predictions", "dropout"])
def test_other_classes_are_refused(make_source, figure):
    net, source = untrained_classifier(), make_source(11, classes=5)
    examples = [net, source, source.take_indices([0])] + [0] * (figure == "dropout")
    with pytest.raises(ValueError, match="Expected the classes of images"):
        getattr(paper_figures, figure)(*examples, "out.png")


def test_neighbors_keep_their_order(given, make_source):
    net, source = untrained_classifier(), make_source(11)
    rows = [source.take_indices([3, 10, 0]), source.take_indices([1, 2, 5])]
    paper_figures.neighbors(net, source, rows, "out.png")
    (images, _) = given("neighbors")
    assert [[title for title, _ in row] for row in images] == [
        ["3", "0", "0"], ["1", "2", "5"],
    ]  # fmt: skip
    for found, wanted in zip(sum(images, []), sum(rows, [])):
        np.testing.assert_array_equal(found[1], square(net, wanted))


def place(view, whole):
    """((y, x), flipped) of the crop of `whole` that a view is.

    Rounding may differ by a gray level where the scale is no whole number.
    """
    size = len(view)
    for y, x in np.ndindex(*(side - size + 1 for side in whole.shape[:2])):
        crop = whole[y : y + size, x : x + size].astype(int)
        for flipped in (False, True):
            if np.abs(view - (crop[:, ::-1] if flipped else crop)).max() <= 1:
                return (y, x), flipped
    raise AssertionError("no crop of the image")


@pytest.mark.parametrize("preset", ["tiny", "caffe", "code2012"])
def test_views_are_the_crops_and_flips_of_training(given, make_source, preset):
    """Whatever the mean is and how it is laid under them."""
    pixels = presets.get(preset).preprocessing
    net = untrained_classifier()
    changed = dataclasses.replace(pixels, image_size=72, crop_size=64, pca_color_std=0.0)
    net = dataclasses.replace(
        net,
        preset=dataclasses.replace(net.preset, preprocessing=changed),
        statistics=dataclasses.replace(
            net.statistics,
            mean_image=np.random.default_rng(0).uniform(0, 255, (72, 72, 3)),
        ),
    )
    (example,) = make_source(11).take_indices([3])
    paper_figures.views(net, example, 6, 5, "out.png")
    images, _, title = given("views")
    (_, whole), *views = images
    np.testing.assert_array_equal(whole, square(net, example))
    found = [place(view, whole) for _, view in views]
    # Those that the same seeds give in training.
    for number, (offset, flipped) in enumerate(found):
        seeds = tf.unstack(tf.random.split(tf.constant([5, number]), 3))
        wanted = preprocess.random_offset(seeds[0], changed).numpy()
        assert offset == tuple(wanted)
        assert flipped == bool(preprocess.random_flip(seeds[1]))
    assert {flipped for _, flipped in found} == {False, True}
    assert "6 of 9 x 9 x 2 = 162 crops and flips, with" in title


@pytest.mark.parametrize(
    "changes, said",
    [
        ({}, "33 x 33 x 2 = 2,178 crops and flips (the paper counts 2,048), "),
        ({"flip": False}, "33 x 33 x 1 = 1,089 crops and flips, with"),
        ({"random_crop": False}, "1 x 1 x 2 = 2 crops and flips, with"),
        ({"crop_size": 227, "mean": "channel"}, "30 x 30 x 2 = 1,800 crops"),
    ],
)
def test_views_are_counted(given, make_source, changes, said):
    net = untrained_classifier()
    pixels = dataclasses.replace(presets.get("paper").preprocessing, **changes)
    preset = dataclasses.replace(net.preset, preprocessing=pixels)
    net = dataclasses.replace(net, preset=preset)
    paper_figures.views(net, *make_source(11).take_indices([0]), 1, 0, "out.png")
    assert said in given("views")[2] and given("views")[2].startswith("1 of ")


def test_color_noise_is_seen_in_views(given, make_source):
    net = untrained_classifier(pca_color_std=0.5, flip=False, random_crop=False)
    (example,) = make_source(11).take_indices([0])
    paper_figures.views(net, example, 1, 0, "out.png")
    pixels = net.preset.preprocessing
    first = (pixels.image_size - pixels.crop_size) // 2
    last = first + pixels.crop_size
    (_, whole), (_, view) = given("views")[0]
    inner = whole[first:last, first:last].astype(float)
    seed = tf.unstack(tf.random.split(tf.constant([0, 0]), 3))[2]
    noise = preprocess.pca_color_shift(seed, net.statistics, 0.5).numpy()
    assert np.abs(noise).max() > 2
    # Rounded twice: the crop's pixels, and these with the noise.
    np.testing.assert_allclose(view, np.clip(inner + noise, 0, 255), atol=1.51)


def test_activations_are_those_of_the_strongest_maps(given, make_source):
    net = untrained_classifier()
    (example,) = make_source(11).take_indices([7])
    paper_figures.activations(net, example, 3, "out.png")
    image, rows, lines, _ = given("activations")
    pixels = net.preset.preprocessing
    first = (pixels.image_size - pixels.crop_size) // 2
    last = first + pixels.crop_size
    inner = square(net, example)[first:last, first:last]
    np.testing.assert_allclose(image, inner.astype(int), atol=1)
    found = internals.activations(net, example["image"])
    title, field, maps = rows[1]
    assert title == "conv2: 32 maps, 7 x 7\neach output sees 51 pixels"
    # The fourth of 7 outputs every 8 pixels, the first at -16.
    assert field == (3 * 8 - 16, 3 * 8 - 16 + 50)
    best = np.argsort(-found["conv2"].sum(axis=(0, 1)))[:3]
    np.testing.assert_array_equal(maps, np.moveaxis(found["conv2"], -1, 0)[best])
    assert [title for title, _ in lines[:2]] == ["fc6: 128 units", "fc7: 128 units"]
    np.testing.assert_array_equal(lines[1][1], found["fc7"])
    guess = found["prob"].argmax()
    assert lines[2][0] == f"prob: 10 classes, {guess} {found['prob'][guess]:.1%}"


def test_norms_are_probing_s(given):
    net = untrained_classifier()
    paper_figures.norms(net, 3, "out.png")
    found, _, title = given("norms")
    wanted = internals.norms(net.model, net.preset, 3)
    assert [each.kernel for each in found] == [each.kernel for each in wanted]
    assert title == "tiny"


def test_dropout_averages_more_and_more_networks(given, make_source):
    net, source = untrained_classifier(), make_source(12)
    examples = source.take_indices([*range(12)])
    paper_figures.dropout(net, source, examples, 2, "out.png")
    errors, whole_error, pairs, _, title = given("dropout")
    truth = np.arange(12, dtype=np.int32) % 10
    encoded = [example["image"] for example in examples]
    each = internals.dropout_passes(net, encoded, 32, 2)
    assert [count for count, _ in errors] == [1, 2, 4, 8, 16, 32]
    for count, error in errors:
        guesses = each[:count].mean(axis=0).argmax(axis=1)
        assert error == pytest.approx((guesses != truth).mean())
    whole, _ = evaluation.probabilities(net, source, "center", verbose=0)
    assert whole_error == pytest.approx((whole.argmax(axis=1) != truth).mean())
    np.testing.assert_allclose(pairs[:, 0], each.mean(axis=0)[range(12), truth])
    np.testing.assert_allclose(pairs[:, 1], whole[range(12), truth], atol=1e-6)
    assert title == "12 images of images, split train, central view"


def test_normalization_has_the_preset_s_constants(given):
    paper_figures.normalization(presets.get("code2012"), 1, "out.png")
    before, afters, _, title = given("normalization")
    assert before.shape == (20,) and before.min() == 0 and 3 < (before == 0).sum() < 12
    assert [label for label, _ in afters] == ["n = 4", "n = 5"]
    for n, (_, after) in zip((4, 5), afters):
        wanted = internals.normalized(before, n, bias=2.0, alpha=2e-5, beta=0.75)
        np.testing.assert_array_equal(after, wanted)
    assert title == "code2012: k = 2, alpha = 2e-05 on the plain sum, beta = 0.75"


def test_the_nearest_are_of_the_index_and_not_oneself(tmp_path, make_source):
    """Query 3 is image 3; a copy of it under another name is its nearest."""
    net, source = untrained_classifier(), make_source(12)
    path = str(tmp_path / "index.npz")
    retrieval.build_index(path, net, source, "fc6", verbose=0)
    queries = source.take_indices([3, 8])
    other = [{**queries[0], "name": b"another name"}]
    rows = retrieval.nearest_examples(path, net, queries + other, source, "fc6", k=4)
    assert [len(row) for row in rows] == [5, 5, 5]
    assert rows[0][0] is queries[0]
    names = [[example["name"] for example in row] for row in rows]
    assert names[0][0] not in names[0][1:] and names[1][0] not in names[1][1:]
    assert names[2][1] == queries[0]["name"] and names[2][2:] == names[0][1:4]
    extract = alexnet.features(net.model, "fc6")
    views = np.stack([net.view(each["image"]) for each in source.take_indices([*range(12)])])
    vectors = extract(views).numpy()
    order = np.argsort(np.linalg.norm(vectors - vectors[3], axis=1))
    assert order[0] == 3
    assert names[0][1:] == [f"images {place}".encode() for place in order[1:5]]
    # Of the 12, one is the query itself.
    rows = retrieval.nearest_examples(path, net, queries, source, "fc6", k=20)
    assert [len(row) for row in rows] == [12, 12]


def test_an_index_of_something_else_is_refused(tmp_path, make_source):
    net, source = untrained_classifier(), make_source(12)
    path = str(tmp_path / "index.npz")
    retrieval.build_index(path, net, source, "fc6", verbose=0)
    queries = source.take_indices([0])
    for other, images, layer, what in (
        (net, source, "fc7", "whose layer is fc7. Received: .*index.npz, of fc6"),
        (untrained_classifier(seed=1), source, "fc6", "whose network is tiny"),
        (net, make_source(13), "fc6", "whose images is images, split train"),
        (untrained_classifier(crop_size=65), source, "fc6", "whose network is tiny"),
    ):
        with pytest.raises(ValueError, match=what):
            retrieval.nearest_examples(path, other, queries, images, layer)
