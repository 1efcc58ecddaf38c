"""Tests retrieval indexes, and searches against NumPy's matrix of all distances."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from alexnet_tf.data import preprocess
from alexnet_tf.inference import retrieval
from alexnet_tf.models import alexnet
from alexnet_tf import presets
from helpers.exif_files import oriented
from helpers.networks import untrained_classifier


def write_index(path, vectors):
    """Writes an index of `vectors` in three blocks, and returns its path.

    The labels are 0 to 3 in turn; the names are "BLOCK-POSITION".
    """
    blocks = np.array_split(vectors, 3)
    labels = np.array_split(np.arange(len(vectors), dtype=np.int32) % 4, 3)
    names = [
        np.array([f"{i}-{j}".encode() for j in range(len(block))], object)
        for i, block in enumerate(blocks)
    ]
    retrieval.write_index(
        path,
        zip(blocks, labels, names),
        len(vectors),
        {"layer": "fc7"},
    )
    return path


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("block_bytes", [1, 60 * 8 * 7, 2**20])
def test_search_is_exact(tmp_path, monkeypatch, metric, block_bytes):
    """Blocks have one image, seven images, or all."""
    monkeypatch.setattr(retrieval, "_BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(0)
    vectors = rng.normal(3, 1, (50, 60)).astype(np.float32)
    queries = rng.normal(3, 1, (9, 60)).astype(np.float32)
    path = write_index(tmp_path / "index.npz", vectors)
    matches = retrieval.search(path, queries, 6, metric)
    if metric == "l2":
        distances = np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    else:
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(
            vectors, axis=1
        )
        distances = 1 - queries @ vectors.T / lengths
    order = np.argsort(distances, axis=1)[:, :6]
    np.testing.assert_array_equal(matches.indices, order)
    np.testing.assert_allclose(
        matches.distances, np.take_along_axis(distances, order, axis=1), atol=1e-6
    )


def test_search_finds_each_vector_nearest_to_itself(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    path = write_index(tmp_path / "index.npz", vectors)
    matches = retrieval.search(path, vectors, 1)
    assert matches.indices[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(matches.distances, 0, atol=1e-6)


def test_search_orders_near_duplicates(tmp_path):
    """The distances between the vectors are a millionth of their lengths."""
    vector = np.random.default_rng(0).uniform(0, 300, 4096).astype(np.float32)
    vectors = np.repeat(vector[np.newaxis], 30, axis=0)
    vectors[:, 0] = 4 + np.arange(30) * 1e-2
    path = write_index(tmp_path / "index.npz", vectors)
    matches = retrieval.search(path, vectors[[20]], 4)
    assert matches.indices[0, 0] == 20
    assert sorted(matches.indices[0, 1:3]) == [19, 21]
    np.testing.assert_allclose(matches.distances[0, 1:3], 1e-2, rtol=0.01)


@pytest.mark.parametrize(
    "num_images, num_queries", [(60_000, 50), (60_000, 1), (4_000, 6_000)]
)
def test_search_needs_limited_memory(tmp_path, num_images, num_queries):
    """The limit is 256 MB with blocks of 48 MB; here both are divided by 16."""
    features = np.random.default_rng(0).normal(size=(num_images, 64))
    features = features.astype(np.float32)
    path = write_index(tmp_path / "index.npz", features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_BLOCK_BYTES", retrieval._BLOCK_BYTES // 16)
        tracemalloc.start()
        retrieval.search(path, features[:num_queries])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # The queries in float64, and arrays of the six nearest matches of each query, which
    # are not part of the limit.
    not_limited = num_queries * (64 * 8 + 6 * 16 * 8)
    assert 2 * 2**20 < peak < 256 * 2**20 / 16 + not_limited


def test_index_is_an_npz_file_without_pickles(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    path = write_index(tmp_path / "index.npz", vectors)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["features"], vectors)
    labels, names = retrieval.read_labels(path)
    assert labels.tolist() == [0, 1, 2, 3] * 5
    assert [file.name for file in tmp_path.iterdir()] == ["index.npz"]
    assert names[0] == b"0-0" and names[-1] == b"2-5"


@pytest.mark.parametrize("shape, k", [((4, 7), 3), ((4, 8), 21)])
def test_search_rejects_wrong_feature_counts_and_too_few_images(tmp_path, shape, k):
    path = write_index(tmp_path / "index.npz", np.zeros((20, 8), np.float32))
    with pytest.raises(ValueError, match="20 images of 8"):
        retrieval.search(path, np.zeros(shape, np.float32), k)


def test_failed_write_keeps_the_existing_index(tmp_path):
    path = write_index(tmp_path / "index.npz", np.zeros((4, 2), np.float32))
    before = path.read_bytes()

    def blocks():
        yield np.zeros((2, 2), np.float32), np.zeros(2, np.int32), np.array([b"a"] * 2)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        retrieval.write_index(path, blocks(), 4, {})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["index.npz"]


def test_precision_is_the_share_of_equal_labels():
    matches = retrieval.Matches(np.array([[0, 1, 2], [3, 0, 1]]), None)
    labels, query_labels = np.array([5, 6, 5, 7]), np.array([5, 7])
    assert retrieval.precision(matches, labels, query_labels, 1) == 1.0
    assert retrieval.precision(matches, labels, query_labels, 3) == pytest.approx(0.5)


@pytest.mark.parametrize("layer, size", [("fc7", 128), ("input", 64 * 64 * 3)])
def test_features_cover_all_images_in_order(make_source, layer, size):
    source, classifier = make_source(70), untrained_classifier()
    blocks = [*retrieval.features(classifier, source, layer, verbose=0)]
    assert [len(labels) for _, labels, _ in blocks] == [64, 6]
    features = np.concatenate([block for block, _, _ in blocks])
    assert features.shape == (70, size)
    names = np.concatenate([names for _, _, names in blocks])
    assert names[-1] == b"images 69"
    labels = np.concatenate([labels for _, labels, _ in blocks])
    assert labels.tolist() == [i % 10 for i in range(70)]
    (last,) = source.examples().skip(69)
    crop = preprocess.evaluation_image(
        last["image"], classifier.preset.preprocessing, classifier.statistics
    )
    expected = alexnet.features(classifier.model, layer)(crop[None])
    np.testing.assert_allclose(features[69], np.ravel(expected), atol=1e-5)


def test_features_rejects_a_source_with_a_wrong_count(make_source):
    source = dataclasses.replace(make_source(10), num_examples=11)
    with pytest.raises(ValueError, match="Expected 11 images"):
        [*retrieval.features(untrained_classifier(), source, verbose=0)]


def test_zero_vectors_have_cosine_0_to_all_vectors(tmp_path):
    features = np.array([[0, 0, 0], [1, 0, 0], [0.6, 0.8, 0]], np.float32)
    path = write_index(tmp_path / "index.npz", features)
    matches = retrieval.search(path, np.array([[2.0, 0, 0]]), 3, "cosine")
    assert matches.indices.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(matches.distances, [[0, 0.4, 1]], atol=1e-6)


def flip_bit(path, position):
    """Flips a bit of the byte at `position`."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    ["text", "truncated", "no features", "wrong bit", "compressed, wrong bit", "npy"],
)
def test_rejects_files_that_are_not_indexes(tmp_path, damage):
    path, features = tmp_path / "index.npz", np.zeros((9, 3), np.float32)
    if damage == "text":
        path.write_text("no index")
    elif damage == "npy":
        with open(path, "wb") as file:
            np.save(file, features)
    elif damage == "no features":
        np.savez(path, labels=features)
    elif damage == "compressed, wrong bit":
        np.savez_compressed(path, features=features)
        flip_bit(path, 100)
    else:
        np.savez(path, features=features)
    if damage == "wrong bit":
        flip_bit(path, 160)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:80])
    with pytest.raises(ValueError, match="index.npz is damaged or is not an index"):
        retrieval.search(str(path), features[:1], 2)
    with pytest.raises(ValueError, match="index.npz is damaged or is not an index"):
        retrieval.read_labels(str(path))


def test_images_are_not_their_own_neighbors(tmp_path, make_source):
    """For a copy with another name, the nearest neighbor is the original image."""
    classifier, source = untrained_classifier(), make_source(12)
    path = str(tmp_path / "index.npz")
    retrieval.build_index(path, classifier, source, "fc6", verbose=0)
    queries = source.take_indices([3, 8])
    queries.append({**queries[0], "name": b"another name"})
    rows = retrieval.nearest_examples(path, classifier, queries, source, "fc6", k=4)
    assert [len(row) for row in rows] == [5, 5, 5]
    assert rows[0][0] is queries[0]
    names = [[example["name"] for example in row] for row in rows]
    assert names[0][0] not in names[0][1:] and names[1][0] not in names[1][1:]
    assert names[2][1] == queries[0]["name"] and names[2][2:] == names[0][1:4]
    extract = alexnet.features(classifier.model, "fc6")
    examples = source.take_indices([*range(12)])
    crops = np.stack(
        [classifier.center_crop(example["image"]) for example in examples]
    )
    vectors = extract(crops).numpy()
    order = np.argsort(np.linalg.norm(vectors - vectors[3], axis=1))
    assert order[0] == 3
    assert names[0][1:] == [f"images {index}".encode() for index in order[1:5]]
    # One of the 12 images is the query.
    rows = retrieval.nearest_examples(
        path, classifier, queries[:2], source, "fc6", k=20
    )
    assert [len(row) for row in rows] == [12, 12]


def test_queries_may_have_other_preprocessing_than_the_index(tmp_path, make_source):
    """The query is image 3 upside down, and its EXIF orientation says so."""
    classifier, source = untrained_classifier(), make_source(12)
    path = str(tmp_path / "index.npz")
    retrieval.build_index(path, classifier, source, "fc6", verbose=0)
    (example,) = source.take_indices([3])
    pixels = tf.io.decode_jpeg(example["image"])[::-1, ::-1]
    encoded = oriented(tf.io.encode_jpeg(pixels, quality=100).numpy(), 3)
    query = {"image": encoded, "label": -1, "name": b"query"}
    preset = presets.override(classifier.preset, exif_orientation=True)
    upright = dataclasses.replace(classifier, preset=preset)
    arguments = path, classifier, [query], source, "fc6"
    ((_, nearest, *_),) = retrieval.nearest_examples(
        *arguments, query_classifier=upright
    )
    assert nearest["name"] == example["name"]
    ((_, nearest, *_),) = retrieval.nearest_examples(*arguments)
    assert nearest["name"] != example["name"]


def test_rejects_an_index_of_another_layer_network_or_source(tmp_path, make_source):
    classifier, source = untrained_classifier(), make_source(12)
    path = str(tmp_path / "index.npz")
    retrieval.build_index(path, classifier, source, "fc6", verbose=0)
    queries = source.take_indices([0])
    for query_classifier, query_source, layer, message in (
        (classifier, source, "fc7", "index.npz: layer=fc6. Received: layer=fc7"),
        (untrained_classifier(seed=1), source, "fc6", "Received: network=tiny"),
        (classifier, make_source(13), "fc6", "Received: images=images, split train"),
        (untrained_classifier(crop_size=65), source, "fc6", "Received: network=tiny"),
    ):
        with pytest.raises(ValueError, match=message):
            retrieval.nearest_examples(
                path, query_classifier, queries, query_source, layer
            )


def test_reads_an_index_of_version_0_1(tmp_path, make_source):
    """Since version 0.1, a key of the origin and a preset have been renamed."""
    classifier, source = untrained_classifier(), make_source(12)
    path = str(tmp_path / "index.npz")
    old_origin = {
        "layer": "fc6",
        "pictures": f"{source} ({source.fingerprint})",  # word: kept
        "network": f"cifar10_quick {classifier.fingerprint}",
    }
    blocks = retrieval.features(classifier, source, "fc6", verbose=0)
    retrieval.write_index(path, blocks, 12, old_origin)
    preset = dataclasses.replace(classifier.preset, name="cifar10_full")
    renamed = dataclasses.replace(classifier, preset=preset)
    queries = source.take_indices([3])
    (row,) = retrieval.nearest_examples(path, renamed, queries, source, "fc6", k=4)
    assert len(row) == 5
    with pytest.raises(ValueError, match="layer=fc6. Received: layer=fc7"):
        retrieval.nearest_examples(path, renamed, queries, source, "fc7")


@pytest.mark.parametrize("origin", [{}, [], {"network": 3}])
def test_rejects_an_index_without_its_origin(tmp_path, make_source, origin):
    path = str(tmp_path / "index.npz")
    blocks = [(np.zeros((1, 3), np.float32), np.zeros(1, np.int32), np.array([b"a"]))]
    retrieval.write_index(path, blocks, 1, origin)
    source = make_source(1)
    with pytest.raises(ValueError, match="index.npz is damaged or is not an index"):
        retrieval.nearest_examples(
            path, untrained_classifier(), source.take_indices([0]), source
        )
