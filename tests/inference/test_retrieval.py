"""The index and the search against NumPy's whole matrix of distances."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from alexnet_tf.inference import retrieval
from helpers.networks import untrained_classifier


def write(path, vectors, parts=3):
    blocks = np.array_split(vectors, parts)
    labels = np.array_split(np.arange(len(vectors), dtype=np.int32) % 4, parts)
    names = [[f"{i}-{j}".encode() for j in range(len(b))] for i, b in enumerate(blocks)]
    retrieval.write_index(
        path,
        ((b, l, np.array(n, object)) for b, l, n in zip(blocks, labels, names)),
        len(vectors),
        {"layer": "fc7"},
    )
    return path


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("block", [1, 60 * 8 * 7, 2**20])
def test_the_search_is_exact(tmp_path, monkeypatch, metric, block):
    """Whatever the blocks are: of one row, of seven, of all."""
    monkeypatch.setattr(retrieval, "_BLOCK", block)
    random = np.random.default_rng(0)
    vectors = random.normal(3, 1, (50, 60)).astype(np.float32)
    queries = random.normal(3, 1, (9, 60)).astype(np.float32)
    path = write(tmp_path / "index.npz", vectors)
    found = retrieval.search(path, queries, 6, metric)
    if metric == "l2":
        wanted = np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    else:
        lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(
            vectors, axis=1
        )
        wanted = 1 - queries @ vectors.T / lengths
    order = np.argsort(wanted, axis=1)[:, :6]
    np.testing.assert_array_equal(found.places, order)
    np.testing.assert_allclose(
        found.distances, np.take_along_axis(wanted, order, axis=1), atol=1e-6
    )


def test_an_image_is_nearest_to_itself(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    path = write(tmp_path / "index.npz", vectors)
    found = retrieval.search(path, vectors, 1)
    assert found.places[:, 0].tolist() == list(range(20))
    np.testing.assert_allclose(found.distances, 0, atol=1e-6)


def test_near_duplicates_keep_their_order(tmp_path):
    """A millionth of their length apart."""
    start = np.random.default_rng(0).uniform(0, 300, 4096).astype(np.float32)
    vectors = np.repeat(start[np.newaxis], 30, axis=0)
    vectors[:, 0] = 4 + np.arange(30) * 1e-2
    path = write(tmp_path / "index.npz", vectors)
    found = retrieval.search(path, vectors[[20]], 4)
    assert found.places[0, 0] == 20
    assert sorted(found.places[0, 1:3]) == [19, 21]
    np.testing.assert_allclose(found.distances[0, 1:3], 1e-2, rtol=0.01)


@pytest.mark.parametrize("rows, queries", [(60_000, 50), (60_000, 1), (4_000, 6_000)])
def test_memory_is_what_is_said(tmp_path, rows, queries):
    """256 MB, of which a block is 48: here a sixteenth of all."""
    features = np.random.default_rng(0).normal(size=(rows, 64)).astype(np.float32)
    path = write(tmp_path / "index.npz", features)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "_BLOCK", retrieval._BLOCK // 16)
        tracemalloc.start()
        retrieval.search(path, features[:queries])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # Beside the queries in float64, and each one's six best as they change.
    beside = queries * (64 * 8 + 6 * 16 * 8)
    assert 2 * 2**20 < peak < 256 * 2**20 / 16 + beside


def test_an_index_is_an_npz_without_pickles(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    path = write(tmp_path / "index.npz", vectors)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["features"], vectors)
    labels, names = retrieval.read_labels(path)
    assert labels.tolist() == [0, 1, 2, 3] * 5
    assert [each.name for each in tmp_path.iterdir()] == ["index.npz"]
    assert names[0] == b"0-0" and names[-1] == b"2-5"


@pytest.mark.parametrize("shape, k", [((4, 7), 3), ((4, 8), 21)])
def test_other_features_and_too_few_are_refused(tmp_path, shape, k):
    path = write(tmp_path / "index.npz", np.zeros((20, 8), np.float32))
    with pytest.raises(ValueError, match="20 of 8"):
        retrieval.search(path, np.zeros(shape, np.float32), k)


def test_an_index_is_there_when_it_is_whole(tmp_path):
    path = write(tmp_path / "index.npz", np.zeros((4, 2), np.float32))
    before = path.read_bytes()

    def blocks():
        yield np.zeros((2, 2), np.float32), np.zeros(2, np.int32), np.array([b"a"] * 2)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        retrieval.write_index(path, blocks(), 4, {})
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["index.npz"]


def test_precision_by_hand():
    matches = retrieval.Matches(np.array([[0, 1, 2], [3, 0, 1]]), None)
    labels, queries = np.array([5, 6, 5, 7]), np.array([5, 7])
    assert retrieval.precision(matches, labels, queries, 1) == 1.0
    assert retrieval.precision(matches, labels, queries, 3) == pytest.approx(0.5)


@pytest.mark.parametrize("layer, size", [("fc7", 128), ("input", 64 * 64 * 3)])
def test_features_of_all_images_in_order(make_source, layer, size):
    source, net = make_source(70), untrained_classifier()
    blocks = [*retrieval.features(net, source, layer, verbose=0)]
    assert [len(labels) for _, labels, _ in blocks] == [64, 6]
    found = np.concatenate([block for block, _, _ in blocks])
    assert found.shape == (70, size)
    names = np.concatenate([names for _, _, names in blocks])
    assert names[-1] == b"images 69"
    labels = np.concatenate([labels for _, labels, _ in blocks])
    assert labels.tolist() == [i % 10 for i in range(70)]
    (last,) = [e for e in source.examples().skip(69)]
    from alexnet_tf.data import preprocess
    from alexnet_tf.models import alexnet

    view = preprocess.evaluation_image(
        last["image"], net.preset.preprocessing, net.statistics
    )
    wanted = alexnet.features(net.model, layer)(view[None])
    np.testing.assert_allclose(found[69], np.ravel(wanted), atol=1e-5)


def test_a_source_that_miscounts_is_refused(make_source):
    source = dataclasses.replace(make_source(10), num_examples=11)
    with pytest.raises(ValueError, match="Expected 11 images"):
        [*retrieval.features(untrained_classifier(), source, verbose=0)]


def test_a_vector_of_nothing_is_like_none(tmp_path):
    features = np.array([[0, 0, 0], [1, 0, 0], [0.6, 0.8, 0]], np.float32)
    path = str(tmp_path / "i.npz")
    blocks = [(features, np.zeros(3, np.int32), np.array([b"a", b"b", b"c"]))]
    retrieval.write_index(path, blocks, 3, {})
    found = retrieval.search(path, np.array([[2.0, 0, 0]]), 3, "cosine")
    assert found.places.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(found.distances, [[0, 0.4, 1]], atol=1e-6)


@pytest.mark.parametrize("content", ["text", "half", "other", "flipped"])
def test_what_is_no_index_is_said(tmp_path, content):
    path = tmp_path / "i.npz"
    if content == "text":
        path.write_text("no index")
    else:
        name = "labels" if content == "other" else "features"
        np.savez(path, **{name: np.zeros((9, 3), np.float32)})
    if content == "flipped":
        data = bytearray(path.read_bytes())
        data[160] ^= 1
        path.write_bytes(data)
    if content == "half":
        path.write_bytes(path.read_bytes()[:80])
    with pytest.raises(ValueError, match="index that --index_output.*i.npz"):
        retrieval.search(str(path), np.zeros((1, 3), np.float32), 2)
